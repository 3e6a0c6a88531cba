"""Train the uncertainty head alone, on what fusion showed it and how far the fused image was off.

    L^k = mean[e^2 / (2 sigma^2) + 1/2 log sigma^2]   (arXiv 2511.12939),   e = |T(fused) - T(truth)|

A training crop is not what fusion sees: there, agreement overrules trust, static pixels are detected, and finer levels
of motion have corrected what a crop still has wrong. A head trained on crops goes on marking errors that are no longer
made. So the finished network fuses whole bursts (benchmarks/release/train_uncertainty.py), and its head, a tenth of a
second an update, learns from the features it was given there. Nothing else in the network changes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.models.uncertainty_head import UncertaintyHead
from smarthdr_cli.train.losses import gaussian_nll


@dataclass(frozen=True)
class UncertaintySample:
    """``features`` (C, h, w) on cells, the head's input; ``error`` (H, W) of the fused image in the mu-law domain, mean
    over channels; ``known`` (H, W) bool, where there is a truth; H <= CELL * h, W <= CELL * w.

    ``kind``: what sort of burst it was.
    """

    features: Tensor
    error: Tensor
    known: Tensor
    kind: str


def train_uncertainty_head(
    head: UncertaintyHead, samples: Sequence[UncertaintySample], *, steps: int, batch: int = 4, rate: float = 1e-3,
    floor: float = 1e-3, seed: int = 0, on_step: Callable[[int, float], None] = lambda _step, _loss: None,
) -> None:  # fmt: skip
    """Train ``head`` in place by L^k on samples of one size, at a rate that falls to 0.

    ``floor``: added to sigma, as in ``losses.gaussian_nll``. Raises ValueError where there is no sample.
    """
    if not samples:
        raise ValueError("training an uncertainty head needs samples")
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(head.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        chosen = [samples[int(i)] for i in torch.randint(len(samples), (batch,), generator=draw)]
        log_sigma = predict_log_sigma(head, torch.stack([sample.features for sample in chosen]).float())
        h, w = chosen[0].error.shape
        error, known = (torch.stack([getattr(sample, name) for sample in chosen]) for name in ("error", "known"))
        loss = gaussian_nll(error[:, None], log_sigma[..., :h, :w], floor, known[:, None].float())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        on_step(step, float(loss.detach()))


def predict_log_sigma(head: UncertaintyHead, features: Tensor) -> Tensor:
    """(B, C, h, w) features on cells to log sigma (B, 1, CELL * h, CELL * w)."""
    return torch.nn.functional.pixel_shuffle(head(features), CELL)
