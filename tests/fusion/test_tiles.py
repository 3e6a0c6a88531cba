"""Tiles: they cover an image once, begin on cells, fit a memory limit and run in parallel."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smarthdr_cli.errors import MemoryLimitError, UsageError
from smarthdr_cli.fusion.tiles import (
    MAX_TILE_CPU,
    MAX_TILE_CUDA,
    MIN_TILE,
    RECEPTIVE_FIELD,
    parallel_map,
    smaller_tile,
    tile_bytes,
    tile_grid,
    tile_size,
    worker_count,
)

CPU = torch.device("cpu")
pytestmark = pytest.mark.unit


@settings(max_examples=150)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(32, 260).map(lambda n: n * 4), st.sampled_from([0, 48]))
def test_cores_cover_the_image_once_and_windows_contain_them(height, width, size, margin):
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
    (tile,) = tile_grid(101, 77, 0, 40)
    assert (tile.core.height, tile.core.width) == (101, 77)
    assert (tile.window.height, tile.window.width) == (104, 80)


def test_tiles_of_one_row_have_similar_sizes():
    widths = [tile.core.width for tile in tile_grid(100, 1025, 512, 40)]
    assert widths == [344, 344, 337]


def test_the_margin_covers_the_receptive_field():
    """verify: 1 + 2 convolutions; refine: 1 + 2, then 2 + 1 of the uncertainty head; all on cells of 4."""
    assert RECEPTIVE_FIELD >= 4 * (3 + 3 + 3)
    assert RECEPTIVE_FIELD % 4 == 0


@pytest.mark.parametrize("option", ["127", "-1", "0.5", "big", "", "²", "1e3"])
def test_an_invalid_size_is_a_usage_error(option):
    with pytest.raises(UsageError, match="--tile"):
        tile_size(option, 3, CPU, None, 0)


def test_requested_sizes_are_rounded_to_cells():
    assert tile_size("0", 3, CPU, None, 0) == 0
    assert tile_size("128", 3, CPU, None, 0) == 128
    assert tile_size("258", 3, CPU, None, 0) == 256
    assert tile_size("auto", 3, CPU, None, 0) == MAX_TILE_CPU


def test_a_memory_limit_makes_tiles_smaller_and_ends_in_an_error():
    torch.set_num_threads(2)  # tiles at a time; conftest.py restores it
    sizes = [tile_size("auto", 3, CPU, 1e9 + budget, 1e9) for budget in (2.5e8, 1.8e8, 1.2e8, 8e7)]
    assert sizes == sorted(sizes, reverse=True)
    assert all(MIN_TILE <= size < MAX_TILE_CPU and size % 4 == 0 for size in sizes)
    assert len(set(sizes)) == 4
    for size, limit in zip(sizes, (2.5e8, 1.8e8, 1.2e8, 8e7), strict=True):
        assert (size + 2 * RECEPTIVE_FIELD) ** 2 * tile_bytes(3, CPU) <= limit
    assert tile_size("auto", 9, CPU, 1.2e9, 1e9) < tile_size("auto", 2, CPU, 1.2e9, 1e9)
    with pytest.raises(MemoryLimitError, match="--max-memory"):
        tile_size("auto", 3, CPU, 1.01e9, 1e9)
    with pytest.raises(MemoryLimitError):
        tile_size("auto", 3, CPU, 1e6, 1e9)


def test_a_retry_halves_the_tile_down_to_the_smallest():
    sizes = [1024]
    while sizes[-1] > MIN_TILE:
        sizes.append(smaller_tile(sizes[-1], MemoryError()))
    assert sizes == [1024, 512, 256, 128]
    with pytest.raises(MemoryLimitError, match="smallest tile"):
        smaller_tile(MIN_TILE, MemoryError())


def test_the_retry_after_one_tile_uses_tiles():
    assert smaller_tile(0, MemoryError()) == MAX_TILE_CUDA // 2


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_come_in_order(count):
    assert list(parallel_map(lambda x: x * x, range(20), count)) == [x * x for x in range(20)]


def test_items_run_at_the_same_time_in_one_thread_each_without_gradients():
    threads = torch.get_num_threads()
    barrier = threading.Barrier(2, timeout=20)

    def work(_: int) -> tuple[int, bool]:
        barrier.wait()  # passes only when two items run at the same time
        return torch.get_num_threads(), torch.is_inference_mode_enabled()

    assert list(parallel_map(work, range(4), 2)) == [(1, True)] * 4
    assert torch.get_num_threads() == threads


def test_an_error_is_raised_and_the_number_of_threads_restored():
    threads = torch.get_num_threads()

    def work(number: int) -> int:
        if number == 3:
            raise MemoryError
        return number

    with pytest.raises(MemoryError):
        list(parallel_map(work, range(50), 2))
    assert torch.get_num_threads() == threads


def test_a_gpu_runs_one_tile_at_a_time():
    assert worker_count(torch.device("cuda")) == 1
    assert worker_count(CPU) == torch.get_num_threads()
