"""Tone curves of losses, inputs and metrics: the mu-law and the gamma code. Pictures themselves stay linear."""

import math

import torch
from torch import Tensor

from smarthdr_cli.radiometry import GAMMA, MU

_LOG_MU1 = math.log1p(MU)


def mu_law(h: Tensor) -> Tensor:
    """T(h) = log(1 + mu h) / log(1 + mu) for h >= 0."""
    return torch.log1p(MU * h.clamp(min=0)) / _LOG_MU1


def inverse_mu_law(t: Tensor) -> Tensor:
    """The inverse of ``mu_law``."""
    return torch.expm1(t * _LOG_MU1) / MU


def encode(linear: Tensor) -> Tensor:
    """Linear light in [0, 1] to its gamma code, clip(linear) ** (1/2.2) (docs/METHOD.md, section 1)."""
    if torch.is_grad_enabled():
        return torch.exp2(linear.clamp(1e-7, 1).log2() * (1 / GAMMA))  # twice as fast as a power, forward and backward
    return linear.clamp(1e-7, 1).log2_().mul_(1 / GAMMA).exp2_()
