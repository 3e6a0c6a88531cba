"""Memory budgets: the arithmetic, its monotony, and (slow) a real process under a limit."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from smarthdr_cli.errors import MemoryLimitError, UsageError
from smarthdr_cli.fusion.memory_budget import BurstSize, MemoryBudget, memory_budget
from smarthdr_cli.fusion.tiles import MAX_TILE_CPU, MIN_TILE

CPU = torch.device("cpu")
# A process inherits its parent's peak: a small one stands between, or the peak would be that of the tests.
WATCH = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)
"""
BURST = BurstSize(24e6, 3 * 72e6, 3)


@pytest.fixture(autouse=True)
def _two_workers(_one_thread):
    torch.set_num_threads(2)  # conftest.py restores it


def test_without_a_limit_tiles_have_the_largest_size():
    assert memory_budget("auto", BURST, CPU, None) == MemoryBudget(MAX_TILE_CPU, 2)
    assert memory_budget("256", BURST, CPU, None) == MemoryBudget(256, 2)


def test_a_lower_limit_reduces_parallel_motions_before_the_tile():
    limits = np.linspace(BURST.min_bytes(CPU), 4e9, 40)
    budgets = [memory_budget("auto", BURST, CPU, float(limit)) for limit in limits]
    assert budgets[0].parallel_motions == 1
    assert (budgets[-1].tile, budgets[-1].parallel_motions) == (MAX_TILE_CPU, 2)
    assert [b.tile_bytes for b in budgets] == sorted(b.tile_bytes for b in budgets)
    assert budgets[-1].tile_bytes == limits[-1] - BURST.image_bytes()
    assert [b.tile for b in budgets] == sorted(b.tile for b in budgets)
    assert [b.parallel_motions for b in budgets] == sorted(b.parallel_motions for b in budgets)
    assert all(MIN_TILE <= b.tile <= MAX_TILE_CPU for b in budgets)


def test_the_error_for_a_low_limit_names_the_memory_needed():
    needed = BURST.min_bytes(CPU)
    with pytest.raises(MemoryLimitError, match=r"3 frames of 24.0 megapixels need --max-memory (\d+)M") as caught:
        memory_budget("auto", BURST, CPU, needed * 0.99)
    enough = float(str(caught.value).split()[-1].rstrip("M")) * 2**20
    assert needed <= enough <= 1.02 * needed
    memory_budget("auto", BURST, CPU, enough)
    with pytest.raises(UsageError, match="--tile"):
        memory_budget("tiny", BURST, CPU, 4e9)


@pytest.mark.parametrize("tile", ["2048", "0"])
def test_a_requested_tile_counts_against_the_limit(tile):
    assert memory_budget(tile, BURST, CPU, 60e9).tile == int(tile)
    with pytest.raises(MemoryLimitError, match=f"under --tile {tile} need"):
        memory_budget(tile, BURST, CPU, 3e9)
    assert memory_budget("256", BURST, CPU, 3e9).tile == 256


def test_an_image_smaller_than_a_tile_needs_its_own_size():
    small = BurstSize(1e4, 9e4, 3)
    assert small.tiled_bytes(768, CPU) == small.tiled_bytes(0, CPU)


def test_the_static_merge_needs_less():
    assert BURST.min_bytes(CPU, with_motion=False) < BURST.min_bytes(CPU)
    assert (
        memory_budget("auto", BURST, CPU, BURST.min_bytes(CPU, with_motion=False), with_motion=False).tile >= MIN_TILE
    )


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
