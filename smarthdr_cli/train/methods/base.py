"""What the student is to learn from unlabelled crops under each method, and how much each pixel of it counts.

smarthdr: the teacher's result where its judge is sure (arXiv 2511.12939). smae: the same, weighted by re-rendering.
fshdr: bursts made from the teacher's result. selfhdr: targets from the frames alone.
See docs/METHOD.md, section 6.
"""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from smarthdr_cli.data.augment import Augmentation, augment
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.crops import Crops
from smarthdr_cli.models.base import Prediction
from smarthdr_cli.train import perceptual, uncertainty_masks
from smarthdr_cli.train.config import MaskConfig, TrainConfig
from smarthdr_cli.train.methods import selfhdr, smae
from smarthdr_cli.train.methods.fshdr import artificial_burst, rerender_consistency
from smarthdr_cli.train.objective import Terms, objective
from smarthdr_cli.train.optical_flow import Flows
from smarthdr_cli.train.perceptual_losses import VGGFeatures
from smarthdr_cli.train.perceptual_losses import perceptual as vgg_distance
from smarthdr_cli.train.pseudo_labels import Pseudo
from smarthdr_cli.train.rerendering import cell_consistency


@dataclass(frozen=True)
class Aim:
    """A batch with its target, and ``weight`` (B, 1, H, W) in [0, 1].

    Without a target: the burst is to be re-rendered (``short`` None), or masked frames to be completed towards
    ``short`` (B, 3, H, W). ``structure`` (B, 3, H, W): what gradients are learned from everywhere. ``shares``: for the
    log.
    """

    batch: Batch
    weight: Tensor | None = None
    structure: Tensor | None = None
    short: Tensor | None = None
    shares: Terms = field(default_factory=dict)

    def under(self, how: Augmentation) -> "Aim":
        """All of it under one augmentation."""
        return replace(
            self,
            batch=augment(self.batch, how),
            weight=None if self.weight is None else how.geometry(self.weight),
            structure=None if self.structure is None else how.colour(self.structure),
            short=None if self.short is None else how.colour(self.short),
        )


def aimed_loss(out: Prediction, aim: Aim, config: TrainConfig, vgg: VGGFeatures | None) -> tuple[Tensor, Terms]:
    """The loss of an estimate of ``aim.batch``, and its terms by name."""
    if aim.short is not None:
        loss = smae.masked_loss(out.radiance, smae.MaskedBurst(aim.batch, aim.short))
        return loss, {"masked": loss.detach()}
    if aim.batch.target is None:
        loss = rerender_consistency(out.radiance, aim.batch)
        return config.weight_rerender * loss, {"rerendered": loss.detach()}
    judged = 1.0 if config.method == "selfhdr" else config.weight_judge_unlabeled
    loss, terms = objective(out, aim.batch, config, aim.weight, vgg, judged=judged)
    if config.weight_cells and config.method != "selfhdr":
        gap = cell_consistency(out.radiance, aim.batch)
        loss, terms = loss + config.weight_cells * gap, terms | {"cells": gap.detach()}
    if aim.structure is not None:
        scale = aim.batch.scale_short
        if vgg is not None:
            distance = config.weight_vgg * vgg_distance(vgg, out.radiance, aim.structure, scale)
        else:
            distance = perceptual.gradient(out.radiance, aim.structure, scale)
        loss, terms = loss + distance, terms | {"structure": distance.detach()}
    return loss, terms


def smarthdr(
    pseudo: Pseudo, crops: Crops, limits: uncertainty_masks.SigmaRange, config: TrainConfig,
    tau: uncertainty_masks.Thresholds | None,
    flows: Flows | None = None,
) -> Aim:  # fmt: skip
    """Pseudo-labels less what either mask drops. ``tau``: adaptive thresholds, in place of the fixed ones. ``flows``:
    the crops' where they are at hand.
    """
    m: MaskConfig = config.masks
    origin = torch.tensor([crops.tops, crops.lefts], device=pseudo.sigma.device).T
    limit, levels = (None, tau) if tau is not None else (limits, uncertainty_masks.Thresholds(m.tau_patch, m.tau_pixel))

    def kept(patch: bool, pixel: bool) -> Tensor:
        return uncertainty_masks.bilevel_mask(
            pseudo.sigma, limit, levels, m.side, origin, use_patch=patch, use_pixel=pixel, means=pseudo.means
        )

    weight = kept(m.patch, m.pixel)
    shares = {"kept": weight.mean(), "kept_patches": kept(m.patch, False).mean()}
    target, structure = pseudo.radiance, None
    if config.fill != "none":
        own = selfhdr.color_target(crops.batch, flows)
        if config.fill == "selfhdr":
            target, weight = selfhdr.fill_masked(target, weight, own)
        else:
            target, weight = selfhdr.fill_masked(own.radiance, own.keep, selfhdr.Target(target, weight))
            structure = selfhdr.structure_target(crops.batch, own.radiance).radiance
        shares["kept_filled"] = weight.mean()
    return Aim(replace(crops.batch, target=target), weight, structure=structure, shares=shares)


def weighted(pseudo: Pseudo, crops: Crops, threshold: smae.Threshold) -> Aim:
    """Pseudo-labels weighted by SMAE's rule."""
    batch = crops.batch
    weights = threshold.weights(smae.patch_loss(pseudo.radiance, batch))
    weight = smae.weight_map(weights, *batch.frames.shape[-2:])
    return Aim(replace(batch, target=pseudo.radiance), weight, shares={"kept": weight.mean()})


def artificial(pseudo: Pseudo, crops: Crops, flows: Flows | None = None) -> Aim:
    """FSHDR's second stage: bursts whose truth is the prediction."""
    return Aim(artificial_burst(pseudo.radiance, crops.batch, flows=flows))


def self_supervised(crops: Crops, flows: Flows | None = None) -> Aim:
    """SelfHDR's colour and structure targets."""
    colour = selfhdr.color_target(crops.batch, flows)
    structure = selfhdr.structure_target(crops.batch, colour.radiance)
    batch = replace(crops.batch, target=colour.radiance)
    return Aim(batch, colour.keep, structure.radiance, shares={"kept": colour.keep.mean()})


def masked(crops: Crops, draw: torch.Generator) -> Aim:
    """SMAE's first stage: frames made from the short one, most of their patches missing."""
    burst = smae.masked_frames(crops.batch, draw)
    return Aim(burst.batch, short=burst.short)
