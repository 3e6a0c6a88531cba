"""Where what can be made again is kept, and the benchmark that training makes for itself."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from smarthdr_cli.data import home
from smarthdr_cli.data.datasets import find_scenes
from smarthdr_cli.data.home import cache_home, own_benchmark
from smarthdr_cli.data.synth.export import write_radiance
from smarthdr_cli.data.synth.sources import load_bank
from smarthdr_cli.errors import InputError, OutputError

SMALL = {"train": 2, "test": 1, "size": (32, 48)}


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path):
    monkeypatch.setenv("SMARTHDR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(home, "load_bank", lambda folder, **how: load_bank(folder, procedural=1, **how))


@pytest.mark.parametrize(
    ("platform", "environment", "wanted"),
    [
        ("linux", {"SMARTHDR_HOME": "/mine"}, "/mine/cache"),
        ("linux", {"SMARTHDR_HOME": "~/mine"}, "{home}/mine/cache"),
        ("linux", {}, "{home}/.cache/smarthdr"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/smarthdr"),
        ("linux", {"XDG_CACHE_HOME": ""}, "{home}/.cache/smarthdr"),
        ("darwin", {"XDG_CACHE_HOME": "/xdg"}, "{home}/Library/Caches/smarthdr"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/smarthdr"),
    ],
)
def test_the_cache_is_where_the_platform_has_it(monkeypatch, platform, environment, wanted):
    for name in ("SMARTHDR_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_home() == Path(wanted.format(home=Path.home()))


def test_a_benchmark_is_made_once(monkeypatch):
    told = []
    folder = own_benchmark(None, 0, on_scene=lambda done, of: told.append((done, of)), **SMALL)
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert folder.parent == cache_home()
    scenes = find_scenes(folder)
    assert [(s.name, s.split) for s in scenes] == [("Test/001", "test"), ("Training/001", "train"),
                                                   ("Training/002", "train")]  # fmt: skip
    assert all(s.truth is not None for s in scenes)
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]
    monkeypatch.setattr(home, "write_benchmark", lambda *_, **__: pytest.fail("made again"))
    assert own_benchmark(None, 0, **SMALL) == folder


def test_other_options_are_another_benchmark(tmp_path):
    first = own_benchmark(None, 0, **SMALL)
    others = {own_benchmark(None, 1, **SMALL), own_benchmark(None, 0, **SMALL | {"train": 1}),
              own_benchmark(None, 0, **SMALL | {"size": (48, 32)})}  # fmt: skip
    assert len(others | {first}) == 4
    mine = tmp_path / "mine"
    mine.mkdir()
    for n in range(2):
        write_radiance(mine / f"{n}.exr", np.random.default_rng(n).gamma(1, 1, (64, 96, 3)).astype(np.float32))
    own = own_benchmark(mine, 0, **SMALL)
    assert own not in others | {first}
    assert own_benchmark(mine, 0, **SMALL) == own


def test_train_and_test_scenes_are_made_from_other_sources(monkeypatch):
    seen = []
    real = home.load_bank
    monkeypatch.setattr(home, "load_bank", lambda folder, **how: (seen.append(how), real(folder, **how))[1])
    own_benchmark(None, 3, **SMALL)
    assert [how["held_out"] for how in seen] == [False, True]


@pytest.mark.parametrize("how", [KeyboardInterrupt, OSError("disk")])
def test_what_was_not_finished_is_not_there(monkeypatch, how):
    real = home.write_benchmark

    def stopped(out, *args, **more):
        real(out, *args, **more)
        raise how

    with monkeypatch.context() as broken:
        broken.setattr(home, "write_benchmark", stopped)
        with pytest.raises((KeyboardInterrupt, OutputError)):
            own_benchmark(None, 0, **SMALL)
    assert not list(cache_home().iterdir())
    assert own_benchmark(None, 0, **SMALL).is_dir()


def test_two_at_a_time_do_not_disturb_each_other(monkeypatch):
    """While one writes, another comes and finishes first; both get the whole benchmark."""
    real = home.write_benchmark
    inner = []

    def slow(out, *args, **more):
        real(out, *args, **more)
        if not inner:
            inner.append(None)
            inner[0] = own_benchmark(None, 0, **SMALL)

    monkeypatch.setattr(home, "write_benchmark", slow)
    folder = own_benchmark(None, 0, **SMALL)
    assert inner == [folder]
    assert len(find_scenes(folder)) == 3
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_what_a_killed_run_left_goes_after_a_day():
    folder = own_benchmark(None, 0, **SMALL)
    gone, fresh = (folder.parent / f".{folder.name}-{n}" for n in ("old", "new"))
    for path in (gone, fresh):
        path.mkdir()
    long_ago = time.time() - 90_000
    os.utime(gone, (long_ago, long_ago))
    folder.rename(folder.with_name("away"))
    own_benchmark(None, 0, **SMALL)
    assert not gone.exists()
    assert fresh.exists()


def test_what_cannot_be_made_says_why(tmp_path, monkeypatch):
    for missing in (tmp_path / "none", tmp_path / "file"):
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="is not a folder of HDR images"):
            own_benchmark(missing, 0, **SMALL)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no training"):
        own_benchmark(tmp_path / "empty", 0, **SMALL)
    monkeypatch.setenv("SMARTHDR_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot write the benchmark there: Not a directory"):
        own_benchmark(None, 0, **SMALL)
