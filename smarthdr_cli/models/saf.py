"""saf: selective alignment fusion, the default network; 2 to 9 frames in any order.

Align selectively, merge explicitly, refine a little, as SAFNet does (Kong et al. 2024, ECCV); the architecture differs.
Every other frame k is compared with the reference 0 by the same weights:

1. motion, coarse to fine over an image pyramid, by one recurrent decoder:
       flow <- up(flow) + sigmoid(a) match + L tanh(b / L),   trust logit and hidden state beside it
   ``match`` is the soft argmin of a cost volume (saf_layers.py), a and b outputs of the decoder, L ``config.limit``.
   What follows uses the state on cells of 4x4 pixels; finer levels, down to ``finest``, refine the displacement alone.
   Fusion refines it otherwise (fusion/motion_refinement.py).
2. trust, per pixel, of the warped frame against the reference:
       z_k = logit + local + 2 - softplus(slope) d_k,   trust t_k = sigmoid(z_k)
   d_k is the normalised difference (pairwise.py; noise_inputs.py with ``config.noise_inputs``). Then the physical
   merge h of merge.py.
3. residual, in the mu-law domain T, from features pooled over frames (mean and maximum):
       H = T^-1(T(h) + g R tanh(r / R)),   g = max(clip(max_k d_k - 1), 4 * removed weight), in [0, 1]
   R is ``config.residual``. The gate g is 0 where frames agree and all are trusted. The uncertainty head reads the same
   features.

With ``config.noise_inputs`` the network sees the test's trust in 2 and sigma of the merge in 3 as well.
Nothing is pooled or normalised over space: overlapping tiles equal the whole image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smarthdr_cli.models.base import FusionModel, MergeDetail, Prediction
from smarthdr_cli.models.merge import merge
from smarthdr_cli.models.noise_inputs import of_default_camera
from smarthdr_cli.models.pairwise import (
    common_exposure,
    dead_zone,
    flow_helps,
    inside_frame,
    normalised_difference,
    warp,
)
from smarthdr_cli.models.saf_layers import CELL, Motion, cost_volume, fold, pyramid, soft_argmin, upsample
from smarthdr_cli.models.tensor_ops import encode, inverse_mu_law, mu_law
from smarthdr_cli.models.uncertainty_head import UncertaintyHead

# Limits of a config from a file, whose network is built before its weights are compared with it: 200 MB at most.
MAX_WIDTH = 512  # the shipped network has 64 at most
MAX_RADIUS = 8  # cells
# Above this share of pixels with an open gate, computing all pixels is faster than selecting them.
MAX_SPARSE_SHARE = 0.4
LOG_SIGMA_RANGE = 9.2  # -log 1e-4: sigma of a merge as a plane in [0, 1]


@dataclass(frozen=True)
class SAFConfig:
    """Sizes of the network. Raises ValueError for widths and a radius beyond their limits and another ``finest``.

    ``match``: number of features in the cost volume, which covers ``radius`` cells each way. ``limit``: largest
    correction of the displacement per level, in its cells. ``residual``: largest residual in the mu-law domain.
    ``finest``: side of the finest motion cells in pixels, 4, 2 or 1; no weight depends on it. ``noise_inputs``: whether
    the noise of the burst is an input (noise_inputs.py).
    """

    name: str = "saf"
    encoder: int = 32
    motion: int = 64
    hidden: int = 16
    verify: int = 48
    refine: int = 64
    radius: int = 2
    match: int = 12
    limit: float = 4.0
    residual: float = 0.5
    finest: int = 1
    noise_inputs: bool = False

    def __post_init__(self) -> None:
        widths = (self.encoder, self.motion, self.hidden, self.verify, self.refine, self.match)
        if not all(1 <= width <= MAX_WIDTH for width in widths):
            raise ValueError(f"saf's widths must be from 1 to {MAX_WIDTH}")
        if not 0 <= self.radius <= MAX_RADIUS:
            raise ValueError(f"radius must be from 0 to {MAX_RADIUS}, not {self.radius}")
        if self.finest not in (CELL, 2, 1):
            raise ValueError(f"finest must be {CELL}, 2 or 1, not {self.finest}")


class SAF(FusionModel):
    """The network. Its stages are public: images are fused stage by stage, in tiles (fusion/network_fusion.py)."""

    config: SAFConfig

    def __init__(self, config: SAFConfig) -> None:
        super().__init__()
        c = config
        self.config = c
        self.finest = c.finest  # the last level of ``forward``, see ``set_finest_cell``
        self.encoder = nn.Sequential(
            conv(3, c.encoder), conv(c.encoder, c.encoder), nn.Conv2d(c.encoder, c.encoder, 3, padding=1)
        )
        taps = (2 * c.radius + 1) ** 2
        self.decoder = nn.Sequential(
            conv(2 * c.encoder + taps + c.hidden + 6, c.motion), conv(c.motion, c.motion), conv(c.motion, c.encoder)
        )
        self.motion_head = nn.Conv2d(c.encoder, 4 + c.hidden, 3, padding=1)
        self.sharpness = nn.Parameter(torch.tensor(20.0))
        folded = CELL * CELL
        self.verify_in = conv((11 + c.noise_inputs) * folded + 2 + c.hidden, c.verify)
        self.verify_body = nn.Sequential(conv(c.verify, c.verify), conv(c.verify, c.verify))
        self.verify_head = nn.Conv2d(c.verify, folded + 1, 3, padding=1)
        self.refine_in = conv(2 * c.verify + (8 + c.noise_inputs) * folded, c.refine)
        self.refine_body = nn.Sequential(conv(c.refine, c.refine), conv(c.refine, c.refine))
        self.residual_head = nn.Conv2d(c.refine, 3 * folded, 3, padding=1)
        self.judge = UncertaintyHead(c.refine, outputs=folded)
        for head in (self.motion_head, self.verify_head, self.residual_head):
            nn.init.normal_(head.weight, std=1e-3)
            assert head.bias is not None
            nn.init.zeros_(head.bias)

    def extend_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights of a network without noise inputs take their planes with a weight of 0."""
        extended, folded = dict(state), CELL * CELL
        for layer, first in (("verify_in", 11 * folded), ("refine_in", 2 * self.config.verify + 8 * folded)):
            name, new = f"{layer}.0.weight", getattr(self, layer)[0].weight
            weight = state.get(name)  # of another network, where it is refused later
            if weight is not None and weight.shape[1:2] == (new.shape[1] - folded,):
                zeros = weight.new_zeros(len(weight), folded, *weight.shape[2:])
                extended[name] = torch.cat([weight[:, :first], zeros, weight[:, first:]], dim=1)
        return extended

    def set_finest_cell(self, side: int) -> None:
        """Cells of ``side`` pixels, or of ``config.finest`` where that is coarser."""
        self.finest = max(side, self.config.finest)

    def start(self, pairs: int, height: int, width: int, like: Tensor) -> Motion:
        """The state before the coarsest level: no displacement, trust logit 1."""
        zeros = like.new_zeros((pairs, 3 + self.config.hidden, height, width))
        return Motion(zeros[:, :2].float(), zeros[:, 2:3] + 1.0, zeros[:, 3:])

    def motion_level(self, ref: Tensor, moved: Tensor, ev: Tensor, state: Motion) -> Motion:
        """One pyramid level: (P, 3, h, w) linear frames, the other warped by ``state.flow``; (P,) EVs of the other."""
        a, b, _ = common_exposure(ref, moved, ev)
        dtype = self.motion_head.weight.dtype
        features_a, features_b = self.encoder((torch.cat([a, b]) * 2 - 1).to(dtype)).chunk(2)
        k, radius = self.config.match, self.config.radius
        cost = cost_volume(features_a[:, :k].float().contiguous(), features_b[:, :k].float().contiguous(), radius)
        match = soft_argmin(cost, radius, self.sharpness.float())
        ev_plane = _ev_plane(ev, ref)
        context = torch.cat([cost, match, state.hidden.float(), state.logit, state.flow / 8, ev_plane], dim=1)
        out = self.motion_head(self.decoder(torch.cat([features_a, features_b, context.to(dtype)], dim=1))).float()
        limit = self.config.limit
        step = torch.sigmoid(out[:, 3:4]) * match + limit * torch.tanh(out[:, :2] / limit)
        return Motion(state.flow + step, state.logit + out[:, 2:3], out[:, 4:].to(dtype))

    def motion(self, refs: list[Tensor], others: list[Tensor], ev: Tensor) -> list[Motion]:
        """The states of all levels of two pyramids (P, 3, h, w), coarse to fine, each level twice the one before."""
        states: list[Motion] = []
        for ref, other in zip(refs, others, strict=True):
            h, w = ref.shape[-2:]
            state = upsample(states[-1], 2) if states else self.start(len(ref), h, w, ref)
            # Every level has its own loss: no gradient flows through the warp by the coarser level.
            states.append(self.motion_level(ref, warp(other, state.flow.detach()), ev, state))
        return states

    def flows(self, frames: Tensor, evs: Tensor) -> tuple[Tensor, ...]:
        """Displacements of every level, as ``MergeDetail.flows``."""
        ref, other, ev = _pairs(frames, evs)
        states = self.motion(pyramid(ref, self.finest), pyramid(other, self.finest), ev)
        return tuple(state.flow for state in states)

    def verify(
        self, ref: Tensor, moved: Tensor, valid: Tensor, ev: Tensor, state: Motion, ref_codes: Tensor | None = None,
        noise_inputs: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Trust logits z (P, 1, H, W), cell features (P, C, H/4, W/4) and difference d (P, 1, H, W) of warped frames.

        ``ref``, ``moved``: (P, 3, H, W). ``state``: of the cells. ``ref_codes``: ``encode(ref)`` where it is known.
        ``noise_inputs``: difference and trust (P, 1, H, W), where the config has them.
        """
        a, b, dark = common_exposure(ref, moved, ev, ref_codes)
        difference, *trust = noise_inputs or (normalised_difference(a, b, dark, ev),)
        dtype = self.verify_head.weight.dtype
        planes = [x.to(dtype) for x in (a, b - a, dark, valid, (difference / 4).clamp(max=2), *trust)]
        cells = fold(torch.cat(planes, dim=1))
        context = [x.to(dtype) for x in (state.logit, _ev_plane(ev, cells), state.hidden)]
        features = self.verify_in(torch.cat([cells, *context], dim=1))
        features = features + self.verify_body(features)
        head = self.verify_head(features).float()
        local = F.pixel_shuffle(head[:, :-1], CELL)
        slope = F.interpolate(F.softplus(head[:, -1:]), scale_factor=CELL, mode="nearest")
        logit = F.interpolate(state.logit.float(), scale_factor=CELL, mode="nearest") + local
        return logit + 2.0 - slope * difference.clamp(max=8), features, difference

    def refine(
        self, frames: Tensor, evs: Tensor, valid: Tensor, logits: Tensor, features: Sequence[Tensor],
        differences: Tensor, ref_codes: Tensor | None = None, factors: Tensor | None = None,
        sigma: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, MergeDetail]:  # fmt: skip
        """Radiance (B, 3, H, W), log sigma (B, 1, H, W) and how they came about.

        ``frames``: (B, N, 3, H, W), the others warped. ``valid``, ``logits``, ``differences``: (B, N-1, 1, H, W);
        ``features``: (B, C, H/4, W/4) for each of the others, all from ``verify``. ``factors``: of the
        weights, see ``merge``. ``sigma``: (B, 1, H, W) of the merge, where the config has noise inputs.
        """
        trust = torch.sigmoid(logits) * valid
        merged, removed = merge(frames, evs, trust, factors)
        scale = torch.exp2(evs.amin(dim=1)).view(-1, 1, 1, 1)
        conflict = ((differences * valid).amax(dim=1) - 1).clamp(0, 1)
        gate = torch.maximum(conflict, (removed * 4).clamp(max=1))
        dtype = self.residual_head.weight.dtype
        codes = encode(frames[:, 0]) if ref_codes is None else ref_codes
        noise = () if sigma is None else (sigma.log() / LOG_SIGMA_RANGE + 1,)
        planes = torch.cat([x.to(dtype) for x in (encode(merged), codes, removed, gate, *noise)], dim=1)
        total, maximum = features[0], features[0]
        for feature in features[1:]:
            total, maximum = total + feature, torch.maximum(maximum, feature)
        hidden = self.refine_in(torch.cat([total / len(features), maximum, fold(planes)], dim=1))
        hidden = hidden + self.refine_body(hidden)
        residual = F.pixel_shuffle(self.residual_head(hidden).float(), CELL)
        light = add_residual(merged, residual, gate, scale, self.config.residual)
        # Detached: the uncertainty head learns from the features but does not shape them.
        log_sigma = F.pixel_shuffle(self.judge(hidden.detach()), CELL)
        return light, log_sigma, MergeDetail(merged, trust, logits, gate)

    def forward(self, frames: Tensor, evs: Tensor, valid: Tensor) -> Prediction:
        """The whole burst in one piece, see ``FusionModel.forward``."""
        batch, count, _, h, w = frames.shape
        pairs, side = count - 1, self.finest
        ref, other, ev = _pairs(frames, evs)
        refs, others = pyramid(ref, side), pyramid(other, side)
        states = self.motion(refs, others, ev)
        cells = next(state for state in states if state.flow.shape[-1] == w // CELL)
        finest = states[-1].flow * flow_helps(refs[-1], others[-1], states[-1].flow, ev)
        flow = dead_zone(side * F.interpolate(finest, scale_factor=side, mode="bilinear", align_corners=False))
        moved = warp(other, flow)
        valid_moved = warp(valid[:, 1:].flatten(0, 1), flow) * inside_frame(flow)
        shape = (batch, pairs, -1)
        stack = torch.cat([frames[:, :1], moved.view(batch, pairs, 3, h, w)], dim=1)
        noise_inputs, sigma = None, None
        if self.config.noise_inputs:
            gaps, trust, sigma = of_default_camera(stack, evs, valid_moved.view(*shape, h, w))
            noise_inputs = gaps.flatten(0, 1), trust.flatten(0, 1)
        logits, features, differences = self.verify(ref, moved, valid_moved, ev, cells, None, noise_inputs)
        light, log_sigma, detail = self.refine(
            stack, evs, valid_moved.view(*shape, h, w), logits.view(*shape, h, w),
            features.view(*shape, h // CELL, w // CELL).unbind(1), differences.view(*shape, h, w), sigma=sigma,
        )  # fmt: skip
        return Prediction(light, log_sigma, replace(detail, flows=tuple(state.flow for state in states)))


def conv(inputs: int, outputs: int) -> nn.Sequential:
    """A 3x3 convolution and its activation."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(0.1))


def add_residual(merged: Tensor, residual: Tensor, gate: Tensor, scale: Tensor, limit: float) -> Tensor:
    """H of the module's equation 3, (B, 3, H, W); ``merged`` unchanged where ``gate`` (B, 1, H, W) is 0.

    ``scale``: (B, 1, 1, 1) from reference units to short clip = 1. ``limit``: R.
    """
    if torch.is_grad_enabled() or len(merged) > 1 or bool((gate > 0).float().mean() > MAX_SPARSE_SHARE):
        change = gate * limit * torch.tanh(residual / limit)
        light = inverse_mu_law((mu_law(merged * scale) + change).clamp(0, 1)) / scale
        return torch.where(gate > 0, light, merged)
    selected = gate.flatten().nonzero()[:, 0]
    merged_there, residual_there = merged.flatten(2)[..., selected], residual.flatten(2)[..., selected]
    change = gate.flatten(2)[..., selected] * limit * torch.tanh(residual_there / limit)
    factor = scale[..., 0]
    light = inverse_mu_law((mu_law(merged_there * factor) + change).clamp(0, 1)) / factor
    return merged.flatten(2).index_copy(2, selected, light).view_as(merged)


def _pairs(frames: Tensor, evs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Reference and other frame of every pair, (B * (N-1), 3, H, W) each, and the (B * (N-1),) EVs of the other."""
    count = frames.shape[1] - 1
    ref = frames[:, :1].expand(-1, count, -1, -1, -1).flatten(0, 1)
    return ref, frames[:, 1:].flatten(0, 1), evs[:, 1:].reshape(-1)


def _ev_plane(ev: Tensor, like: Tensor) -> Tensor:
    """(P,) EVs as a channel (P, 1, h, w) of the size of ``like``, scaled to about [-1, 1]."""
    return (ev / 4).view(-1, 1, 1, 1).expand(-1, 1, *like.shape[-2:])
