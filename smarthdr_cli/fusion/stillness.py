"""Where a pair of frames shows the same, unmoved surfaces, whatever their codes say.

A camera's curve, estimated or stated, leaves residues: the same wall comes out a few per cent apart in two exposures,
and colour processing that mixes channels cannot be undone by any curve. By codes alone that looks like motion.
Structure tells them apart: where the texture of both frames correlates nearly everywhere, what differs smoothly is the
curve's fault and is taken off before the frames are compared (never from what is merged). Measured: 97 to 100 % of the
textured windows of real tripod stacks correlate, 50 to 90 % of those of handheld bursts in which things move.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.models.pairwise import common_exposure
from smarthdr_cli.models.tensor_ops import box_max, box_mean

WINDOW = 7  # cells
TEXTURED = 0.04  # standard deviation of codes in a window from which it counts as texture, well above noise on cells
ALIKE, UNLIKE = 0.8, 0.6  # correlation of a window that shows the same, and of one that does not
ALMOST_ALL, ALL = 0.93, 0.97  # share of textured windows alike from which a pair may be still, and at which it is
TRIPOD = 0.985  # share at which nothing at all moves, and codes may differ by SLACK times what noise explains
SLACK = 16.0
AT_ODDS = 0.002  # median difference of codes from which a curve is thought wrong; half of where it surely is
NEAR = 17  # cells around an unlike window that are strict, fully next to it and less and less towards their edge
WIDE = 49  # the same around one that is half clipped: what lies between such, water or leaves, is often clipped whole
LARGEST = 0.2  # of the code range, that a curve may be off
NEGLIGIBLE = 0.002  # half an 8-bit code: the curve's fault below that changes no verdict
FEWEST = 50  # textured windows that can carry a verdict
VOTES = 0.5  # unclipped share of a window from which it has a say
LIT = 0.1  # code from which a cell tells how bright its frame is
CLIP = 0.97  # codes from which a pixel has no say


@dataclass(frozen=True)
class Pair:
    """Two aligned frames on cells as the brighter would have recorded them: ``a``, ``b`` (1, 3, h, w) codes."""

    a: Tensor
    b: Tensor

    @staticmethod
    def of(ref: Tensor, other: Tensor, ev: Tensor) -> "Pair":
        """From (1, 3, h, w) linear cells in each frame's units and the other's (1,) EV."""
        a, b, _ = common_exposure(ref, other, ev)
        return Pair(a, b)

    @cached_property
    def correlation(self) -> tuple[Tensor, Tensor]:
        """(1, 1, h, w) correlation of brightness over what a window shows unclipped, and where that is textured, and at
        least half of it."""
        a, b = self.a.mean(dim=1, keepdim=True), self.b.mean(dim=1, keepdim=True)
        share = self.share.clamp(min=1e-3)

        def mean(x: Tensor) -> Tensor:
            return _mean(x * self.unclipped) / share

        ma, mb = mean(a), mean(b)
        va, vb = (mean(a * a) - ma * ma).clamp(min=0), (mean(b * b) - mb * mb).clamp(min=0)
        found = (mean(a * b) - ma * mb) / (va * vb).sqrt().clamp(min=1e-8)
        return found, (va.maximum(vb) > TEXTURED**2) & (self.share > VOTES)

    @cached_property
    def unclipped(self) -> Tensor:
        """(1, 1, h, w): 1 where neither is near its clip."""
        return (torch.maximum(self.a, self.b).amax(dim=1, keepdim=True) < CLIP).float()

    def still(self) -> tuple[Tensor, Tensor]:
        """(1, 1, h, w) each, 0 to 1: how sure a place stands still, and that codes are at odds where nothing moves."""
        share, away = self.votes
        if share is None or share <= ALMOST_ALL:
            return torch.zeros_like(away), torch.zeros_like(away)
        sure = min((share - ALMOST_ALL) / (ALL - ALMOST_ALL), 1.0)
        certain = min(max((share - ALL) / (TRIPOD - ALL), 0.0), 1.0)
        if certain > 0:
            odds = float(self.offset.abs().mean(dim=1)[..., ::2, ::2].median())
            certain *= min(max(odds / AT_ODDS - 1, 0.0), 1.0)
        return sure * away, certain * away

    @cached_property
    def votes(self) -> tuple[float | None, Tensor]:
        """Share of the textured windows that are alike, None where too few have a say; (1, 1, h, w) from 0 to 1, how
        far away a place is from those that are unlike."""
        correlation, textured = self.correlation
        whole = textured & (self.share > 0.99)  # the half-clipped have a say where they are, and none on the whole
        count = float(whole.sum())
        if count < FEWEST:
            return None, torch.zeros_like(correlation)
        share = float((whole & (correlation > ALIKE)).sum()) / count
        unlike = correlation < UNLIKE
        near, wide = (
            _around((votes & unlike).float(), reach) for votes, reach in ((whole, NEAR), (textured & ~whole, WIDE))
        )
        return share, 1 - torch.maximum(near, wide)

    @cached_property
    def gain(self) -> Tensor:
        """(3,) EV by which the other frame is brighter than stated, each channel for itself: the median over cells that
        neither clips nor is black."""
        a, b, seen = (x[..., ::4, ::4] for x in (self.a, self.b, self.unclipped))
        at = (seen[0, 0] > 0) & (torch.minimum(a, b).amin(dim=1)[0] > LIT)
        if int(at.sum()) < FEWEST:
            return torch.zeros(3)
        return (2.2 * (b[0][:, at] / a[0][:, at]).log2()).median(dim=1).values.float().cpu()

    @cached_property
    def share(self) -> Tensor:
        """(1, 1, h, w) unclipped share of a window."""
        return _mean(self.unclipped)

    @cached_property
    def offset(self) -> Tensor:
        """(1, 3, h, w) local mean of a - b over what is unclipped, at most LARGEST."""
        mean = _mean((self.a - self.b) * self.unclipped) / self.share.clamp(min=1e-3)
        return mean.clamp_(-LARGEST, LARGEST).mul_(self.share > 0.2)


@dataclass(frozen=True)
class Likeness:
    """How far a frame as aligned, unmoved, shows what the reference does: ``alike``, the share of the textured windows
    that correlate, None where too few have a say; ``gain`` (3,) EV, what it is brighter by than stated."""

    alike: float | None
    gain: Tensor


class Settled(NamedTuple):
    """What is known of a pair by its texture: ``keep`` (1, 1, h, w), 0 where a still place's texture is no more alike
    for being moved, else 1; ``offset`` (1, 3, h, w), to be added to the other's codes at the common exposure; ``slack``
    (1, 1, h, w) from 1 to SLACK, by which differences are to be divided; ``likeness`` of the whole.
    """

    keep: Tensor
    offset: Tensor
    slack: Tensor
    likeness: Likeness


def _around(x: Tensor, reach: int) -> Tensor:
    """(1, 1, h, w): 1 where ``x`` is 1, falling to 0 over ``reach`` // 2 cells."""
    return box_mean(box_max(x, reach // 2 + 1), reach // 2 + 1)


def _mean(x: Tensor) -> Tensor:
    return box_mean(x, WINDOW)


def settle_still(ref: Tensor, other: Tensor, moved: Tensor, ev: Tensor) -> Settled:
    """Which displacements to drop where a pair stands still, what to take off its codes, and what more to tolerate.

    ``ref``, ``other``, ``moved``: (1, 3, h, w) linear cells, the last seen through the displacement.
    """
    pair, shifted = Pair.of(ref, other, ev), Pair.of(ref, moved, ev)
    still, certain = pair.still()
    likeness = Likeness(pair.votes[0], pair.gain)
    if not bool(still.any()):
        return Settled(torch.ones_like(still), torch.zeros_like(ref), torch.ones_like(still), likeness)
    better = shifted.correlation[0] > pair.correlation[0] + 0.01
    keep = ((still < 0.5) | better).to(ref.dtype)
    offset = torch.where(keep > 0, shifted.offset, pair.offset)
    offset = F.softshrink(offset, NEGLIGIBLE) * still  # exactly none in most places, which then cost nothing
    return Settled(keep, offset, 1 + (SLACK - 1) * certain, likeness)
