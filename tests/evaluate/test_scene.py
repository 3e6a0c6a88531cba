"""Scenes chosen and read whole, and what is wrong with them named."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from smarthdr_cli.data.datasets import SceneFiles, find_scenes
from smarthdr_cli.data.synth.export import write_radiance
from smarthdr_cli.errors import InputError
from smarthdr_cli.evaluate import frozen, scene


def only(root: Path) -> SceneFiles:
    return scene.select(root, "test", None)[0]


def test_a_case_is_what_the_frozen_reader_reads(made: Path) -> None:
    mine, theirs = scene.read_case(only(made), "none"), frozen.read_scene(made / "Test" / "001")
    assert mine.times == pytest.approx(theirs.times)
    assert mine.burst.reference == theirs.reference == 1
    assert mine.reference_time == mine.times[1]
    assert mine.response == "gamma2.2"
    assert mine.told
    assert mine.oracle is not None
    for one, other in zip((mine.truth, mine.moving, *mine.codes, *mine.oracle),
                          (theirs.truth, theirs.moving, *theirs.codes, *theirs.oracle), strict=True):  # fmt: skip
        np.testing.assert_array_equal(one, other)


def test_the_extras_may_be_missing(scenes: Path) -> None:
    folder = scenes / "Test" / "001"
    told = scene.read_case(only(scenes), "none").moving
    (folder / "moving.png").unlink()
    (folder / "oracle_2.npy").unlink()
    read = scene.read_case(only(scenes), "none")
    assert not read.told
    assert read.oracle is None
    assert read.moving.shape == told.shape
    assert read.moving.dtype == np.bool_


def test_a_camera_without_an_exposure_file_is_read_by_its_exif(made: Path, tmp_path: Path) -> None:
    from fractions import Fraction

    from smarthdr_cli.data.synth.export import encode_jpeg

    first = scene.read_case(only(made), "none")
    folder = tmp_path / "Test" / "own"
    folder.mkdir(parents=True)
    shutil.copy(made / "Test" / "001" / "HDRImg.exr", folder)
    for name, view, time in zip("cab", first.codes, (1, 4, 16), strict=True):  # names in another order
        (folder / f"{name}.jpg").write_bytes(encode_jpeg((view // 257).astype(np.uint8), Fraction(time, 400), 95))
    read = scene.read_case(only(tmp_path), "auto")
    assert [frame.path.name for frame in read.burst.frames] == ["c.jpg", "a.jpg", "b.jpg"]
    assert read.burst.reference == 1
    assert read.times == pytest.approx((1, 4, 16), rel=0.01)
    assert read.response == "auto"
    assert not read.told


def test_the_split_and_the_limit(made: Path) -> None:
    assert [s.name for s in scene.select(made, "test", None)] == ["Test/001", "Test/002"]
    assert [s.name for s in scene.select(made, "train", None)] == ["Training/001"]
    assert len(scene.select(made, "all", None)) == 3
    assert [s.name for s in scene.select(made, "all", 1)] == [find_scenes(made)[0].name]
    with pytest.raises(InputError, match=r"no test scenes there \(found: 1 train, 0 test\)"):
        scene.select(made / "Training", "test", None)


def test_the_first_scene_without_a_truth_is_named(scenes: Path) -> None:
    (scenes / "Test" / "002" / "HDRImg.exr").unlink()
    with pytest.raises(InputError, match="scene Test/002 has no ground truth"):
        scene.select(scenes, "test", None)
    assert len(scene.select(scenes, "test", 1)) == 1


def break_truth(folder: Path) -> None:
    write_radiance(folder / "HDRImg.exr", np.ones((32, 32, 3), np.float32))


def break_mask(folder: Path) -> None:
    cv2.imwrite(str(folder / "moving.png"), np.zeros((8, 8), np.uint8))


def break_oracle(folder: Path) -> None:
    np.save(folder / "oracle_1.npy", np.zeros((8, 8, 3), np.float16))


def cut_oracle(folder: Path) -> None:
    (folder / "oracle_1.npy").write_bytes(b"\x93NUMPY")


def cut_truth(folder: Path) -> None:
    (folder / "HDRImg.exr").write_bytes(b"no picture")


def cut_frame(folder: Path) -> None:
    data = (folder / "2.tif").read_bytes()
    (folder / "2.tif").write_bytes(data[: len(data) // 3])


def shrink(folder: Path) -> None:
    for name in ("1.tif", "2.tif", "3.tif"):
        cv2.imwrite(str(folder / name), cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED)[:10])
    write_radiance(folder / "HDRImg.exr", np.ones((10, 96, 3), np.float32))


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (break_truth, r"HDRImg\.exr differs in size from the frames: 32x32 and 96x64"),
        (break_mask, r"moving\.png: not a readable mask"),
        (break_oracle, r"oracle_1\.npy: differs in size"),
        (cut_oracle, r"oracle_1\.npy: not a readable array"),
        (cut_truth, r"HDRImg\.exr: not a readable"),
        (cut_frame, r"2\.tif"),
        (shrink, "too small to measure: 96x10"),
    ],
)
def test_what_is_wrong_is_named_with_its_scene(scenes: Path, break_it: Callable[[Path], None], said: str) -> None:
    break_it(scenes / "Test" / "001")
    with pytest.raises(InputError, match=r"^scene Test/001: .*" + said):
        scene.read_case(only(scenes), "none")


def test_the_identity_is_of_the_folders_measured(scenes: Path) -> None:
    chosen = scene.select(scenes, "test", None)
    files = scene.files_of(chosen)
    assert len(files) == 2 * 9
    before = frozen.identity_of(scenes, files)
    assert frozen.identity_of(scenes / "Test", files) == frozen.identity(scenes / "Test") != before
    (scenes / "Training" / "001" / "exposure.txt").write_text("0\n1\n2\n")
    assert frozen.identity_of(scenes, scene.files_of(chosen)) == before
    (scenes / "Test" / "002" / "moving.png").write_bytes(b"")
    assert frozen.identity_of(scenes, scene.files_of(chosen)) != before
