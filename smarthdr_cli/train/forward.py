"""A network's output for a batch, in reference units, whichever network it is; and its PSNR-mu against the truth."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.errors import UsageError
from smarthdr_cli.models.judged import JudgedGFHDR, gfhdr_input
from smarthdr_cli.models.measured import held
from smarthdr_cli.models.saf import Prediction
from smarthdr_cli.models.tone import mu_law

MAX_PSNR = 50.0  # dB; a burst without any error counts that much


class NetworkOutput(NamedTuple):
    """``radiance`` (B, 3, H, W) in reference units, ``log_sigma`` (B, 1, H, W); ``detail``: all that saf predicts."""

    radiance: Tensor
    log_sigma: Tensor
    detail: Prediction | None = None


def forward(model: nn.Module, batch: Batch, precision: str = "fp32") -> NetworkOutput:
    """Run ``model`` on a batch whose sides are multiples of 32, under bf16 autocast where ``precision`` says so.

    Raises UsageError for gfhdr and bursts of another number than three frames.
    """
    with torch.autocast(batch.frames.device.type, torch.bfloat16, enabled=precision == "bf16"):
        if not isinstance(model, JudgedGFHDR):
            out: Prediction = model(batch.frames, batch.evs, batch.valid)
            return NetworkOutput(out.radiance, out.log_sigma, out)
        if batch.frames.shape[1] != 3:
            raise UsageError(f"gfhdr takes three frames; the bursts have {batch.frames.shape[1]}")
        others = batch.evs[:, 1:].argsort(dim=1) + 1
        order = torch.cat(
            [others[:, :1], torch.zeros_like(others[:, :1]), others[:, 1:]], dim=1
        )  # reference in between
        frames = batch.frames.gather(1, order.view(*order.shape, 1, 1, 1).expand_as(batch.frames))
        judged = model(gfhdr_input(frames, batch.evs.gather(1, order)))
    radiance = judged.radiance.float() / batch.scale_short.view(-1, 1, 1, 1)
    return NetworkOutput(held(radiance, batch.frames[:, 0]), judged.log_sigma.float())


@torch.no_grad()
def score(model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
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
