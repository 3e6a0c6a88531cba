"""SMAE (Yan et al., "SMAE: Few-shot Learning for HDR Deghosting with Saturation-Aware Masked Autoencoders", CVPR 2023):
pseudo-labels weighted by re-rendering, and a masked first stage.

APSS (eqs. 14 to 18). With R the reference and R' the prediction re-rendered at its exposure, a patch has the loss

    l = mean |gamma(R') - gamma(R)|  over its well-exposed pixels,   and the weight   clip((m - l) / (m - tau), 0, 1),

tau the 85th percentile of l over labelled patches, m its maximum over unlabelled ones (eq. 17). Left open in the paper
and chosen here: "well exposed" is a gamma code between 0.1 and 0.9 in every channel, the norm is a mean over those
pixels, and a patch without any has loss 0. A patch is SMAE's training crop of 128.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from smarthdr_cli.data.augment import Augmentation
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.crops import Crops
from smarthdr_cli.models.base import Prediction
from smarthdr_cli.models.merge import radiance
from smarthdr_cli.train import distributed
from smarthdr_cli.train.config import TrainConfig
from smarthdr_cli.train.losses import Terms, weighted_mean
from smarthdr_cli.train.methods.base import Method, Statistic, Target
from smarthdr_cli.train.optical_flow import Flows
from smarthdr_cli.train.perceptual_losses import VGGFeatures
from smarthdr_cli.train.pseudo_labels import EpochLabels, Pseudo
from smarthdr_cli.train.rerendering import gamma_code, rerender, well_exposed
from smarthdr_cli.train.uncertainty_masks import RUNNING_DECAY, LogHistogram

PATCH = 128  # px, SMAE's training crop
PERCENTILE = 0.85  # eq. 16
MASKED_SHARE, MASKED_PATCH = 0.75, 8  # of the first stage: share of patches hidden, and their side in px


class SMAE(Method):
    """Weights of patches by APSS; with ``smae_stage1`` masked frames are completed first."""

    observes_labels = True

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.threshold = Threshold(decay=RUNNING_DECAY if config.pseudo == "step" else 1.0)
        self.has_first_stage = config.smae_stage1

    def first_stage_targets(self, crops: Crops, draw: torch.Generator) -> Target:
        """Frames made from the shortest, most of their patches missing."""
        return masked_frames(crops.batch, draw)

    def targets(self, crops: Crops, pseudo: Pseudo | None, flows: Flows | None) -> Target | None:
        """Pseudo-labels with the weights of their patches; None before there is a tau."""
        assert pseudo is not None
        if self.threshold.labelled.empty:
            return None
        weight = self._weight(pseudo, crops)
        return Target(replace(crops.batch, target=pseudo.radiance), weight, coverage={"kept": weight.mean()})

    def _weight(self, pseudo: Pseudo, crops: Crops) -> Tensor:
        weights = self.threshold.weights(patch_loss(pseudo.radiance, crops.batch))
        return weight_map(weights, *crops.batch.frames.shape[-2:])

    def observe(self, pseudo: Pseudo, crops: Crops) -> None:
        """Patch losses for m."""
        self._observe(self.threshold.unlabelled, pseudo, crops.batch)

    def observe_labeled(self, pseudo: Pseudo, batch: Batch) -> None:
        """Patch losses for tau."""
        self._observe(self.threshold.labelled, pseudo, batch)

    def _observe(self, histogram: LogHistogram, pseudo: Pseudo, batch: Batch) -> None:
        distributed.all_reduce_counts([histogram], lambda: histogram.update(patch_loss(pseudo.radiance, batch)))

    def refresh(self, labels: EpochLabels) -> None:
        """tau from whole labelled scenes, m from the crops of a grid."""

        def update() -> None:
            for pseudo, batch in labels.labeled():
                self.threshold.labelled.update(patch_loss(pseudo.radiance, batch))
            for pseudo, crops in labels.crops():
                self.threshold.unlabelled.update(patch_loss(pseudo.radiance, crops.batch))

        distributed.recount((self.threshold.labelled, self.threshold.unlabelled), update)

    def statistics(self) -> dict[str, Statistic]:
        """Both distributions."""
        return {"threshold": self.threshold}

    def masks(self, pseudo: Pseudo, crops: Crops) -> dict[str, Tensor]:
        """The weights."""
        return {} if self.threshold.labelled.empty else {"weight": self._weight(pseudo, crops)}


def patch_loss(predicted: Tensor, batch: Batch, patch: int = PATCH) -> Tensor:
    """(B, rows, columns): the loss l of each patch.

    ``predicted``: (B, 3, H, W) in reference units. Patches begin at the top left; those at the far edges are smaller. A
    prediction that is not finite makes the loss of its patch infinite.
    """
    reference = batch.frames[:, 0]
    compared = well_exposed(reference) * batch.valid[:, 0]
    codes = rerender(predicted, torch.zeros_like(batch.evs[:, 0]))
    error = (codes - gamma_code(reference)).abs().mean(dim=1, keepdim=True)
    error = torch.where(torch.isfinite(predicted).all(dim=1, keepdim=True), error, torch.full_like(error, torch.inf))
    total = _patch_sums(torch.where(compared > 0, error * compared, torch.zeros_like(error)), patch)
    return total / _patch_sums(compared, patch).clamp(min=1)


def _patch_sums(value: Tensor, patch: int) -> Tensor:
    """(B, 1, H, W) to (B, rows, columns)."""
    _, _, h, w = value.shape
    padded = torch.nn.functional.pad(value, (0, -w % patch, 0, -h % patch))
    b, _, hh, ww = padded.shape
    return padded.view(b, hh // patch, patch, ww // patch, patch).sum(dim=(2, 4))


def weight_map(weights: Tensor, height: int, width: int, patch: int = PATCH) -> Tensor:
    """(B, rows, columns) weights of patches to (B, 1, H, W)."""
    pixels = weights.repeat_interleave(patch, dim=1).repeat_interleave(patch, dim=2)
    return pixels[:, None, :height, :width]


class Threshold:
    """tau and m of APSS from running distributions of patch losses, and the weights that follow.

    ``decay`` below 1 forgets the losses of older teachers, per update. Losses of 0 count as 1e-6.
    """

    def __init__(self, percentile: float = PERCENTILE, *, decay: float = 1.0) -> None:
        self.percentile = percentile
        self.labelled, self.unlabelled = (LogHistogram(1e-6, 1.0, bins=4096, decay=decay) for _ in range(2))

    @property
    def levels(self) -> tuple[float, float]:
        """tau and m. Raises ValueError before either distribution has a loss."""
        return self.labelled.quantile(self.percentile), self.unlabelled.quantile(1.0)

    def weights(self, losses: Tensor) -> Tensor:
        """Eq. 18: losses of any shape to weights in [0, 1]; 0 where the loss is not finite."""
        tau, m = self.levels
        falling = ((m - losses) / max(m - tau, 1e-12)).clamp(0, 1)
        weight = torch.where(losses <= tau, torch.ones_like(losses), falling)
        return torch.where(torch.isfinite(losses), weight, torch.zeros_like(losses))

    def state_dict(self) -> dict[str, Tensor]:
        """The counts of both distributions."""
        return {"labelled": self.labelled.counts.clone(), "unlabelled": self.unlabelled.counts.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from saved counts. Raises ValueError for another number of bins."""
        self.labelled.load_state_dict({"counts": state["labelled"]})
        self.unlabelled.load_state_dict({"counts": state["unlabelled"]})


@dataclass(frozen=True, kw_only=True)
class MaskedTarget(Target):
    """First stage: ``batch`` has masked frames and no target; ``short``: (B, 3, H, W) radiance in reference units."""

    short: Tensor

    def augmented(self, augmentation: Augmentation) -> Self:
        """The short frame's radiance too."""
        return replace(super().augmented(augmentation), short=augmentation.colour(self.short))

    def loss(self, out: Prediction, config: TrainConfig, vgg: VGGFeatures | None) -> tuple[Tensor, Terms]:
        """``masked_loss``."""
        loss = masked_loss(out.radiance, self)
        return loss, {"masked": loss.detach()}


def masked_frames(
    batch: Batch, generator: torch.Generator, *, share: float = MASKED_SHARE, patch: int = MASKED_PATCH
) -> MaskedTarget:
    """Eqs. 1 and 2: all frames made from the shortest by exposure, then ``share`` of their 8x8 patches set to 0.

    Exactly that share of each frame's patches, drawn for every frame separately. ``valid`` stays 1 there: as in the
    paper, the network does not know which patches are hidden.
    """
    b, n, _, h, w = batch.frames.shape
    shortest = batch.evs.argmin(dim=1)
    bursts = torch.arange(b, device=batch.evs.device)
    light = radiance(batch.frames[bursts, shortest], batch.evs[bursts, shortest])
    frames = (light[:, None] * torch.exp2(batch.evs).view(b, n, 1, 1, 1)).clamp(0, 1)
    rows, columns = -(-h // patch), -(-w // patch)
    draw = torch.rand((b, n, rows * columns), generator=generator, device=generator.device)
    hidden = draw.argsort(dim=2).argsort(dim=2) < round(share * rows * columns)
    keep = (~hidden).to(frames).view(b, -1, rows, columns)
    keep = keep.repeat_interleave(patch, dim=2).repeat_interleave(patch, dim=3)[:, :, None, :h, :w]
    masked = replace(
        batch, frames=frames * keep, valid=torch.ones_like(batch.valid), target=None, flow=None, visible=None
    )
    return MaskedTarget(batch=masked, short=light)


def masked_loss(predicted: Tensor, target: MaskedTarget, weight: Tensor | None = None) -> Tensor:
    """Eq. 8: L1 between the prediction and the short frame, both re-rendered at every exposure, not clipped; summed.

    ``predicted``: (B, 3, H, W) in reference units; ``weight``: (B, 1, H, W), 0 leaves a pixel out.
    """
    short = target.short
    if weight is not None:
        kept = weight > 0
        predicted = torch.where(kept, predicted, torch.zeros_like(predicted))
        short = torch.where(kept, short, torch.zeros_like(short))
    total = predicted.new_zeros(())
    for ev in target.batch.evs.unbind(dim=1):
        error = (rerender(predicted, ev, clip=False) - rerender(short, ev, clip=False)).abs()
        total = total + weighted_mean(error, weight)
    return total
