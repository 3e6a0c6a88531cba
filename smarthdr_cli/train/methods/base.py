"""What a training method is: it turns unlabelled crops into a target y and a weight w per pixel.

    L_u = L(S(x), y, w),   S the student, x the crops under augmentation, L of ``losses.objective``

docs/METHOD.md, section 6, has the methods. A method that learns from the teacher gets its predictions, made once an
epoch (``refresh``) or at every step (``observe``), and keeps the distributions it draws thresholds from in
``statistics``, so that a resumed run has them again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor

from smarthdr_cli.data.augment import Augmentation, augment
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.crops import Crops
from smarthdr_cli.models.base import Prediction
from smarthdr_cli.train.config import TrainConfig
from smarthdr_cli.train.losses import Terms, objective
from smarthdr_cli.train.optical_flow import Flows
from smarthdr_cli.train.perceptual_losses import VGGFeatures, gradient_loss
from smarthdr_cli.train.pseudo_labels import EpochLabels, Pseudo
from smarthdr_cli.train.rerendering import cell_consistency


@dataclass(frozen=True)
class Target:
    """A batch with its target, and ``weight`` (B, 1, H, W) in [0, 1]; None weighs every pixel 1.

    ``structure``: (B, 3, H, W) radiance whose gradients the prediction learns everywhere. ``from_teacher``: the target
    is a pseudo-label, so that the uncertainty term counts ``weight_judge_unlabeled``, and the prediction is tied to the
    reference's cells. ``coverage``: mean weights, by the name under which they are logged.
    """

    batch: Batch
    weight: Tensor | None = None
    structure: Tensor | None = None
    from_teacher: bool = True
    coverage: Terms = field(default_factory=dict)

    def augmented(self, augmentation: Augmentation) -> Self:
        """Frames, target, weight and structure under one augmentation."""
        return replace(
            self,
            batch=augment(self.batch, augmentation),
            weight=None if self.weight is None else augmentation.geometry(self.weight),
            structure=None if self.structure is None else augmentation.colour(self.structure),
        )

    def loss(self, out: Prediction, config: TrainConfig, vgg: VGGFeatures | None) -> tuple[Tensor, Terms]:
        """The loss of the student's output for ``batch``, and its terms by name."""
        judge = config.weight_judge_unlabeled if self.from_teacher else 1.0
        loss, terms = objective(out, self.batch, config, self.weight, vgg, uncertainty_factor=judge)
        if config.weight_cells and self.from_teacher:
            gap = cell_consistency(out.radiance, self.batch)
            loss, terms = loss + config.weight_cells * gap, terms | {"cells": gap.detach()}
        if self.structure is not None:
            scale = self.batch.scale_short
            if vgg is not None:
                distance = config.weight_vgg * vgg.distance(out.radiance, self.structure, scale)
            else:
                distance = gradient_loss(out.radiance, self.structure, scale)
            loss, terms = loss + distance, terms | {"structure": distance.detach()}
        return loss, terms


class Statistic(Protocol):
    """What a state file keeps of a method."""

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors by name."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from saved tensors."""


class Method(Protocol):
    """What unlabelled crops teach in one run. Subclasses override what differs from the defaults here.

    ``needs_labels``: a run without labelled scenes is refused. ``uses_unlabeled``: unlabelled scenes are opened.
    ``uses_teacher``: targets need the teacher's predictions. ``predicts_once``: those of the first unlabelled update
    serve the whole run. ``defaults``: options of a run on scenes that sets none.

    ``uses_flow``: targets need optical flow, which is computed ahead of the update. ``has_first_stage``: crops teach
    something before ``first_unlabeled``. ``observes_labels``: ``observe_labeled`` wants predictions for labelled crops.
    """

    needs_labels: ClassVar[bool] = True
    uses_unlabeled: ClassVar[bool] = True
    uses_teacher: ClassVar[bool] = True
    predicts_once: ClassVar[bool] = False
    defaults: ClassVar[Mapping[str, Any]] = {}
    config: TrainConfig
    uses_flow: bool = False
    has_first_stage: bool = False
    observes_labels: bool = False

    def __init__(self, config: TrainConfig) -> None:
        self.config = config

    @property
    def first_unlabeled(self) -> int:
        """The update from which ``targets`` are learned; labels alone, or the first stage, come before it."""
        return round(self.config.labelled_first * self.config.iterations)

    def first_stage_targets(self, crops: Crops, draw: torch.Generator) -> Target | None:
        """What crops teach before ``first_unlabeled``, where there is a first stage."""
        return None

    def targets(self, crops: Crops, pseudo: Pseudo | None, flows: Flows | None) -> Target | None:
        """What crops teach; None where thresholds are not known yet.

        ``pseudo``: the teacher's predictions, where the method uses it. ``flows``: those of the crops, computed here
        where they are None.
        """

    def observe(self, pseudo: Pseudo, crops: Crops) -> None:
        """Update running thresholds with the teacher's predictions for unlabelled crops (``pseudo = "step"``)."""

    def observe_labeled(self, pseudo: Pseudo, batch: Batch) -> None:
        """The same with its predictions for labelled crops."""

    def refresh(self, labels: EpochLabels) -> None:
        """Replace the thresholds by those of an epoch's predictions."""

    def statistics(self) -> dict[str, Statistic]:
        """What a resumed run needs, by its key in the state file."""
        return {}

    def masks(self, pseudo: Pseudo, crops: Crops) -> dict[str, Tensor]:
        """Weights (B, 1, H, W) by name, for TensorBoard; empty where thresholds are not known yet."""
        return {}
