"""Bi-level masking of pseudo-labels by the uncertainty head's sigma (arXiv 2511.12939, "bi-level uncertain area
masking").

    w = M_pa M_pi,   M_pa = [normalised mean of sigma over a 64x64 patch < tau_pa],   M_pi = [normalised sigma < tau_pi]

with both tau 0.4. The paper normalises "globally". Here that is over everything the teacher has predicted
(``SigmaRange``), never over one crop: a crop of 128 has four patches, and its own minimum and maximum would always drop
one. The range ends at a high percentile, because a maximum depends on one outlier. ``low_quantile=0, high_quantile=1``
is min-max, up to the width of a histogram's bin (0.45 %).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from smarthdr_cli.models.uncertainty_head import SIGMA_MAX, SIGMA_MIN

PATCH = 64  # px
TAU = 0.4
RUNNING_DECAY = 0.999  # per update, of distributions that are kept up at every step
Origin = tuple[int, int] | Tensor  # (top, left) of a crop in its scene, or one (B, 2) for each of a batch


class LogHistogram:
    """Running quantiles of positive values: counts in ``bins`` equal steps of log between ``low`` and ``high``.

    Values beyond count in the first or last bin. ``decay``: factor of earlier counts before each update; 1 remembers
    everything. Counts do not depend on the order of values, fit a checkpoint, add up over processes, and can forget,
    because a network's sigma shrinks while it learns. The price is a bin's width, 0.45 % of the value by default.
    Raises ValueError for bins, bounds or a decay that make no histogram.
    """

    def __init__(self, low: float = 1e-4, high: float = 1.0, *, bins: int = 2048, decay: float = 1.0) -> None:
        if not 0 < low < high or bins < 2 or not 0 < decay <= 1:
            raise ValueError("a histogram needs 0 < low < high, two bins and a decay in (0, 1]")
        self.low, self.high, self.bins, self.decay = low, high, bins, decay
        self.counts = torch.zeros(bins, dtype=torch.float64)

    def update(self, values: Tensor) -> None:
        """Add values of any shape; those that are not finite are left out, those not positive count as ``low``."""
        flat = values.detach().flatten().float()
        flat = flat[torch.isfinite(flat)].clamp(self.low, self.high)
        index = (flat.log() - math.log(self.low)) * (self.bins / math.log(self.high / self.low))
        counts = torch.bincount(index.long().clamp(0, self.bins - 1), minlength=self.bins)
        self.counts = self.counts * self.decay + counts.cpu().double()

    def quantile(self, q: float) -> float:
        """The value below which the share ``q`` of all counts lies, interpolated in log within its bin.

        0 is the lower edge of the first bin with counts, 1 the upper edge of the last. Raises ValueError for an empty
        histogram and for a q outside [0, 1].
        """
        if not 0 <= q <= 1:
            raise ValueError(f"a quantile lies in [0, 1], not {q}")
        total = float(self.counts.sum())
        if total <= 0:
            raise ValueError("an empty histogram has no quantile")
        filled = torch.nonzero(self.counts).flatten()
        cumulative = self.counts.cumsum(0)
        index = int(torch.searchsorted(cumulative, torch.tensor(q * total, dtype=torch.float64)))
        index = min(max(index, int(filled[0])), int(filled[-1]))
        count = float(self.counts[index])
        below = float(cumulative[index]) - count
        fraction = 1.0 if count <= 0 else min(max((q * total - below) / count, 0.0), 1.0)
        return float(self.low * (self.high / self.low) ** ((index + fraction) / self.bins))

    @property
    def empty(self) -> bool:
        """Whether nothing has been counted."""
        return not bool(self.counts.any())

    def state_dict(self) -> dict[str, Tensor]:
        """The counts, for a checkpoint."""
        return {"counts": self.counts.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from saved counts. Raises ValueError for another number of bins."""
        counts = state["counts"]
        if counts.shape != (self.bins,):
            raise ValueError(f"{self.bins} bins do not fit a state of {tuple(counts.shape)}")
        self.counts = counts.detach().cpu().double().clone()


@dataclass(frozen=True)
class Thresholds:
    """tau of both levels: ``patch`` for patch means, ``pixel`` for pixels."""

    patch: float
    pixel: float


class SigmaRange:
    """The distributions of patch means and of pixels over many sigma maps, and sigma normalised by them.

    ``decay`` below 1 lets a range that is updated at every step forget the sigmas of an older teacher: 0.999 forgets by
    1/e in 1000 updates. Raises ValueError unless 0 <= low_quantile < high_quantile <= 1.
    """

    def __init__(
        self, *, low_quantile: float = 0.0, high_quantile: float = 0.99, patch: int = PATCH, decay: float = 1.0
    ) -> None:
        if not 0 <= low_quantile < high_quantile <= 1:
            raise ValueError("a range needs 0 <= low_quantile < high_quantile <= 1")
        self.low_quantile, self.high_quantile, self.patch = low_quantile, high_quantile, patch
        self.patches = LogHistogram(SIGMA_MIN, SIGMA_MAX, decay=decay)
        self.pixels = LogHistogram(SIGMA_MIN, SIGMA_MAX, decay=decay)

    @classmethod
    def from_maps(
        cls, maps: Iterable[Tensor], *, low_quantile: float = 0.0, high_quantile: float = 0.99, patch: int = PATCH
    ) -> "SigmaRange":
        """The range of sigma maps (B, 1, H, W), whole scenes or crops, one at a time."""
        sigma_range = cls(low_quantile=low_quantile, high_quantile=high_quantile, patch=patch)
        for sigma in maps:
            sigma_range.update(sigma)
        return sigma_range

    @property
    def histograms(self) -> tuple[LogHistogram, LogHistogram]:
        """Those of both levels."""
        return self.patches, self.pixels

    def update(self, sigma: Tensor, origin: Origin = (0, 0)) -> None:
        """Add (B, 1, H, W) sigma; NaN and inf are left out."""
        self.patches.update(patch_means(sigma, self.patch, origin)[0])
        self.pixels.update(sigma)

    def quantile(self, q: float) -> Thresholds:
        """The ``q`` quantiles of both levels in sigma's own units; over labelled crops, the adaptive tau."""
        return Thresholds(self.patches.quantile(q), self.pixels.quantile(q))

    def normalise_patches(self, means: Tensor) -> Tensor:
        """Patch means to [0, 1] on the range of patch means; NaN stays NaN."""
        return self._normalise(means, self.patches)

    def normalise_pixels(self, sigma: Tensor) -> Tensor:
        """Sigma to [0, 1] on the range of pixels; NaN stays NaN."""
        return self._normalise(sigma, self.pixels)

    def _normalise(self, value: Tensor, histogram: LogHistogram) -> Tensor:
        low, high = histogram.quantile(self.low_quantile), histogram.quantile(self.high_quantile)
        return ((value - low) / max(high - low, 1e-12)).clamp(0, 1)

    @property
    def empty(self) -> bool:
        """Whether there is no sigma yet; normalising raises ValueError then."""
        return self.pixels.empty

    def state_dict(self) -> dict[str, Tensor]:
        """The counts of both levels."""
        return {"patches": self.patches.counts.clone(), "pixels": self.pixels.counts.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from saved counts. Raises ValueError for another number of bins."""
        self.patches.load_state_dict({"counts": state["patches"]})
        self.pixels.load_state_dict({"counts": state["pixels"]})


def patch_means(sigma: Tensor, patch: int = PATCH, origin: Origin = (0, 0)) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of (B, 1, H, W) over each patch, and which patch each row and column belongs to.

    The grid is the scene's; ``origin`` is where the crop begins on it. Patches cut by an edge, and patches with values
    that are not finite, are averaged over what is left; NaN where nothing is. Returns (B, 1, rows, columns),
    (B, H, rows) and (B, W, columns), the latter two one-hot.
    """
    b, _, h, w = sigma.shape
    start = torch.as_tensor(origin, device=sigma.device).expand(b, 2)
    rows = _membership(start[:, 0], h, patch, sigma)
    columns = _membership(start[:, 1], w, patch, sigma)
    value = sigma[:, 0].float()
    finite = torch.isfinite(value)
    with torch.autocast(sigma.device.type, enabled=False):
        total = rows.mT @ torch.where(finite, value, 0.0) @ columns
        count = rows.mT @ finite.float() @ columns
    return (total / count)[:, None], rows, columns  # 0 / 0 is NaN


def _membership(start: Tensor, length: int, patch: int, like: Tensor) -> Tensor:
    """(B, length, patches): one-hot number of the patch of each position, for a crop that begins at (B,) ``start``."""
    number = (torch.arange(length, device=like.device) + (start % patch)[:, None]) // patch
    return (number[..., None] == torch.arange(int(number.max()) + 1, device=like.device)).float()


def patch_mask(
    sigma: Tensor, sigma_range: SigmaRange | None, tau: float = TAU, patch: int = PATCH, origin: Origin = (0, 0)
) -> Tensor:
    """(B, 1, H, W) sigma to 1 where its patch's normalised mean is below ``tau``, 0 elsewhere and where it is NaN.

    Without ``sigma_range``, ``tau`` is in sigma's own units.
    """
    means, rows, columns = patch_means(sigma, patch, origin)
    normalised = means if sigma_range is None else sigma_range.normalise_patches(means)
    with torch.autocast(sigma.device.type, enabled=False):
        kept = rows @ (normalised[:, 0] < tau).float() @ columns.mT
    return kept[:, None] * torch.isfinite(sigma)


def pixel_mask(sigma: Tensor, sigma_range: SigmaRange | None, tau: float = TAU) -> Tensor:
    """(B, 1, H, W) sigma to 1 where its normalised value is below ``tau``, 0 elsewhere and where it is not finite.

    Without ``sigma_range``, ``tau`` is in sigma's own units.
    """
    normalised = sigma if sigma_range is None else sigma_range.normalise_pixels(sigma)
    return ((normalised < tau) & torch.isfinite(sigma)).float()


def bilevel_mask(
    sigma: Tensor, sigma_range: SigmaRange | None, tau: Thresholds | None = None, patch: int = PATCH,
    origin: Origin = (0, 0), *, use_patch: bool = True, use_pixel: bool = True, means: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """(B, 1, H, W): 1 for pixels below tau in patches below tau, else 0. With both levels off, 1 where sigma is finite.

    ``means``: (B, 1, H, W) mean sigma of each pixel's patch over the whole scene; None averages over the crop.
    """
    tau = tau or Thresholds(TAU, TAU)
    keep = torch.isfinite(sigma).float()
    if use_patch and means is not None:
        keep = keep * ((means if sigma_range is None else sigma_range.normalise_patches(means)) < tau.patch)
    elif use_patch:
        keep = keep * patch_mask(sigma, sigma_range, tau.patch, patch, origin)
    if use_pixel:
        keep = keep * pixel_mask(sigma, sigma_range, tau.pixel)
    return keep
