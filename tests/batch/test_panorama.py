"""One brightness and one curve: overlapping views of one scene, shot under different exposures, are the same light."""

from fractions import Fraction
from itertools import pairwise

import batch_shoots as made
import numpy as np
import OpenEXR
import pytest
from PIL import Image

from smarthdr_cli.batch.run import Batch, Told, run_batch
from smarthdr_cli.batch.settings import Settings, Writing
from smarthdr_cli.errors import InputError
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.grouping.group import BracketSet
from smarthdr_cli.response import load_response

HEIGHT, WIDTH, STEP = 128, 192, 96
VIEWS = (  # middle time, f-number, ISO: the light is (time * ISO/100 / N^2) times the scene
    (Fraction(1, 100), 4.0, 100),
    (Fraction(1, 40), 4.0, 100),
    (Fraction(1, 100), 4.0, 200),
    (Fraction(1, 125), 2.8, 100),
)


def contrast(linear):
    """An S-curve over sRGB, as cameras have it: far enough from sRGB to matter."""
    code = made.srgb(linear) / 255.0
    low, high, at = (1 / (1 + np.exp(-5 * (v - 0.5))) for v in (0.0, 1.0, code))
    return np.round((at - low) / (high - low) * 255).astype(np.uint8)


def panorama(seed=5):
    return made.scene(seed, WIDTH + STEP * (len(VIEWS) - 1), HEIGHT)


def shoot(folder, curve=contrast, aperture=True):
    """Brackets of overlapping views; returns the sets."""
    wide = panorama()
    unit = 1 / 100 / 16  # the exposure at which the scene's 1 clips
    sets = []
    for n, (middle, stop, iso) in enumerate(VIEWS):
        stop = stop if aperture else 4.0
        light = wide[:, n * STEP : n * STEP + WIDTH]
        times = (middle / 4, middle, middle * 4)
        per_second = iso / 100 / stop**2 / unit
        files = made.write_bracket(
            folder, n, times=times, light=light * per_second, base=Fraction(1), curve=curve, iso=iso,
            aperture=stop if aperture else None,
        )  # fmt: skip
        sets.append(BracketSet(f"v{n}", tuple(files), 1.0, (), False))
    return sets


def fuse_all(sets, out, common=True, common_ev=None, **fuse):
    options = FuseOptions(**({"deghost": "off", "align": "none", "device": "cpu"} | fuse))
    notes, records = [], []
    batch = Batch(
        Settings(options, Writing(float32=True)), out, "{stem}", overwrite=True, common=common, common_ev=common_ev
    )
    run_batch(sets, batch, Told(records.append, notes.append))
    assert [r["error"] for r in records] == [None] * len(sets)
    pictures = []
    for found in sets:
        with OpenEXR.File(str(out / f"{found.name}.exr")) as file:
            pictures.append(np.array(file.channels()["RGB"].pixels))
    return pictures, notes, records


def disagreement(pictures):
    """Of each two neighbours the median over their common pixels of the ratio of their light, less 1."""
    out = []
    for left, right in pairwise(pictures):
        a, b = left[:, STEP:], right[:, : WIDTH - STEP]
        seen = (a > 0.02 * np.median(a)) & (b > 0.02 * np.median(b))
        out.append(abs(float(np.median(a[seen] / b[seen])) - 1))
    return out


def test_overlapping_views_agree_within_one_per_cent(tmp_path):
    sets = shoot(tmp_path / "shoot")
    pictures, notes, records = fuse_all(sets, tmp_path / "out")
    assert max(disagreement(pictures)) < 0.01
    assert any("one curve from 4 of 4 sets" in note for note in notes)
    assert len({r["settings"]["response"] for r in records}) == 1
    middles = sorted(np.log2(float(time) * iso / 100 / stop**2) for time, stop, iso in VIEWS)
    assert records[0]["settings"]["common_exposure"] == pytest.approx((middles[1] + middles[2]) / 2, abs=1e-3)
    apart, _, _ = fuse_all(sets, tmp_path / "apart", common=False)
    assert max(disagreement(apart)) > 0.3  # each in its own reference's units, as without the option


def test_with_the_network_too(tmp_path):
    sets = shoot(tmp_path / "shoot")[:2]
    pictures, _, _ = fuse_all(sets, tmp_path / "out", deghost="auto", align="auto", precision="fp32")
    assert max(disagreement(pictures)) < 0.01


def test_a_stated_exposure_scales_all_alike(tmp_path):
    sets = shoot(tmp_path / "shoot", curve=made.srgb)[:2]
    plain, notes, _ = fuse_all(sets, tmp_path / "a", response="srgb", common_ev=-10.0)
    brighter, _, _ = fuse_all(sets, tmp_path / "b", response="srgb", common_ev=-9.0)
    for a, b in zip(plain, brighter, strict=True):
        assert np.allclose(b, 2 * a, rtol=1e-5)
    truth = panorama()[:, :WIDTH] * 2**-10.0 * 100 * 16  # 1.0 is the clip at -10 EV
    seen = (truth > 0.01) & (truth < 0.5)
    assert np.median(plain[0][seen] / truth[seen]) == pytest.approx(1, abs=0.01)
    assert notes == ["all sets are anchored to an exposure of -10.00 EV"]


def test_the_curve_is_kept_and_taken_as_it_is(tmp_path):
    sets = shoot(tmp_path / "shoot")[:2]
    _, _, records = fuse_all(sets, tmp_path / "out")
    (kept,) = (tmp_path / "out").glob("response-Maker Model X jpeg-*.toml")
    curve = load_response(kept)
    code = np.linspace(0, 1, 4096)
    true = np.interp(np.arange(40, 220) / 255, contrast(code) / 255.0, code)
    assert np.abs(curve.table[1][40:220] / true - 1).max() < 0.15
    made_at = kept.stat().st_mtime_ns
    _, notes, again = fuse_all(sets, tmp_path / "out")
    assert kept.stat().st_mtime_ns == made_at
    assert not [note for note in notes if "one curve" in note]
    assert [r["settings"] for r in again] == [r["settings"] for r in records]


def test_a_curve_that_cannot_be_had_is_srgb_for_all_and_said(tmp_path):
    sets = []
    for n in range(2):  # half an EV apart: that tells too little of a curve
        files = made.write_bracket(
            tmp_path / "s", n, times=(Fraction(1, 119), Fraction(1, 100), Fraction(1, 84)), light=made.scene(n)
        )
        sets.append(BracketSet(f"v{n}", tuple(files), 1.0, (), False))
    _, notes, records = fuse_all(sets, tmp_path / "out")
    assert {r["settings"]["response"] for r in records} == {"srgb"}
    assert any("sRGB for all its sets" in note and "span less than 0.6 EV" in note for note in notes)


def test_a_lens_without_contacts(tmp_path):
    sets = shoot(tmp_path / "shoot", curve=made.srgb, aperture=False)
    pictures, notes, _ = fuse_all(sets, tmp_path / "out")
    assert max(disagreement(pictures)) < 0.01
    assert "no frame states its aperture: the same for all sets is assumed" in notes


def test_a_set_without_exposures_fails_and_says_why(tmp_path):
    sets = shoot(tmp_path / "shoot")[:2]
    for path in sets[1].frames:
        with Image.open(path) as picture:
            picture.copy().save(path, quality=95)  # without its EXIF
    records = []
    settings = Settings(FuseOptions(deghost="off", response="srgb", device="cpu"), Writing())
    tally = run_batch(sets, Batch(settings, tmp_path / "out", common=True), Told(records.append))
    assert tally.counts == {"ok": 1, "failed": 1}
    error = next(r["error"] for r in records if r["error"])
    assert error["code"] == 3
    assert "states no exposure time" in error["message"]
    with pytest.raises(InputError, match="no set states"):
        run_batch(sets[1:], Batch(settings, tmp_path / "other", common=True), Told())
