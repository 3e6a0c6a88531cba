"""Synthetic bursts made while the run trains: no data on disk, no end, and full truth.

A thread on the training device makes them, or processes on the CPU beside a GPU, which trains faster than one thread
can launch the work of making them. What comes at a step depends on the seed, the step and the kind of device that
makes it. Sources are HDR images, or the labels and pseudo-labels of a run on scenes (``label_stream``).
"""

import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli import system
from smarthdr_cli.data.augment import Augmentation, augment
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.prepared import PreparedScene
from smarthdr_cli.data.synth.burst import make_batch
from smarthdr_cli.data.synth.config import SynthConfig
from smarthdr_cli.data.synth.people import load_people
from smarthdr_cli.data.synth.sources import MIN_SOURCE_SIDE, SceneBank, bank_from_images, load_bank
from smarthdr_cli.data.synth.sprites import Sprite
from smarthdr_cli.errors import MemoryLimitError, UsageError
from smarthdr_cli.train import distributed
from smarthdr_cli.train.config import TrainConfig
from smarthdr_cli.train.forward import score
from smarthdr_cli.train.pseudo_labels import PseudoStore
from smarthdr_cli.train.scene_data import whole
from smarthdr_cli.train.state import TrainState, generator
from smarthdr_cli.train.step import motion_loss, supervised_loss, update

MAX_LABEL_SOURCES = 24  # scenes whose labels are in memory at once, so that it does not grow with their number
MAX_SOURCE_SIDE = 1024  # px; larger labels are reduced
BatchArrays = dict[str, NDArray[Any]]  # a batch as a process sends it


@dataclass(frozen=True)
class BatchFactory:
    """Makes batches of a stream on the device of ``bank``; the same number and kind of device make the same batch."""

    bank: SceneBank
    synth: SynthConfig
    batch: int
    seed: int

    def make(self, number: int) -> Batch:
        """Batch ``number`` of the stream."""
        draw = generator(self.seed, 0, number, device=self.bank.mips[0][0].device)
        return make_batch(self.bank, self.synth, draw, self.batch)


def stream_bank(panoramas: Path | None, people: Path | None, config: TrainConfig) -> SceneBank:
    """The training sources of a folder of HDR images, or procedural scenes, with the sprites of ``people``.

    Raises InputError for sources that cannot be read, UsageError where no burst of ``config`` would show people.
    """
    bank = load_bank(panoramas, seed=config.seed)
    if people is None:
        return bank
    if not config.synth.variety.people:
        raise UsageError(
            "--people: no burst of this run shows any, because its option synth.variety.people is 0; "
            "give --config FILE.toml with people = 0.35 under [synth.variety]"
        )
    return replace(bank, people=load_people(people))


def worker_processes(requested: int, device: torch.device) -> int:
    """``requested``; where that is -1, this process's share of the cores but one beside a GPU, else none."""
    if requested >= 0:
        return requested
    return max(1, system.usable_cores() // distributed.local_world_size() - 1) if device.type != "cpu" else 0


class BatchWorkers:
    """Makes batches in the order of ``submit``. ``processes``: 0 is a thread, on the factory's device.

    ``ahead``: number of batches to submit ahead, so that the trainer does not wait. Results of processes depend on the
    batch's number alone, not on the number of processes. Nothing goes through shared memory, of which a container has
    64 MB: sources come from a file in ``scratch`` that all processes map, batches through a pipe.
    """

    def __init__(self, factory: BatchFactory, processes: int = 0) -> None:
        self.ahead = max(1, 2 * processes)
        self.scratch: Path | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._factory = factory
        self._pool: Executor
        if processes:
            self._temporary = tempfile.TemporaryDirectory(prefix="smarthdr-makers-")
            self.scratch = Path(self._temporary.name)
            stored = self.scratch / "bank.pt"
            bank = factory.bank.to(torch.device("cpu"))
            torch.save({"mips": bank.mips, "people": [vars(sprite) for sprite in bank.people]}, stored)
            empty = replace(factory, bank=replace(factory.bank, mips=(), people=()))
            context = multiprocessing.get_context("spawn")  # a fork would take this process's threads and device along
            self._pool = ProcessPoolExecutor(processes, context, initializer=_start_worker, initargs=(empty, stored))
        else:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="maker")

    def submit(self, number: int) -> "Future[Batch] | Future[BatchArrays]":
        """Start batch ``number``, for ``result``. Raises MemoryLimitError as that does."""
        if self.scratch is None:
            return self._pool.submit(self._factory.make, number)
        with _explained():
            return self._pool.submit(_make_in_worker, number)

    def close(self) -> None:
        """Finish the batches in progress and drop the others."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._temporary is not None:
            self._temporary.cleanup()


def result(future: "Future[Batch] | Future[BatchArrays]", device: torch.device) -> Batch:
    """A submitted batch, waited for, on ``device``.

    Raises MemoryLimitError where the system ended a worker process, and whatever making the batch raised.
    """
    with _explained():
        batch = future.result()
    if isinstance(batch, Batch):
        return batch
    return Batch(**{name: torch.from_numpy(array) for name, array in batch.items()}).to(device)


@contextmanager
def _explained() -> Iterator[None]:
    """Turn the error of a pool whose process was ended into one that says what to do."""
    try:
        yield
    except BrokenProcessPool:
        raise MemoryLimitError(
            "a process that makes bursts was ended from outside, most likely for want of memory: "
            "try fewer of them (makers in the config; 0 is none)"
        ) from None


_worker_factory: BatchFactory | None = None  # in a worker process


def _start_worker(factory: BatchFactory, stored: Path) -> None:
    global _worker_factory
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the trainer handles Ctrl-C
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # and signals to its process group, as `timeout` sends them
    threading.Thread(target=_end_with_parent, args=(stored.parent,), daemon=True).start()
    torch.set_num_threads(1)
    content = torch.load(stored, mmap=True, weights_only=True)
    people = tuple(Sprite(**sprite) for sprite in content["people"])
    _worker_factory = replace(factory, bank=replace(factory.bank, mips=content["mips"], people=people))


def _end_with_parent(scratch: Path) -> None:
    """End with a trainer that was killed: the pool's processes hold one another's pipes open and would wait forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)


def _make_in_worker(number: int) -> BatchArrays:
    assert _worker_factory is not None
    return {name: tensor.numpy() for name, tensor in vars(_worker_factory.make(number)).items() if tensor is not None}


class BurstStream:
    """Batches for the trainer: new ones, and earlier ones replayed under another augmentation.

    The next new batches are made while the trainer works. After a resume, earlier ones are made again when needed.
    """

    def __init__(self, bank: SceneBank, config: TrainConfig, device: torch.device, seed: int, start: int = 0) -> None:
        self.bank, self.config, self.device, self.seed = bank, config, device, seed
        self.count = start
        self.pending: dict[int, Future[Batch] | Future[BatchArrays]] = {}
        self.batches: dict[int, Batch] = {}
        factory = BatchFactory(bank, config.synth, config.batch, seed)
        self.workers = BatchWorkers(factory, worker_processes(config.makers, device))
        self._submit(start // config.replay)

    def _submit(self, number: int) -> None:
        if number not in self.batches and number not in self.pending:
            self.pending[number] = self.workers.submit(number)

    def __iter__(self) -> "BurstStream":
        return self

    def __next__(self) -> Batch:
        newest = self.count // self.config.replay
        number = newest
        if self.count % self.config.replay:
            oldest = max(0, newest + 1 - self.config.pool)
            number = int(np.random.default_rng([self.seed, 1, self.count]).integers(oldest, newest, endpoint=True))
        for needed in (number, *range(newest + 1, newest + 1 + self.workers.ahead)):
            self._submit(needed)
        if number not in self.batches:
            self.batches[number] = result(self.pending.pop(number), self.device)
        batch = self.batches[number]
        self.batches.pop(newest - self.config.pool, None)
        augmentation = Augmentation.draw(generator(self.seed, 2, self.count))
        self.count += 1
        return augment(batch, augmentation)

    def close(self) -> None:
        """End the workers."""
        self.workers.close()


class StreamSession:
    """A run on a ``BurstStream``, validated on held-out batches."""

    def __init__(self, bank: SceneBank, validation: list[Batch], config: TrainConfig, state: TrainState) -> None:
        self.config, self.validation = config, validation
        self.stream = BurstStream(bank, config, state.device, config.seed, state.step)
        self.patches = config.batch

    def step(self, state: TrainState) -> dict[str, float]:
        """One update."""
        batch, config = distributed.shard(next(self.stream)), self.config
        loss: Callable[..., tuple[Tensor, dict[str, Tensor]]]
        loss = motion_loss if state.step < config.motion_steps else supervised_loss
        return update(state, *loss(state.student, batch, config), config)

    def phase(self, step: int) -> str:
        """What is learned: "motion" while the motion stage trains alone, then "all"."""
        return "motion" if step < self.config.motion_steps else "all"

    def validate(self, state: TrainState) -> dict[str, float]:
        """Scores of the teacher on the validation bursts."""
        return score(state.teacher, self.validation)

    def before_save(self, state: TrainState) -> None:
        """The step is all a resume needs."""

    def after_save(self) -> None:
        """There is nothing to remove."""

    def close(self) -> None:
        """End the workers."""
        self.stream.close()


def label_stream(
    labeled: Sequence[PreparedScene], unlabeled: Sequence[PreparedScene], store: PseudoStore, config: TrainConfig,
    device: torch.device, first: int, step: int, *, max_sources: int = MAX_LABEL_SOURCES,
) -> BurstStream:  # fmt: skip
    """Batches of ``config.batch_made`` whose sources are truths, and the pseudo-labels of the refresh before ``first``.

    FSHDR's second stage (Prabhakar et al., CVPR 2021) with our burst synthesis in place of optical flow: motion,
    visibility and background are true by construction, however wrong a pseudo-label is as a label. ``step``: the update
    that gets the next batch, at least ``first``, from which on these sources serve. At most ``max_sources`` scenes are
    drawn, anew for every ``first``; without a refresh only ``labeled`` ones. Bursts have as many frames as their
    scenes, and the variety of ``config.synth``.
    """
    scenes = [*labeled, *(unlabeled if store.current is not None else ())]
    draw = generator(config.seed, 4, first)
    numbers: list[int] = torch.randperm(len(scenes), generator=draw)[:max_sources].tolist()
    lights = [scene_truth(scenes[n]) if n < len(labeled) else store.light(n - len(labeled)) for n in numbers]
    bank = bank_from_images([scenes[n].band.scene.name for n in numbers], [source_image(light) for light in lights])
    frame_counts = tuple(sorted(len(scenes[n].evs) for n in numbers))
    synth = replace(config.synth, height=config.crop, width=config.crop, frames=frame_counts)
    seed = int(torch.randint(2**31, (1,), generator=draw))
    stream_config = replace(config, batch=config.batch_made, synth=synth, makers=0)
    return BurstStream(bank.to(device), stream_config, device, seed, step - first)


def scene_truth(scene: PreparedScene) -> Tensor:
    """(3, H, W) ground truth of a scene's band, in reference units."""
    target = whole(scene).target
    assert target is not None
    return target[0]


def source_image(light: Tensor) -> NDArray[np.float32]:
    """(3, H, W) radiance as an (H, W, 3) source with sides of at most ``MAX_SOURCE_SIDE``."""
    image = np.ascontiguousarray(light.permute(1, 2, 0).numpy(), np.float32)
    scale = MAX_SOURCE_SIDE / max(image.shape[:2])
    if scale >= 1:
        return image
    size = tuple(max(MIN_SOURCE_SIDE, round(side * scale)) for side in image.shape[1::-1])
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)
