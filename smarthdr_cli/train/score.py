"""PSNR-mu of a network on batches with truth, for the training log."""

from collections.abc import Iterable

import torch
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.base import FusionModel
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.train.estimate import estimate


@torch.no_grad()
def score(model: FusionModel, batches: Iterable[Batch]) -> dict[str, float]:
    """Mean PSNR-mu over bursts, at most 50 dB each: of the result, the reference alone, and saf's merge."""
    training = model.training
    model.eval()
    scores: dict[str, list[float]] = {}
    for batch in batches:
        assert batch.target is not None
        out = estimate(model, batch)
        scale = batch.scale_short.view(-1, 1, 1, 1)
        truth = mu_law(batch.target * scale)
        pictures = {"psnr_mu": out.radiance, "reference": batch.frames[:, 0]}
        if out.detail is not None:
            pictures["merged"] = out.detail.merged
        for name, image in pictures.items():
            scores.setdefault(name, []).extend(decibels(mu_law(image * scale) - truth).tolist())
    model.train(training)
    return {name: sum(values) / len(values) for name, values in scores.items()}


def decibels(gap: Tensor) -> Tensor:
    """(B, ...) differences of the mu-law domain to (B,) PSNR, at most 50 dB."""
    return -10 * torch.log10(gap.square().flatten(1).mean(dim=1).clamp(min=1e-5))
