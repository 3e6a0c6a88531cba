"""Scenes selected and read, errors that name them, and the estimate of moving pixels."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.align import Alignment
from smarthdr_cli.aligned_burst import AlignedBurst
from smarthdr_cli.burst.load import load_burst
from smarthdr_cli.data.datasets import SceneFiles, find_scenes
from smarthdr_cli.data.synth.export import write_radiance
from smarthdr_cli.errors import InputError
from smarthdr_cli.evaluate import scene
from smarthdr_cli.evaluate.scene import MovingPixelsConfig, moving_pixels, radiance_bounds
from smarthdr_cli.response import named_response

TIMES = (1, 4, 16)
RESPONSE = named_response("gamma2.2", 4096)


def first_scene(root: Path) -> SceneFiles:
    return scene.select_scenes(root, "test", None)[0]


def test_a_scene_has_frames_truth_mask_and_oracle_of_its_folder(scene_set: Path) -> None:
    folder = scene_set / "Test" / "001"
    read = scene.read_scene(first_scene(scene_set), "none")
    evs = [float(line) for line in (folder / "exposure.txt").read_text().split()]
    assert read.times == pytest.approx([2 ** (ev - evs[0]) for ev in evs])
    assert read.burst.reference == 1
    assert read.reference_time == read.times[1]
    assert read.response == "gamma2.2"
    assert read.moving_is_given
    np.testing.assert_array_equal(read.moving, cv2.imread(str(folder / "moving.png"), cv2.IMREAD_GRAYSCALE) > 127)
    assert read.oracle_frames is not None
    for number, (codes, oracle) in enumerate(zip(read.codes, read.oracle_frames, strict=True), start=1):
        image = cv2.imread(str(folder / f"{number}.tif"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(codes, image[..., ::-1])
        np.testing.assert_array_equal(oracle, np.load(folder / f"oracle_{number}.npy"))
    assert read.truth.shape == (*read.burst.size, 3)
    assert read.truth.max() <= 1 + 1e-6


def test_without_mask_and_oracle_moving_pixels_are_estimated(scene_set_copy: Path) -> None:
    folder = scene_set_copy / "Test" / "001"
    (folder / "moving.png").unlink()
    (folder / "oracle_2.npy").unlink()
    read = scene.read_scene(first_scene(scene_set_copy), "none")
    assert not read.moving_is_given
    assert read.oracle_frames is None
    assert read.moving.shape == read.burst.size
    assert read.moving.dtype == np.bool_


def test_a_camera_burst_is_read_by_its_exif(camera_set: Path) -> None:
    read = scene.read_scene(first_scene(camera_set), "auto")
    assert [frame.path.name for frame in read.burst.frames] == ["c.jpg", "a.jpg", "b.jpg"]
    assert read.burst.reference == 1
    assert read.times == pytest.approx((1, 4, 16), rel=0.01)
    assert read.response == "auto"
    assert not read.moving_is_given


def test_split_and_limit_select_scenes(scene_set: Path) -> None:
    assert [s.name for s in scene.select_scenes(scene_set, "test", None)] == ["Test/001", "Test/002"]
    assert [s.name for s in scene.select_scenes(scene_set, "train", None)] == ["Training/001"]
    assert len(scene.select_scenes(scene_set, "all", None)) == 3
    assert [s.name for s in scene.select_scenes(scene_set, "all", 1)] == [find_scenes(scene_set)[0].name]
    with pytest.raises(InputError, match=r"no test scenes there \(found: 1 train, 0 test\)"):
        scene.select_scenes(scene_set / "Training", "test", None)


def test_a_scene_without_truth_raises_with_its_name(scene_set_copy: Path) -> None:
    (scene_set_copy / "Test" / "002" / "HDRImg.exr").unlink()
    with pytest.raises(InputError, match="scene Test/002 has no ground truth"):
        scene.select_scenes(scene_set_copy, "test", None)
    assert len(scene.select_scenes(scene_set_copy, "test", 1)) == 1


def resize_truth(folder: Path) -> None:
    write_radiance(folder / "HDRImg.exr", np.ones((32, 32, 3), np.float32))


def resize_mask(folder: Path) -> None:
    cv2.imwrite(str(folder / "moving.png"), np.zeros((8, 8), np.uint8))


def resize_oracle(folder: Path) -> None:
    np.save(folder / "oracle_1.npy", np.zeros((8, 8, 3), np.float16))


def truncate_oracle(folder: Path) -> None:
    (folder / "oracle_1.npy").write_bytes(b"\x93NUMPY")


def overwrite_truth(folder: Path) -> None:
    (folder / "HDRImg.exr").write_bytes(b"no picture")


def truncate_frame(folder: Path) -> None:
    data = (folder / "2.tif").read_bytes()
    (folder / "2.tif").write_bytes(data[: len(data) // 3])


def crop_to_ten_rows(folder: Path) -> None:
    for name in ("1.tif", "2.tif", "3.tif"):
        cv2.imwrite(str(folder / name), cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED)[:10])
    write_radiance(folder / "HDRImg.exr", np.ones((10, 96, 3), np.float32))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (resize_truth, r"HDRImg\.exr differs in size from the frames: 32x32 and 96x64"),
        (resize_mask, r"moving\.png: not a readable mask"),
        (resize_oracle, r"oracle_1\.npy: differs in size"),
        (truncate_oracle, r"oracle_1\.npy: not a readable array"),
        (overwrite_truth, r"HDRImg\.exr: not a readable"),
        (truncate_frame, r"2\.tif"),
        (crop_to_ten_rows, "too small to measure: 96x10"),
    ],
)
def test_damage_raises_with_scene_and_file(scene_set_copy: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(scene_set_copy / "Test" / "001")
    with pytest.raises(InputError, match=r"^scene Test/001: .*" + message):
        scene.read_scene(first_scene(scene_set_copy), "none")


def test_the_sha256_is_of_the_measured_folders(scene_set_copy: Path) -> None:
    def sha256() -> str:
        files = scene.scene_paths(scene.select_scenes(scene_set_copy, "test", None))
        assert len(files) == 2 * 9
        return scene.set_sha256(scene_set_copy, files)

    before = sha256()
    (scene_set_copy / "Training" / "001" / "exposure.txt").write_text("0\n1\n2\n")
    assert sha256() == before
    (scene_set_copy / "Test" / "002" / "moving.png").write_bytes(b"")
    assert sha256() != before


def test_the_sha256_depends_on_paths_below_the_root(scene_set: Path) -> None:
    files = list((scene_set / "Test").rglob("*.tif"))
    assert scene.set_sha256(scene_set, files) == scene.set_sha256(scene_set, reversed(files))
    assert scene.set_sha256(scene_set, files) != scene.set_sha256(scene_set / "Test", files)
    assert scene.set_sha256(scene_set, files) != scene.set_sha256(scene_set, files[1:])


def radiance() -> np.ndarray:
    """(80, 120, 3): smooth light over five stops, the right end clipping in the reference."""
    ramp = np.exp2(np.linspace(-5, 0, 120))[None, :, None] * np.array([0.9, 0.6, 0.4])
    waves = 1 + 0.3 * np.sin(np.arange(80) / 5)[:, None, None]
    return np.asarray(0.6 * ramp * waves, np.float32)


def aligned_burst(folder: Path, views: list[np.ndarray], noise: float = 0.002) -> AlignedBurst:
    rng = np.random.default_rng(0)
    for number, (view, time) in enumerate(zip(views, TIMES, strict=True), start=1):
        seen = np.clip(view * time + rng.normal(0, noise, view.shape), 0, 1)
        code = np.round(seen ** (1 / 2.2) * 65535).astype(np.uint16)
        cv2.imwrite(str(folder / f"{number}.png"), code[..., ::-1])
    burst = load_burst([folder / f"{n}.png" for n in (1, 2, 3)], evs=np.log2(TIMES).tolist()).burst
    return AlignedBurst(replace(burst, reference=1), RESPONSE, Alignment.identity(3))


def test_a_static_burst_has_no_moving_pixels(tmp_path: Path) -> None:
    truth = radiance()
    assert moving_pixels(aligned_burst(tmp_path, [truth] * 3), truth).mean() < 0.001
    assert not moving_pixels(aligned_burst(tmp_path, [truth] * 3), truth * np.float32(3)).any()  # one scale is fitted


@pytest.mark.parametrize("frame", [0, 2])
@pytest.mark.parametrize("left", [10, 90], ids=["dark", "clipped in the reference"])
def test_an_object_in_one_frame_is_moving(tmp_path: Path, frame: int, left: int) -> None:
    truth = radiance()
    place = np.s_[30:50, left : left + 20]
    views = [truth.copy() for _ in TIMES]
    views[frame][place] *= 2.0 if frame == 0 else 0.02  # too dark to clip even in the long frame
    mask = moving_pixels(aligned_burst(tmp_path, views), truth)
    inside = np.zeros(mask.shape, bool)
    inside[place] = True
    assert mask[34:46, left + 4 : left + 16].all()  # nearer to its edge, what clips beside it may be meant
    grown = cv2.dilate(inside.astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    assert mask[~grown].mean() < 0.001


def test_one_pixel_of_misalignment_is_tolerated_but_five_are_not(tmp_path: Path) -> None:
    truth = radiance()
    truth[:, 40:44] *= 6  # an edge that shows it
    for shift, least, most in ((1, 0.0, 0.001), (5, 0.03, 0.3)):
        views = [np.roll(truth, shift, axis=1), truth, truth]
        views[0][:, :shift] = truth[:, :shift]
        views[0][:, 60:] = truth[:, 60:]
        assert least <= moving_pixels(aligned_burst(tmp_path, views), truth).mean() <= most


def test_pixels_outside_a_frame_do_not_move(tmp_path: Path) -> None:
    truth = radiance()
    views = [truth, truth, np.zeros_like(truth)]
    inside = aligned_burst(tmp_path, views)
    assert moving_pixels(inside, truth).mean() > 0.9
    poses = np.tile(np.eye(3), (3, 1, 1))
    poses[2, 0, 2] = 500.0
    outside = AlignedBurst(inside.burst, RESPONSE, Alignment(poses, (False, False, True)))
    assert not moving_pixels(outside, truth).any()


@given(st.floats(0.001, 3.0), st.sampled_from(TIMES))
def test_bounds_contain_the_radiance(light: float, time: int) -> None:
    frame = np.full((9, 9, 3), min(light * time, 1.0), np.float32)
    config = MovingPixelsConfig()
    low, high = radiance_bounds(frame, time, config)
    assert (low <= light).all()
    assert (high >= light).all()
    assert np.isinf(high).all() == (light * time >= config.clip_level)
