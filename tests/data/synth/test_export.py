"""Benchmarks on disk: layout, determinism, metadata; and the benchmark in the cache."""

from fractions import Fraction

import cv2
import exifread
import numpy as np
import pytest

from benchmarks.lib.frozen_set import read_frozen_scene, set_identity
from smarthdr_cli.burst.load import load_burst
from smarthdr_cli.data.cache import cache_home
from smarthdr_cli.data.datasets import find_scenes
from smarthdr_cli.data.synth.export import (
    benchmark_config,
    cached_benchmark,
    encode_jpeg,
    write_benchmark,
    write_image,
    write_radiance,
)
from smarthdr_cli.data.synth.sources import load_bank
from smarthdr_cli.errors import InputError, OutputError

SIZE = (48, 64)


@pytest.mark.parametrize(("kind", "suffix"), [("gamma16", "tif"), ("camera8", "jpg")])
def test_a_scene_folder_is_read_by_the_evaluation(bank, tmp_path, kind, suffix):
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
    if kind == "gamma16":  # the reference equals the truth where it is well exposed
        light = (scene.codes[1] / 65535.0) ** 2.2
        mid = (light > 0.15) & (light < 0.8)
        assert np.median(light[mid] / scene.times[1] / scene.truth[mid]) == pytest.approx(1, abs=0.05)


def test_a_seed_gives_the_same_bytes(bank, tmp_path):
    for kind in ("gamma16", "camera8"):
        for name, seed in (("a", 5), ("b", 5), ("c", 6)):
            write_benchmark(tmp_path / kind / name, bank, 1, seed, benchmark_config(kind, SIZE))
        assert set_identity(tmp_path / kind / "a") == set_identity(tmp_path / kind / "b")
        assert set_identity(tmp_path / kind / "a") != set_identity(tmp_path / kind / "c")


def test_number_of_frames_and_first_scene(bank, tmp_path):
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
    burst = load_burst(sorted((tmp_path / "001").glob("*.jpg")), reference="auto").burst
    assert np.allclose(np.diff([f.exposure.ev for f in burst.frames]), np.diff(stated), atol=0.01)


def test_short_and_long_times_fit_into_exif():
    for time in (Fraction(1, 123457), Fraction(30), Fraction(1, 60)):
        data = encode_jpeg(np.zeros((16, 16, 3), np.uint8), time, 90)
        assert data[:2] == b"\xff\xd8"


def test_images_keep_16_bits_and_errors_are_raised(tmp_path):
    codes = np.random.default_rng(0).integers(0, 65536, (8, 9, 3)).astype(np.uint16)
    write_image(tmp_path / "a.tif", codes)
    assert np.array_equal(cv2.imread(str(tmp_path / "a.tif"), cv2.IMREAD_UNCHANGED), codes[..., ::-1])
    with pytest.raises(OSError):
        write_image(tmp_path / "absent" / "a.tif", codes)


def test_a_folder_that_cannot_be_written_is_an_output_error(bank, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write the benchmark there: Not a directory"):
        write_benchmark(tmp_path / "file" / "set", bank, 1, 5, benchmark_config("gamma16", SIZE))


def one_scene_bank(folder, **options):
    return load_bank(folder, procedural=1, **options)


SMALL = {"train": 2, "test": 1, "size": (32, 48), "read_bank": one_scene_bank}


@pytest.fixture
def home(monkeypatch, tmp_path):
    """An empty cache."""
    monkeypatch.setenv("SMARTHDR_HOME", str(tmp_path / "home"))


@pytest.mark.usefixtures("home")
def test_the_cached_benchmark_is_written_once():
    progress = []
    folder = cached_benchmark(None, 0, on_scene=lambda done, total: progress.append((done, total)), **SMALL)
    assert progress == [(1, 3), (2, 3), (3, 3)]
    assert [p.name for p in cache_home().iterdir()] == [folder.name]
    scenes = find_scenes(folder)
    assert [(s.name, s.split) for s in scenes] == [
        ("Test/001", "test"), ("Training/001", "train"), ("Training/002", "train")
    ]  # fmt: skip
    assert all(s.truth is not None for s in scenes)
    again = SMALL | {"read_bank": lambda *_, **__: pytest.fail("written again")}
    assert cached_benchmark(None, 0, **again) == folder


@pytest.mark.usefixtures("home")
def test_other_options_are_another_cached_benchmark(tmp_path):
    folders = [cached_benchmark(None, 0, **SMALL), cached_benchmark(None, 1, **SMALL),
               cached_benchmark(None, 0, **SMALL | {"train": 1}),
               cached_benchmark(None, 0, **SMALL | {"size": (48, 32)})]  # fmt: skip
    panoramas = tmp_path / "panoramas"
    panoramas.mkdir()
    for n in range(2):
        write_radiance(panoramas / f"{n}.exr", np.random.default_rng(n).gamma(1, 1, (64, 96, 3)).astype(np.float32))
    folders.append(cached_benchmark(panoramas, 0, **SMALL))
    assert len(set(folders)) == 5
    assert cached_benchmark(panoramas, 0, **SMALL) == folders[-1]


@pytest.mark.usefixtures("home")
def test_train_and_test_scenes_have_different_sources_and_seeds():
    requests = []

    def read_bank(folder, **options):
        requests.append(options)
        return one_scene_bank(folder, **options)

    folder = cached_benchmark(None, 3, **SMALL | {"read_bank": read_bank})
    assert [options["held_out"] for options in requests] == [False, True]
    exposures = [(folder / split / "001" / "exposure.txt").read_text() for split in ("Training", "Test")]
    assert exposures[0] != exposures[1]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk")])
def test_an_interrupted_benchmark_leaves_no_folder(error):
    def interrupt(_folder, *, held_out, seed):
        if held_out:  # after the training scenes
            raise error
        return one_scene_bank(None, held_out=held_out, seed=seed)

    with pytest.raises((KeyboardInterrupt, OutputError)):
        cached_benchmark(None, 0, **SMALL | {"read_bank": interrupt})
    assert not list(cache_home().iterdir())
    assert cached_benchmark(None, 0, **SMALL).is_dir()


@pytest.mark.usefixtures("home")
def test_two_processes_may_write_the_cached_benchmark_at_a_time():
    """Another one comes while the last scene is written, and finishes first."""
    inner = []

    def write_another(done, total):
        if done == total:
            inner.append(cached_benchmark(None, 0, **SMALL))

    folder = cached_benchmark(None, 0, on_scene=write_another, **SMALL)
    assert inner == [folder]
    assert len(find_scenes(folder)) == 3
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


@pytest.mark.usefixtures("home")
def test_errors_of_the_cached_benchmark(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for panoramas in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(InputError, match="is not a folder of HDR images"):
            cached_benchmark(panoramas, 0, **SMALL)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no training"):
        cached_benchmark(tmp_path / "empty", 0, **SMALL)
    monkeypatch.setenv("SMARTHDR_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot write the benchmark there: Not a directory"):
        cached_benchmark(None, 0, **SMALL)
