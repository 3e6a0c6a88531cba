"""Fusion by the network: motion over the whole picture, then trust, merge, residual and judgement tile by tile."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.fusion.moving import PairMotion, estimate
from smarthdr_cli.fusion.parallel import each, give_back, workers
from smarthdr_cli.fusion.physical import (
    Guard,
    Plane,
    blank,
    compare,
    flag_clipped,
    lowest_peak,
    order,
    put,
    tensor,
)
from smarthdr_cli.fusion.source import Source, Window
from smarthdr_cli.fusion.tiles import Tile, grid
from smarthdr_cli.models.calibration import Calibration
from smarthdr_cli.models.compare import FAR, common_exposure, disagreement, within_reach
from smarthdr_cli.models.levels import CELL
from smarthdr_cli.models.merge import TAPER_END, clip_taper, exposure_weight, merge, radiance
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.tone import encode

F32 = NDArray[np.float32]
STRONG = 2.0  # logits by which --deghost strong distrusts
HULL = 0.25  # relative slack around what the frames show, beyond which the residual is not believed
SHOWS = 10.0  # a frame trusted by a tenth shows something
FADE = 2.0  # slacks beyond it over which belief falls to none
AGREE = 0.25  # of the tolerated difference, up to which two frames show the same; doubtful up to twice of it
SURE = 20.0  # a logit whose sigmoid is 1 in float32
KNOWN, UNKNOWN = 4.0, 8.0  # EV below the reference to which training bursts mostly reach, and which none goes beyond
HEARD = 0.01  # share of the merge's weight from which a frame's disagreement counts in full
FLOOR = 0.002  # and absolute slack, in units of the shortest frame's clip


@dataclass(frozen=True)
class Learned:
    """The network ready to run: on its device, in its precision."""

    model: SAF
    device: torch.device
    dtype: torch.dtype
    calibration: Calibration | None


@dataclass(frozen=True)
class Outcome:
    """The picture, its comparison with the classical merge, the share put back to the convex combination."""

    plane: Plane
    guard: Guard
    restored: float
    trusted: float


def fuse_learned(
    network: Learned, source: Source, members: tuple[int, ...], evidence: tuple[int, ...], size: int, *, strong: bool,
    at_once: int | None = None, on_progress: Callable[[float], None] = lambda _: None,
) -> Outcome:  # fmt: skip
    """Fuse ``members`` (2 to 9 frames, the reference among them); ``evidence`` frames join where the result bears
    them out.

    ``size``: side of a tile, 0 for the whole picture at once. ``at_once``: motions found side by side, where memory
    does not allow as many as there are cores.
    """
    burst = source.burst
    height, width = burst.size
    indices, evs = order(source, members)
    scale = float(torch.exp2(evs.min()))
    reference = source.cells(indices[0], CELL)
    count = workers(network.device)
    share = 0.25  # of the work is the motion stage
    motions: list[PairMotion] = []

    def motion(index: int) -> PairMotion:
        return estimate(network.model, source, index, reference, network.device, len(indices) - 1)

    for found in each(motion, indices[1:], min(count, at_once or count)):
        motions.append(found)
        on_progress(share * len(motions) / (len(indices) - 1))
    give_back()
    out = Plane(np.empty((height, width, 3), np.float32), np.empty((height, width), np.float32))
    classical = np.empty_like(reference)

    def compute(tile: Tile) -> tuple[int, float, float]:
        light, sigma, put_back, trust = _tile(network, source, indices, evs, motions, tile, strong)
        if evidence:
            light = add_evidence(source, evidence, tile, light, evs)
        put(out, tile.core, tile.window, light, sigma)
        classical[_cells(tile.core)] = plain_merge(source, indices, evs, tile.core)
        return tile.core.height * tile.core.width, put_back, trust

    restored = trusted = done = 0.0
    for area, put_back, trust in each(compute, grid(height, width, size), count):
        done += area
        restored += put_back * area
        trusted += trust * area
        on_progress(share + (1 - share) * done / (height * width))
    total = height * width
    return Outcome(out, compare(out.radiance[::CELL, ::CELL], classical, scale), restored / total, trusted / total)


def _tile(
    network: Learned,
    source: Source,
    indices: list[int],
    evs: Tensor,
    motions: list[PairMotion],
    tile: Tile,
    strong: bool,
) -> tuple[Tensor, Tensor, float, float]:
    """Light (1, 3, h, w) and sigma (1, 1, h, w) of a tile, on the CPU; share put back, mean trust."""
    model, device = network.model, network.device
    window = tile.window
    scale = float(torch.exp2(evs.min()))
    ref = tensor(source.region(indices[0], window)[0]).to(device)
    codes = encode(ref)
    evs = evs.to(device)
    moved, valid, logits, features, gaps = [], [], [], [], []
    for n, index in enumerate(indices[1:]):
        linear, seen = source.region(index, window, motions[n].displacement(window))
        other, mask = tensor(linear).to(device), tensor(seen).to(device)
        look, ev = within_reach(ref, other, evs[:, n + 1])
        logit, feature, gap = model.verify(
            ref, look, mask, ev, motions[n].cut(window), codes, motions[n].leniency(window)
        )
        if float(evs[0, n + 1]) < -FAR:  # lifted noise is no disagreement: what counts is the frame as it is
            look, ev = other, evs[:, n + 1]
            gap = disagreement(*common_exposure(ref, look, ev, codes), ev)
        moved.append(other)
        valid.append(mask)
        logits.append(agreed(logit - STRONG if strong else logit, gap, ref, look, ev))
        features.append(feature)
        gaps.append(gap)
    seen_by = torch.stack(valid, dim=1)
    stack = blank(torch.stack([ref, *moved], dim=1), seen_by)
    if float(evs.amin()) < -FAR:
        gaps = unheard(gaps, stack, evs)
    out = model.refine(stack, evs, seen_by, torch.stack(logits, 1), features, torch.stack(gaps, 1), codes, known(evs))
    light, put_back = bounded(out.radiance, out.merged, stack, (out.trust * SHOWS).clamp(max=1), evs)
    peak = lowest_peak(stack)
    light = at_clip(light, peak, stack, seen_by, evs)
    sigma = out.log_sigma.exp()
    if network.calibration is not None:
        sigma = network.calibration.apply_torch(sigma)
    sigma = flag_clipped(sigma, light, scale, peak)
    return light.cpu(), sigma.cpu(), put_back, float(out.trust.mean())


def known(evs: Tensor) -> float:
    """How much of the residual to take for (1, N) EVs, 0 to 1: none where the shortest frame is of no kind that the
    network was trained on.

    Its step in the mu-law domain of a frame that short is several times the light of the shadows, and dots come of it.
    """
    return min(max((UNKNOWN + float(evs.amin())) / (UNKNOWN - KNOWN), 0.0), 1.0)


def unheard(gaps: list[Tensor], frames: Tensor, evs: Tensor) -> list[Tensor]:
    """Disagreements (1, 1, h, w) of the other frames, without those of frames that have no say where they disagree.

    What a frame far darker than the rest shows of a shadow is its noise; it has next to no weight there, and must not
    open the residual.
    """
    weights = [exposure_weight(frames[:, i], evs[:, i]) for i in range(frames.shape[1])]
    total = torch.stack(weights).sum(dim=0).clamp(min=1e-12)
    return [gap * (weight / total / HEARD).clamp(max=1) for gap, weight in zip(gaps, weights[1:], strict=True)]


def agreed(logit: Tensor, gap: Tensor, ref: Tensor, other: Tensor, ev: Tensor) -> Tensor:
    """Trust logits with the network overruled where the two frames show the same: full trust, so no residual either.

    Of one pair. Same: within AGREE of what noise and codes explain, neither at its clip, where any two look alike.
    """
    brighter = other if float(ev) > 0 else ref
    same = ((2 * AGREE - gap) / AGREE).clamp(0, 1) * (brighter.amax(dim=1, keepdim=True) < TAPER_END)
    return torch.lerp(logit, logit.clamp(min=SURE), same)


def at_clip(light: Tensor, peak: Tensor, frames: Tensor, seen: Tensor, evs: Tensor) -> Tensor:
    """Where every frame that saw a place is clipped, what the shortest of them shows: its clip level, neutral.

    ``peak``: (1, 1, h, w) as ``lowest_peak`` gives it.
    """
    clipped = 1 - clip_taper(peak)
    if not bool(clipped.any()):
        return light
    shortest = radiance(frames[:, 0], evs[:, 0])
    darkest_last = sorted(range(1, frames.shape[1]), key=lambda i: -float(evs[0, i]))
    for i in (i for i in darkest_last if evs[0, i] < evs[0, 0]):
        shortest = torch.where(seen[:, i - 1] > 0, radiance(frames[:, i], evs[:, i]), shortest)
    return torch.lerp(light, shortest, clipped)


def plain_merge(source: Source, indices: list[int], evs: Tensor, core: Window) -> F32:
    """(h, w, 3) the classical merge of the same frames, at the first pixel of every cell of ``core``."""
    seen = [source.region(i, core, stride=CELL) for i in indices]
    valid = torch.stack([tensor(v) for _, v in seen[1:]], dim=1)
    frames = blank(torch.stack([tensor(linear) for linear, _ in seen], dim=1), valid)
    return np.asarray(merge(frames, evs, valid)[0][0].permute(1, 2, 0).numpy(), np.float32)


def _cells(core: Window) -> tuple[slice, slice]:
    rows, columns = -(-(core.top + core.height) // CELL), -(-(core.left + core.width) // CELL)
    return slice(core.top // CELL, rows), slice(core.left // CELL, columns)


def bounded(light: Tensor, merged: Tensor, frames: Tensor, say: Tensor, evs: Tensor) -> tuple[Tensor, float]:
    """The residual is kept only where it stays near what some trusted frame shows; elsewhere the convex combination.

    Of one burst (B = 1). ``say`` (1, N-1, 1, H, W) from 0 to 1: how far each other frame counts as showing something.
    Frames at their clip bound from below only. Nothing here is a step: rounding must not decide a pixel. Returns the
    light and the share put back.
    """
    floor = FLOOR * torch.exp2(-evs.amin(dim=1)).view(-1, 1, 1, 1)
    # The combination lies among the frames: what stays within the slack of it stays within theirs.
    touched = ((light - merged).abs_() > merged * HULL + floor).any(dim=1).flatten().nonzero()[:, 0]
    if not len(touched):
        return light, 0.0
    pixels, given = frames.flatten(3)[..., touched], light.flatten(2)[..., touched]  # (1, N, 3, K), (1, 3, K)
    middle = merged.flatten(2)[..., touched]
    say = torch.cat([torch.ones_like(say[:, :1]), say], dim=1).flatten(3)[..., touched]
    shown = torch.lerp(middle[:, None], pixels * torch.exp2(-evs)[..., None, None], say)  # (1, N, 3, K)
    below_clip = say * (pixels.amax(dim=2, keepdim=True) <= TAPER_END)
    floor = floor[..., 0]
    least, most = shown.amin(dim=1), torch.where(below_clip > 0, shown, -torch.inf).amax(dim=1).clamp(min=0)
    under = (least - given) / (least * HULL + floor)  # in slacks: beyond 1 no frame bears it out
    over = (given - most) / (most * HULL + floor) * below_clip.amax(dim=1)
    beyond = torch.maximum(under, over).amax(dim=1, keepdim=True) - 1
    believed = (1 - beyond / FADE).clamp(0, 1)
    kept = torch.lerp(middle, given, believed)
    out = light.flatten(2).index_copy(2, touched, kept).view_as(light)
    return out, float((believed < 0.5).sum()) / (light.shape[-2] * light.shape[-1])


def add_evidence(source: Source, evidence: tuple[int, ...], tile: Tile, light: Tensor, evs: Tensor) -> Tensor:
    """Frames beyond the network's nine, merged in by their physical weight where they agree with its result."""
    members = torch.stack([exposure_weight((light * torch.exp2(ev)).clamp(0, 1), ev.view(1)) for ev in evs[0]])
    total = members.sum(dim=0)
    mixed = light * total
    for index in evidence:
        linear, seen = source.region(index, tile.window)
        frame = tensor(linear)
        ev = torch.tensor([float(source.burst.evs[index])])
        predicted = (light * torch.exp2(ev)).clamp(0, 1)
        a, b, dark = common_exposure(predicted, frame, torch.zeros(1))
        gap = torch.nn.functional.max_pool2d(disagreement(a, b, dark, torch.zeros(1)), 3, 1, 1)
        weight = exposure_weight(frame, ev) * tensor(seen) * torch.exp(-gap.square())
        mixed = mixed + weight * radiance(frame, ev)
        total = total + weight
    return torch.where(total > 0, mixed / total.clamp(min=1e-9), light)
