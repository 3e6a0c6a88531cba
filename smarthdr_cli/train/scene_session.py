"""A run on folders of scenes: labelled crops first, then unlabelled ones too, by one of the methods."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.crops import Crops, CropSampler, Prefetch
from smarthdr_cli.data.prepared import PreparedScene
from smarthdr_cli.train import distributed, uncertainty_masks
from smarthdr_cli.train.burst_stream import BurstStream
from smarthdr_cli.train.config import TrainConfig
from smarthdr_cli.train.draws import generator
from smarthdr_cli.train.feed import given
from smarthdr_cli.train.made import made_bursts
from smarthdr_cli.train.methods import base, smae
from smarthdr_cli.train.optical_flow import Flows
from smarthdr_cli.train.perceptual_losses import VGGFeatures
from smarthdr_cli.train.pseudo_labels import PseudoStore, predict_scene, pseudo_of
from smarthdr_cli.train.score import score
from smarthdr_cli.train.state import TrainState
from smarthdr_cli.train.step import semi_supervised_loss, update

PSEUDO = "pseudo"  # in a run's folder
LARGEST = 640  # pixels of a held-out picture looked at each way, from its middle
RUNNING = 0.999  # decay of ranges that are kept up at every step


@dataclass(frozen=True)
class SceneData:
    """Prepared scenes by their role."""

    labeled: tuple[PreparedScene, ...]
    unlabeled: tuple[PreparedScene, ...]
    held_out: tuple[PreparedScene, ...]

    def validation(self, device: torch.device) -> list[Batch]:
        """The middle of every held-out picture, one a batch, sides multiples of 32; of none that is smaller."""
        return [middle(scene).to(device) for scene in self.held_out if large_enough(scene)]


class SceneSession:
    """Crops of prepared scenes. Which come at a step depends on the seed and the step alone."""

    def __init__(
        self, data: SceneData, config: TrainConfig, state: TrainState, folder: Path, vgg: VGGFeatures | None = None
    ) -> None:
        self.data, self.config, self.vgg, self.device = data, config, vgg, state.device
        self.held_out = data.validation(state.device)
        seed = config.seed
        self.labeled = CropSampler(data.labeled, config.crop, config.batch, 2 * seed) if data.labeled else None
        self.unlabeled = None
        if data.unlabeled and config.method != "supervised":
            self.unlabeled = CropSampler(data.unlabeled, config.crop, config.batch_unlabeled, 2 * seed + 1)
        self.patches = (config.batch if self.labeled else 0) + (config.batch_unlabeled if self.unlabeled else 0)
        self.patches += config.batch_made
        self.making: BurstStream | None = None
        m = config.masks
        decay = RUNNING if config.pseudo == "step" else 1.0
        self.limits = uncertainty_masks.SigmaRange(high_quantile=m.top, patch=m.side, decay=decay)
        self.trusted = uncertainty_masks.SigmaRange(high_quantile=m.top, patch=m.side, decay=decay)
        self.threshold = smae.Threshold(decay=decay)
        self.kept: dict[str, Any] = {"limits": self.limits, "trusted": self.trusted, "threshold": self.threshold}
        for name, values in state.extra.items():
            self.kept[name].load_state_dict(values)
        self.epoch = self._epoch()
        self.store = PseudoStore(folder / PSEUDO, data.unlabeled, m.side)
        if self._stored(state.step) and config.first_unlabeled < state.step < config.iterations:
            last = state.step - (state.step - config.first_unlabeled) % self.epoch
            if last != state.step:  # a refresh that is due now comes with the step
                if not self.store.take(last):
                    self._refresh(state, last)
                self._make(last, state.step)
        else:
            self._make(0, state.step)
        self.coming = Prefetch(lambda step: given(self.labeled, self.unlabeled, config, step), state.step)

    def _epoch(self) -> int:
        """Steps between two refreshes; FSHDR predicts once."""
        if self.config.method == "fshdr":
            return max(self.config.iterations, 1)
        if self.config.refresh or self.unlabeled is None:
            return max(self.config.refresh, 1)
        return max(1, len(self.unlabeled.grid(self.config.crop // 2)) // self.config.batch_unlabeled)

    def phase(self, step: int) -> str:
        """labelled, or the method's name."""
        return self.config.method if step >= self.config.first_unlabeled else "labelled"

    def step(self, state: TrainState) -> dict[str, float]:
        """One update."""
        config, step = self.config, state.step
        if self._stored(step) and (step - config.first_unlabeled) % self.epoch == 0:
            self._refresh(state, step)
            self._make(step, step)
        feed = next(self.coming).to(self.device)
        draw = generator(config.seed, 3, step)
        aim = None if feed.unlabeled is None else self._aim(state, feed.unlabeled, feed.flows, draw)
        batch = None if feed.labeled is None else feed.labeled.batch
        if batch is not None and self._running(step):
            self._look(state, batch, draw)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(torch.randint(2**62, (1,), generator=draw)))  # what DropPath draws from
            made = None if self.making is None else distributed.part_of(next(self.making))
            loss, terms = semi_supervised_loss(state.student, batch, aim, config, draw, self.vgg, made=made)
        return update(state, loss, terms, config)

    def validate(self, state: TrainState) -> dict[str, float]:
        """Scores of the held-out labels: teacher, and student as ``student``."""
        if not self.held_out:
            return {}
        return score(state.teacher, self.held_out) | {"student": score(state.student, self.held_out)["psnr_mu"]}

    def saving(self, state: TrainState) -> None:
        """Keeps the ranges."""
        state.extra = {name: part.state_dict() for name, part in self.kept.items()}

    def saved(self) -> None:
        """Older pseudo-labels may go."""
        self.store.tidy()

    def close(self) -> None:
        """Cut and make no more."""
        self.coming.close()
        if self.making is not None:
            self.making.close()

    def _stored(self, step: int) -> bool:
        """Whether pseudo-labels come from the store at a step."""
        config = self.config
        wanted = config.method in ("smarthdr", "smae", "fshdr") and step >= config.first_unlabeled
        return wanted and self.unlabeled is not None and (config.pseudo == "epoch" or config.method == "fshdr")

    def _running(self, step: int) -> bool:
        """Whether the teacher must look at labelled crops at this step, to keep thresholds up."""
        config = self.config
        asked = config.method == "smae" or (config.method == "smarthdr" and config.masks.adaptive)
        return asked and config.pseudo == "step" and step >= config.first_unlabeled

    def _aim(self, state: TrainState, crops: Crops, flows: Flows | None, draw: torch.Generator) -> base.Aim | None:
        config = self.config
        if state.step < config.first_unlabeled:
            if config.method == "fshdr":
                return base.Aim(crops.batch)
            return base.masked(crops, draw) if config.method == "smae" else None
        if config.method == "selfhdr":
            return base.self_supervised(crops, flows)
        if self._stored(state.step):
            pseudo = self.store.cut(crops).to(self.device)
        else:
            pseudo = pseudo_of(state.teacher, crops.batch, draw, config.precision, config.views)
            origin = torch.tensor([crops.tops, crops.lefts], device=self.device).T

            def count_mine() -> None:
                self.limits.update(pseudo.sigma, origin)
                self.threshold.update_unlabelled(smae.patch_loss(pseudo.radiance, crops.batch))

            seen = (self.limits.patches, self.limits.pixels, self.threshold.unlabelled)
            distributed.counted(seen, count_mine)
        if config.method == "fshdr":
            return base.artificial(pseudo, crops, flows)
        if config.method == "smae":
            return base.weighted(pseudo, crops, self.threshold) if not self.threshold.labelled.empty else None
        tau = self.trusted.quantile(config.masks.quantile) if config.masks.adaptive and not self.trusted.empty else None
        return base.smarthdr(pseudo, crops, self.limits, config, tau, flows)

    def _look(self, state: TrainState, batch: Batch, draw: torch.Generator) -> None:
        """Running thresholds from what the teacher makes of labelled crops."""
        found = pseudo_of(state.teacher, batch, draw, self.config.precision, self.config.views)

        def count_mine() -> None:
            self.trusted.update(found.sigma)
            self.threshold.update(smae.patch_loss(found.radiance, batch))

        distributed.counted((self.trusted.patches, self.trusted.pixels, self.threshold.labelled), count_mine)

    def _refresh(self, state: TrainState, step: int) -> None:
        """New pseudo-labels for an epoch, their range, and the thresholds of labelled scenes under the same teacher."""
        config = self.config
        self.store.refresh(state.teacher, step, self.device, config.precision, config.views)
        seen = (self.limits.patches, self.limits.pixels, self.trusted.patches, self.trusted.pixels,
                self.threshold.labelled, self.threshold.unlabelled)  # fmt: skip
        for part in seen:
            part.counts.zero_()
        distributed.counted(seen, lambda: self._count(state))

    def _make(self, first: int, step: int) -> None:
        """Bursts from the truths and labels there are from update ``first`` on."""
        if self.making is not None:
            self.making.close()
        if self.config.batch_made and (self.data.labeled or self.store.made is not None):
            data = self.data
            self.making = made_bursts(data.labeled, data.unlabeled, self.store, self.config, self.device, first, step)

    def _count(self, state: TrainState) -> None:
        """This process's part of what the ranges and thresholds of an epoch are taken from."""
        config, mine = self.config, slice(distributed.rank(), None, distributed.count())
        for number, scene in list(enumerate(self.data.unlabeled))[mine]:
            self.limits.update(self.store.sigma(number), (scene.rows[0], 0))
        if config.method == "smae" or config.masks.adaptive:
            for scene in self.data.labeled[mine]:
                found = predict_scene(state.teacher, scene, self.device, config.precision, config.views)
                self.trusted.update(found.sigma)
                self.threshold.update(smae.patch_loss(found.radiance, whole(scene)))
        if config.method == "smae" and self.unlabeled is not None:
            for place in self.unlabeled.grid(config.crop)[mine]:
                crops = self.unlabeled.cut([place])
                self.threshold.update_unlabelled(smae.patch_loss(self.store.cut(crops).radiance, crops.batch))


def large_enough(scene: PreparedScene) -> bool:
    """Whether a scene's band holds 32 pixels each way, the least that a network is shown."""
    return min(scene.rows[1] - scene.rows[0], scene.size[1]) >= 32


def middle(scene: PreparedScene) -> Batch:
    """The middle of a scene's band as a batch of one, sides multiples of 32 and at most LARGEST."""
    first, last = scene.rows
    h, w = (min(length, LARGEST) // 32 * 32 for length in (last - first, scene.size[1]))
    return _batch(scene, first + (last - first - h) // 2, (scene.size[1] - w) // 2, h, w)


def whole(scene: PreparedScene) -> Batch:
    """A scene's band as a batch of one."""
    first, last = scene.rows
    return _batch(scene, first, 0, last - first, scene.size[1])


def _batch(scene: PreparedScene, top: int, left: int, height: int, width: int) -> Batch:
    frames, valid, target = scene.crop(top, left, height, width)
    given: Tensor | None = None if target is None else target[None]
    return Batch(frames[None], torch.tensor([scene.evs]), valid[None], given)
