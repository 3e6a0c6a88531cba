"""The methods of an evaluation: labels, computations, and the classical baselines on bursts of known radiance."""

import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

import smarthdr_cli
from smarthdr_cli.errors import ModelError, UsageError
from smarthdr_cli.evaluate import methods, protocol, scene
from smarthdr_cli.fusion.fuser import Fuser, load_network
from smarthdr_cli.radiometry import Response
from tests.support.gamma_frames import expose, smooth_radiance

SETTINGS = methods.FusionSettings("cpu", "fp32", "none")


@pytest.fixture(name="one_scene")
def one_scene_fixture(scene_set: Path) -> scene.Scene:
    return scene.read_scene(scene.select_scenes(scene_set, "test", 1)[0], "none")


def labels(*specs: object) -> list[str]:
    return [checkpoint.label for checkpoint in methods.find_checkpoints([str(spec) for spec in specs])]


def test_a_run_folder_gives_student_and_teacher(run_folder: Path, tmp_path: Path) -> None:
    student, teacher = methods.find_checkpoints([str(run_folder)])
    assert (student.label, teacher.label) == ("first (student)", "first (teacher)")
    assert student.path == run_folder / "model.safetensors"
    assert teacher.path == run_folder / "teacher.safetensors"
    without_teacher = tmp_path / "second"
    without_teacher.mkdir()
    shutil.copy(teacher.path, without_teacher / "model.safetensors")
    assert labels(f"{without_teacher}/") == ["second"]
    assert labels("saf-base") == ["saf-base"]


def test_a_record_has_no_path(run_folder: Path) -> None:
    record = methods.find_checkpoints([str(run_folder)])[0].record
    assert record.keys() == {"file", "sha256", "network", "licence", "method", "steps"}
    assert record["file"] == "model.safetensors"
    assert record["method"] == "smarthdr"
    assert len(record["sha256"]) == 64


def test_labels_are_unique(run_folder: Path, tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent).mkdir()
        shutil.copy(run_folder / "model.safetensors", tmp_path / parent / "mine.safetensors")
        shutil.copy(run_folder / "model.safetensors", tmp_path / parent / "static.safetensors")
    mine = [tmp_path / parent / "mine.safetensors" for parent in "ab"]
    assert labels(*mine) == ["mine", f"{mine[1]} (mine)"]
    assert labels(tmp_path / "a" / "static.safetensors") == [f"{tmp_path}/a/static.safetensors (static)"]
    assert labels(run_folder / "teacher.safetensors", run_folder / "model.safetensors") == [
        "first/teacher",
        "first/model",
    ]


def test_duplicate_missing_or_damaged_weights_raise(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="given already"):
        methods.find_checkpoints([str(run_folder), str(run_folder / "model.safetensors")])
    with pytest.raises(ModelError):
        methods.find_checkpoints([str(tmp_path)])
    with pytest.raises(ModelError, match="no weights are called 'nothing'"):
        methods.find_checkpoints(["nothing"])
    (tmp_path / "bad.safetensors").write_bytes(b"bad")
    with pytest.raises(ModelError, match=r"bad\.safetensors"):
        methods.find_checkpoints([str(tmp_path / "bad.safetensors")])


def test_methods_are_checkpoints_baselines_oracle_in_order(one_scene: scene.Scene, run_folder: Path) -> None:
    checkpoints = methods.find_checkpoints([str(run_folder)])
    results = methods.scene_methods(one_scene, checkpoints, tuple(methods.BASELINES), SETTINGS, methods.NetworkCache())
    assert list(results) == ["first (student)", "first (teacher)", *methods.BASELINES, "oracle"]
    assert list(methods.scene_methods(one_scene, checkpoints[:1], ["static"], SETTINGS, methods.NetworkCache())) == [
        "first (student)",
        "static",
        "oracle",
    ]


@pytest.mark.parametrize("align", ["none", "auto"])
def test_each_method_equals_its_own_computation(
    scene_set: Path, run_folder: Path, align: Literal["none", "auto"]
) -> None:
    one_scene = scene.read_scene(scene.select_scenes(scene_set, "test", 1)[0], align)
    settings = methods.FusionSettings("cpu", "fp32", align)
    checkpoints = methods.find_checkpoints([str(run_folder)])
    results = {
        name: method()
        for name, method in methods.scene_methods(
            one_scene, checkpoints, tuple(methods.BASELINES), settings, methods.NetworkCache()
        ).items()
    }
    reference, times = one_scene.burst.reference, one_scene.times
    light = (one_scene.codes[reference] / 65535.0) ** 2.2 / times[reference]
    np.testing.assert_allclose(results["reference"].radiance, light, atol=2e-6)
    expected = methods.debevec(one_scene.codes, times, curve="gamma2.2")
    np.testing.assert_array_equal(results["debevec"].radiance, expected)
    assert one_scene.oracle_frames is not None
    np.testing.assert_array_equal(results["oracle"].radiance, methods.merge_registered(one_scene.oracle_frames, times))
    student, teacher = (results[checkpoint.label] for checkpoint in checkpoints)
    assert not np.array_equal(student.radiance, teacher.radiance)
    for name, options in (
        ("first (student)", {"weights": run_folder / "model.safetensors"}),
        ("first (teacher)", {"weights": run_folder / "teacher.safetensors"}),
        ("static", {"deghost": "off"}),
    ):
        paths = [frame.path for frame in one_scene.burst.frames]
        evs = np.log2(one_scene.times) - 7  # only differences count
        expected_result = smarthdr_cli.fuse(paths, ev=evs.tolist(), reference=2, response="gamma2.2", anchor="short",
                                align=align, precision="fp32", device="cpu", **options)  # fmt: skip
        np.testing.assert_allclose(results[name].radiance, expected_result.radiance, rtol=2e-5, atol=1e-7)
        np.testing.assert_allclose(results[name].sigma, expected_result.uncertainty, rtol=1e-5)


def test_a_network_is_loaded_once(one_scene: scene.Scene, run_folder: Path) -> None:
    loaded: list[object] = []

    def load(weights: str | Path | None, device: torch.device, precision: str) -> Fuser:
        loaded.append(weights)
        return load_network(weights, device, precision)

    networks = methods.NetworkCache(load)
    checkpoints = methods.find_checkpoints([str(run_folder)])
    for _ in range(2):
        for method in methods.scene_methods(one_scene, checkpoints, ["static"], SETTINGS, networks).values():
            method()
    assert loaded == [checkpoint.path for checkpoint in checkpoints]


# Classical baselines

TIMES = (1.0, 4.0, 16.0)


def gamma_response(size: int = 256) -> Response:
    table = (np.linspace(0, 1, size) ** 2.2).astype(np.float32)
    return Response("gamma2.2", np.tile(table, (3, 1)), {})


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return smooth_radiance()


def test_the_linearised_reference_is_exact_below_its_clip_and_constant_above(truth: np.ndarray) -> None:
    linear = methods.linearize_reference(expose(truth, 4, np.uint16), 4, gamma_response(4096))
    unclipped = truth < 0.24
    assert linear[unclipped] == pytest.approx(truth[unclipped], abs=2e-5)
    assert linear[truth > 0.26] == pytest.approx(0.25)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.uint8, 0.05), (np.uint16, 0.03)])
def test_the_uncalibrated_merge_is_right_under_its_own_curve_in_short_clip_scale(
    truth: np.ndarray, dtype: type, tolerance: float
) -> None:
    merged = methods.debevec([expose(truth, t, dtype) for t in TIMES], TIMES, curve="gamma2.2")
    ratio = merged / truth
    assert np.median(ratio) == pytest.approx(1.0, abs=0.01)
    assert np.percentile(np.abs(ratio - 1), 95) < tolerance


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_calibration_beats_gamma_where_the_camera_has_another_curve(truth: np.ndarray, dtype: type) -> None:
    def camera(time: float) -> np.ndarray:
        linear = np.clip(truth * time, 0, 1)
        curve = linear ** (1 / 2.2)
        curve = curve + 0.12 * np.sin(2 * np.pi * (curve - 0.5)) / 2  # an S through mid-grey, monotone
        return np.round(curve * np.iinfo(dtype).max).astype(dtype)

    frames = [camera(t) for t in TIMES]
    score = {
        curve: protocol.score(methods.debevec(frames, TIMES, curve=curve), truth, reference_time=4)["psnr_mu"]
        for curve in ("calibrated", "gamma2.2")
    }
    assert score["calibrated"] > score["gamma2.2"] + 3


def test_align_mtb_undoes_shifts_and_keeps_the_reference() -> None:
    rng = np.random.default_rng(0)
    wide = np.full((340, 480, 3), 0.03, np.float32)
    for _ in range(60):  # objects of every size; AlignMTB needs large ones
        top, left, side = rng.integers(0, 300), rng.integers(0, 440), rng.integers(8, 90)
        wide[top : top + side, left : left + side] = rng.uniform(0.02, 0.18)
    crops = [wide[20 + dy : 300 + dy, 30 + dx : 430 + dx] for dy, dx in ((3, -7), (0, 0), (-5, 11))]
    frames = [expose(crop, t) for crop, t in zip(crops, (2, 4, 5), strict=True)]
    aligned = methods.align_mtb(frames, 1)
    assert aligned[1] is frames[1]
    inner = (slice(16, -16), slice(16, -16))
    for moved, time in ((aligned[0], 2), (aligned[2], 5)):
        assert (moved[inner] == expose(crops[1], time)[inner]).all()


def test_the_registered_merge_is_the_truth_without_clipped_frames(truth: np.ndarray) -> None:
    merged = methods.merge_registered([np.clip(truth * np.float32(t), 0, 1) for t in TIMES], TIMES)
    assert np.abs(merged / truth - 1).max() < 1e-5


def test_the_registered_merge_is_the_shortest_frame_where_all_clip() -> None:
    frames = [np.ones((4, 5, 3), np.float32)] * 3
    assert (methods.merge_registered(frames, TIMES) == 1.0).all()


def test_the_registered_merge_has_the_least_photon_noise() -> None:
    rng = np.random.default_rng(3)
    photons, level = 40_000.0, 0.03  # electrons at clip of the longest; all three frames unclipped
    frames = []
    for time in TIMES:
        mean = level * time / 16 * photons * np.ones((300, 300, 3))
        frames.append((rng.poisson(mean) / photons).astype(np.float32))
    merged = methods.merge_registered(frames, [t / 16 for t in TIMES])
    best = np.sqrt(level / photons / sum(t / 16 for t in TIMES))  # all photons counted once
    assert merged.std() == pytest.approx(best, rel=0.03)


def test_eight_bit_versions_round_to_the_nearest_code() -> None:
    codes = np.array([[[0, 128, 129], [257, 65535, 65407]]], np.uint16)
    assert methods.to_8_bits(codes).tolist() == [[[0, 0, 1], [1, 255, 255]]]
