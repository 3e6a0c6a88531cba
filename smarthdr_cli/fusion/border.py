"""Where another frame ends inside the picture: no edge is to be drawn there.

Frames from the hand cover the reference's view only in part, and noise and hue differ on either side of an edge. Over
as much as a frame misses on a side, and 64 pixels at most, its share of the merge falls to nothing. Where the reference
is clipped and no frame saw more, nothing is known beyond an edge but that it is bright: the edge is repeated there,
which of a sky is near enough, and sigma says that nobody saw it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.fusion.tiles import to_tensor
from smarthdr_cli.models.merge import TAPER_END, clip_taper, exposure_weight, radiance

F32 = NDArray[np.float32]
WIDEST = 64.0  # pixels of the frame
LEAST = 0.5  # pixels missed from which it matters
TINY = 1e-12  # weight below which there is none
REPEATED = 0.05  # of the longer side, as far as an edge stands for what lies beyond it


def missing(source: AlignedBurst, index: int) -> tuple[float, float, float, float]:
    """Pixels of frame ``index`` that the picture's left, top, right and bottom corners lie beyond its edges; 0 where
    they lie inside.
    """
    left, top, right, bottom = (max(-depth, 0.0) for depth in _depths(source, index, Window(0, 0, *source.burst.size)))
    return left, top, right, bottom


def _depths(source: AlignedBurst, index: int, window: Window) -> tuple[float, float, float, float]:
    """How far inside the left, top, right and bottom edge of frame ``index`` all of a window lies, in its pixels."""
    height, width = source.burst.size
    rows = (window.top, min(window.top + window.height, height) - 1)
    columns = (window.left, min(window.left + window.width, width) - 1)
    corners = [source.sample_coordinates(index, Window(y, x, 1, 1)) for y in rows for x in columns]
    (tlx, tly), (trx, try_), (blx, bly), (brx, bry) = [(float(x[0, 0]), float(y[0, 0])) for x, y in corners]
    high, wide = source.burst.frames[index].size
    return min(tlx, blx), min(tly, try_), wide - 1 - max(trx, brx), high - 1 - max(bly, bry)


@dataclass(frozen=True)
class Edge:
    """(h, w) each: ``fade`` in [0, 1], how much of its share a frame keeps by its place; ``near``, where it is no
    further away than its edge may stand for."""

    fade: F32
    near: NDArray[np.bool_]


def faded(depth: F32, missed: float) -> F32:
    """How far a frame that misses ``missed`` pixels on a side counts ``depth`` pixels inside it: 0 to 1, no kinks."""
    t = ((depth + np.float32(0.5)) / np.float32(min(missed, WIDEST))).clip(0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def edge(source: AlignedBurst, index: int, window: Window, stride: int = 1) -> Edge | None:
    """The edge of frame ``index`` at every ``stride``-th pixel of a window; None where it is far away or misses
    nothing. It depends on where a pixel lies, never on the tile that asks.
    """
    if not source.alignment.moved[index]:
        return None
    missed = missing(source, index)
    if max(missed) < LEAST:
        return None
    depths = _depths(source, index, window)
    if all(depth >= min(width, WIDEST) or width < LEAST for depth, width in zip(depths, missed, strict=True)):
        return None
    x, y = source.sample_coordinates(index, window, None, stride)
    high, wide = source.burst.frames[index].size
    fade, inside = np.ones_like(x), np.full_like(x, np.inf)
    for depth, width in zip((x, y, wide - 1 - x, high - 1 - y), missed, strict=True):
        np.minimum(inside, depth, out=inside)
        if width >= LEAST:
            fade *= faded(depth, width)
    return None if bool((fade == 1).all()) else Edge(fade, inside > -REPEATED * max(high, wide))


def shares(edges: Sequence[Edge | None], frames: Tensor, evs: Tensor) -> Tensor | None:
    """(1, N, 1, h, w), what every frame's weight is multiplied by for the edges of the others; None for 1.

    ``frames`` (1, N, 3, h, w) blank where they do not count, the reference first, ``evs`` (1, N). The merge becomes the
    mean, over t from 0 to 1, of the merges of those frames whose fade is t or more: what is faded is a frame's share of
    the whole, so that one of a hundred times the weight of the others goes as softly as any.
    """
    if not any(edges):
        return None
    at, place, step, above = _levels(edges, frames, evs)
    grown = (step / above.clamp(min=TINY)).cumsum(dim=1) * above[:, :1]
    return _put(at, place, grown, _like(frames, 1.0))


def lacking(edges: Sequence[Edge | None], frames: Tensor, evs: Tensor) -> Tensor:
    """(1, N, 1, h, w) in [0, 1]: of what the merge is made of, as ``shares`` has it, how much each frame has no part
    in; falling to 0 where all of them clip, and none can have changed anything.
    """
    at, place, step, above = _levels(edges, frames, evs)
    part = step * (above / TINY).clamp(max=1)
    within = part.cumsum(dim=1)
    lowest = lowest_peak(frames.flatten(3)[..., at].unsqueeze(3))
    lack = (1 - within / within[:, -1:].clamp(min=TINY)) * clip_taper(lowest)[:, None]
    return _put(at, place, lack, _like(frames, 0.0))


def lowest_peak(frames: Tensor) -> Tensor:
    """(B, 1, H, W) brightest channel of whichever of the (B, N, 3, H, W) frames is furthest from its clip."""
    lowest = frames[:, 0].amax(dim=1, keepdim=True)
    for i in range(1, frames.shape[1]):
        lowest = torch.minimum(lowest, frames[:, i].amax(dim=1, keepdim=True))
    return lowest


def _levels(edges: Sequence[Edge | None], frames: Tensor, evs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where some frame fades (K,), and of those pixels the frames in the order of their fade, (1, N, 1, 1, K) each:
    which, by how much it lies above the one before, and the weight of all whose fade is this one or more.
    """
    fade = _like(frames, 1.0)
    for n, one in enumerate(edges, start=1):
        if one is not None:
            fade[:, n] = torch.from_numpy(one.fade).to(fade)
    at = (fade < 1).any(dim=1).flatten().nonzero()[:, 0]
    there, fading = (x.flatten(3)[..., at].unsqueeze(3) for x in (frames, fade))
    weight = torch.stack([exposure_weight(there[:, i], evs[:, i]) for i in range(frames.shape[1])], dim=1)
    level, place = fading.sort(dim=1)
    above = weight.gather(1, place).flip(1).cumsum(dim=1).flip(1)
    return at, place, level.diff(dim=1, prepend=torch.zeros_like(level[:, :1])), above


def _like(frames: Tensor, value: float) -> Tensor:
    """(1, N, 1, h, w) of ``value`` for (1, N, 3, h, w)."""
    return frames.new_full((*frames.shape[:2], 1, *frames.shape[3:]), value)


def _put(at: Tensor, place: Tensor, values: Tensor, into: Tensor) -> Tensor:
    """``into`` (1, N, 1, h, w) with ``values`` (1, N, 1, 1, K) at its pixels ``at``, frames back in their places."""
    into.flatten(3)[..., at] = torch.empty_like(values).scatter_(1, place, values).squeeze(3)
    return into


def beyond(frames: Tensor, valid: Tensor, edges: Sequence[Edge | None], evs: Tensor) -> Tensor:
    """(1, N-1, 1, h, w): 1 where a frame's repeated edge stands for what it did not see, else 0.

    ``frames`` (1, N, 3, h, w) as they are, the reference first, ``valid`` (1, N-1, 1, h, w) and ``edges`` of the
    others, ``evs`` (1, N). Only where the reference is clipped and nobody saw more, of darker frames that end close
    by, at an edge as bright as the reference says the place must be.
    """
    stands = torch.zeros_like(valid)
    if not any(edges):
        return stands
    peaks = frames.amax(dim=2, keepdim=True)
    unknown = (peaks[:, :1] >= TAPER_END) & ~((valid > 0) & (peaks[:, 1:] < TAPER_END)).any(dim=1, keepdim=True)
    for n, one in enumerate(edges):
        if one is None or float(evs[0, n + 1]) >= 0:
            continue
        bright = (radiance(frames[:, n + 1], evs[:, n + 1]) >= frames[:, 0].clamp(max=TAPER_END)).all(1, keepdim=True)
        near = torch.from_numpy(one.near)[None, None].to(valid.device)
        stands[:, n] = (unknown[:, 0] & bright & near & (valid[:, n] == 0)).to(valid.dtype)
    return stands


def blank(frames: Tensor, valid: Tensor) -> Tensor:
    """(B, N, 3, H, W) frames, the reference first, the others at their clip where ``valid`` (B, N-1, 1, H, W) is 0.

    A clipped pixel has no weight of its own, so none is left over for the reference: what a frame did not see must not
    speak for a clipped reference against the frames that saw it.
    """
    if bool(valid.all()):
        return frames
    others = torch.where(valid > 0, frames[:, 1:], torch.ones_like(frames[:, 1:]))
    return torch.cat([frames[:, :1], others], dim=1)


@dataclass(frozen=True)
class Unmoved:
    """Frames of a window as the alignment has them: ``frames`` (1, N, 3, h, w), the reference first, blank where they
    do not count; of the others ``edges`` and ``counts`` (1, N-1, 1, h, w), where they do; ``share`` as ``shares`` gives
    it; ``seen``: ``frames`` blank where they saw nothing.
    """

    frames: Tensor
    edges: Sequence[Edge | None]
    counts: Tensor
    share: Tensor | None
    seen: Tensor


def unmoved(source: AlignedBurst, indices: Sequence[int], evs: Tensor, window: Window, stride: int = 1) -> Unmoved:
    """Frames ``indices``, the reference first, of ``evs`` (1, N), at every ``stride``-th pixel of a window."""
    parts = [source.read(i, window, stride=stride) for i in indices]
    frames = torch.stack([to_tensor(linear) for linear, _ in parts], dim=1)
    valid = torch.stack([to_tensor(mask) for _, mask in parts[1:]], dim=1)
    edges = [edge(source, i, window, stride) for i in indices[1:]]
    counts = valid + beyond(frames, valid, edges, evs)
    return Unmoved(
        blank(frames, counts), edges, counts, shares(edges, blank(frames, counts), evs), blank(frames, valid)
    )
