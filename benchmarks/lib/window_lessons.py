"""What the network sees inside ``fuse``, recorded with the truth, and the training of its last stages on that.

A training crop is not what fusion shows: there, alignment leaves a residue of its own, the noise is fitted, the test
overrules the network where frames agree, and only what is at odds comes to it. So bursts are synthesised, written,
read, aligned and merged as ``fuse`` does; from places at odds, crops of the network's inputs are kept with the truth.
On these learn the trust, the residual and the uncertainty head; the motion stage learns on crops (``smarthdr train``).

    L = mean s (|e| + SQUARE e^2) + JUDGE L^k,   e = T(fused) - T(truth),   s the network's share of the pixel

with L^k of the uncertainty head as in losses.py, which does not shape the features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.fusion.network_fusion import FusionPlan
from smarthdr_cli.fusion.network_window import WindowFrames, answer
from smarthdr_cli.fusion.pixel_kernel import CELL
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.saf_layers import Motion
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.train.losses import gaussian_nll

F32 = NDArray[np.float32]

CROP = 192  # px of a lesson's side, of which EDGE px on each side are context alone
EDGE = 24
SQUARE, JUDGE = 40.0, 0.01
LEARNS = ("verify_in", "verify_body", "verify_head", "refine_in", "refine_body", "residual_head", "judge")
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class Lesson:
    """A crop, one burst of N frames, in half precision where that does.

    ``stack`` (N, 3, h, w) linear; ``evs`` (N,); ``place`` and ``log_variance`` (N, 1, h, w); ``trust`` (N-1, 1, h, w);
    ``sigma`` (1, h, w), see ``WindowFrames``. ``logit`` and ``hidden`` (N-1, C, h / 4, w / 4) of the motion stage.
    ``truth`` (3, h, w) radiance in reference units; ``share`` (1, h, w) of the network; ``eight_bit`` () of the files.
    """

    stack: Tensor
    evs: Tensor
    place: Tensor
    log_variance: Tensor
    trust: Tensor
    sigma: Tensor
    logit: Tensor
    hidden: Tensor
    truth: Tensor
    share: Tensor
    eight_bit: Tensor

    def save(self, path: Path) -> None:
        """Write it; ``torch.load`` reads the dictionary."""
        torch.save({field.name: getattr(self, field.name) for field in fields(self)}, path)

    @classmethod
    def load(cls, path: Path) -> "Lesson":
        return cls(**torch.load(path, weights_only=True))


def record_lessons(plan: FusionPlan, truth: F32, count: int, rng: np.random.Generator) -> list[Lesson]:
    """``count`` crops at most from places at odds, each place drawn once. ``truth``: (H, W, 3) in reference units.

    Raises ValueError for a burst smaller than CROP.
    """
    height, width = truth.shape[:2]
    if min(height, width) < CROP:
        raise ValueError(f"a lesson needs bursts of at least {CROP} px a side")
    share, lessons = plan.share.copy(), list[Lesson]()
    while len(lessons) < count and share.max() > 0.5:
        rows, columns = np.nonzero(share > 0.5)
        at = int(rng.integers(len(rows)))
        corner = (
            int(np.clip(middle * CELL - CROP // 2, 0, side - CROP)) // CELL * CELL
            for middle, side in ((rows[at], height), (columns[at], width))
        )
        window = Window(*corner, CROP, CROP)
        lessons.append(lesson_at(plan, window, truth))
        inner = (CROP - 2 * EDGE) // CELL
        top, left = (window.top + EDGE) // CELL, (window.left + EDGE) // CELL
        share[top : top + inner, left : left + inner] = 0
        share[rows[at], columns[at]] = 0
    return lessons


def lesson_at(plan: FusionPlan, window: Window, truth: F32) -> Lesson:
    """The lesson of one window of CROP px a side, at a multiple of CELL."""
    frames = plan.network.frames(plan.merger.window(window))
    states = plan.network.states(window)
    part = np.s_[window.top : window.top + CROP, window.left : window.left + CROP]
    cells = plan.share[window.top // CELL :, window.left // CELL :][: CROP // CELL, : CROP // CELL]
    share = cv2.resize(cells, (CROP, CROP), interpolation=cv2.INTER_LINEAR)
    logit, hidden = (torch.cat([getattr(s, name) for s in states]).half().clone() for name in ("logit", "hidden"))
    return Lesson(
        frames.stack[0].half(), frames.evs[0].clone(), frames.place[0].half(),
        frames.variance[0].clamp(min=LEAST_VARIANCE).log().half(), frames.trust[0].half(), frames.sigma[0].half(),
        logit, hidden, torch.from_numpy(np.ascontiguousarray(truth[part].transpose(2, 0, 1))).half(),
        torch.from_numpy(share)[None].half(), torch.tensor(plan.merger.model.eight_bit[0]),
    )  # fmt: skip


def batch_of(lessons: Sequence[Lesson]) -> tuple[WindowFrames, list[Motion], Tensor, Tensor]:
    """Frames, motion states, truth (B, 3, h, w) and share (B, 1, h, w) of lessons with as many frames each."""

    def stack(name: str) -> Tensor:
        return torch.stack([getattr(lesson, name) for lesson in lessons]).float()

    frames = WindowFrames(
        stack("stack"), stack("evs"), stack("place"), stack("trust"), stack("log_variance").exp(), stack("sigma")
    )
    logit, hidden = stack("logit"), stack("hidden")
    states = [Motion(logit[:, k].expand(-1, 2, -1, -1) * 0, logit[:, k], hidden[:, k]) for k in range(logit.shape[1])]
    share = stack("share")
    inner = torch.zeros_like(share)
    inner[..., EDGE:-EDGE, EDGE:-EDGE] = 1
    return frames, states, stack("truth"), share * inner


def lesson_loss(model: SAF, lessons: Sequence[Lesson], precision: str) -> tuple[Tensor, dict[str, float]]:
    """L of the module, and its terms; also the merge before the residual, so that trust learns by itself."""
    frames, states, truth, share = batch_of(lessons)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        light, log_sigma, detail = answer(model, frames, states)
    scale = torch.exp2(frames.evs.amin(dim=1)).view(-1, 1, 1, 1)
    target = mu_law((truth * scale).clamp(max=1))
    error, merged = (mu_law((x.float() * scale).clamp(max=1)) - target for x in (light, detail.merged))
    total = share.sum().clamp(min=1) * 3
    square = (share * error.square()).sum() / total
    first = (share * error.abs()).sum() / total
    merge_error = (share * (merged.abs() + SQUARE * merged.square())).sum() / total
    known = (share > 0) & ((truth * scale).amax(dim=1, keepdim=True) < 1)
    judge = gaussian_nll(error.detach().abs().mean(1, keepdim=True), log_sigma.float(), 1e-3, known.float())
    loss = first + SQUARE * square + 0.2 * merge_error + JUDGE * judge
    return loss, {"l1": float(first.detach()), "square": float(square.detach()),
                  "merged": float(merge_error.detach()), "judge": float(judge.detach())}  # fmt: skip
