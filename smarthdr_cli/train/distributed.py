"""Several processes on one run, through Hugging Face Accelerate (``accelerate launch`` or ``torchrun``).

Every process sees its share of the same batch and computes with the same code; gradients are averaged before the
update, so that all students stay equal. Alone, nothing here does anything and Accelerate is not needed.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cache
from typing import Any

import torch
from torch import nn

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.errors import UsageError
from smarthdr_cli.train.quantiles import LogHistogram


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


def count_here() -> int:
    """How many of them run on this machine, where the launcher says so (torchrun's LOCAL_WORLD_SIZE); else all."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", count())) if _grouped() else 1


def _grouped() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def wait() -> None:
    """Until all have come here."""
    if _grouped():
        torch.distributed.barrier()


@contextmanager
def first_then_others() -> Iterator[None]:
    """Process 0 goes through the block alone, then the others do, and find in the cache what it left there."""
    if rank() > 0:
        wait()
    yield
    if rank() == 0:
        wait()


def any_of(mine: bool) -> bool:
    """Whether it is true in any process: all must leave a loop together."""
    if not _grouped():
        return mine
    flag = torch.tensor([float(mine)], device=_messenger())
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
    return bool(flag.item())


def first_one(mine: float) -> float:
    """The number that process 0 has: clocks differ, and what they decide must not."""
    if not _grouped():
        return mine
    number = torch.tensor([mine], dtype=torch.float64, device=_messenger())
    torch.distributed.broadcast(number, 0)
    return float(number.item())


def mean_gradients(model: nn.Module) -> None:
    """Average the gradients over all processes, in one message.

    A process without a gradient for a parameter counts with 0, so that the message is of one size whatever each has
    seen; where none has one, there is none.
    """
    if not _grouped():
        return
    parameters = list(model.parameters())
    have = parameters[0].new_tensor([p.grad is not None for p in parameters])
    grads = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters]
    flat = torch.cat([have, *grads])
    torch.distributed.all_reduce(flat)
    wanted = (flat[: len(parameters)] > 0).tolist()
    values = torch.split(flat[len(parameters) :], [p.numel() for p in parameters])
    for parameter, value, there in zip(parameters, values, wanted, strict=True):
        if there:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad.copy_(value.view_as(parameter) / count())


def counted(histograms: Sequence[LogHistogram], count_mine: Callable[[], None]) -> None:
    """Let ``count_mine`` add what this process has seen to ``histograms``, and add what the others have.

    Each is to be updated once, or any number of times where nothing is forgotten (``decay`` 1). They are the same in
    all processes afterwards, and what one process would have that had seen it all.
    """
    if not _grouped():
        count_mine()
        return
    before = [h.counts for h in histograms]
    for h in histograms:
        h.counts = torch.zeros_like(h.counts)
    count_mine()
    mine = torch.cat([h.counts for h in histograms]).to(_messenger())
    torch.distributed.all_reduce(mine)
    for h, old, new in zip(histograms, before, torch.split(mine.cpu(), [h.bins for h in histograms]), strict=True):
        h.counts = old * h.decay + new


def part_of(batch: Batch) -> Batch:
    """This process's bursts of a batch."""
    if not _grouped():
        return batch
    own = {f.name: getattr(batch, f.name)[rank() :: count()]
           for f in fields(batch) if getattr(batch, f.name) is not None}  # fmt: skip
    return replace(batch, **own)


def _messenger() -> str:
    """Where a tensor must lie for the processes to exchange it."""
    return "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
