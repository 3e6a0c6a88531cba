"""saf: selective alignment fusion, pairwise and set-based; the default network.

The idea (align selectively, merge explicitly, refine a little) is Kong et al. 2024, SAFNet; the network is our own.
Each non-reference frame is compared with the reference by the same weights, so 2 to 9 frames in any order are one
network's work. Three stages:

1. ``motion_level``: one recurrent decoder, shared over all levels of an image pyramid, coarse to fine, predicts per
   pair a displacement field and a trust logit. What follows looks at the level with cells of 4x4 pixels; levels below
   it, down to ``finest``, go on with the displacement alone.
2. ``verify``: at full resolution (pixels folded into the channels of cells) the moved frame is compared with the
   reference again and the trust decided per pixel. Then the physical merge (models/merge.py): a convex combination.
3. ``refine``: features pooled over frames give a bounded residual in the mu-law domain, gated to zero where the frames
   agree and all are trusted, and the judge's sigma.

No pooling or normalisation over space: tiles equal the whole picture when they overlap by the receptive field.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smarthdr_cli.models.matching import best_match, cost_volume
from smarthdr_cli.models.merge import merge
from smarthdr_cli.models.pairwise import common_exposure, disagreement, inside, lenient, settle, warp, worthwhile
from smarthdr_cli.models.saf_layers import CELL, Motion, fold, pyramid, upsample
from smarthdr_cli.models.tone import encode, inverse_mu_law, mu_law
from smarthdr_cli.models.uncertainty_head import Judge

# A network is built before its weights can be compared with it: these bound what a file may ask for, to 200 MB.
MAX_WIDTH = 512  # the shipped network has 64 at most
MAX_RADIUS = 8  # cells


@dataclass(frozen=True)
class SAFConfig:
    """Widths of the network. ``match``: how many features the cost volume compares, over ``radius`` cells each way.

    ``limit``: largest correction of one motion level, in its cells; ``residual``: largest one in the mu-law domain.
    ``finest``: side of the cells of the finest motion level in pixels, 4, 2 or 1; no weight depends on it, and what was
    learned on coarser levels serves finer ones. Raises ValueError for another, and for widths and a radius beyond
    MAX_WIDTH and MAX_RADIUS.
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

    def __post_init__(self) -> None:
        widths = (self.encoder, self.motion, self.hidden, self.verify, self.refine, self.match)
        if not all(1 <= width <= MAX_WIDTH for width in widths):
            raise ValueError(f"saf's widths must be from 1 to {MAX_WIDTH}")
        if not 0 <= self.radius <= MAX_RADIUS:
            raise ValueError(f"radius must be from 0 to {MAX_RADIUS}, not {self.radius}")
        if self.finest not in (CELL, 2, 1):
            raise ValueError(f"finest must be {CELL}, 2 or 1, not {self.finest}")


@dataclass(frozen=True)
class Prediction:
    """``radiance``: (B, 3, H, W) in reference units. ``log_sigma``: (B, 1, H, W), natural log of the judge's raw sigma.

    ``trust``: (B, N-1, 1, H, W) of the other frames. ``merged``: the convex combination before the residual. ``flows``:
    (B * (N-1), 2, h, w) of every pyramid level, coarse to fine.
    """

    radiance: Tensor
    log_sigma: Tensor
    trust: Tensor
    merged: Tensor
    gate: Tensor
    trust_logit: Tensor
    flows: tuple[Tensor, ...] = ()


def conv(inputs: int, outputs: int) -> nn.Sequential:
    """A 3x3 convolution and its activation."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(0.1))


def corrected(merged: Tensor, residual: Tensor, gate: Tensor, scale: Tensor, limit: float) -> Tensor:
    """``merged`` (B, 3, H, W) with a ``residual`` bounded by ``limit`` in the mu-law domain added where ``gate`` (B, 1,
    H, W) is open, untouched elsewhere; ``scale`` takes it to short clip = 1.
    """
    if torch.is_grad_enabled() or len(merged) > 1 or bool((gate > 0).float().mean() > 0.4):
        change = gate * limit * torch.tanh(residual / limit)
        light = inverse_mu_law((mu_law(merged * scale) + change).clamp(0, 1)) / scale
        return torch.where(gate > 0, light, merged)
    open_ = gate.flatten().nonzero()[:, 0]  # only these
    before, wish = merged.flatten(2)[..., open_], residual.flatten(2)[..., open_]
    change = gate.flatten(2)[..., open_] * limit * torch.tanh(wish / limit)
    factor = scale[..., 0]
    after = inverse_mu_law((mu_law(before * factor) + change).clamp(0, 1)) / factor
    return merged.flatten(2).index_copy(2, open_, after).view_as(merged)


class SAF(nn.Module):
    """The network. StageTimer are public, because full-size pictures run them tile by tile (fusion/tiles)."""

    def __init__(self, config: SAFConfig) -> None:
        super().__init__()
        c = config
        self.config = c
        self.finest = c.finest  # of ``forward``; training may stop earlier
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
        self.verify_in = conv(11 * folded + 2 + c.hidden, c.verify)
        self.verify_body = nn.Sequential(conv(c.verify, c.verify), conv(c.verify, c.verify))
        self.verify_head = nn.Conv2d(c.verify, folded + 1, 3, padding=1)
        self.refine_in = conv(2 * c.verify + 8 * folded, c.refine)
        self.refine_body = nn.Sequential(conv(c.refine, c.refine), conv(c.refine, c.refine))
        self.residual_head = nn.Conv2d(c.refine, 3 * folded, 3, padding=1)
        self.judge = Judge(c.refine, outputs=folded)
        for head in (self.motion_head, self.verify_head, self.residual_head):
            nn.init.normal_(head.weight, std=1e-3)
            assert head.bias is not None
            nn.init.zeros_(head.bias)

    def start(self, pairs: int, height: int, width: int, like: Tensor) -> Motion:
        """The state before the coarsest level: nothing moves, everything is rather trusted."""
        zeros = like.new_zeros((pairs, 3 + self.config.hidden, height, width))
        return Motion(zeros[:, :2].float(), zeros[:, 2:3] + 1.0, zeros[:, 3:])

    def motion_level(self, ref: Tensor, moved: Tensor, ev: Tensor, state: Motion) -> Motion:
        """One level: (P, 3, h, w) linear frames at that level, the other already seen through ``state.flow``."""
        a, b, _ = common_exposure(ref, moved, ev)
        dtype = self.motion_head.weight.dtype
        fa, fb = self.encoder((torch.cat([a, b]) * 2 - 1).to(dtype)).chunk(2)
        plane = (ev / 4).view(-1, 1, 1, 1).expand(-1, 1, *ref.shape[-2:])
        k, radius = self.config.match, self.config.radius
        cost = cost_volume(fa[:, :k].float().contiguous(), fb[:, :k].float().contiguous(), radius)
        match = best_match(cost, radius, self.sharpness.float())
        past = torch.cat([cost, match, state.hidden.float(), state.logit, state.flow / 8, plane], dim=1)
        out = self.motion_head(self.decoder(torch.cat([fa, fb, past.to(dtype)], dim=1))).float()
        limit = self.config.limit
        step = torch.sigmoid(out[:, 3:4]) * match + limit * torch.tanh(out[:, :2] / limit)
        return Motion(state.flow + step, state.logit + out[:, 2:3], out[:, 4:].to(dtype))

    def motion(self, refs: list[Tensor], others: list[Tensor], ev: Tensor) -> list[Motion]:
        """All levels, coarse to fine, of two pyramids of (P, 3, h, w) listed coarse to fine, each twice the last."""
        states: list[Motion] = []
        for ref, other in zip(refs, others, strict=True):
            h, w = ref.shape[-2:]
            state = upsample(states[-1], 2) if states else self.start(len(ref), h, w, ref)
            # Every level has a target of its own: no gradient through what the one above was moved by.
            states.append(self.motion_level(ref, warp(other, state.flow.detach()), ev, state))
        return states

    def verify(
        self, ref: Tensor, moved: Tensor, valid: Tensor, ev: Tensor, state: Motion, ref_codes: Tensor | None = None,
        leniency: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Trust logits (P, 1, H, W), cell features (P, C, H/4, W/4) and disagreement (P, 1, H, W) of moved frames.

        ``leniency``: offset and slack, as ``compare.lenient`` takes them.
        """
        a, b, dark = common_exposure(ref, moved, ev, ref_codes)
        if leniency is not None:
            b = lenient(a, b, *leniency)
        gap = disagreement(a, b, dark, ev)
        dtype = self.verify_head.weight.dtype
        planes = [x.to(dtype) for x in (a, b - a, dark, valid, (gap / 4).clamp(max=2))]
        cells = fold(torch.cat(planes, dim=1))
        still = (ev / 4).view(-1, 1, 1, 1).expand(-1, 1, *cells.shape[-2:])
        features = self.verify_in(
            torch.cat([cells, state.logit.to(dtype), still.to(dtype), state.hidden.to(dtype)], dim=1)
        )
        features = features + self.verify_body(features)
        head = self.verify_head(features).float()
        local = F.pixel_shuffle(head[:, :-1], CELL)
        slope = F.interpolate(F.softplus(head[:, -1:]), scale_factor=CELL, mode="nearest")
        logit = F.interpolate(state.logit.float(), scale_factor=CELL, mode="nearest") + local
        return logit + 2.0 - slope * gap.clamp(max=8), features, gap

    def refine(
        self, frames: Tensor, evs: Tensor, valid: Tensor, logits: Tensor, features: Sequence[Tensor], gaps: Tensor,
        ref_codes: Tensor | None = None, strength: float = 1.0, share: Tensor | None = None,
    ) -> Prediction:  # fmt: skip
        """Merge and residual. ``frames``: (B, N, 3, H, W), the others moved; the rest (B, N-1, ...) as verify gave,
        ``features`` one (B, C, H/4, W/4) for each of them. ``strength``: what the residual's gate is multiplied with.
        ``share``: of the others' weight, see ``merge``.
        """
        trust = torch.sigmoid(logits) * valid
        merged, removed = merge(frames, evs, trust, share)
        scale = torch.exp2(evs.amin(dim=1)).view(-1, 1, 1, 1)
        strife = ((gaps * valid).amax(dim=1) - 1).clamp(0, 1)
        gate = torch.maximum(strife, (removed * 4).clamp(max=1))
        dtype = self.residual_head.weight.dtype
        seen = encode(frames[:, 0]) if ref_codes is None else ref_codes
        planes = torch.cat([x.to(dtype) for x in (encode(merged), seen, removed, gate)], dim=1)
        mean, most = features[0], features[0]
        for feature in features[1:]:
            mean, most = mean + feature, torch.maximum(most, feature)
        hidden = self.refine_in(torch.cat([mean / len(features), most, fold(planes)], dim=1))
        hidden = hidden + self.refine_body(hidden)
        residual = F.pixel_shuffle(self.residual_head(hidden).float(), CELL)
        light = corrected(merged, residual, gate * strength, scale, self.config.residual)
        # Detached: the judge learns from the features, the features not from the judge.
        log_sigma = F.pixel_shuffle(self.judge(hidden.detach()), CELL)
        return Prediction(light, log_sigma, trust, merged, gate, logits)

    def forward(self, frames: Tensor, evs: Tensor, valid: Tensor) -> Prediction:
        """A whole burst at once: (B, N, 3, H, W) linear in frame units, the reference first, sides multiples of 32."""
        b, n = frames.shape[:2]
        h, w = frames.shape[-2:]
        pairs = n - 1
        ev = evs[:, 1:].reshape(-1)
        other = frames[:, 1:].flatten(0, 1)
        ref = frames[:, :1].expand(-1, pairs, -1, -1, -1).flatten(0, 1)
        side = self.finest
        refs, others = pyramid(ref, side), pyramid(other, side)
        states = self.motion(refs, others, ev)
        cells = next(s for s in states if s.flow.shape[-1] == w // CELL)
        held = states[-1].flow * worthwhile(refs[-1], others[-1], states[-1].flow, ev)
        flow = settle(side * F.interpolate(held, scale_factor=side, mode="bilinear", align_corners=False))
        moved = warp(other, flow)
        seen = warp(valid[:, 1:].flatten(0, 1), flow) * inside(flow)
        logits, features, gaps = self.verify(ref, moved, seen, ev, cells)
        all_frames = torch.cat([frames[:, :1], moved.view(b, pairs, 3, h, w)], dim=1)
        shape = (b, pairs, -1)
        out = self.refine(all_frames, evs, seen.view(*shape, h, w), logits.view(*shape, h, w),
                          features.view(*shape, h // CELL, w // CELL).unbind(1), gaps.view(*shape, h, w))  # fmt: skip
        return Prediction(out.radiance, out.log_sigma, out.trust, out.merged, out.gate, out.trust_logit,
                          tuple(s.flow for s in states))  # fmt: skip
