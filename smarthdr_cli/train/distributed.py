"""Several processes on one run, through Hugging Face Accelerate (``accelerate launch`` or ``torchrun``).

Every process gets its share of the same batch and runs the same code; gradients are averaged before the update, so that
all students stay equal. In a single process every function here is the identity, and Accelerate is not needed.
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
from smarthdr_cli.train.uncertainty_masks import LogHistogram


def launched() -> bool:
    """Whether this process was started as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@cache
def _process_state(cpu: bool) -> Any:
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise UsageError("training on several processes needs: pip install 'smarthdr[distributed]'") from error
    return PartialState(cpu=cpu)


def join_group(device: torch.device) -> torch.device:
    """Enter the group of processes; returns this process's device, in a single process ``device``.

    Raises UsageError where Accelerate is needed and not installed.
    """
    return torch.device(_process_state(device.type == "cpu").device) if launched() else device


def rank() -> int:
    """This process's number; 0 in a single process."""
    return torch.distributed.get_rank() if _grouped() else 0


def world_size() -> int:
    """The number of processes."""
    return torch.distributed.get_world_size() if _grouped() else 1


def local_world_size() -> int:
    """The number of processes on this machine, where the launcher states it (torchrun's LOCAL_WORLD_SIZE); else all."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world_size())) if _grouped() else 1


def _grouped() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def barrier() -> None:
    """Wait until all processes are here."""
    if _grouped():
        torch.distributed.barrier()


@contextmanager
def main_process_first() -> Iterator[None]:
    """Process 0 runs the block, then the others do, which find its results in the cache."""
    if rank() > 0:
        barrier()
    yield
    if rank() == 0:
        barrier()


def any_process(condition: bool) -> bool:
    """Whether ``condition`` is true in any process: all must leave a loop together."""
    if not _grouped():
        return condition
    flag = torch.tensor([float(condition)], device=_message_device())
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
    return bool(flag.item())


def from_main_process(value: float) -> float:
    """The ``value`` of process 0: clocks differ, and what they decide must not."""
    if not _grouped():
        return value
    number = torch.tensor([value], dtype=torch.float64, device=_message_device())
    torch.distributed.broadcast(number, 0)
    return float(number.item())


def average_gradients(model: nn.Module) -> None:
    """Average the gradients over all processes, in one message.

    A missing gradient counts as 0, so that the message has one size in all processes; a parameter without a gradient in
    any process keeps none.
    """
    if not _grouped():
        return
    parameters = list(model.parameters())
    present = parameters[0].new_tensor([p.grad is not None for p in parameters])
    grads = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters]
    message = torch.cat([present, *grads])
    torch.distributed.all_reduce(message)
    present_anywhere = (message[: len(parameters)] > 0).tolist()
    values = torch.split(message[len(parameters) :], [p.numel() for p in parameters])
    for parameter, value, present_here in zip(parameters, values, present_anywhere, strict=True):
        if present_here:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad.copy_(value.view_as(parameter) / world_size())


def all_reduce_counts(histograms: Sequence[LogHistogram], update: Callable[[], None]) -> None:
    """Let ``update`` add this process's values to ``histograms``, then add those of the others.

    ``update`` updates each histogram once, or any number of times where ``decay`` is 1. Afterwards they are equal in
    all processes, and equal to those of one process that counted all values.
    """
    if not _grouped():
        update()
        return
    before = [h.counts for h in histograms]
    for h in histograms:
        h.counts = torch.zeros_like(h.counts)
    update()
    counts = torch.cat([h.counts for h in histograms]).to(_message_device())
    torch.distributed.all_reduce(counts)
    for h, old, new in zip(histograms, before, torch.split(counts.cpu(), [h.bins for h in histograms]), strict=True):
        h.counts = old * h.decay + new


def recount(histograms: Sequence[LogHistogram], update: Callable[[], None]) -> None:
    """``all_reduce_counts`` from empty histograms."""
    for h in histograms:
        h.counts = torch.zeros_like(h.counts)
    all_reduce_counts(histograms, update)


def share() -> slice:
    """This process's share of a list that all processes have."""
    return slice(rank(), None, world_size())


def shard(batch: Batch) -> Batch:
    """This process's bursts of a batch."""
    if not _grouped():
        return batch
    tensors = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return replace(batch, **{name: t[share()] for name, t in tensors.items() if t is not None})


def _message_device() -> str:
    """Where a tensor must lie for the processes to exchange it."""
    return "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
