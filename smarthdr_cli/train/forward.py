"""A network's prediction for a batch, under the precision of the run; and its PSNR-mu against the truth."""

from collections.abc import Iterable

import torch
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.base import FusionModel, Prediction
from smarthdr_cli.models.tensor_ops import mu_law

MAX_PSNR = 50.0  # dB; a burst without any error counts that much


def forward(model: FusionModel, batch: Batch, precision: str = "fp32") -> Prediction:
    """Run ``model`` on a batch whose sides are multiples of 32, under bfloat16 autocast where ``precision`` is "bf16".

    Raises UsageError for a number of frames that the network does not take.
    """
    with torch.autocast(batch.frames.device.type, torch.bfloat16, enabled=precision == "bf16"):
        return model(batch.frames, batch.evs, batch.valid)


@torch.no_grad()
def score(model: FusionModel, batches: Iterable[Batch]) -> dict[str, float]:
    """Mean PSNR-mu over bursts: of the prediction ("psnr_mu"), the reference alone, and saf's merge ("merged")."""
    training = model.training
    model.eval()
    scores: dict[str, list[float]] = {}
    for batch in batches:
        assert batch.target is not None
        out = forward(model, batch)
        scale = batch.scale_short.view(-1, 1, 1, 1)
        truth = mu_law(batch.target * scale)
        images = {"psnr_mu": out.radiance, "reference": batch.frames[:, 0]}
        if out.detail is not None:
            images["merged"] = out.detail.merged
        for name, image in images.items():
            scores.setdefault(name, []).extend(psnr(mu_law(image * scale) - truth).tolist())
    model.train(training)
    return {name: sum(values) / len(values) for name, values in scores.items()}


def psnr(error: Tensor) -> Tensor:
    """(B, ...) differences in the mu-law domain to (B,) PSNR in dB, at most ``MAX_PSNR``."""
    return -10 * torch.log10(error.square().flatten(1).mean(dim=1).clamp(min=10 ** (-MAX_PSNR / 10)))
