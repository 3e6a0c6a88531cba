"""Who makes the bursts of a stream: a thread of this process on its device, or processes on the cores beside it.

A GPU learns from bursts faster than one thread can tell it how to make them; processes make them on the CPU meanwhile.
"""

import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from smarthdr_cli import system
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.synth.burst import make_batch
from smarthdr_cli.data.synth.config import SynthConfig
from smarthdr_cli.data.synth.sources import SceneBank
from smarthdr_cli.errors import MemoryLimitError
from smarthdr_cli.train import distributed
from smarthdr_cli.train.draws import generator

Parts = dict[str, NDArray[Any]]  # a batch as a process sends it


@dataclass(frozen=True)
class Recipe:
    """What batch ``number`` of a stream is made of, on the device of ``bank``."""

    bank: SceneBank
    synth: SynthConfig
    batch: int
    seed: int

    def made(self, number: int) -> Batch:
        """The same batch for the same number, on one kind of device."""
        draw = generator(self.seed, 0, number, device=self.bank.mips[0][0].device)
        return make_batch(self.bank, self.synth, draw, self.batch)


def processes_for(wanted: int, device: torch.device) -> int:
    """``wanted``; where that is -1 this process's share of the cores but one if a GPU learns, else none."""
    if wanted >= 0:
        return wanted
    return max(1, system.usable_cores() // distributed.count_here() - 1) if device.type != "cpu" else 0


class Makers:
    """Batches in the order they are asked for. ``processes``: 0 is a thread, on the recipe's device.

    ``ahead``: how many should be asked for before they are needed, for nobody to wait. Processes work on the CPU: what
    they make depends on its numbers alone, not on how many they are. Nothing goes through shared memory, of which a
    container has 64 MB: sources come from a file that all of them map, batches through a pipe.
    """

    def __init__(self, recipe: Recipe, processes: int = 0) -> None:
        self.ahead = max(1, 2 * processes)
        self._recipe = recipe
        self._pool: Executor
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        if processes:
            self._scratch = tempfile.TemporaryDirectory(prefix="smarthdr-makers-")
            mips = Path(self._scratch.name) / "mips.pt"
            torch.save(recipe.bank.to(torch.device("cpu")).mips, mips)
            light = replace(recipe, bank=replace(recipe.bank, mips=()))
            context = multiprocessing.get_context("spawn")  # a fork would take this process's threads and device along
            self._pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(light, mips))
        else:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="maker")

    def order(self, number: int) -> "Future[Batch] | Future[Parts]":
        """Batch ``number``, some time, as ``taken`` takes it; fails as that does."""
        if self._scratch is None:
            return self._pool.submit(self._recipe.made, number)
        with _told():
            return self._pool.submit(_made, number)

    def close(self) -> None:
        """Let what is being made be finished, and no more."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._scratch is not None:
            self._scratch.cleanup()


def taken(order: "Future[Batch] | Future[Parts]", device: torch.device) -> Batch:
    """What was ordered, waited for, on ``device``.

    Raises MemoryLimitError where the system ended a process that makes bursts.
    """
    with _told():
        result = order.result()
    if isinstance(result, Batch):
        return result
    return Batch(**{name: torch.from_numpy(array) for name, array in result.items()}).to(device)


@contextmanager
def _told() -> Iterator[None]:
    """In words what a pool says whose process was ended."""
    try:
        yield
    except BrokenProcessPool:
        raise MemoryLimitError(
            "a process that makes bursts was ended from outside, most likely for want of memory: "
            "try fewer of them (makers in the config; 0 is none)"
        ) from None


_recipe: Recipe | None = None  # of a maker's process


def _begin(recipe: Recipe, mips: Path) -> None:
    global _recipe
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the trainer's to answer
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # and so is what is sent to its group, as `timeout` does
    threading.Thread(target=_outlived, args=(mips.parent,), daemon=True).start()
    torch.set_num_threads(1)
    _recipe = replace(recipe, bank=replace(recipe.bank, mips=torch.load(mips, mmap=True, weights_only=True)))


def _outlived(scratch: Path) -> None:
    """End with a trainer that was killed: a pool's processes hold one another's pipes open, and would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)


def _made(number: int) -> Parts:
    assert _recipe is not None
    return {name: tensor.numpy() for name, tensor in vars(_recipe.made(number)).items() if tensor is not None}
