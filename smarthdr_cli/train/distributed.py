"""Several processes on one run, through Hugging Face Accelerate (``accelerate launch`` or ``torchrun``).

Every process sees its share of the same batch and computes with the same code; gradients are averaged before the
update, so that all students stay equal. Alone, nothing here does anything and Accelerate is not needed.
"""

import os
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from smarthdr_cli.errors import UsageError


def launched() -> bool:
    """Whether this process was started as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@cache
def _process(cpu: bool) -> Any:
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise UsageError("training on several processes needs: pip install 'smarthdr[distributed]'") from error
    return PartialState(cpu=cpu)


def join(device: torch.device) -> torch.device:
    """Enter the group of processes; returns this one's device. Alone: ``device``."""
    if not launched():
        return device
    found = _process(device.type == "cpu").device
    return torch.device(found)


def rank() -> int:
    """This process's number, from 0; 0 alone."""
    return torch.distributed.get_rank() if _grouped() else 0


def count() -> int:
    """How many processes there are."""
    return torch.distributed.get_world_size() if _grouped() else 1


def _grouped() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def wait() -> None:
    """Until all have come here."""
    if _grouped():
        torch.distributed.barrier()


def any_of(mine: bool) -> bool:
    """Whether it is true in any process: all must leave a loop together."""
    if not _grouped():
        return mine
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    flag = torch.tensor([float(mine)], device=device)
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
    return bool(flag.item())


def mean_gradients(model: nn.Module) -> None:
    """Average the gradients over all processes, in one message."""
    if not _grouped():
        return
    with_gradient = [p for p in model.parameters() if p.grad is not None]
    flat = torch.cat([p.grad.flatten() for p in with_gradient if p.grad is not None])
    torch.distributed.all_reduce(flat)
    flat /= count()
    start = 0
    for parameter in with_gradient:
        parameter.grad = flat[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()


def added(value: Tensor) -> Tensor:
    """The sum over all processes, in place: histograms of what each has seen."""
    if _grouped():
        torch.distributed.all_reduce(value)
    return value
