"""Scenes in the layout of the frozen sets: reading, shares of pixels, identity."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.lib import frozen_set
from smarthdr_cli.data.datasets import find_scenes
from smarthdr_cli.data.synth.export import benchmark_config, write_benchmark
from smarthdr_cli.data.synth.sources import bank_from_images
from smarthdr_cli.errors import InputError
from smarthdr_cli.evaluate import protocol
from smarthdr_cli.evaluate.methods import merge_registered
from smarthdr_cli.evaluate.scene import read_scene


def write_scene(folder: Path) -> np.ndarray:
    folder.mkdir(parents=True)
    truth = np.full((24, 32, 3), 0.05, np.float32)
    truth[:6] = 0.5  # a quarter clips in the reference (4x), not in the short frame
    truth[:3, :16] = 2.0  # a sixteenth clips everywhere
    for i, time in enumerate((1, 4, 16), start=1):
        linear = np.clip(truth * time, 0, 1)
        code = np.round(linear ** (1 / 2.2) * 65535).astype(np.uint16)
        cv2.imwrite(str(folder / f"{i}.png"), code[..., ::-1])
        if i == 2:
            linear[12:, :4] *= 1.2  # noise beyond 5 % in a sixteenth
        np.save(folder / f"oracle_{i}.npy", linear.astype(np.float16))
    (folder / "exposure.txt").write_text("-2\n0\n2\n")
    cv2.imwrite(str(folder / "HDRImg.hdr"), truth[..., ::-1])
    moving = np.zeros((24, 32), np.uint8)
    moving[12:, 16:] = 255
    cv2.imwrite(str(folder / "moving.png"), moving)
    return truth


def test_a_scene_is_read_whole(tmp_path: Path) -> None:
    truth = write_scene(tmp_path / "001")
    scene = frozen_set.read_frozen_scene(tmp_path / "001")
    assert scene.times == (1.0, 4.0, 16.0)
    assert scene.reference == 1
    assert scene.truth == pytest.approx(truth, rel=0.01)
    assert [p.name for p in scene.paths] == ["1.png", "2.png", "3.png"]
    assert scene.codes[0].dtype == np.uint16


def test_pixel_shares(tmp_path: Path) -> None:
    write_scene(tmp_path / "001")
    shares = frozen_set.pixel_shares(frozen_set.read_frozen_scene(tmp_path / "001"))
    assert shares == pytest.approx({"clipped": 0.25, "clipped_all": 0.0625, "moving": 0.25, "noisy": 0.0625})
    assert frozen_set.mean_shares([{"a": 0.0}, {"a": 1.0}]) == {"a": 0.5}


def test_noisy_pixels_have_a_score_of_their_own(tmp_path: Path) -> None:
    write_scene(tmp_path / "001")
    scene = frozen_set.read_frozen_scene(tmp_path / "001")
    assert frozen_set.score_scene(scene.truth, scene)["psnr_mu_noisy"] == 50
    off = np.where(frozen_set.noisy_mask(scene)[..., None], 1.2 * scene.truth, scene.truth)
    scores = frozen_set.score_scene(off, scene)
    error = (np.log1p(5000 * off) - np.log1p(5000 * scene.truth))[frozen_set.noisy_mask(scene)] / np.log(5001)
    assert scores["psnr_mu_noisy"] == pytest.approx(-10 * np.log10(np.mean(error**2)), abs=0.05)


def test_pixels_that_no_frame_measures_are_unknown(tmp_path: Path) -> None:
    write_scene(tmp_path / "001")
    scene = frozen_set.read_frozen_scene(tmp_path / "001")
    known = frozen_set.known_mask(scene)
    assert not known[:3, :16].any()  # clips everywhere
    assert known.sum() == known.size - 3 * 16
    scene.truth[20] = 0.9999  # and its noise is at the clip in every frame
    for frame in scene.oracle:
        frame[20] = 0.9985
    assert not frozen_set.known_mask(scene)[20].any()


def test_identity_changes_with_a_byte_a_name_and_an_order(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_scene(tmp_path / name / "001")
    first = frozen_set.set_identity(tmp_path / "one")
    assert frozen_set.set_identity(tmp_path / "two") == first
    target = tmp_path / "two" / "001" / "exposure.txt"
    target.write_text("-2\n0\n3\n")
    assert frozen_set.set_identity(tmp_path / "two") != first
    target.write_text("-2\n0\n2\n")
    target.rename(target.with_name("exposures.txt"))
    assert frozen_set.set_identity(tmp_path / "two") != first


def test_a_missing_file_raises_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no scene folders"):
        frozen_set.scene_folders(tmp_path)
    write_scene(tmp_path / "001")
    assert frozen_set.scene_folders(tmp_path) == [tmp_path / "001"]
    (tmp_path / "001" / "moving.png").unlink()
    with pytest.raises(InputError, match=r"moving\.png"):
        frozen_set.read_frozen_scene(tmp_path / "001")
    (tmp_path / "001" / "HDRImg.hdr").unlink()
    with pytest.raises(InputError, match="no HDRImg"):
        frozen_set.read_frozen_scene(tmp_path / "001")
    (tmp_path / "001" / "3.png").unlink()
    with pytest.raises(InputError, match="2 frames for the 3"):
        frozen_set.read_frozen_scene(tmp_path / "001")


@pytest.mark.parametrize("kind", ["gamma16", "camera8"])
def test_a_written_benchmark_is_read_as_the_evaluation_reads_it(tmp_path: Path, kind: str) -> None:
    source = np.random.default_rng(2).lognormal(0, 1.2, (64, 128, 3)).astype(np.float32)
    bank = bank_from_images(["noise"], [cv2.GaussianBlur(source, (0, 0), 2)])
    write_benchmark(tmp_path, bank, 1, 3, benchmark_config(kind, (64, 96)))
    scene = frozen_set.read_frozen_scene(frozen_set.scene_folders(tmp_path)[0])
    assert scene.truth.shape == (64, 96, 3) == scene.codes[1].shape
    assert scene.codes[0].dtype == (np.uint16 if kind == "gamma16" else np.uint8)
    still = protocol.score(merge_registered(scene.oracle, scene.times), scene.truth, reference_time=scene.times[1])
    assert still["scale"] == pytest.approx(1.0, abs=0.05)
    assert still["psnr_mu"] > 30
    assert 0 <= frozen_set.pixel_shares(scene)["clipped"] < 0.6
    (files,) = find_scenes(tmp_path)
    evaluated = read_scene(files, "none")
    assert evaluated.times == pytest.approx(scene.times)
    assert evaluated.oracle_frames is not None
    np.testing.assert_array_equal(evaluated.truth, scene.truth)
    np.testing.assert_array_equal(evaluated.moving, scene.moving)
    for ours, theirs in zip(evaluated.oracle_frames, scene.oracle, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    if kind == "gamma16":  # JPEG decoders may differ by a code
        for ours, theirs in zip(evaluated.codes, scene.codes, strict=True):
            np.testing.assert_array_equal(ours, theirs)
