"""``fuse`` on files: its signature, early errors, anchor and colours, retries, and the report."""

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from smarthdr_cli import aligned_burst
from smarthdr_cli.colorspace import ACESCG, REC709, REC2020, conversion
from smarthdr_cli.errors import InputError, MemoryLimitError, ModelError, UsageError
from smarthdr_cli.fusion import pipeline
from smarthdr_cli.fusion.fuse_options import FuseOptions, check_options
from smarthdr_cli.fusion.memory_budget import MemoryBudget
from smarthdr_cli.fusion.pipeline import fuse, fuse_loaded, load
from smarthdr_cli.fusion.result import FuserRecord
from smarthdr_cli.fusion.static_merge import StaticFuser
from smarthdr_cli.models.base import config_to_dict
from smarthdr_cli.models.checkpoint import save_checkpoint
from tests.support import bursts

EVS = (-2.0, 0.0, 2.0)


@pytest.fixture(scope="module")
def light():
    found = bursts.texture(96, 128, low=0.03, high=3.0)
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
    model = bursts.random_network(heads=0.0)
    save_checkpoint(path, model.state_dict(), config_to_dict(bursts.SMALL), licence="CC0-1.0")
    return path


def static(files, **options):
    """``files`` by the static merge."""
    return fuse(files, deghost="off", device="cpu", response="gamma2.2", ev=EVS, reference=2, align="none", **options)


def test_the_signature_of_fuse_is_that_of_its_options():
    parameters = dict(inspect.signature(fuse).parameters)
    assert parameters.pop("paths").kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert parameters.pop("progress").default is None
    assert {name: p.default for name, p in parameters.items()} == dataclasses.asdict(FuseOptions())
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters.values())
    assert all(p.annotation is not Any for p in parameters.values())


def test_options_may_be_text_paths_or_numbers(files, weights):
    options = {"device": "cpu", "precision": "fp32", "response": "gamma2.2", "ev": EVS, "align": "none"}
    one = fuse(files, weights=weights, tile=128, max_memory="8G", max_pixels="60M", **options)
    other = fuse(
        [str(path) for path in files], weights=str(weights), tile="128", max_memory=8 * 2**30, max_pixels=60_000_000,
        **options,
    )  # fmt: skip
    assert np.array_equal(one.radiance, other.radiance)
    assert one.report.options == other.report.options


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
def test_an_unknown_choice_is_an_error_that_lists_the_choices(name, value):
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
def test_wrong_options_and_weights_are_reported_before_the_slow_steps(files, weights, monkeypatch, options, error):
    def never(*_args, **_options):
        raise AssertionError("aligned first")

    monkeypatch.setattr(aligned_burst, "align_burst", never)
    with pytest.raises(error):
        fuse(files, ev=EVS, **({"weights": weights} | options))


def test_missing_files_are_input_errors(tmp_path):
    with pytest.raises(InputError):
        fuse([tmp_path / "a.png", tmp_path / "b.png"], ev=(0, 2))


def test_radiance_in_reference_units(files, light):
    out = static(files)
    assert out.radiance.dtype == np.float32
    assert np.abs(out.radiance / light - 1).max() < 2e-3
    assert out.anchor_ev == 0
    assert out.scale_short == 0.25
    assert out.colorspace == REC709
    assert out.uncertainty.shape == (96, 128)


def test_the_short_anchor_scales_the_radiance(files):
    reference, short = static(files), static(files, anchor="short")
    assert np.allclose(short.radiance, reference.radiance / 4, rtol=1e-6)
    assert short.anchor_ev == -2
    assert short.scale_short == 1
    assert np.allclose(short.radiance * short.scale_short, reference.radiance * reference.scale_short)
    assert np.array_equal(short.uncertainty, reference.uncertainty)


@pytest.mark.parametrize("space", [REC2020, ACESCG])
def test_colour_is_converted_last_and_negatives_stay(files, space):
    plain, converted = static(files), static(files, colorspace=space.name)
    wanted = plain.radiance.astype(np.float64) @ conversion(REC709, space).T
    assert np.abs(converted.radiance - wanted).max() < 1e-5
    assert converted.colorspace == space
    assert np.array_equal(converted.uncertainty, plain.uncertainty)


def test_negatives_of_the_conversion_are_kept(light):
    wide = bursts.burst_of(light, EVS, 1)
    frames = tuple(bursts.frame(f.codes, f.exposure.ev, space=REC2020) for f in wide.frames)
    burst = bursts.aligned(bursts.Burst(frames, 1))
    fuser = StaticFuser()
    fusion = fuser.fuse(burst, MemoryBudget(0, 1), strong=False, on_progress=lambda _: None)
    result = pipeline.to_result(fusion, burst, fuser.record, FuseOptions(), pipeline.StageTimer())
    assert result.radiance.min() < -0.1
    assert result.report.source_colorspace == "rec2020"


def test_the_report_states_how_the_result_was_made(files, weights):
    calls = []
    out = fuse(files, weights=weights, device="cpu", precision="fp32", response="gamma2.2", ev=EVS, tile="128",
               align="none", deghost="strong", progress=lambda stage, share: calls.append((stage, share)))  # fmt: skip
    report = out.report.to_dict()
    assert report["files"] == ["0.png", "1.png", "2.png"]
    assert report["evs"][report["files"].index(report["reference"])] == 0
    assert report["size"] == [128, 96]
    assert report["model"]["name"] == "small"
    assert report["model"]["network"] == "saf"
    assert len(report["model"]["sha256"]) == 64
    assert (report["device"], report["precision"], report["tile"]) == ("cpu", "fp32", 128)
    assert (report["network_frames"], report["other_frames"]) == (3, 0)
    assert report["options"]["deghost"] == "strong"
    assert "colorspace" not in report["options"]  # only what differs from the defaults
    assert set(report["guard"]) == {"changed_share", "mean_change", "largest_change", "restored_share"}
    assert 0 <= report["mean_trust"] <= 1
    assert 0 <= report["network_share"] <= 1
    assert report["convolved_megapixels"] >= report["network_share"] * 128 * 96 / 1e6
    assert report["kernel"] in ("compiled", "numpy")
    assert 0 <= report["uncertainty"]["clipped_share"] < 0.1
    assert {"read", "load", "align", "response", "fuse", "convert"} <= set(report["seconds"])
    shares = [share for stage, share in calls if stage == "fuse"]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    json.dumps(report, allow_nan=False)


class HungryFuser:
    """Runs out of memory with tiles above ``limit`` pixels."""

    record = FuserRecord("none", "cpu", "fp32")

    def __init__(self, limit: int, error: Exception) -> None:
        self.limit, self.error, self.tiles = limit, error, []

    def fuse(self, burst, budget, *, strong, on_progress):
        self.tiles.append(budget.tile)
        if budget.tile > self.limit:
            raise self.error
        return StaticFuser().fuse(burst, budget, strong=strong, on_progress=on_progress)


def fused_by(fuser, light):
    burst = bursts.burst_of(light, EVS, 1)
    options = FuseOptions(device="cpu", response="gamma2.2", align="none", gains="off")
    return fuse_loaded(burst, options, pipeline.StageTimer(), open_network=lambda *_: fuser)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate"
        ),
        cv2.error("OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_after_running_out_of_memory_the_tile_is_halved(light, error):
    fuser = HungryFuser(200, error)
    assert fused_by(fuser, light).report.tile_after_retreat == 192
    assert fuser.tiles == [768, 384, 192]


def test_out_of_memory_with_the_smallest_tile_is_an_error(light):
    with pytest.raises(MemoryLimitError, match="smallest tile"):
        fused_by(HungryFuser(0, MemoryError()), light)


@pytest.mark.parametrize("error", [ValueError("no"), RuntimeError("shapes differ"), cv2.error("bad argument")])
def test_other_errors_are_raised_at_once(light, error):
    fuser = HungryFuser(200, error)
    with pytest.raises(type(error)):
        fused_by(fuser, light)
    assert fuser.tiles == [768]


@pytest.mark.parametrize("chosen", [True, False])
def test_waiting_for_the_compiler_is_a_stage(files, monkeypatch, chosen):
    monkeypatch.setattr("smarthdr_cli.fusion.pixel_functions.is_chosen", lambda: chosen)
    stages = []
    fuse(files, deghost="off", response="linear", progress=lambda stage, _share: stages.append(stage))
    assert ("compile" in stages) != chosen


def test_notes_of_reading_and_of_the_response_reach_the_report(files):
    assert static(files).report.notes == ()
    auto = fuse(files, deghost="off", device="cpu", ev=EVS, align="none")
    assert auto.report.notes
    assert all(isinstance(note, str) and note for note in auto.report.notes)
    read = fuse_loaded(
        load(files, FuseOptions(ev=EVS), pipeline.StageTimer()).burst,
        FuseOptions(deghost="off", response="gamma2.2", align="none"),
        pipeline.StageTimer(),
        notes=("a note of reading",),
    )
    assert read.report.to_dict()["notes"] == ["a note of reading"]


def test_the_report_names_files_but_no_folders(files, weights):
    options = {"device": "cpu", "precision": "fp32", "response": "gamma2.2", "ev": EVS, "align": "none"}
    report = fuse(files, weights=weights, **options).report
    assert report.options["weights"] == Path(weights).name
    assert report.options["response"] == "gamma2.2"
    assert str(Path(weights).parent) not in json.dumps(report.to_dict())
