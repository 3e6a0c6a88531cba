"""The whole order on files: options refused early, anchors, colour last, and what the report says."""

import json
from pathlib import Path

import cv2
import fusion_bursts as made
import numpy as np
import pytest
import torch

from smarthdr_cli import aligned_burst
from smarthdr_cli.colorspace import ACESCG, REC709, REC2020, conversion
from smarthdr_cli.errors import InputError, MemoryLimitError, ModelError, UsageError
from smarthdr_cli.fusion import pipeline
from smarthdr_cli.fusion.pipeline import FuseOptions, check_options, fuse
from smarthdr_cli.models.checkpoint import load_checkpoint, save_checkpoint
from smarthdr_cli.models.config import config_to_dict
from smarthdr_cli.models.uncertainty_calibration import Calibration

EVS = (-2.0, 0.0, 2.0)


@pytest.fixture(scope="module")
def light():
    found = made.texture(96, 128, low=0.03, high=3.0)
    found[:20, :30] = (0.02, 0.9, 0.05)
    return found


@pytest.fixture(scope="module")
def files(light, tmp_path_factory):
    folder = tmp_path_factory.mktemp("burst")
    paths = []
    for place, ev in enumerate(EVS):
        codes = np.round(np.clip(light * 2.0**ev, 0, 1) ** (1 / 2.2) * 65535).astype(np.uint16)
        paths.append(folder / f"{place}.png")
        cv2.imwrite(str(paths[-1]), codes[..., ::-1])
    return paths


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    model = made.lively(heads=0.0)
    save_checkpoint(path, model.state_dict(), config_to_dict(made.SMALL), licence="CC0-1.0")
    return path


def physics(files, **options):
    return fuse(files, deghost="off", device="cpu", response="gamma2.2", evs=EVS, reference=2, align="none", **options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("align", "yes"),
        ("deghost", "on"),
        ("exposure_check", "no"),
        ("gains", "on"),
        ("colorspace", "srgb"),
        ("anchor", "long"),
    ],
)
def test_unknown_words_are_refused_with_the_known_ones(name, value):
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} {value}: use "):
        check_options(FuseOptions(**{name: value}))
    check_options(FuseOptions())


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"device": "tpu"}, UsageError),
        ({"tile": "12"}, UsageError),
        ({"precision": "int8"}, UsageError),
        ({"weights": "/nowhere/at-all.safetensors"}, ModelError),
        ({"max_memory": 1e6}, MemoryLimitError),
        ({"deghost": "off", "precision": "int8"}, UsageError),
    ],
)
def test_what_cannot_work_is_said_before_the_slow_stages(files, weights, monkeypatch, options, error):
    def never(*_args, **_options):
        raise AssertionError("aligned first")

    monkeypatch.setattr(aligned_burst, "align_burst", never)
    with pytest.raises(error):
        fuse(files, evs=EVS, **({"weights": weights} | options))


def test_missing_files_are_input_errors(tmp_path):
    with pytest.raises(InputError):
        fuse([tmp_path / "a.png", tmp_path / "b.png"], evs=(0, 2))


def test_radiance_in_reference_units(files, light):
    out = physics(files)
    assert out.radiance.dtype == np.float32
    assert np.abs(out.radiance / light - 1).max() < 2e-3
    assert out.anchor_ev == 0
    assert out.scale_short == 0.25
    assert out.colorspace == REC709
    assert out.uncertainty.shape == (96, 128)


def test_the_short_anchor_scales_radiance_and_says_so(files):
    reference, short = physics(files), physics(files, anchor="short")
    assert np.allclose(short.radiance, reference.radiance / 4, rtol=1e-6)
    assert short.anchor_ev == -2
    assert short.scale_short == 1
    assert np.allclose(short.radiance * short.scale_short, reference.radiance * reference.scale_short)
    assert np.array_equal(short.uncertainty, reference.uncertainty)


@pytest.mark.parametrize("space", [REC2020, ACESCG])
def test_colour_is_converted_last_and_negatives_stay(files, space):
    plain, converted = physics(files), physics(files, colorspace=space.name)
    wanted = plain.radiance.astype(np.float64) @ conversion(REC709, space).T
    assert np.abs(converted.radiance - wanted).max() < 1e-5
    assert converted.colorspace == space
    assert np.array_equal(converted.uncertainty, plain.uncertainty)


def test_negatives_of_the_conversion_are_kept(light):
    wide = made.burst_of(light, EVS, 1)
    frames = tuple(made.frame(f.codes, f.exposure.ev, space=REC2020) for f in wide.frames)
    source = made.source_of(made.Burst(frames, 1))
    plane = pipeline_plane(source)
    out = pipeline.finish(plane, source, FuseOptions(), pipeline.StageTimer(lambda *_: None), {})
    assert out.radiance.min() < -0.1
    assert out.report["source_colorspace"] == "rec2020"


def pipeline_plane(source):
    from smarthdr_cli.fusion.static_merge import static_merge

    return static_merge(source, 0)


def test_the_report_says_how_it_was_made(files, weights):
    told = []
    out = fuse(files, weights=weights, device="cpu", precision="fp32", response="gamma2.2", evs=EVS, tile="128",
               align="none", deghost="strong", progress=lambda stage, share: told.append((stage, share)))  # fmt: skip
    report = out.report
    assert report["files"] == ["0.png", "1.png", "2.png"]
    assert report["evs"][report["files"].index(report["reference"])] == 0
    assert report["size"] == [128, 96]
    assert report["model"]["name"] == "small"
    assert report["model"]["network"] == "saf"
    assert len(report["model"]["sha256"]) == 64
    assert (report["device"], report["precision"], report["tile"]) == ("cpu", "fp32", 128)
    assert (report["network_frames"], report["evidence_frames"]) == (3, 0)
    assert report["options"]["deghost"] == "strong"
    assert "colorspace" not in report["options"]  # only what differs from the defaults
    assert set(report["guard"]) == {"changed_share", "mean_change", "largest_change", "restored_share"}
    assert 0 <= report["mean_trust"] <= 1
    assert report["still_share"] == 0  # who asks for distrust is not told that nothing moves
    assert 0 <= report["uncertainty"]["clipped_share"] < 0.1
    assert {"read", "load", "align", "response", "fuse", "convert"} <= set(report["seconds"])
    shares = [share for stage, share in told if stage == "fuse"]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    json.dumps(report, allow_nan=False)


def test_8_bit_files_have_a_curve_of_their_own(files, weights, tmp_path):
    found = load_checkpoint(weights)
    level = {8: 6.0, 16: 4.0}  # above what noise alone makes of it
    curve = Calibration((1e-3,), (level[16] * 1e-3,), eight_bit=Calibration((1e-3,), (level[8] * 1e-3,)))
    both = tmp_path / "both.safetensors"
    save_checkpoint(both, found.state, found.config, calibration=curve)
    coarse = [tmp_path / path.name for path in files]
    for path, to in zip(files, coarse, strict=True):
        cv2.imwrite(str(to), (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) // 257).astype(np.uint8))
    options = {"device": "cpu", "precision": "fp32", "response": "gamma2.2", "evs": EVS, "align": "none"}
    for burst, bits in ((files, 16), (coarse, 8), ([coarse[0], *files[1:]], 8)):
        raw = fuse(burst, weights=weights, **options).uncertainty
        sigma = fuse(burst, weights=both, **options).uncertainty
        free = (raw > 2e-3) & (raw < 1)
        assert free.any()
        np.testing.assert_allclose(sigma[free], (raw[free] * level[bits]).clip(max=1), rtol=1e-3)


def test_running_out_of_memory_is_told_in_the_report(files, weights, monkeypatch):
    from smarthdr_cli.fusion import networks

    real = networks.fuse_learned

    def hungry(network, source, chosen, evidence, size, **options):
        if size > 200:
            raise torch.OutOfMemoryError("no")
        return real(network, source, chosen, evidence, size, **options)

    monkeypatch.setattr(networks, "fuse_learned", hungry)
    out = fuse(files, weights=weights, device="cpu", precision="fp32", response="gamma2.2", evs=EVS, align="none")
    assert out.report["tile_after_retreat"] == out.report["tile"] == 192


def test_a_bursts_notes_reach_the_report(files):
    assert isinstance(physics(files).report["notes"], list)
    said = fuse(files, deghost="off", device="cpu", evs=EVS, align="none").report["notes"]
    assert all(isinstance(note, str) and note for note in said)


def test_the_report_names_files_but_no_folders(files, weights):
    options = {"device": "cpu", "precision": "fp32", "response": "gamma2.2", "evs": EVS, "align": "none"}
    report = fuse(files, weights=weights, **options).report
    assert report["options"]["weights"] == Path(weights).name
    assert report["options"]["response"] == "gamma2.2"
    assert str(Path(weights).parent) not in json.dumps(report, default=str)
