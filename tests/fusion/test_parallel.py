"""Parts of a picture side by side."""

import threading

import pytest
import torch

from smarthdr_cli.fusion.tiles import parallel_map, worker_count

CPU = torch.device("cpu")


def test_results_come_in_order_whatever_the_number_of_threads():
    for count in (1, 2, 5):
        assert list(parallel_map(lambda x: x * x, range(20), count)) == [x * x for x in range(20)]


def test_parts_run_side_by_side_each_on_one_core_and_without_gradients():
    before = torch.get_num_threads()
    meet = threading.Barrier(2, timeout=20)

    def part(_: int) -> tuple[int, bool]:
        meet.wait()  # passes only when two parts are at work at once
        return torch.get_num_threads(), torch.is_inference_mode_enabled()

    assert list(parallel_map(part, range(4), 2)) == [(1, True)] * 4
    assert torch.get_num_threads() == before


def test_an_error_is_raised_and_leaves_the_number_of_threads():
    before = torch.get_num_threads()

    def part(number: int) -> int:
        if number == 3:
            raise MemoryError
        return number

    with pytest.raises(MemoryError):
        list(parallel_map(part, range(50), 2))
    assert torch.get_num_threads() == before


def test_a_gpu_does_one_part_after_another():
    assert worker_count(torch.device("cuda")) == 1
    assert worker_count(CPU) == torch.get_num_threads()
