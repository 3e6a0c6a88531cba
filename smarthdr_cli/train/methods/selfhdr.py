"""Targets made from the inputs alone (SelfHDR: Zhang et al., "Self-Supervised High Dynamic Range Imaging with
Multi-Exposure Images in Dynamic Scenes", ICLR 2024).

Colour: the other frames aligned to the reference by optical flow and merged; right where the flow is right, ghosted
elsewhere. The paper uses Liu's flow and triangle weights for three frames; here it is DIS and our own merge, for any
number.

Structure: the paper trains a second network for it, with the reference and the colour as labels,

    L = |m (S - colour)| + 4 |w (S - reference)|   on T(.),   w = 1 - |2 c - 1|, c the reference's gamma code,

m = 0 where the two, weighted by w, differ by more than 5/255. Without that network we take what minimises this loss at
each pixel by itself: the reference where m = 0 or w > 1/4 (a code between 1/8 and 7/8), the colour elsewhere, but where
the reference is brighter than that no darker than the reference. What is missing is what a network would have learned
to put where the reference is clipped; there structure and colour agree by construction, so the colour is believed there
only where the flow is consistent.

The student learns colour by L^r where colour and structure agree (10/255 in the mean over channels), and structure by
the perceptual term everywhere.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.merge import merge
from smarthdr_cli.models.pairwise import inside_frame, warp
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.train.optical_flow import Flows, consistent, dense_flows
from smarthdr_cli.train.rerendering import code

DISAGREE_STRUCTURE = 5 / 255
DISAGREE_COLOUR = 10 / 255
PRESERVE = 4.0  # weight of the reference in the structure network's loss


class Target(NamedTuple):
    """``radiance``: (B, 3, H, W) in reference units, capped at the shortest frame's clip; ``keep``: (B, 1, H, W)."""

    radiance: Tensor
    keep: Tensor


def aligned(batch: Batch, flows: Flows) -> tuple[Tensor, Tensor]:
    """All frames (B, N, 3, H, W) seen from the reference, and (B, N-1, 1, H, W) what each of the others really saw."""
    b, n, _, h, w = batch.frames.shape
    field = flows.forward.flatten(0, 1)
    moved = warp(batch.frames[:, 1:].flatten(0, 1), field).view(b, n - 1, 3, h, w)
    seen = warp(batch.valid[:, 1:].flatten(0, 1), field) * inside_frame(field)
    return torch.cat([batch.frames[:, :1], moved], dim=1), (seen.view(b, n - 1, 1, h, w) > 0.99).float()


def structure_weight(reference: Tensor) -> Tensor:
    """(B, 3, H, W) reference in its own units to the triangle 1 - |2 c - 1| of its gamma code, per channel."""
    return 1 - (2 * code(reference) - 1).abs()


@torch.no_grad()
def merged_colour(batch: Batch, flows: Flows) -> Tensor:
    """(B, 3, H, W) the aligned frames merged with full trust wherever they saw anything."""
    frames, seen = aligned(batch, flows)
    light, _ = merge(frames, batch.evs, seen)
    return torch.minimum(light, 1 / batch.scale_short.view(-1, 1, 1, 1))


@torch.no_grad()
def structure_target(batch: Batch, colour: Tensor) -> Target:
    """The structure component for a colour one (B, 3, H, W); ``keep`` is 1 where the reference saw anything."""
    reference = batch.frames[:, 0]
    scale = batch.scale_short.view(-1, 1, 1, 1)
    w = structure_weight(reference)
    gap = ((mu_law(colour * scale) - mu_law(reference * scale)).abs() * w).mean(dim=1, keepdim=True)
    own = (gap >= DISAGREE_STRUCTURE) | (PRESERVE * w > 1)
    light = torch.where(own, reference, colour)
    bright = code(reference) > 1 - 1 / (2 * PRESERVE)
    return Target(torch.where(bright, torch.maximum(light, reference), light), batch.valid[:, 0])


@torch.no_grad()
def color_target(batch: Batch, flows: Flows | None = None) -> Target:
    """The colour component, and where it may be learned: where it agrees with the structure component.

    Where the reference is badly exposed in any channel, so that there is no full structure to check against, the flow
    of every other frame must be consistent too. ``flows``: those of the batch where they are at hand. Raises ValueError
    for frames under 16 pixels.
    """
    flows = dense_flows(batch) if flows is None else flows
    colour = merged_colour(batch, flows)
    structure = structure_target(batch, colour)
    scale = batch.scale_short.view(-1, 1, 1, 1)
    gap = (mu_law(colour * scale) - mu_law(structure.radiance * scale)).abs().mean(dim=1, keepdim=True)
    checked = (PRESERVE * structure_weight(batch.frames[:, 0]) > 1).all(dim=1, keepdim=True)
    steady = consistent(flows).amin(dim=1) > 0
    keep = (gap < DISAGREE_COLOUR) & (checked | steady) & torch.isfinite(colour).all(dim=1, keepdim=True)
    return Target(colour, keep.float() * structure.keep)


def fill_masked(pseudo: Tensor, keep: Tensor, other: Target) -> Target:
    """Pseudo-labels (B, 3, H, W) where ``keep`` (B, 1, H, W) is above 0, and what the masks removed from ``other``.

    The weight is that of whichever was taken, 0 where neither is to be had; pseudo-labels that are masked are not read.
    """
    kept, spare = keep > 0, other.keep > 0
    weight = torch.where(kept, keep, torch.where(spare, other.keep, torch.zeros_like(keep)))
    return Target(torch.where(kept, pseudo, other.radiance), weight)
