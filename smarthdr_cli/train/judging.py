"""The judge alone, taught by what fusing showed it and how far the fused picture was off.

A training crop is not what fusing sees: there, agreement overrules trust, tripods are told from hands, finer levels of
motion have put right what a crop still has wrong. A judge who learned on crops goes on marking errors that are no
longer made. So the finished network fuses bursts whole (benchmarks/rejudge.py), and its judge, a tenth of a second a
step, learns from the features it was shown there. Nothing but the judge changes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.models.uncertainty_head import UncertaintyHead
from smarthdr_cli.train.losses import surprise


@dataclass(frozen=True)
class Lesson:
    """``features`` (C, h, w) on cells, as the judge was shown them; ``error`` (H, W) of the fused picture in the mu-law
    domain, mean over channels; ``known`` (H, W) bool, where there is a truth; H <= CELL * h, W <= CELL * w.

    ``kind``: what sort of burst it was.
    """

    features: Tensor
    error: Tensor
    known: Tensor
    kind: str


def teach(
    judge: UncertaintyHead, lessons: Sequence[Lesson], *, steps: int, batch: int = 4, rate: float = 1e-3,
    floor: float = 1e-3, seed: int = 0, on_step: Callable[[int, float], None] = lambda _step, _loss: None,
) -> None:  # fmt: skip
    """Train ``judge`` in place by L^k (arXiv 2511.12939) on lessons of one size, at a rate that falls to 0.

    ``floor``: under sigma, as in train/losses.py. Raises ValueError where there is no lesson.
    """
    if not lessons:
        raise ValueError("a judge needs lessons")
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(judge.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        chosen = [lessons[int(i)] for i in torch.randint(len(lessons), (batch,), generator=draw)]
        log_sigma = judged(judge, torch.stack([lesson.features for lesson in chosen]).float())
        h, w = chosen[0].error.shape
        error, known = (torch.stack([getattr(lesson, name) for lesson in chosen]) for name in ("error", "known"))
        loss = surprise(error[:, None], log_sigma[..., :h, :w], floor, known[:, None].float())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        on_step(step, float(loss.detach()))


def judged(judge: UncertaintyHead, features: Tensor) -> Tensor:
    """(B, C, h, w) features on cells to log sigma (B, 1, CELL * h, CELL * w)."""
    return torch.nn.functional.pixel_shuffle(judge(features), CELL)
