"""The teacher: an exponential moving average of the student's weights (Tarvainen and Valpola 2017)."""

import torch
from torch import Tensor, nn


def warm_decay(decay: float, step: int) -> float:
    """The decay at an update: small at first, so that early weights are forgotten, ``decay`` in the end."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_ema(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * weights, in place; buffers that are not floating are copied."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value.to(average[name].dtype), 1 - decay)
        else:
            average[name].copy_(value)
