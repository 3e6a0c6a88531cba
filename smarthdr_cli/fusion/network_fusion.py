"""Fusion by saf: motion over the whole image, then trust, merge, residual and sigma tile by tile.

For every tile, with the stages of models/saf.py and the corrections of this package:

1. Each other frame, in the order of ``links`` (nearest exposure first), is read through its displacement and verified
   against the reference, or against the merge so far where it is too many EV away: trust logit, features, difference.
2. ``SAF.refine``: merge by trust, residual, raw sigma.
3. The residual is limited to what the frames and the reference measured.
4. sigma = max(calibrated sigma, noise floor, effect of rejected frames), 1 where every frame clips.
5. Frames beyond the network's are added where the result agrees with them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.burst.reference import spanning_frames
from smarthdr_cli.fusion.belief import SURE, agreed, as_measured, at_clip, bounded, known, unheard
from smarthdr_cli.fusion.bleach import bleaches, unbleached
from smarthdr_cli.fusion.border import Edge, beyond, blank, edge, lacking, lowest_peak, shares
from smarthdr_cli.fusion.ends import End, find_ends, matched_light
from smarthdr_cli.fusion.evidence import add_evidence
from smarthdr_cli.fusion.memory_budget import MemoryBudget
from smarthdr_cli.fusion.motion import PairMotion, cells_of, find_motions, pad_for_pyramid
from smarthdr_cli.fusion.reach import Light, Link, links
from smarthdr_cli.fusion.result import FuserRecord, FusionStatistics, RadianceSigma, TiledFusion
from smarthdr_cli.fusion.static_merge import (
    classical_merge,
    difference_from_classical,
    flag_clipped,
    reference_first,
    write_tile,
)
from smarthdr_cli.fusion.tiles import Tile, parallel_map, tile_grid, to_tensor, worker_count
from smarthdr_cli.fusion.tripod import at_rest, believed
from smarthdr_cli.fusion.uncertainty import calibrated_sigma, sigma_floor, sigma_of_rejected_frames
from smarthdr_cli.fusion.usual import usual_noise
from smarthdr_cli.models.pairwise import MAX_TRAINED_EV, common_exposure, limit_ev, normalised_difference
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.models.tensor_ops import encode
from smarthdr_cli.models.uncertainty_calibration import Calibration
from smarthdr_cli.system import trim_heap

F32 = NDArray[np.float32]
MAX_NETWORK_FRAMES = 9  # as many as training shows
STRONG_LOGIT = 2.0  # by which --deghost strong lowers trust
FULL_TRUST = 0.1  # trust from which a frame fully bounds the residual
MOTION_SHARE = 0.25  # of the computing time, for progress


@dataclass(frozen=True)
class SAFFuser:
    """saf on its device, in its precision, as a ``Fuser``."""

    model: SAF
    device: torch.device
    dtype: torch.dtype
    calibration: Calibration | None
    record: FuserRecord

    def fuse(
        self, burst: AlignedBurst, budget: MemoryBudget, *, strong: bool, on_progress: Callable[[float], None]
    ) -> TiledFusion:
        """Fuse every frame of the burst: nine at most by the network, the others as evidence."""
        members, evidence = split_frames(burst.burst)
        return fuse_members(
            self, burst, members, evidence, budget.tile,
            strong=strong, parallel_motions=budget.parallel_motions, on_progress=on_progress,
        )  # fmt: skip


@dataclass(frozen=True)
class WarpedFrame:
    """A frame warped into a tile, (1, 3, h, w) linear in its own units, and its verification.

    ``valid``: (1, 1, h, w) where it has data. ``edge``: where it ends (fusion/border.py). ``logit``, ``features``,
    ``difference`` as ``SAF.verify`` gives them. ``unfilled``: the frame before the merge so far replaced what is not
    trusted.
    """

    frame: Tensor
    valid: Tensor
    edge: Edge | None
    logit: Tensor
    features: Tensor
    difference: Tensor
    unfilled: Tensor


@dataclass(frozen=True)
class BurstState:
    """What all tiles of a burst share.

    ``indices``: frames, the reference first; ``evs`` (1, N) theirs, on the device. ``motions``: by position in
    ``indices``. ``noise``: of the whole burst, see ``usual_noise``. ``corrected``: see ``fuse_members``. ``ends``: see
    ``find_ends``.
    """

    fuser: SAFFuser
    burst: AlignedBurst
    indices: list[int]
    evs: Tensor
    motions: Mapping[int, PairMotion]
    noise: Tensor | None
    strong: bool
    corrected: bool
    ends: Sequence[End] = ()

    @property
    def scale(self) -> float:
        """Factor from reference units to short clip = 1."""
        return float(torch.exp2(self.evs.min()))


@dataclass(frozen=True)
class _TileStatistics:
    """``restored``: mean share by which the residual was limited. ``trust``: mean."""

    pixels: int
    restored: float
    trust: float


def split_frames(burst: Burst) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The frames for the network (at most nine, spanning the range of exposures) and the others, the evidence."""
    members = spanning_frames(burst, MAX_NETWORK_FRAMES)
    return members, tuple(i for i in range(len(burst)) if i not in members)


def fuse_members(
    fuser: SAFFuser, burst: AlignedBurst, members: tuple[int, ...], evidence: tuple[int, ...], tile_side: int, *,
    strong: bool, parallel_motions: int | None = None, on_progress: Callable[[float], None] = lambda _share: None,
    corrected: bool = True,
) -> TiledFusion:  # fmt: skip
    """Fuse ``members`` (2 to 9 frames, the reference among them); ``evidence`` is added where the result agrees.

    ``tile_side``: 0 for one tile. ``parallel_motions``: motion estimates at a time, None for one per core.
    ``corrected``: False leaves out what overrules the network's trust and residual, for comparisons.
    """
    height, width = burst.burst.size
    indices, evs = reference_first(burst, members)
    reference = burst.downsample(indices[0], CELL)
    workers = worker_count(fuser.device)
    cells = pad_for_pyramid(reference, fuser.device)
    motions = find_motions(
        fuser.model, burst, indices, evs, cells, min(workers, parallel_motions or workers),
        lambda share: on_progress(MOTION_SHARE * share), corrected=corrected,
    )  # fmt: skip
    trim_heap()
    noise = usual_noise(burst, indices, evs)
    static: Tensor | None = None
    if not strong:
        likeness = {position: motion.likeness for position, motion in motions.items()}
        static = at_rest(burst, indices, evs, likeness, noise, (cells.shape[-2], cells.shape[-1]), tile_side)
    if static is not None:
        motions = {position: replace(m, static=static.to(fuser.device)) for position, m in motions.items()}
    state = BurstState(fuser, burst, indices, evs.to(fuser.device), motions, noise, strong, corrected)
    state = replace(state, ends=find_ends(burst, indices, evs, partial(_frames_and_trust, state)))
    image = RadianceSigma(np.empty((height, width, 3), np.float32), np.empty((height, width), np.float32))
    classical = np.empty_like(reference)
    total = _TileStatistics(0, 0.0, 0.0)
    fuse_tile = partial(_fuse_and_write, state, evidence, image, classical)
    for tile in parallel_map(fuse_tile, tile_grid(height, width, tile_side), workers):
        total = _TileStatistics(
            total.pixels + tile.pixels,
            total.restored + tile.restored * tile.pixels,
            total.trust + tile.trust * tile.pixels,
        )
        on_progress(MOTION_SHARE + (1 - MOTION_SHARE) * total.pixels / (height * width))
    trim_heap()
    rows, columns = classical.shape[:2]
    statistics = FusionStatistics(
        tile=tile_side,
        network_frames=len(members),
        evidence_frames=len(evidence),
        difference=difference_from_classical(image.radiance[::CELL, ::CELL], classical, state.scale),
        restored_share=total.restored / (height * width),
        mean_trust=total.trust / (height * width),
        still_share=0.0 if static is None else float(static[..., :rows, :columns].mean()),
    )
    return TiledFusion(image, statistics)


def _fuse_and_write(
    state: BurstState, evidence: tuple[int, ...], image: RadianceSigma, classical: F32, tile: Tile
) -> _TileStatistics:
    """Fuse a tile and write it and its classical merge into the images."""
    light, sigma, statistics = _fuse_tile(state, tile)
    if evidence:
        light = add_evidence(state.burst, evidence, tile, light, state.evs.cpu())
    write_tile(image, tile, light, sigma)
    classical[cells_of(tile.core)] = classical_merge(state.burst, state.indices, state.evs.cpu(), tile.core)
    return statistics


def _fuse_tile(state: BurstState, tile: Tile) -> tuple[Tensor, Tensor, _TileStatistics]:
    """Light (1, 3, h, w) and sigma (1, 1, h, w) of a tile, on the CPU."""
    burst, evs, indices = state.burst, state.evs, state.indices
    ref = _read_reference(state, tile.window)
    codes = encode(ref)
    others = _verified_frames(state, tile.window, ref, codes)
    edges = [other.edge for other in others]
    frames = torch.stack([ref, *(other.frame for other in others)], dim=1)
    valid = torch.stack([other.valid for other in others], dim=1)
    extended = valid + beyond(frames, valid, edges, evs)
    stack, differences = blank(frames, extended), [other.difference for other in others]
    factors = shares(edges, stack, evs)
    if float(evs.amin()) < -MAX_TRAINED_EV:
        differences = unheard(differences, stack, evs)
    logits = torch.stack([other.logit for other in others], dim=1)
    features = [other.features for other in others]
    light, log_sigma, detail = state.fuser.model.refine(
        stack, evs, extended, logits, features, torch.stack(differences, 1), codes, known(evs), factors
    )
    trust, merged = detail.trust, detail.merged
    restored = 0.0
    if state.corrected:
        light, restored = bounded(light, merged, stack, (trust * (1 / FULL_TRUST)).clamp(max=1), evs)
        light = at_clip(light, lowest_peak(stack), stack, extended, evs)
        if burst.burst.frames[indices[0]].codes.dtype != np.uint8:
            light = as_measured(light, ref)
    floor = sigma_floor(burst, indices, stack, evs, trust, merged, factors, state.noise)
    sigma = calibrated_sigma(log_sigma, _calibration(state), stack, evs, trust, merged, floor)
    if any(other.unfilled is not other.frame for other in others):
        unfilled = blank(torch.stack([stack[:, 0], *(other.unfilled for other in others)], dim=1), extended)
        sigma = torch.maximum(sigma, sigma_of_rejected_frames(stack, unfilled, evs, trust, factors))
    # By validity without extension: what no frame has is not known.
    sigma = flag_clipped(sigma, light, state.scale, lowest_peak(blank(frames, valid)))
    light, sigma = light.cpu(), sigma.cpu()
    if state.ends and any(edges):
        missing = lacking(edges, stack, evs).cpu()
        light, sigma = matched_light(state.ends, burst, light, sigma, tile.window, missing, state.scale)
    pixels = tile.core.height * tile.core.width
    return light, sigma, _TileStatistics(pixels, restored, float(trust.mean()))


def _calibration(state: BurstState) -> Calibration | None:
    """The calibration for the source codes of the burst."""
    calibration = state.fuser.calibration
    return None if calibration is None else calibration.for_codes(f.codes.dtype for f in state.burst.burst.frames)


def _read_reference(state: BurstState, window: Window) -> Tensor:
    """(1, 3, h, w) linear, on the device."""
    return to_tensor(state.burst.read(state.indices[0], window)[0]).to(state.fuser.device)


def _frames_and_trust(state: BurstState, window: Window) -> tuple[Tensor, Tensor]:
    """Frames (1, N, 3, h, w), the others warped, and trust (1, N-1, 1, h, w) in a window."""
    ref = _read_reference(state, window)
    others = _verified_frames(state, window, ref, encode(ref))
    valid = torch.stack([other.valid for other in others], dim=1)
    frames = blank(torch.stack([ref, *(other.frame for other in others)], dim=1), valid)
    return frames, torch.stack([other.logit for other in others], dim=1).sigmoid() * valid


def _verified_frames(state: BurstState, window: Window, ref: Tensor, codes: Tensor) -> list[WarpedFrame]:
    """The other frames in a window, in the order of ``indices``; verified in the order of ``links``."""
    chain = links(state.evs)
    merge_so_far = Light(ref) if any(link.anchor for link in chain) else None
    verified: dict[int, WarpedFrame] = {}
    target_codes: Tensor | None
    for link in chain:
        index, motion = state.indices[link.place], state.motions[link.place]
        warped, valid = state.burst.read(index, window, motion.displacement(window))
        frame, valid_mask = to_tensor(warped).to(state.fuser.device), to_tensor(valid).to(state.fuser.device)
        unfilled = compared = frame
        target, target_codes = ref, codes
        if merge_so_far and link.anchor:
            target, target_codes = merge_so_far.shown_to(frame, link), None
        elif bleaches(state.burst.burst):
            target, compared = unbleached(ref, frame, frame.new_full((1,), link.apart))
            target_codes = codes if target is ref else None
        logit, features, difference = _verify(state, target, compared, valid_mask, link, motion, window, target_codes)
        if merge_so_far:
            trust = torch.sigmoid(logit) * valid_mask
            if link.anchor:
                frame = merge_so_far.filling(frame, link, trust)
                logit, trust = torch.full_like(logit, SURE), valid_mask
            merge_so_far.join(frame, link.ev, trust)
        frame_edge = edge(state.burst, index, window)
        verified[link.place] = WarpedFrame(frame, valid_mask, frame_edge, logit, features, difference, unfilled)
    return [verified[position] for position in range(1, len(state.indices))]


def _verify(
    state: BurstState, target: Tensor, frame: Tensor, valid: Tensor, link: Link, motion: PairMotion, window: Window,
    target_codes: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Trust logit, features and difference of a warped frame against the reference or the merge so far.

    ``target_codes``: ``encode(target)`` where it is known. Invalid pixels keep trust 1: validity removes them, and
    their extension at the frame's edge must not be distrusted.
    """
    model = state.fuser.model
    compared, ev = limit_ev(target, frame, frame.new_full((1,), link.apart))
    tolerance = motion.tolerance_in(window)
    logit, features, difference = model.verify(
        target, compared, valid, ev, motion.state_in(window), target_codes, tolerance
    )
    if link.apart < -MAX_TRAINED_EV:  # amplified noise is no difference: the frame counts as it is
        compared, ev = frame, frame.new_full((1,), link.apart)
        difference = normalised_difference(*common_exposure(target, compared, ev, target_codes), ev)
    if state.strong:
        logit = logit - STRONG_LOGIT
    if state.corrected:
        logit = agreed(logit, difference, target, compared, ev)
    if (static := motion.static_in(window)) is not None:
        logit, difference = believed(logit, difference, static)
    return torch.where(valid > 0, logit, torch.full_like(logit, SURE)), features, difference
