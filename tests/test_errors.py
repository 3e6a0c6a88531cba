"""Out-of-memory errors of every library, and the message of a damaged file."""

import pickle

import cv2
import numpy as np
import pytest
import torch

from smarthdr_cli.errors import DamagedFileError, InputError, MemoryLimitError, out_of_memory


def test_a_damaged_file_says_what_to_do_once_in_every_process():
    error = DamagedFileError("a.jpg is cut short")
    message = "a.jpg is cut short; copy the file again from its source, or leave it out"
    assert str(error) == str(pickle.loads(pickle.dumps(error))) == message


@pytest.mark.parametrize("allocate", [
    lambda: bytearray(1 << 60),
    lambda: np.empty(1 << 55),
    lambda: torch.empty(1 << 55),
    lambda: cv2.resize(np.zeros((2, 2, 3), np.float32), (1 << 24, 1 << 24)),
])  # fmt: skip
def test_errors_that_libraries_raise_here(allocate):
    with pytest.raises((MemoryError, RuntimeError, cv2.error)) as caught:
        allocate()
    assert out_of_memory(caught.value)


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("HIP out of memory. Tried to allocate 2 GiB"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 64 bytes."),
    cv2.error("OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) in function 'OutOfMemoryError'"),
])  # fmt: skip
def test_errors_of_other_systems(error):
    assert out_of_memory(error)


@pytest.mark.parametrize("error", [
    InputError("/photos/CUDA out of memory/1.jpg: is no picture"), MemoryLimitError("raise --max-memory"),
    RuntimeError("shapes differ"), OSError(28, "No space left on device"),
])  # fmt: skip
def test_other_errors(error):
    assert not out_of_memory(error)
