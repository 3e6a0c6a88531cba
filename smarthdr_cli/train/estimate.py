"""A network's prediction for a batch, under the precision of the run."""

import torch

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.base import FusionModel, Prediction


def estimate(model: FusionModel, batch: Batch, precision: str = "fp32") -> Prediction:
    """Run ``model`` on a batch whose sides are multiples of 32, under bfloat16 autocast where ``precision`` is "bf16".

    Raises UsageError for a number of frames that the network does not take.
    """
    with torch.autocast(batch.frames.device.type, torch.bfloat16, enabled=precision == "bf16"):
        return model(batch.frames, batch.evs, batch.valid)
