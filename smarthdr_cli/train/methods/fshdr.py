"""FSHDR's two stages (Prabhakar et al., "Labeled from Unlabeled: Exploiting Unlabeled Data for Few-shot Deep HDR
Deghosting", CVPR 2021).

Stage 1 adds to the labelled loss how far the prediction, re-rendered at the reference's exposure, is from the reference
(mean square of gamma codes, weighted with 0.5 at first). Stage 2 makes bursts with known truth: the prediction is moved
as the scene moved, by the flow from each other frame back to the reference, and exposed again.
"""

from dataclasses import replace

import torch
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.synth.camera import Sensor, expose
from smarthdr_cli.models.pairwise import inside_frame, warp
from smarthdr_cli.train.losses import weighted_mean
from smarthdr_cli.train.optical_flow import Flows, dense_flows
from smarthdr_cli.train.rerendering import code, rerender


def rerender_consistency(predicted: Tensor, batch: Batch, weight: Tensor | None = None) -> Tensor:
    """Stage 1: mean squared difference of gamma codes between the re-rendered prediction and the reference.

    ``predicted``: (B, 3, H, W) in reference units; it is clipped as the frame was, so that a clipped reference only
    asks for at least that much light. ``weight``: (B, 1, H, W), 0 leaves a pixel out; pixels the reference did not see
    are left out in any case.
    """
    keep = batch.valid[:, 0] if weight is None else batch.valid[:, 0] * torch.where(weight > 0, weight, 0.0)
    kept = keep > 0
    reference = torch.where(kept, batch.frames[:, 0], torch.zeros_like(batch.frames[:, 0]))
    predicted = torch.where(kept, predicted, torch.zeros_like(predicted))
    gap = rerender(predicted, torch.zeros_like(batch.evs[:, 0])) - code(reference)
    return weighted_mean(gap.square(), keep)


@torch.no_grad()
def artificial_burst(
    predicted: Tensor, batch: Batch, generator: torch.Generator | None = None, *, sensor: Sensor | None = None,
    flows: Flows | None = None,
) -> Batch:  # fmt: skip
    """Stage 2: a burst that moves like ``batch`` and whose truth is ``predicted`` (B, 3, H, W), reference units.

    Frame i is the prediction seen through the flow from frame i to the reference, at frame i's exposure and clipped.
    ``sensor`` with a ``generator`` on the batch's device adds photon and read noise, to the reference too. The target
    is the prediction, capped at the shortest frame's clip; values that are not finite become 0, and ``valid`` is 0
    where a frame shows them or looks outside the picture. Raises ValueError for frames under 16 pixels and for a sensor
    without generator.
    """
    if sensor is not None and generator is None:
        raise ValueError("noise needs a generator")
    flows = dense_flows(batch) if flows is None else flows
    b, n, _, h, w = batch.frames.shape
    good = torch.isfinite(predicted).all(dim=1, keepdim=True)
    light = torch.where(good, predicted.detach().float(), torch.zeros_like(predicted, dtype=torch.float32)).clamp(min=0)
    light = torch.minimum(light, 1 / batch.scale_short.view(-1, 1, 1, 1))
    field = flows.backward.flatten(0, 1)
    others = n - 1
    moved = warp(light.repeat_interleave(others, dim=0), field).view(b, others, 3, h, w)
    seen = warp(good.float().repeat_interleave(others, dim=0), field) * inside_frame(field)
    exposed = torch.cat([light[:, None], moved], dim=1) * torch.exp2(batch.evs).view(b, n, 1, 1, 1)
    if sensor is not None and generator is not None:
        exposed = expose(exposed, sensor, generator)
    valid = torch.cat([good.float()[:, None], (seen > 0.99).float().view(b, others, 1, h, w)], dim=1)
    return replace(batch, frames=exposed.clamp(0, 1), valid=valid, target=light, flow=None, visible=None)
