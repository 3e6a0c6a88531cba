"""What fits into a limit: the model's own arithmetic, its order, and (slow) a real process under one."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from smarthdr_cli.errors import MemoryLimitError, UsageError
from smarthdr_cli.fusion import memory_budget
from smarthdr_cli.fusion import tiles as tiles_room
from smarthdr_cli.fusion.memory_budget import BurstSize, memory_budget
from smarthdr_cli.fusion.tiles import MAX_TILE_CPU, MIN_TILE

CPU = torch.device("cpu")
# The kernel hands a process its parent's peak: one that stays small stands between, or it would be that of the tests.
WATCH = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)
"""
BURST = BurstSize(24e6, 3 * 72e6, 3)


@pytest.fixture(autouse=True)
def _two(monkeypatch):
    for where in (memory_budget, tiles_room):
        monkeypatch.setattr(where, "workers", lambda _: 2)


def test_without_a_limit_all_cores_work_on_the_largest_tiles():
    assert memory_budget("auto", BURST, CPU, None) == memory_budget.Room(MAX_TILE_CPU, 2)
    assert memory_budget("256", BURST, CPU, None) == memory_budget.Room(256, 2)


def test_a_tighter_limit_gives_up_company_before_size_and_never_grows():
    limits = np.linspace(BURST.least_bytes(CPU), 4e9, 40)
    found = [memory_budget("auto", BURST, CPU, float(limit)) for limit in limits]
    assert found[0].at_once == 1
    assert (found[-1].tile, found[-1].at_once) == (MAX_TILE_CPU, 2)
    assert [r.spare for r in found] == sorted(r.spare for r in found)
    assert found[-1].spare == limits[-1] - BURST.held_bytes()
    assert [r.tile for r in found] == sorted(r.tile for r in found)
    assert [r.at_once for r in found] == sorted(r.at_once for r in found)
    assert all(MIN_TILE <= r.tile <= MAX_TILE_CPU for r in found)


def test_too_little_names_what_is_needed():
    needed = BURST.least_bytes(CPU)
    with pytest.raises(MemoryLimitError, match=rf"3 frames of 24.0 megapixels need about {needed / 2**30:.2g}G"):
        memory_budget("auto", BURST, CPU, needed * 0.99)
    with pytest.raises(UsageError, match="--tile"):
        memory_budget("tiny", BURST, CPU, 4e9)


@pytest.mark.parametrize("tile", ["2048", "0"])
def test_a_tile_asked_for_counts(tile):
    assert memory_budget(tile, BURST, CPU, 60e9).tile == int(tile)
    with pytest.raises(MemoryLimitError, match=f"under --tile {tile} need"):
        memory_budget(tile, BURST, CPU, 3e9)
    assert memory_budget("256", BURST, CPU, 3e9).tile == 256


def test_a_picture_smaller_than_a_tile_needs_its_own_size():
    small = BurstSize(1e4, 9e4, 3)
    assert small.tiled_bytes(768, CPU) == small.tiled_bytes(0, CPU)


def test_the_physics_alone_needs_less():
    assert BURST.least_bytes(CPU, moving=False) < BURST.least_bytes(CPU)
    assert memory_budget("auto", BURST, CPU, BURST.least_bytes(CPU, moving=False), moving=False).tile >= MIN_TILE


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the peak is the kernel's")
def test_a_24_megapixel_burst_stays_within_2_gib(tmp_path):
    from PIL import Image
    from PIL.TiffImagePlugin import IFDRational

    rng = np.random.default_rng(3)
    light = np.kron(rng.uniform(0.02, 1.2, (250, 375, 3)), np.ones((16, 16, 1))).astype(np.float32)
    files = []
    for number, time in enumerate((0.25, 1.0, 4.0)):
        codes = np.clip(np.roll(light, 3 * number, 1) * time, 0, 1) ** (1 / 2.2) * 255
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x829A] = IFDRational(round(time * 100), 6000)
        files.append(tmp_path / f"{number}.jpg")
        Image.fromarray(np.round(codes).astype(np.uint8)).save(files[-1], quality=92, exif=exif)
    program = "from smarthdr_cli.cli.app import main; main()"
    command = [sys.executable, "-c", program, "fuse", *map(str, files), "-o", str(tmp_path / "o.exr"), "-q"]
    done = subprocess.run([sys.executable, "-c", WATCH, *command, "--max-memory", "2G"], capture_output=True, text=True)
    status, peak = map(int, done.stdout.split())
    assert status == 0, done.stderr
    assert peak * (1 if sys.platform == "darwin" else 1024) < 2 * 2**30
