"""FSHDR (Prabhakar et al., "Labeled from Unlabeled: Exploiting Unlabeled Data for Few-shot Deep HDR Deghosting", CVPR
2021): the prediction re-rendered, then bursts synthesised from it.

Stage 1 adds to the labelled loss, weighted 0.5,

    mean (gamma(R') - gamma(R))^2,   R the reference, R' the prediction re-rendered at its exposure.

Stage 2 predicts every scene once and synthesises bursts with a known truth: the prediction, warped by the flow from
each frame to the reference and exposed again.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.crops import Crops
from smarthdr_cli.models.base import Prediction
from smarthdr_cli.models.pairwise import inside_frame, warp
from smarthdr_cli.train.config import TrainConfig
from smarthdr_cli.train.losses import Terms, weighted_mean
from smarthdr_cli.train.methods.base import Method, Target
from smarthdr_cli.train.optical_flow import MIN_VISIBLE, Flows, dense_flows
from smarthdr_cli.train.perceptual_losses import VGGFeatures
from smarthdr_cli.train.pseudo_labels import Pseudo
from smarthdr_cli.train.rerendering import gamma_code, rerender


class FSHDR(Method):
    """Both stages; pseudo-labels are predicted once."""

    predicts_once = True
    uses_flow = True
    has_first_stage = True

    def first_stage_targets(self, crops: Crops, draw: torch.Generator) -> Target:
        """The reference, for the re-rendered prediction."""
        return RerenderingTarget(crops.batch)

    def targets(self, crops: Crops, pseudo: Pseudo | None, flows: Flows | None) -> Target:
        """Synthesised bursts whose truth is the prediction."""
        assert pseudo is not None
        return Target(artificial_burst(pseudo.radiance, crops.batch, flows=flows))


@dataclass(frozen=True)
class RerenderingTarget(Target):
    """First stage: a burst without a target."""

    def loss(self, out: Prediction, config: TrainConfig, vgg: VGGFeatures | None) -> tuple[Tensor, Terms]:
        """``rerender_consistency``."""
        loss = rerender_consistency(out.radiance, self.batch)
        return config.weight_rerender * loss, {"rerendered": loss.detach()}


def rerender_consistency(predicted: Tensor, batch: Batch, weight: Tensor | None = None) -> Tensor:
    """Stage 1: mean squared difference of gamma codes between the re-rendered prediction and the reference.

    ``predicted``: (B, 3, H, W) in reference units, clipped as the frame was: a clipped reference is a lower bound.
    ``weight``: (B, 1, H, W), 0 leaves a pixel out; pixels that are not valid in the reference are always left out.
    """
    keep = batch.valid[:, 0] if weight is None else batch.valid[:, 0] * torch.where(weight > 0, weight, 0.0)
    kept = keep > 0
    reference = torch.where(kept, batch.frames[:, 0], torch.zeros_like(batch.frames[:, 0]))
    predicted = torch.where(kept, predicted, torch.zeros_like(predicted))
    error = rerender(predicted, torch.zeros_like(batch.evs[:, 0])) - gamma_code(reference)
    return weighted_mean(error.square(), keep)


@torch.no_grad()
def artificial_burst(predicted: Tensor, batch: Batch, *, flows: Flows | None = None) -> Batch:
    """Stage 2: a burst that moves like ``batch`` and whose truth is ``predicted`` (B, 3, H, W), reference units.

    Frame i is the prediction warped by the flow from frame i to the reference, at frame i's exposure and clipped.
    The target is the prediction, capped at the shortest frame's clip. Values that are not finite become 0, and
    ``valid`` is 0 where a frame shows them or the flow leads outside the image.

    Raises ValueError for frames under 16 pixels.
    """
    flows = dense_flows(batch) if flows is None else flows
    b, n, _, h, w = batch.frames.shape
    others = n - 1
    finite = torch.isfinite(predicted).all(dim=1, keepdim=True)
    light = torch.where(finite, predicted.detach().float(), torch.zeros_like(predicted, dtype=torch.float32))
    light = torch.minimum(light.clamp(min=0), 1 / batch.scale_short.view(-1, 1, 1, 1))
    flow = flows.backward.flatten(0, 1)
    moved = warp(light.repeat_interleave(others, dim=0), flow).view(b, others, 3, h, w)
    visible = warp(finite.float().repeat_interleave(others, dim=0), flow) * inside_frame(flow)
    exposed = torch.cat([light[:, None], moved], dim=1) * torch.exp2(batch.evs).view(b, n, 1, 1, 1)
    visible = (visible > MIN_VISIBLE).float().view(b, others, 1, h, w)
    valid = torch.cat([finite.float()[:, None], visible], dim=1)
    return replace(batch, frames=exposed.clamp(0, 1), valid=valid, target=light, flow=None, visible=None)
