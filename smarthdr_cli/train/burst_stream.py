"""Supervised training on bursts that are made as it goes: no data on disk, no end, and full truth."""

from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
import torch
from torch import Tensor

from smarthdr_cli.data.augment import Augmentation, augment
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.synth.sources import SceneBank
from smarthdr_cli.train import distributed
from smarthdr_cli.train.config import TrainConfig
from smarthdr_cli.train.draws import generator
from smarthdr_cli.train.makers import Makers, Parts, Recipe, processes_for, taken
from smarthdr_cli.train.score import score
from smarthdr_cli.train.state import TrainState
from smarthdr_cli.train.step import motion_loss, supervised_loss, update


class BurstStream:
    """Batches for the trainer: freshly made ones and earlier ones seen again under another augmentation.

    What comes at a step depends on the seed and the step alone (and on whether the CPU or a GPU makes it). The next
    fresh batches are made while the trainer works; after a resume, earlier ones are made again when they are asked for.
    """

    def __init__(self, bank: SceneBank, config: TrainConfig, device: torch.device, seed: int, start: int = 0) -> None:
        self.bank, self.config, self.device, self.seed = bank, config, device, seed
        self.count = start
        self.ordered: dict[int, Future[Batch] | Future[Parts]] = {}
        self.made: dict[int, Batch] = {}
        recipe = Recipe(bank, config.synth, config.batch, seed)
        self.makers = Makers(recipe, processes_for(config.makers, device))
        self._order(start // config.replay)

    def _order(self, number: int) -> None:
        if number not in self.made and number not in self.ordered:
            self.ordered[number] = self.makers.order(number)

    def _taken(self, number: int) -> Batch:
        """Batch ``number``, waited for, on the device."""
        self._order(number)
        if number not in self.made:
            self.made[number] = taken(self.ordered.pop(number), self.device)
        return self.made[number]

    def __iter__(self) -> "BurstStream":
        return self

    def __next__(self) -> Batch:
        newest = self.count // self.config.replay
        number = newest
        if self.count % self.config.replay:
            oldest = max(0, newest + 1 - self.config.pool)
            number = int(np.random.default_rng([self.seed, 1, self.count]).integers(oldest, newest, endpoint=True))
        self._order(number)
        for coming in range(newest + 1, newest + 1 + self.makers.ahead):
            self._order(coming)
        batch = self._taken(number)
        self.made.pop(newest - self.config.pool, None)
        how = Augmentation.draw(generator(self.seed, 2, self.count))
        self.count += 1
        return augment(batch, how)

    def close(self) -> None:
        """Let the makers finish what they are making."""
        self.makers.close()


class StreamSession:
    """A run on a ``BurstStream``, validated on made batches."""

    def __init__(self, bank: SceneBank, validation: list[Batch], config: TrainConfig, state: TrainState) -> None:
        self.config, self.validation = config, validation
        self.stream = BurstStream(bank, config, state.device, config.seed, state.step)
        self.patches = config.batch

    def step(self, state: TrainState) -> dict[str, float]:
        """One update."""
        batch, config = distributed.part_of(next(self.stream)), self.config
        loss: Callable[..., tuple[Tensor, dict[str, Tensor]]]
        loss = motion_loss if state.step < config.motion_steps else supervised_loss
        return update(state, *loss(state.student, batch, config), config)

    def phase(self, step: int) -> str:
        """What is learned at a step, in a word."""
        return "motion" if step < self.config.motion_steps else "all"

    def validate(self, state: TrainState) -> dict[str, float]:
        """Scores of the averaged weights on the validation bursts."""
        return score(state.teacher, self.validation)

    def saving(self, state: TrainState) -> None:
        """Nothing to keep but the step."""

    def saved(self) -> None:
        """Nothing to clear away."""

    def close(self) -> None:
        """Stop making bursts."""
        self.stream.close()
