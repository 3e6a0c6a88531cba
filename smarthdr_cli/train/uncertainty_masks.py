"""Bi-level masking of pseudo-labels by the judge's sigma (arXiv 2511.12939, "bi-level uncertain area masking").

Patch level: keep a patch of 64x64 whose normalised mean sigma is below tau_pa. Pixel level: of what is left keep the
pixels whose normalised sigma is below tau_pi; both 0.4. The paper normalises "globally". Here that is over everything
the teacher has judged (``SigmaRange``), never over one crop: a crop of 128 has four patches, and its own minimum and
maximum would always drop one. The top of the range is a high percentile, because a maximum hangs on one outlier.
``low_quantile=0, high_quantile=1`` is min-max, up to the width of a histogram's bin (0.45 %).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from smarthdr_cli.models.uncertainty_head import SIGMA_MAX, SIGMA_MIN
from smarthdr_cli.train.quantiles import LogHistogram

PATCH = 64
TAU = 0.4
Origin = tuple[int, int] | Tensor  # (top, left) of a crop in its scene, or one (B, 2) for each of a batch


@dataclass(frozen=True)
class Thresholds:
    """Two levels: ``patch`` for patch means, ``pixel`` for pixels."""

    patch: float
    pixel: float


class SigmaRange:
    """What "normalised globally" means: the range of patch means and of pixels over many sigma maps.

    ``decay`` below 1 lets a range that is updated at every step forget the sigmas of an older teacher: 0.999 forgets by
    1/e in 1000 updates.
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
        """The range of a whole refresh: sigma maps (B, 1, H, W), whole scenes or crops, one at a time."""
        made = cls(low_quantile=low_quantile, high_quantile=high_quantile, patch=patch)
        for sigma in maps:
            made.update(sigma)
        return made

    def update(self, sigma: Tensor, origin: Origin = (0, 0)) -> None:
        """Add (B, 1, H, W) sigma; NaN and inf are left out."""
        self.patches.update(patch_means(sigma, self.patch, origin)[0])
        self.pixels.update(sigma)

    def quantile(self, q: float) -> Thresholds:
        """The ``q`` quantiles of both levels, in sigma's own units: of labelled crops, the running adaptive tau."""
        return Thresholds(self.patches.quantile(q), self.pixels.quantile(q))

    def normalise_patches(self, means: Tensor) -> Tensor:
        """Patch means to [0, 1] on the range of patch means; NaN stays NaN."""
        return self._normalise(means, self.patches)

    def normalise_pixels(self, sigma: Tensor) -> Tensor:
        """Sigma to [0, 1] on the range of pixels; NaN stays NaN."""
        return self._normalise(sigma, self.pixels)

    def _normalise(self, value: Tensor, seen: LogHistogram) -> Tensor:
        low, high = seen.quantile(self.low_quantile), seen.quantile(self.high_quantile)
        return ((value - low) / max(high - low, 1e-12)).clamp(0, 1)

    @property
    def empty(self) -> bool:
        """Whether no sigma has been seen: normalising raises ValueError then."""
        return self.pixels.empty

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint must carry: the counts of both levels."""
        return {"patches": self.patches.counts.clone(), "pixels": self.pixels.counts.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up a saved state. Raises ValueError where it is of another size."""
        self.patches.load_state_dict({"counts": state["patches"]})
        self.pixels.load_state_dict({"counts": state["pixels"]})


def patch_means(sigma: Tensor, patch: int = PATCH, origin: Origin = (0, 0)) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of (B, 1, H, W) over each patch, and which patch each row and column belongs to.

    The grid is the scene's: ``origin`` says where the crop begins on it. Patches cut by the crop's or scene's edge are
    averaged over what they have, and so are patches with values that are not finite; one with none is NaN. Returns
    (B, 1, rows, columns), (B, H, rows) and (B, W, columns), the latter two 1 where a row or column is the patch's.
    """
    b, _, h, w = sigma.shape
    where = torch.as_tensor(origin, device=sigma.device).expand(b, 2)
    rows = _membership(where[:, 0], h, patch, sigma)
    columns = _membership(where[:, 1], w, patch, sigma)
    value = sigma[:, 0].float()
    good = torch.isfinite(value)
    with torch.autocast(sigma.device.type, enabled=False):
        total = rows.mT @ torch.where(good, value, 0.0) @ columns
        count = rows.mT @ good.float() @ columns
    return (total / count)[:, None], rows, columns  # 0 / 0 is NaN


def _membership(start: Tensor, length: int, patch: int, like: Tensor) -> Tensor:
    """(B, length, patches): one-hot number of the patch each place lies in, for a crop starting at (B,) ``start``."""
    place = torch.arange(length, device=like.device) + (start % patch)[:, None]
    number = place // patch
    return (number[..., None] == torch.arange(int(number.max()) + 1, device=like.device)).float()


def patch_mask(
    sigma: Tensor, limits: SigmaRange | None, tau: float = TAU, patch: int = PATCH, origin: Origin = (0, 0)
) -> Tensor:
    """(B, 1, H, W) sigma to 1 where its patch's normalised mean is below ``tau``, 0 elsewhere and where it is NaN.

    Without ``limits``, ``tau`` is in sigma's own units (``adaptive_thresholds``).
    """
    means, rows, columns = patch_means(sigma, patch, origin)
    normal = means if limits is None else limits.normalise_patches(means)
    with torch.autocast(sigma.device.type, enabled=False):
        kept = rows @ (normal[:, 0] < tau).float() @ columns.mT
    return kept[:, None] * torch.isfinite(sigma)


def pixel_mask(sigma: Tensor, limits: SigmaRange | None, tau: float = TAU) -> Tensor:
    """(B, 1, H, W) sigma to 1 where its normalised value is below ``tau``, 0 elsewhere and where it is not finite.

    Without ``limits``, ``tau`` is in sigma's own units.
    """
    normal = sigma if limits is None else limits.normalise_pixels(sigma)
    return ((normal < tau) & torch.isfinite(sigma)).float()


def bilevel_mask(
    sigma: Tensor, limits: SigmaRange | None, tau: Thresholds | None = None, patch: int = PATCH,
    origin: Origin = (0, 0), *, use_patch: bool = True, use_pixel: bool = True, means: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """(B, 1, H, W) keep: the pixels below tau in the patches below tau. With both levels off, all finite sigmas.

    ``means``: (B, 1, H, W) mean sigma of each pixel's patch, where more of the scene is known than the crop has.
    """
    tau = tau or Thresholds(TAU, TAU)
    keep = torch.isfinite(sigma).float()
    if use_patch and means is not None:
        keep = keep * ((means if limits is None else limits.normalise_patches(means)) < tau.patch)
    elif use_patch:
        keep = keep * patch_mask(sigma, limits, tau.patch, patch, origin)
    if use_pixel:
        keep = keep * pixel_mask(sigma, limits, tau.pixel)
    return keep


def adaptive_thresholds(labelled: Iterable[Tensor], quantile: float = 0.9, patch: int = PATCH) -> Thresholds:
    """Tau from what the judge says where truth is known: quantiles of labelled crops' sigma, in its own units.

    ``labelled``: maps (B, 1, H, W). Exact; for a running one, update a SigmaRange and ask its ``quantile``. Raises
    ValueError where there is no finite sigma.
    """
    maps = list(labelled)
    levels = []
    for parts in ([patch_means(m, patch)[0].flatten() for m in maps], [m.flatten() for m in maps]):
        values = torch.cat(parts).float() if parts else torch.zeros(0)
        values = values[torch.isfinite(values)].sort().values
        if not len(values):
            raise ValueError("no labelled sigma to take a threshold from")
        place = quantile * (len(values) - 1)
        low, high = values[math.floor(place)], values[math.ceil(place)]
        levels.append(float(low + (high - low) * (place - math.floor(place))))
    return Thresholds(*levels)
