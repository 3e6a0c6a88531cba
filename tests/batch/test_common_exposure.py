"""The exposure and the curve of a shoot: from headers, and in the pixels of overlapping views of one scene."""

import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from PIL import Image

from smarthdr_cli.batch.batch_options import BatchOptions
from smarthdr_cli.batch.common_exposure import CommonExposure, common_exposure
from smarthdr_cli.batch.run import Callbacks, run_batch
from smarthdr_cli.batch.settings import Settings
from smarthdr_cli.burst.burst import Exposure
from smarthdr_cli.errors import InputError, UsageError
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.fusion.pipeline import fuse
from smarthdr_cli.grouping.group import BracketSet
from smarthdr_cli.grouping.header import Header
from smarthdr_cli.output.write_options import WriteOptions
from smarthdr_cli.response import load_response
from tests.support.shoots import scene, srgb, write_bracket

HEIGHT, WIDTH, STEP = 128, 192, 96  # of a view, and the shift to the next one
VIEWS = (  # middle time, f-number, ISO: the light is (time * ISO/100 / N^2) times the scene
    (Fraction(1, 100), 4.0, 100),
    (Fraction(1, 40), 4.0, 100),
    (Fraction(1, 100), 4.0, 200),
    (Fraction(1, 125), 2.8, 100),
)


def headers_of(*sets):
    """(paths, headers) of sets given as lists of (time, aperture, iso)."""
    paths, headers = [], {}
    for n, frames in enumerate(sets):
        paths.append([])
        for k, (time, aperture, iso) in enumerate(frames):
            path = Path(f"{n}-{k}.jpg")
            headers[path] = Header(path, time=time, aperture=aperture, iso=iso)
            paths[-1].append(path)
    return paths, headers


def bracket(middle, aperture=8.0, iso=100.0):
    return [(middle / 4, aperture, iso), (middle, aperture, iso), (middle * 4, aperture, iso)]


def test_median_over_the_sets_of_their_medians():
    common, notes = common_exposure(*headers_of(bracket(1 / 100), bracket(1 / 50), bracket(1 / 400)))
    assert common.ev == pytest.approx(math.log2(1 / 100 / 64), abs=1e-4)
    assert common.assumed == ()
    assert notes == ()


def test_iso_and_aperture_are_part_of_the_exposure():
    common, _ = common_exposure(*headers_of(bracket(1 / 100, 4.0, 800.0)))
    assert common.ev == pytest.approx(math.log2(1 / 100 * 8 / 16), abs=1e-4)


def test_a_given_exposure_is_used_or_refused():
    assert common_exposure(*headers_of(bracket(1 / 100)), ev=-3.5)[0].ev == -3.5
    for ev in (math.nan, math.inf, 1e9):
        with pytest.raises(UsageError, match="--common-ev"):
            common_exposure([], {}, ev=ev)


def test_an_aperture_that_no_frame_states_is_assumed_equal():
    common, notes = common_exposure(*headers_of(bracket(1 / 100, None), bracket(1 / 50, None)))
    assert common.assumed == ("aperture",)
    assert notes == ("no frame states its aperture; it is assumed to be equal in all sets",)
    assert common.of("x", Exposure(0.0, 1 / 8, None, 100.0)) == -3


def test_an_aperture_that_some_frames_lack_is_not_guessed():
    paths, headers = headers_of(bracket(1 / 100), bracket(1 / 50, None))
    common, _ = common_exposure(paths, headers)
    assert common.ev == pytest.approx(math.log2(1 / 100 / 64), abs=1e-4)  # of the set that states it
    with pytest.raises(InputError, match=r"1-1\.jpg states no aperture"):
        common.of("1-1.jpg", headers[paths[1][1]])
    with pytest.raises(InputError, match="no exposure time and no aperture and no ISO"):
        CommonExposure(0.0).of("x", Exposure(0.0))


def test_a_shoot_without_exposures_is_refused():
    with pytest.raises(InputError, match="no set states"):
        common_exposure(*headers_of([(None, None, None)] * 3))
    with pytest.raises(InputError):
        common_exposure([[Path("unreadable.jpg")]], {})


def test_scaling_to_the_common_exposure(tmp_path):
    files = write_bracket(tmp_path, 0)
    plain, result = (fuse(files, deghost="off", align="none", response="srgb", device="cpu") for _ in range(2))
    own = np.log2(1 / 100 / 16)  # 1/100 s at f/4, ISO 100
    scaled = CommonExposure(own - 1.5).scale(result)
    assert np.allclose(scaled.radiance, plain.radiance * 2**-1.5, rtol=1e-6)
    assert scaled.anchor_ev == pytest.approx(-1.5)
    assert np.allclose(scaled.radiance * scaled.scale_short, plain.radiance * plain.scale_short, rtol=1e-6)
    assert scaled.report.common_exposure == {"ev": round(own - 1.5, 4), "reference_ev": round(own, 4)}
    again = CommonExposure(own).scale(replace(scaled, radiance=scaled.radiance.copy()))
    assert np.allclose(again.radiance, plain.radiance, rtol=1e-6)


def contrast(linear):
    """An S-curve over sRGB, as cameras have it: far enough from sRGB to matter."""
    code = srgb(linear) / 255.0
    low, high, at = (1 / (1 + np.exp(-5 * (v - 0.5))) for v in (0.0, 1.0, code))
    return np.round((at - low) / (high - low) * 255).astype(np.uint8)


def panorama(seed=5):
    return scene(seed, WIDTH + STEP * (len(VIEWS) - 1), HEIGHT)


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
        files = write_bracket(
            folder, n, times=times, light=light * per_second, unit=Fraction(1), curve=curve, iso=iso,
            aperture=stop if aperture else None,
        )  # fmt: skip
        sets.append(BracketSet(f"v{n}", tuple(files), 1.0, (), False))
    return sets


def fuse_all(sets, out, common=True, common_ev=None, **fuse):
    fuse_options = FuseOptions(**({"deghost": "off", "align": "none", "device": "cpu"} | fuse))
    settings = Settings(fuse_options, write=WriteOptions(float32=True))
    options = BatchOptions(name="{stem}", overwrite=True, common_exposure=common, common_ev=common_ev)
    notes, records = [], []
    run_batch(sets, out, settings, options, callbacks=Callbacks(records.append, notes.append))
    assert [r["error"] for r in records] == [None] * len(sets)
    images = []
    for bracket_set in sets:
        with OpenEXR.File(str(out / f"{bracket_set.name}.exr")) as file:
            images.append(np.array(file.channels()["RGB"].pixels))
    return images, notes, records


def disagreement(images):
    """For each two neighbours |median ratio of their radiance in common pixels - 1|."""
    out = []
    for left, right in pairwise(images):
        a, b = left[:, STEP:], right[:, : WIDTH - STEP]
        bright = (a > 0.02 * np.median(a)) & (b > 0.02 * np.median(b))
        out.append(abs(float(np.median(a[bright] / b[bright])) - 1))
    return out


def test_overlapping_views_agree_within_one_per_cent(tmp_path):
    sets = shoot(tmp_path / "shoot")
    images, notes, records = fuse_all(sets, tmp_path / "out")
    assert max(disagreement(images)) < 0.01
    assert any("one curve from 4 of 4 sets" in note for note in notes)
    assert len({r["settings"]["response"] for r in records}) == 1
    middles = sorted(np.log2(float(time) * iso / 100 / stop**2) for time, stop, iso in VIEWS)
    assert records[0]["settings"]["common_exposure"] == pytest.approx((middles[1] + middles[2]) / 2, abs=1e-3)
    apart, _, _ = fuse_all(sets, tmp_path / "apart", common=False)
    assert max(disagreement(apart)) > 0.3  # each in its own reference's units, as without the option


def test_overlapping_views_agree_with_the_network_too(tmp_path):
    sets = shoot(tmp_path / "shoot")[:2]
    images, _, _ = fuse_all(sets, tmp_path / "out", deghost="auto", align="auto", precision="fp32")
    assert max(disagreement(images)) < 0.01


def test_a_given_exposure_scales_all_sets_alike(tmp_path):
    sets = shoot(tmp_path / "shoot", curve=srgb)[:2]
    plain, notes, _ = fuse_all(sets, tmp_path / "a", response="srgb", common_ev=-10.0)
    brighter, _, _ = fuse_all(sets, tmp_path / "b", response="srgb", common_ev=-9.0)
    for a, b in zip(plain, brighter, strict=True):
        assert np.allclose(b, 2 * a, rtol=1e-5)
    truth = panorama()[:, :WIDTH] * 2**-10.0 * 100 * 16  # 1.0 is the clip at -10 EV
    exposed = (truth > 0.01) & (truth < 0.5)
    assert np.median(plain[0][exposed] / truth[exposed]) == pytest.approx(1, abs=0.01)
    assert notes == ["all sets are anchored to an exposure of -10.00 EV"]


def test_the_curve_is_stored_and_reused(tmp_path):
    sets = shoot(tmp_path / "shoot")[:2]
    _, _, records = fuse_all(sets, tmp_path / "out")
    (path,) = (tmp_path / "out" / "responses").glob("Maker Model X jpeg-*.toml")
    curve = load_response(path)
    code = np.linspace(0, 1, 4096)
    true = np.interp(np.arange(40, 220) / 255, contrast(code) / 255.0, code)
    assert np.abs(curve.table[1][40:220] / true - 1).max() < 0.15
    written_at = path.stat().st_mtime_ns
    _, notes, again = fuse_all(sets, tmp_path / "out")
    assert path.stat().st_mtime_ns == written_at
    assert not [note for note in notes if "one curve" in note]
    assert [r["settings"] for r in again] == [r["settings"] for r in records]


def test_srgb_and_a_note_where_no_curve_can_be_estimated(tmp_path):
    sets = []
    for n in range(2):  # half an EV apart: that tells too little of a curve
        files = write_bracket(
            tmp_path / "s", n, times=(Fraction(1, 119), Fraction(1, 100), Fraction(1, 84)), light=scene(n)
        )
        sets.append(BracketSet(f"v{n}", tuple(files), 1.0, (), False))
    _, notes, records = fuse_all(sets, tmp_path / "out")
    assert {r["settings"]["response"] for r in records} == {"srgb"}
    assert any("sRGB for all its sets" in note and "span less than 0.6 EV" in note for note in notes)


def test_a_lens_that_states_no_aperture(tmp_path):
    sets = shoot(tmp_path / "shoot", curve=srgb, aperture=False)
    images, notes, _ = fuse_all(sets, tmp_path / "out")
    assert max(disagreement(images)) < 0.01
    assert "no frame states its aperture; it is assumed to be equal in all sets" in notes


def test_a_set_without_exposures_fails_with_the_reason(tmp_path):
    sets = shoot(tmp_path / "shoot")[:2]
    for path in sets[1].frames:
        with Image.open(path) as image:
            image.copy().save(path, quality=95)  # without its EXIF
    records = []
    settings = Settings(FuseOptions(deghost="off", response="srgb", device="cpu"))
    options = BatchOptions(common_exposure=True)
    tally = run_batch(sets, tmp_path / "out", settings, options, callbacks=Callbacks(records.append))
    assert tally.counts == {"ok": 1, "failed": 1}
    error = next(r["error"] for r in records if r["error"])
    assert error["code"] == 3
    assert "states no exposure time" in error["message"]
    with pytest.raises(InputError, match="no set states"):
        run_batch(sets[1:], tmp_path / "other", settings, options)
