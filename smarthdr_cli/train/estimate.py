"""One call for every network: what it makes of a batch, in reference units, and what its judge says."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.errors import UsageError
from smarthdr_cli.models.judged import JudgedGFHDR, gfhdr_input
from smarthdr_cli.models.measured import held
from smarthdr_cli.models.saf import Prediction


class Estimate(NamedTuple):
    """``radiance`` (B, 3, H, W) in reference units, ``log_sigma`` (B, 1, H, W); ``detail`` is what saf also knows."""

    radiance: Tensor
    log_sigma: Tensor
    detail: Prediction | None = None


def estimate(model: nn.Module, batch: Batch, precision: str = "fp32") -> Estimate:
    """Run ``model`` on a batch whose sides are multiples of 32, under bf16 autocast where ``precision`` says so.

    Raises UsageError for gfhdr and bursts of another number than three frames.
    """
    with torch.autocast(batch.frames.device.type, torch.bfloat16, enabled=precision == "bf16"):
        if not isinstance(model, JudgedGFHDR):
            out: Prediction = model(batch.frames, batch.evs, batch.valid)
            return Estimate(out.radiance, out.log_sigma, out)
        if batch.frames.shape[1] != 3:
            raise UsageError(f"gfhdr takes three frames; the bursts have {batch.frames.shape[1]}")
        others = batch.evs[:, 1:].argsort(dim=1) + 1  # short, reference, long, as fusing hands them to it
        order = torch.cat([others[:, :1], torch.zeros_like(others[:, :1]), others[:, 1:]], dim=1)
        frames = batch.frames.gather(1, order.view(*order.shape, 1, 1, 1).expand_as(batch.frames))
        judged = model(gfhdr_input(frames, batch.evs.gather(1, order)))
    light = judged.radiance.float() / batch.scale_short.view(-1, 1, 1, 1)
    return Estimate(held(light, batch.frames[:, 0]), judged.log_sigma.float())
