"""A run on folders of scenes: labelled crops first, then unlabelled ones too, by one of the methods.

The crops of a step depend on the seed and the step alone. They are cut, with their optical flow where the method needs
it, on a thread while the update before is computed.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from smarthdr_cli.data.crops import Crops, CropSampler, Prefetch
from smarthdr_cli.train import distributed
from smarthdr_cli.train.burst_stream import BurstStream, label_stream
from smarthdr_cli.train.config import TrainConfig
from smarthdr_cli.train.forward import score
from smarthdr_cli.train.methods import method_class
from smarthdr_cli.train.methods.base import Method, Target
from smarthdr_cli.train.optical_flow import Flows, dense_flows
from smarthdr_cli.train.perceptual_losses import VGGFeatures
from smarthdr_cli.train.pseudo_labels import EpochLabels, OnScene, PseudoStore, predict_augmented
from smarthdr_cli.train.scene_data import SceneData
from smarthdr_cli.train.state import TrainState, generator
from smarthdr_cli.train.step import semi_supervised_loss, update

PSEUDO = "pseudo"  # in a run's folder


@dataclass(frozen=True)
class StepInputs:
    """This process's crops of an update; ``flows``: of the unlabelled ones, where the method uses any."""

    labeled: Crops | None
    unlabeled: Crops | None
    flows: Flows | None

    def to(self, device: torch.device) -> "StepInputs":
        """The same on another device."""
        labeled, unlabeled = (None if crops is None else crops.to(device) for crops in (self.labeled, self.unlabeled))
        flows = None if self.flows is None else Flows(*(field.to(device) for field in self.flows))
        return StepInputs(labeled, unlabeled, flows)


def step_inputs(labeled: CropSampler | None, unlabeled: CropSampler | None, method: Method, step: int) -> StepInputs:
    """The inputs of ``step``, made on the CPU."""
    targets_due = step >= method.first_unlabeled
    crops = _share(unlabeled if targets_due or method.has_first_stage else None, step)
    flows = dense_flows(crops.batch) if crops is not None and targets_due and method.uses_flow else None
    return StepInputs(_share(labeled, step), crops, flows)


def _share(sampler: CropSampler | None, step: int) -> Crops | None:
    return None if sampler is None else sampler.cut(sampler.draw_positions(step)[distributed.share()])


class SceneSession:
    """Updates on prepared scenes; the run's ``folder`` gets pseudo-labels. ``epoch``: updates between two refreshes, of
    which ``on_labels`` gets (scenes done, scenes in all).
    """

    def __init__(
        self, data: SceneData, config: TrainConfig, state: TrainState, folder: Path, vgg: VGGFeatures | None = None,
        on_labels: OnScene = lambda _done, _total: None,
    ) -> None:  # fmt: skip
        self.data, self.config, self.vgg, self.device = data, config, vgg, state.device
        self.held_out = data.validation(state.device)
        self.method = method_class(config.method)(config)
        seed = config.seed
        self.labeled = CropSampler(data.labeled, config.crop, config.batch, 2 * seed) if data.labeled else None
        self.unlabeled = None
        if data.unlabeled and self.method.uses_unlabeled:
            self.unlabeled = CropSampler(data.unlabeled, config.crop, config.batch_unlabeled, 2 * seed + 1)
        self.patches = (config.batch if self.labeled else 0) + (config.batch_unlabeled if self.unlabeled else 0)
        self.patches += config.batch_made
        self.synthesised: BurstStream | None = None
        self.epoch = self._epoch()
        self.store = PseudoStore(folder / PSEUDO, data.unlabeled, config.masks.side, on_labels)
        self._resume(state)
        self.inputs = Prefetch(lambda step: step_inputs(self.labeled, self.unlabeled, self.method, step), state.step)

    def _epoch(self) -> int:
        if self.method.predicts_once:
            return max(self.config.iterations, 1)
        if self.config.refresh or self.unlabeled is None:
            return max(self.config.refresh, 1)
        crops = round(self.data.scale[1] * len(self.unlabeled.grid(self.config.crop // 2)))
        return max(1, crops // self.config.batch_unlabeled)

    def _resume(self, state: TrainState) -> None:
        """Restore the method's statistics and the pseudo-labels of the epoch that ``state.step`` lies in."""
        statistics = self.method.statistics()
        for name in statistics.keys() & state.extra.keys():
            statistics[name].load_state_dict(state.extra[name])
        first = self.method.first_unlabeled
        if not self._stores_labels(state.step) or not first < state.step < self.config.iterations:
            self._synthesise(0, state.step)
            return
        last_refresh = state.step - (state.step - first) % self.epoch
        if last_refresh != state.step:  # a refresh that is due now comes with the step
            if not self.store.reuse(last_refresh) or not statistics.keys() <= state.extra.keys():
                self._refresh(state, last_refresh)
            self._synthesise(last_refresh, state.step)

    def phase(self, step: int) -> str:
        """What is learned: "labelled", then the method by its name."""
        return self.config.method if step >= self.method.first_unlabeled else "labelled"

    def step(self, state: TrainState) -> dict[str, float]:
        """One update."""
        config, step = self.config, state.step
        if self._stores_labels(step) and (step - self.method.first_unlabeled) % self.epoch == 0:
            self._refresh(state, step)
            self._synthesise(step, step)
        inputs = next(self.inputs).to(self.device)
        draw = generator(config.seed, 3, step)
        target = None if inputs.unlabeled is None else self._target(state, inputs.unlabeled, inputs.flows, draw)
        labelled = None if inputs.labeled is None else inputs.labeled.batch
        running = config.pseudo == "step" and step >= self.method.first_unlabeled
        if labelled is not None and running and self.method.observes_labels:
            pseudo = predict_augmented(state.teacher, labelled, draw, config.precision, config.views)
            self.method.observe_labeled(pseudo, labelled)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(torch.randint(2**62, (1,), generator=draw)))  # DropPath draws from it
            bursts = None if self.synthesised is None else distributed.shard(next(self.synthesised))
            loss, terms = semi_supervised_loss(
                state.student, labelled, target, config, draw, self.vgg, synthesised=bursts
            )
        return update(state, loss, terms, config)

    def _target(self, state: TrainState, crops: Crops, flows: Flows | None, draw: torch.Generator) -> Target | None:
        if state.step < self.method.first_unlabeled:
            return self.method.first_stage_targets(crops, draw)
        pseudo = None
        if self._stores_labels(state.step):
            pseudo = self.store.cut(crops).to(self.device)
        elif self.method.uses_teacher:
            pseudo = predict_augmented(state.teacher, crops.batch, draw, self.config.precision, self.config.views)
            self.method.observe(pseudo, crops)
        return self.method.targets(crops, pseudo, flows)

    def _stores_labels(self, step: int) -> bool:
        """Whether pseudo-labels of ``step`` come from the store."""
        method = self.method
        once_an_epoch = self.config.pseudo == "epoch" or method.predicts_once
        due = step >= method.first_unlabeled and self.unlabeled is not None
        return method.uses_teacher and once_an_epoch and due

    def _refresh(self, state: TrainState, step: int) -> None:
        """New pseudo-labels for an epoch, and the method's statistics under the same teacher."""
        assert self.unlabeled is not None
        config = self.config
        self.store.refresh(state.teacher, step, self.device, config.precision, config.views)
        self.method.refresh(
            EpochLabels(state.teacher, self.store, self.data.labeled, self.unlabeled, config, self.device)
        )

    def _synthesise(self, first: int, step: int) -> None:
        """Synthesise bursts from the truths and labels there are from update ``first`` on, for ``batch_made``."""
        if self.synthesised is not None:
            self.synthesised.close()
        if self.config.batch_made and (self.data.labeled or self.store.current is not None):
            self.synthesised = label_stream(
                self.data.labeled, self.data.unlabeled, self.store, self.config, self.device, first, step
            )

    def validate(self, state: TrainState) -> dict[str, float]:
        """Scores on the held-out labels: of the teacher, and of the student as ``student``."""
        if not self.held_out:
            return {}
        return score(state.teacher, self.held_out) | {"student": score(state.student, self.held_out)["psnr_mu"]}

    def before_save(self, state: TrainState) -> None:
        """Put the method's statistics into the state."""
        state.extra = {name: part.state_dict() for name, part in self.method.statistics().items()}

    def after_save(self) -> None:
        """Remove older pseudo-labels."""
        self.store.remove_older()

    def close(self) -> None:
        """End the threads that cut crops and synthesise bursts."""
        self.inputs.close()
        if self.synthesised is not None:
            self.synthesised.close()
