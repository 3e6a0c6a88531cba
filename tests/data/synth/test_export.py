"""Benchmarks on disk: the layout, the same bytes for the same seed, and what the files state."""

import errno
from fractions import Fraction

import cv2
import exifread
import numpy as np
import pytest

from benchmarks.lib.frozen_set import read_frozen_scene, set_identity
from smarthdr_cli.burst.load import load_burst
from smarthdr_cli.data.synth import export
from smarthdr_cli.data.synth.export import benchmark_config, encode_jpeg, write_benchmark, write_image
from smarthdr_cli.errors import OutputError

SIZE = (48, 64)


@pytest.mark.parametrize(("kind", "suffix"), [("gamma16", "tif"), ("camera8", "jpg")])
def test_a_scene_is_a_folder_that_evaluation_reads(bank, tmp_path, kind, suffix):
    done = []
    write_benchmark(tmp_path, bank, 2, 5, benchmark_config(kind, SIZE), on_scene=done.append)
    assert done == [0, 1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["001", "002"]
    names = {*(f"{i}.{suffix}" for i in (1, 2, 3)), *(f"oracle_{i}.npy" for i in (1, 2, 3))}
    assert {p.name for p in (tmp_path / "001").iterdir()} == names | {"exposure.txt", "HDRImg.exr", "moving.png"}
    scene = read_frozen_scene(tmp_path / "001")
    assert scene.truth.shape == (*SIZE, 3)
    assert scene.truth.max() <= 1 + 1e-6
    assert scene.moving.shape == SIZE
    assert scene.times[0] == 1
    assert list(scene.times) == sorted(scene.times)
    assert all(codes.dtype == (np.uint16 if kind == "gamma16" else np.uint8) for codes in scene.codes)
    for codes, oracle, time in zip(scene.codes, scene.oracle, scene.times, strict=True):
        assert codes.shape == oracle.shape == (*SIZE, 3)
        mid = (oracle > 0.15) & (oracle < 0.8)
        if mid.any():
            assert np.median(oracle[mid] / time / np.maximum(scene.truth[mid], 1e-6)) == pytest.approx(1, abs=0.05)
    if kind == "gamma16":  # the reference frame itself shows the truth where it is well exposed
        light = (scene.codes[1] / 65535.0) ** 2.2
        mid = (light > 0.15) & (light < 0.8)
        assert np.median(light[mid] / scene.times[1] / scene.truth[mid]) == pytest.approx(1, abs=0.05)


def test_one_seed_is_the_same_bytes(bank, tmp_path):
    for kind in ("gamma16", "camera8"):
        for name, seed in (("a", 5), ("b", 5), ("c", 6)):
            write_benchmark(tmp_path / kind / name, bank, 1, seed, benchmark_config(kind, SIZE))
        assert set_identity(tmp_path / kind / "a") == set_identity(tmp_path / kind / "b")
        assert set_identity(tmp_path / kind / "a") != set_identity(tmp_path / kind / "c")


def test_more_frames_and_another_first_number(bank, tmp_path):
    write_benchmark(tmp_path, bank, 1, 1, benchmark_config("camera8", SIZE, frames=5), first=40)
    scene = read_frozen_scene(tmp_path / "040")
    assert len(scene.codes) == 5
    assert scene.reference == 2


def test_jpegs_state_their_exposure(bank, tmp_path):
    write_benchmark(tmp_path, bank, 1, 5, benchmark_config("camera8", SIZE))
    times = []
    for number in (1, 2, 3):
        with (tmp_path / "001" / f"{number}.jpg").open("rb") as file:
            tags = exifread.process_file(file, details=False)
        assert float(tags["EXIF FNumber"].values[0]) == 4
        assert tags["EXIF ISOSpeedRatings"].values[0] == 100
        times.append(float(tags["EXIF ExposureTime"].values[0]))
    stated = [float(line) for line in (tmp_path / "001" / "exposure.txt").read_text().split()]
    assert np.allclose(np.log2(times) - np.log2(times[0]), stated, atol=0.01)
    burst = load_burst(sorted((tmp_path / "001").glob("*.jpg")), reference="auto")
    assert np.allclose(np.diff([f.exposure.ev for f in burst.frames]), np.diff(stated), atol=0.01)


def test_times_of_any_length_fit_into_exif():
    for time in (Fraction(1, 123457), Fraction(30), Fraction(1, 60)):
        data = encode_jpeg(np.zeros((16, 16, 3), np.uint8), time, 90)
        assert data[:2] == b"\xff\xd8"


def test_pictures_are_written_whole_or_an_error(tmp_path):
    codes = np.random.default_rng(0).integers(0, 65536, (8, 9, 3)).astype(np.uint16)
    write_image(tmp_path / "a.tif", codes)
    assert np.array_equal(cv2.imread(str(tmp_path / "a.tif"), cv2.IMREAD_UNCHANGED), codes[..., ::-1])
    with pytest.raises(OSError):
        write_image(tmp_path / "absent" / "a.tif", codes)


def test_a_full_disk_is_an_output_error(bank, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(export, "write_image", full)
    with pytest.raises(OutputError, match="No space left"):
        write_benchmark(tmp_path, bank, 1, 5, benchmark_config("gamma16", SIZE))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_benchmark(tmp_path / "file" / "set", bank, 1, 5, benchmark_config("gamma16", SIZE))
