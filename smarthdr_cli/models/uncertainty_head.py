"""The uncertainty head (arXiv 2511.12939, which calls it the judge): from a network's features to sigma per pixel.

sigma is the 68 % quantile of |error| in the mu-law domain (mu = 5000, short clip = 1), mean over channels, in (0, 1]:

    log sigma = (1 - s) log SIGMA_MIN + s log SIGMA_MAX,    s = sigmoid(last convolution)

which is the paper's sigmoid on a logarithmic scale. sigma cannot reach 0, so the Kullback-Leibler loss
(h - t)^2 / (2 sigma^2) + log sigma is bounded below, and its gradient with respect to s has one size at all levels of
error. An untrained head gives s near 1/2, sigma near 0.01. A trained one ranks pixels; the scale comes from the
calibration (uncertainty_calibration.py).
"""

import math

import torch
from torch import Tensor, nn

SIGMA_MIN = 1e-4  # half a code of a 12-bit signal in the mu-law domain: no ground truth is better
SIGMA_MAX = 1.0  # the whole range

_LOG_MIN, _LOG_MAX = math.log(SIGMA_MIN), math.log(SIGMA_MAX)


class UncertaintyHead(nn.Module):
    """Three 3x3 convolutions with a skip addition and a sigmoid, on features of any width.

    The paper leaves the place of the skip open: here it adds the features to the output of the second convolution.
    ``outputs``: 1, or the number of pixels of a cell for features on cells. The receptive radius is 3.
    """

    def __init__(self, in_channels: int, hidden: int | None = None, outputs: int = 1) -> None:
        super().__init__()
        hidden = in_channels if hidden is None else hidden
        self.branch = nn.Sequential(
            nn.Conv2d(in_channels, hidden, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(hidden, in_channels, 3, padding=1),
        )
        self.activation = nn.LeakyReLU(0.1)
        self.last = nn.Conv2d(in_channels, outputs, 3, padding=1)
        nn.init.normal_(self.last.weight, std=0.1 / math.sqrt(9 * in_channels))
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, H, W) to log sigma (B, outputs, H, W), float32, between log SIGMA_MIN and log SIGMA_MAX."""
        logit: Tensor = self.last(self.activation(features + self.branch(features)))
        return _LOG_MIN + (_LOG_MAX - _LOG_MIN) * torch.sigmoid(logit.float())
