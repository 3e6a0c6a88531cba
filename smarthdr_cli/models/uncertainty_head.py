"""The judge: from a network's last features to how far each pixel may be off (arXiv 2511.12939, uncertainty map).

One meaning everywhere: sigma is the 68 % quantile of |error| in the mu-law domain (mu = 5000, short clip = 1), mean
over channels, so it lies in (0, 1]. The judge puts out its logarithm between two floors,

    log sigma = (1 - s) * log SIGMA_MIN + s * log SIGMA_MAX,    s = sigmoid(last convolution),

the paper's sigmoid read on a logarithmic scale. A sigma of 0 cannot occur, so the Kullback-Leibler loss
(h - t)**2 / (2 sigma**2) + log sigma is bounded below, and its gradient with respect to s is the same size at every
level of error. At the start s is near 1/2: sigma near 0.01, the geometric middle. What training makes of it is still a
ranking more than a measure; ``calibration.Calibration`` turns it into the quantile.
"""

import math

import torch
from torch import Tensor, nn

SIGMA_MIN = 1e-4  # half a code of a 12-bit signal in the mu-law domain: below what any target is good for
SIGMA_MAX = 1.0  # the whole range

_LOG_MIN, _LOG_MAX = math.log(SIGMA_MIN), math.log(SIGMA_MAX)


class Judge(nn.Module):
    """Three 3x3 convolutions with a skip addition and a sigmoid, on features of any width.

    The paper leaves the skip's place open; here it joins the features with the second convolution's output, so that
    the last convolution sees both. The judge sees 3 pixels around its own. ``outputs`` above 1: one for each pixel of a
    cell, for features that live on cells.
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
