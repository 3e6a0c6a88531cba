"""SelfHDR (Zhang et al., "Self-Supervised High Dynamic Range Imaging with Multi-Exposure Images in Dynamic Scenes",
ICLR 2024): targets from the frames alone.

Colour: the other frames aligned to the reference by optical flow and merged; right where the flow is right, ghosted
elsewhere. The paper uses Liu's flow and triangle weights for three frames; here it is DIS and our own merge, for any
number.

Structure: the paper trains a second network for it, with the reference and the colour as labels,

    L = |m (S - colour)| + 4 |w (S - reference)|   on T(.),   w = 1 - |2 c - 1|, c the reference's gamma code,

m = 0 where the two, weighted by w, differ by more than 5/255. Instead of that network we take what minimises this loss
at each pixel by itself: the reference where m = 0 or w > 1/4 (a code between 1/8 and 7/8), the colour elsewhere; where
the reference is brighter than that, no darker than the reference. What a network would have learned to put where the
reference is clipped is missing. There structure and colour agree by construction, so the colour counts there only where
the flow is consistent.

The student learns colour by L^r where colour and structure agree (10/255 in the mean over channels), and structure by
the perceptual term everywhere.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.crops import Crops
from smarthdr_cli.models.merge import merge
from smarthdr_cli.models.pairwise import inside_frame, warp
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.train.methods.base import Method, Target
from smarthdr_cli.train.optical_flow import MIN_VISIBLE, Flows, consistent, dense_flows
from smarthdr_cli.train.pseudo_labels import Pseudo
from smarthdr_cli.train.rerendering import gamma_code

MAX_STRUCTURE_GAP = 5 / 255  # m of the paper
MAX_COLOUR_GAP = 10 / 255  # where colour is learned, of the paper
REFERENCE_WEIGHT = 4.0  # of the reference in the structure network's loss


class SelfHDR(Method):
    """Needs neither labels nor a teacher."""

    needs_labels = False
    uses_teacher = False
    uses_flow = True

    @property
    def first_unlabeled(self) -> int:
        """From the start."""
        return 0

    def targets(self, crops: Crops, pseudo: Pseudo | None, flows: Flows | None) -> Target:
        """The colour target where it may be learned, and the structure target everywhere."""
        colour = colour_target(crops.batch, flows)
        structure = structure_target(crops.batch, colour.radiance)
        return Target(
            replace(crops.batch, target=colour.radiance), colour.keep, structure.radiance, from_teacher=False,
            coverage={"kept": colour.keep.mean()},
        )  # fmt: skip


class Component(NamedTuple):
    """``radiance``: (B, 3, H, W) in reference units, capped at the shortest frame's clip; ``keep``: (B, 1, H, W)."""

    radiance: Tensor
    keep: Tensor


def aligned(batch: Batch, flows: Flows) -> tuple[Tensor, Tensor]:
    """All frames (B, N, 3, H, W) warped to the reference, and (B, N-1, 1, H, W) where the others are valid there."""
    b, n, _, h, w = batch.frames.shape
    flow = flows.forward.flatten(0, 1)
    moved = warp(batch.frames[:, 1:].flatten(0, 1), flow).view(b, n - 1, 3, h, w)
    visible = warp(batch.valid[:, 1:].flatten(0, 1), flow) * inside_frame(flow)
    valid = (visible.view(b, n - 1, 1, h, w) > MIN_VISIBLE).float()
    return torch.cat([batch.frames[:, :1], moved], dim=1), valid


def structure_weight(reference: Tensor) -> Tensor:
    """(B, 3, H, W) reference in its own units to w = 1 - |2 c - 1|, c its gamma code, per channel."""
    return 1 - (2 * gamma_code(reference) - 1).abs()


@torch.no_grad()
def merged_colour(batch: Batch, flows: Flows) -> Tensor:
    """(B, 3, H, W) merge of the aligned frames, with full trust wherever they are valid."""
    frames, valid = aligned(batch, flows)
    light, _ = merge(frames, batch.evs, valid)
    return torch.minimum(light, 1 / batch.scale_short.view(-1, 1, 1, 1))


@torch.no_grad()
def structure_target(batch: Batch, colour: Tensor) -> Component:
    """The structure component for a colour one (B, 3, H, W); ``keep`` is 1 where the reference is valid."""
    reference = batch.frames[:, 0]
    scale = batch.scale_short.view(-1, 1, 1, 1)
    w = structure_weight(reference)
    gap = ((mu_law(colour * scale) - mu_law(reference * scale)).abs() * w).mean(dim=1, keepdim=True)
    use_reference = (gap >= MAX_STRUCTURE_GAP) | (REFERENCE_WEIGHT * w > 1)
    light = torch.where(use_reference, reference, colour)
    bright = gamma_code(reference) > 1 - 1 / (2 * REFERENCE_WEIGHT)
    return Component(torch.where(bright, torch.maximum(light, reference), light), batch.valid[:, 0])


@torch.no_grad()
def colour_target(batch: Batch, flows: Flows | None = None) -> Component:
    """The colour component, kept where it agrees with the structure component.

    Where the reference is badly exposed in any channel, there is no full structure to check against, and the flow of
    every other frame must be consistent too. ``flows``: those of the batch; None computes them. Raises ValueError for
    frames under 16 pixels.
    """
    flows = dense_flows(batch) if flows is None else flows
    colour = merged_colour(batch, flows)
    structure = structure_target(batch, colour)
    scale = batch.scale_short.view(-1, 1, 1, 1)
    gap = (mu_law(colour * scale) - mu_law(structure.radiance * scale)).abs().mean(dim=1, keepdim=True)
    well_exposed = (REFERENCE_WEIGHT * structure_weight(batch.frames[:, 0]) > 1).all(dim=1, keepdim=True)
    consistent_flow = consistent(flows).amin(dim=1) > 0
    finite = torch.isfinite(colour).all(dim=1, keepdim=True)
    keep = (gap < MAX_COLOUR_GAP) & (well_exposed | consistent_flow) & finite
    return Component(colour, keep.float() * structure.keep)


def fill_masked(first: Component, second: Component) -> Component:
    """``first`` where its ``keep`` is above 0, and ``second`` elsewhere, with the weight of whichever was taken.

    The weight is 0 where neither is kept. Values whose weight is 0 or NaN are never read.
    """
    kept, spare = first.keep > 0, second.keep > 0
    weight = torch.where(kept, first.keep, torch.where(spare, second.keep, torch.zeros_like(first.keep)))
    return Component(torch.where(kept, first.radiance, second.radiance), weight)
