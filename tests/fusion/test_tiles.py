"""Tiles cover once, start on cells, fit the budget, and give way when memory runs out."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smarthdr_cli.errors import MemoryLimitError, UsageError
from smarthdr_cli.fusion import tiles
from smarthdr_cli.fusion.tiles import MARGIN, MAX_TILE_CPU, MIN_TILE, tile_grid, tile_size, with_retreat

CPU = torch.device("cpu")


@settings(max_examples=150)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(32, 260).map(lambda n: n * 4), st.sampled_from([0, 48]))
def test_cores_cover_the_picture_once_and_windows_hold_them(height, width, size, margin):
    count = np.zeros((height, width), int)
    for tile in tile_grid(height, width, size, margin):
        core, window = tile.core, tile.window
        count[core.top : core.top + core.height, core.left : core.left + core.width] += 1
        assert core.height <= size
        assert core.width <= size
        for low, length, outer_low, outer_length, end in (
            (core.top, core.height, window.top, window.height, height),
            (core.left, core.width, window.left, window.width, width),
        ):
            assert low % 4 == outer_low % 4 == outer_length % 4 == 0
            assert outer_low == max(0, low - margin)
            assert outer_low + outer_length >= min(end, low + length + margin)
            assert outer_low + outer_length <= min(end, low + length + margin) + 3
    assert (count == 1).all()


def test_size_0_is_one_tile():
    (tile,) = tile_grid(101, 77, 0)
    assert (tile.core.height, tile.core.width) == (101, 77)
    assert (tile.window.height, tile.window.width) == (104, 80)


def test_tiles_of_one_row_are_of_like_size():
    widths = [tile.core.width for tile in tile_grid(100, 1025, 512)]
    assert widths == [344, 344, 337]


def test_the_margin_covers_the_receptive_field():
    """verify: 1 + 2 convolutions to features; refine: 1 + 2, then the judge's 2 + 1; all on cells of 4."""
    assert MARGIN >= 4 * (3 + 3 + 3)
    assert MARGIN % 4 == 0


@pytest.mark.parametrize("option", ["127", "-1", "0.5", "big", "", "²", "1e3"])
def test_a_size_that_is_none_is_a_usage_error(option):
    with pytest.raises(UsageError, match="--tile"):
        tile_size(option, 3, CPU, None, 0)


def test_sizes_asked_for():
    assert tile_size("0", 3, CPU, None, 0) == 0
    assert tile_size("128", 3, CPU, None, 0) == 128
    assert tile_size("258", 3, CPU, None, 0) == 256
    assert tile_size("auto", 3, CPU, None, 0) == MAX_TILE_CPU


def test_a_budget_makes_tiles_smaller_and_ends_in_an_error(monkeypatch):
    monkeypatch.setattr(tiles, "workers", lambda _: 2)
    sizes = [tile_size("auto", 3, CPU, 1e9 + budget, 1e9) for budget in (2.5e8, 1.8e8, 1.2e8, 8e7)]
    assert sizes == sorted(sizes, reverse=True)
    assert all(MIN_TILE <= size < MAX_TILE_CPU and size % 4 == 0 for size in sizes)
    assert len(set(sizes)) == 4
    assert tile_size("auto", 9, CPU, 1.2e9, 1e9) < tile_size("auto", 2, CPU, 1.2e9, 1e9)
    with pytest.raises(MemoryLimitError, match="--max-memory"):
        tile_size("auto", 3, CPU, 1.01e9, 1e9)
    with pytest.raises(MemoryLimitError):
        tile_size("auto", 3, CPU, 1e6, 1e9)


FULL = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate"
    ),
    cv2.error("OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"),
]


@pytest.mark.parametrize("error", FULL, ids=lambda e: type(e).__name__)
def test_out_of_memory_halves_the_tile(error):
    tried, told = [], []

    def attempt(size):
        tried.append(size)
        if size > 200:
            raise error
        return "done"

    assert with_retreat(1024, attempt, told.append) == "done"
    assert tried == [1024, 512, 256, 128]
    assert told == [512, 256, 128]


def test_one_tile_falls_back_on_tiles():
    tried = []

    def attempt(size):
        tried.append(size)
        if size == 0:
            raise MemoryError
        return size

    assert with_retreat(0, attempt, lambda _: None) == 1024


def test_out_of_memory_to_the_last_is_its_own_error():
    def attempt(size):
        raise MemoryError

    with pytest.raises(MemoryLimitError, match="smallest tile"):
        with_retreat(300, attempt, lambda _: None)


def test_other_errors_pass_unchanged():
    for error in (ValueError("no"), RuntimeError("shapes differ"), cv2.error("bad argument")):
        tried = []

        def attempt(size, error=error, tried=tried):
            tried.append(size)
            raise error

        with pytest.raises(type(error)):
            with_retreat(1024, attempt, lambda _: None)
        assert tried == [1024]
