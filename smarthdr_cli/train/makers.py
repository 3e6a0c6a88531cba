"""Who makes the bursts of a stream: a thread of this process on its device, or processes on the cores beside it.

A GPU learns from bursts faster than one thread can tell it how to make them; processes make them on the CPU meanwhile.
"""

import multiprocessing
import os
import signal
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.scenes import SceneBank
from smarthdr_cli.data.synth import SynthConfig, make_batch
from smarthdr_cli.train import distributed
from smarthdr_cli.train.draws import generator


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
    """``wanted``; where that is -1 all cores of this process's share but one if a GPU learns, else none."""
    if wanted >= 0:
        return wanted
    return max(1, (os.cpu_count() or 2) // distributed.count() - 1) if device.type != "cpu" else 0


class Makers:
    """Batches in the order they are asked for. ``processes``: 0 is a thread, on the recipe's device.

    ``ahead``: how many should be asked for before they are needed, for nobody to wait. Processes copy the recipe to the
    CPU: what they make depends on its numbers alone, not on how many they are.
    """

    def __init__(self, recipe: Recipe, processes: int = 0) -> None:
        self.ahead = max(1, 2 * processes)
        self._recipe = recipe
        self._pool: Executor
        if processes:
            context = multiprocessing.get_context("spawn")  # a fork would take this process's threads and device along
            on_cpu = replace(recipe, bank=recipe.bank.to(torch.device("cpu")))
            self._pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(on_cpu,))
        else:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="maker")
        self._apart = processes > 0

    def order(self, number: int) -> Future[Batch]:
        """Batch ``number``, some time."""
        return self._pool.submit(_made, number) if self._apart else self._pool.submit(self._recipe.made, number)

    def close(self) -> None:
        """Let what is being made be finished, and no more."""
        self._pool.shutdown(wait=True, cancel_futures=True)


_recipe: Recipe | None = None  # of a maker's process


def _begin(recipe: Recipe) -> None:
    global _recipe
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the trainer's to answer
    torch.set_num_threads(1)
    _recipe = recipe


def _made(number: int) -> Batch:
    assert _recipe is not None
    return _recipe.made(number)
