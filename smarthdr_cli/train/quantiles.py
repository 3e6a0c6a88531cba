"""Quantiles of positive values that arrive in pieces: a histogram on a logarithmic scale.

What a running estimate must be here: the same for the same values in any order (no reservoir, no random draw), small
enough for a checkpoint, mergeable over processes by addition, and able to forget, because a network's sigma shrinks
while it learns. A histogram is all four; its price is the width of a bin, 0.45 % of the value by default.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor


class LogHistogram:
    """Counts of values in ``bins`` equal steps of log between ``low`` and ``high``; beyond, the first or last bin.

    ``decay``: what earlier counts are multiplied by before each update (1 remembers everything).
    """

    def __init__(self, low: float = 1e-4, high: float = 1.0, *, bins: int = 2048, decay: float = 1.0) -> None:
        if not 0 < low < high or bins < 2 or not 0 < decay <= 1:
            raise ValueError("a histogram needs 0 < low < high, two bins and a decay in (0, 1]")
        self.low, self.high, self.bins, self.decay = low, high, bins, decay
        self.counts = torch.zeros(bins, dtype=torch.float64)

    def update(self, values: Tensor) -> None:
        """Add values of any shape; what is not finite is left out, and what is not positive counts as the least."""
        flat = values.detach().flatten().float()
        flat = flat[torch.isfinite(flat)].clamp(self.low, self.high)
        place = (flat.log() - math.log(self.low)) * (self.bins / math.log(self.high / self.low))
        counts = torch.bincount(place.long().clamp(0, self.bins - 1), minlength=self.bins)
        self.counts = self.counts * self.decay + counts.cpu().double()

    def merge(self, other: "LogHistogram") -> None:
        """Add the counts of a histogram with the same bins (those of another process)."""
        if (self.low, self.high, self.bins) != (other.low, other.high, other.bins):
            raise ValueError("histograms of different bins cannot be merged")
        self.counts = self.counts + other.counts

    def quantile(self, q: float) -> float:
        """The value below which the share ``q`` of all counts lies, interpolated in log within its bin.

        0 gives the lower edge of the first bin with counts, 1 the upper edge of the last. Raises ValueError for an
        empty histogram and for a q outside [0, 1].
        """
        if not 0 <= q <= 1:
            raise ValueError(f"a quantile lies in [0, 1], not {q}")
        total = float(self.counts.sum())
        if total <= 0:
            raise ValueError("no values seen yet: no quantile of nothing")
        held = torch.nonzero(self.counts).flatten()
        below = self.counts.cumsum(0)
        index = int(torch.searchsorted(below, torch.tensor(q * total, dtype=torch.float64)))
        index = min(max(index, int(held[0])), int(held[-1]))
        inside = float(self.counts[index])
        before = float(below[index]) - inside
        part = 1.0 if inside <= 0 else min(max((q * total - before) / inside, 0.0), 1.0)
        return float(self.low * (self.high / self.low) ** ((index + part) / self.bins))

    @property
    def empty(self) -> bool:
        """Whether nothing has been counted."""
        return not bool(self.counts.any())

    def state_dict(self) -> dict[str, Tensor]:
        """The counts, for a checkpoint."""
        return {"counts": self.counts.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up saved counts. Raises ValueError for another number of bins."""
        counts = state["counts"]
        if counts.shape != (self.bins,):
            raise ValueError(f"{self.bins} bins do not fit a state of {tuple(counts.shape)}")
        self.counts = counts.detach().cpu().double().clone()
