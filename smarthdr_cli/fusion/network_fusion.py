"""Fusion by the network: motion over the whole picture, then trust, merge, residual and judgement tile by tile."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.fusion.belief import SURE, agreed, as_measured, at_clip, bounded, known, unheard
from smarthdr_cli.fusion.bleach import bleaches, unbleached
from smarthdr_cli.fusion.border import Edge, beyond, blank, edge, lacking, lowest_peak, shares
from smarthdr_cli.fusion.ends import End, find_ends, matched_light
from smarthdr_cli.fusion.evidence import add_evidence
from smarthdr_cli.fusion.motion import PairMotion, cells_of, find_motions, padded
from smarthdr_cli.fusion.parallel import each, workers
from smarthdr_cli.fusion.reach import Light, Link, links
from smarthdr_cli.fusion.static_merge import (
    Guard,
    RadianceSigma,
    compare,
    flag_clipped,
    order,
    plain_merge,
    put,
)
from smarthdr_cli.fusion.tiles import Tile, grid, tensor
from smarthdr_cli.fusion.tripod import at_rest, believed
from smarthdr_cli.fusion.uncertainty import floor_under, judged, overruled
from smarthdr_cli.fusion.usual import usual_noise
from smarthdr_cli.models.pairwise import MAX_TRAINED_EV, common_exposure, limit_ev, normalised_difference
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.models.tensor_ops import encode
from smarthdr_cli.models.uncertainty_calibration import Calibration
from smarthdr_cli.system import trim_heap

F32 = NDArray[np.float32]
STRONG = 2.0  # logits by which --deghost strong distrusts
SHOWS = 10.0  # a frame trusted by a tenth shows something


@dataclass(frozen=True)
class Learned:
    """The network ready to run: on its device, in its precision."""

    model: SAF
    device: torch.device
    dtype: torch.dtype
    calibration: Calibration | None


@dataclass(frozen=True)
class Seen:
    """A frame moved into a tile, (1, 3, h, w) linear in its own units, and what ``SAF.verify`` says of it.

    ``valid``: where it was seen; ``edge``: where it ends (fusion/border.py). ``own``: the
    frame as it was, before the light so far took the place of what was not trusted.
    """

    frame: Tensor
    valid: Tensor
    edge: Edge | None
    logit: Tensor
    features: Tensor
    gap: Tensor
    own: Tensor


@dataclass(frozen=True)
class Outcome:
    """The picture, its comparison with the classical merge, the share put back to the convex combination; ``still``,
    the share that is known to stand still because next to nothing in the burst moves, else 0."""

    plane: RadianceSigma
    guard: Guard
    restored: float
    trusted: float
    still: float = 0.0


def fuse_learned(
    network: Learned, source: AlignedBurst, members: tuple[int, ...], evidence: tuple[int, ...], size: int, *,
    strong: bool,
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
    reference = source.downsample(indices[0], CELL)
    count = workers(network.device)
    share = 0.25  # of the work is the motion stage
    cells = padded(reference, network.device)
    motions = find_motions(network.model, source, indices, evs, cells, min(count, at_once or count),
                           lambda done: on_progress(share * done))  # fmt: skip
    trim_heap()
    usual = usual_noise(source, indices, evs)
    likeness = {n: one.likeness for n, one in motions.items()}
    still = None if strong else at_rest(source, indices, evs, likeness, usual, (cells.shape[-2], cells.shape[-1]), size)
    if still is not None:
        motions = {n: replace(one, still=still.to(network.device)) for n, one in motions.items()}

    def look(window: Window) -> tuple[Tensor, Tensor]:
        ref = tensor(source.read(indices[0], window)[0]).to(network.device)
        others = _gathered(network, source, indices, evs.to(ref.device), motions, window, ref, encode(ref), strong)
        valid = torch.stack([one.valid for one in others], dim=1)
        frames = blank(torch.stack([ref, *(one.frame for one in others)], dim=1), valid)
        return frames, torch.stack([one.logit for one in others], dim=1).sigmoid() * valid

    ends = find_ends(source, indices, evs, look)
    out = RadianceSigma(np.empty((height, width, 3), np.float32), np.empty((height, width), np.float32))
    classical = np.empty_like(reference)

    def compute(tile: Tile) -> tuple[int, float, float]:
        light, sigma, put_back, trust = _tile(network, source, indices, evs, motions, ends, usual, tile, strong)
        if evidence:
            light = add_evidence(source, evidence, tile, light, evs)
        put(out, tile.core, tile.window, light, sigma)
        classical[cells_of(tile.core)] = plain_merge(source, indices, evs, tile.core)
        return tile.core.height * tile.core.width, put_back, trust

    restored = trusted = done = 0.0
    for area, put_back, trust in each(compute, grid(height, width, size), count):
        done += area
        restored += put_back * area
        trusted += trust * area
        on_progress(share + (1 - share) * done / (height * width))
    trim_heap()
    total = height * width
    guard = compare(out.radiance[::CELL, ::CELL], classical, scale)
    standing = 0.0 if still is None else float(still[..., : classical.shape[0], : classical.shape[1]].mean())
    return Outcome(out, guard, restored / total, trusted / total, standing)


def _tile(
    network: Learned,
    source: AlignedBurst,
    indices: list[int],
    evs: Tensor,
    motions: Mapping[int, PairMotion],
    ends: Sequence[End],
    usual: Tensor | None,
    tile: Tile,
    strong: bool,
) -> tuple[Tensor, Tensor, float, float]:
    """Light (1, 3, h, w) and sigma (1, 1, h, w) of a tile, on the CPU; share put back, mean trust."""
    model, device = network.model, network.device
    window = tile.window
    scale = float(torch.exp2(evs.min()))
    ref = tensor(source.read(indices[0], window)[0]).to(device)
    codes = encode(ref)
    evs = evs.to(device)
    others = _gathered(network, source, indices, evs, motions, window, ref, codes, strong)
    shown = torch.stack([ref, *(one.frame for one in others)], dim=1)
    valid = torch.stack([one.valid for one in others], dim=1)
    edges = [one.edge for one in others]
    seen_by = valid + beyond(shown, valid, edges, evs)
    logits = torch.stack([one.logit for one in others], dim=1)
    stack, gaps = blank(shown, seen_by), [one.gap for one in others]
    weight = shares(edges, stack, evs)
    if float(evs.amin()) < -MAX_TRAINED_EV:
        gaps = unheard(gaps, stack, evs)
    features = [one.features for one in others]
    out = model.refine(stack, evs, seen_by, logits, features, torch.stack(gaps, 1), codes, known(evs), weight)
    light, put_back = bounded(out.radiance, out.merged, stack, (out.trust * SHOWS).clamp(max=1), evs)
    peak = lowest_peak(stack)
    light = at_clip(light, peak, stack, seen_by, evs)
    if source.burst.frames[indices[0]].codes.dtype != np.uint8:
        light = as_measured(light, ref)
    floor = floor_under(source, indices, stack, evs, out.trust, out.merged, weight, usual)
    sigma = judged(out.log_sigma, network.calibration, stack, evs, out.trust, out.merged, floor)
    if any(one.own is not one.frame for one in others):
        meant = blank(torch.stack([stack[:, 0], *(one.own for one in others)], dim=1), seen_by)
        sigma = torch.maximum(sigma, overruled(stack, meant, evs, out.trust, weight))
    sigma = flag_clipped(sigma, light, scale, lowest_peak(blank(shown, valid)))  # what nobody saw is not known
    light, sigma, trust = light.cpu(), sigma.cpu(), float(out.trust.mean())
    if ends and any(edges):
        light, sigma = matched_light(ends, source, light, sigma, window, lacking(edges, stack, evs).cpu(), scale)
    return light, sigma, put_back, trust


def _gathered(
    network: Learned, source: AlignedBurst, indices: list[int], evs: Tensor, motions: Mapping[int, PairMotion],
    window: Window, ref: Tensor, codes: Tensor, strong: bool,
) -> list[Seen]:  # fmt: skip
    """The other frames of a window in the order of ``indices``, verified in that of their ``links``."""
    chain = links(evs)
    so_far = Light(ref) if any(link.anchor for link in chain) else None
    found: dict[int, Seen] = {}
    for link in chain:
        n = link.place
        frame, valid = (tensor(part).to(network.device)
                        for part in source.read(indices[n], window, motions[n].displacement(window)))  # fmt: skip
        against, known_codes = (so_far.shown_to(frame, link), None) if so_far and link.anchor else (ref, codes)
        look = frame
        if not link.anchor and bleaches(source.burst):
            hued, look = unbleached(against, frame, frame.new_full((1,), link.apart))
            against, known_codes = hued, known_codes if hued is against else None
        logit, features, gap = _verified(
            network.model, against, look, valid, link, motions[n], window, known_codes, strong
        )
        own = frame
        if so_far:
            trust = torch.sigmoid(logit) * valid
            if link.anchor:
                frame, logit, trust = so_far.filling(frame, link, trust), torch.full_like(logit, SURE), valid
            so_far.join(frame, link.ev, trust)
        found[n] = Seen(frame, valid, edge(source, indices[n], window), logit, features, gap, own)
    return [found[n] for n in range(1, len(indices))]


def _verified(
    model: SAF, against: Tensor, frame: Tensor, valid: Tensor, link: Link, motion: PairMotion, window: Window,
    codes: Tensor | None, strong: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Trust logit, features and disagreement of a moved frame against the reference or the light so far, whose
    ``codes`` may be at hand. What it did not see, and stands for it at its edge, cannot be distrusted.
    """
    look, ev = limit_ev(against, frame, frame.new_full((1,), link.apart))
    logit, features, gap = model.verify(against, look, valid, ev, motion.cut(window), codes, motion.leniency(window))
    if link.apart < -MAX_TRAINED_EV:  # lifted noise is no disagreement: what counts is the frame as it is
        look, ev = frame, frame.new_full((1,), link.apart)
        gap = normalised_difference(*common_exposure(against, look, ev, codes), ev)
    logit = agreed(logit - STRONG if strong else logit, gap, against, look, ev)
    if (still := motion.stands(window)) is not None:
        logit, gap = believed(logit, gap, still)
    return torch.where(valid > 0, logit, torch.full_like(logit, SURE)), features, gap
