"""Run methods on one burst, pool their errors and sigmas over scenes, draw results side by side."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.evaluate import figures, protocol
from smarthdr_cli.evaluate.uncertainty_metrics import Coverage, Sparsification, coverage, sparsification
from smarthdr_cli.radiometry import mu_law

F32 = NDArray[np.float32]
UncertaintyMetrics = tuple[Sparsification, Coverage]

POOL_STEP_PX = 5  # every n-th pixel each way goes into the pool
MIN_POOL_PIXELS = 100  # for deciles and sparsification in percent
HEATMAP_MAX = 0.1  # mu-law error or sigma at the bright end of a heatmap


@dataclass(frozen=True)
class MethodResult:
    """``radiance``: (H, W, 3), shortest clip = 1, reference's pose. ``sigma``: (H, W), mu-law domain, or None."""

    radiance: F32
    sigma: F32 | None = None
    seconds: float = 0.0


@dataclass
class UncertaintyPool:
    """Errors and sigmas of pixels gathered over scenes."""

    errors: list[NDArray[Any]] = field(default_factory=list)
    sigmas: list[NDArray[Any]] = field(default_factory=list)

    def add(self, error: NDArray[Any], sigma: NDArray[Any], known_mask: NDArray[np.bool_] | None = None) -> None:
        """Add every POOL_STEP_PX-th pixel of (H, W) maps, of ``known_mask`` only its True pixels."""
        thinned = (slice(None, None, POOL_STEP_PX),) * 2
        selected = slice(None) if known_mask is None else known_mask[thinned].ravel()
        self.errors.append(error[thinned].ravel()[selected])
        self.sigmas.append(sigma[thinned].ravel()[selected])

    def metrics(self) -> UncertaintyMetrics | None:
        """Sparsification and coverage of the pool; None below MIN_POOL_PIXELS or where all errors are zero."""
        if not self.errors:
            return None
        error, sigma = np.concatenate(self.errors), np.concatenate(self.sigmas)
        if error.size < MIN_POOL_PIXELS or not error.any():
            return None
        return sparsification(error, sigma), coverage(error, sigma)


def run_methods(methods: Mapping[str, Callable[[], MethodResult]], names: Sequence[str]) -> dict[str, MethodResult]:
    """The timed results of the methods in ``names``, in the order of ``methods``."""
    results = {}
    for name, method in methods.items():
        if name in names:
            start = time.perf_counter()
            result = method()
            results[name] = MethodResult(result.radiance, result.sigma, time.perf_counter() - start)
    return results


def error_map(radiance: NDArray[Any], truth: NDArray[Any]) -> F32:
    """(H, W) mean over channels of |error| in the mu-law domain."""
    return np.asarray(np.abs(mu_law(radiance) - mu_law(truth)).mean(axis=2), np.float32)


def comparison_row(
    results: Mapping[str, MethodResult],
    truth: F32,
    scores: Mapping[str, Mapping[str, float]],
    *,
    reference_time: float,
    moving: NDArray[np.bool_] | None,
    size: int,
    scaling: protocol.Scaling = "fitted",
) -> figures.U8:
    """One row of a sheet: the truth, each method with its PSNR-mu and error map, and its sigma where it has one.

    Crops of ``size`` pixels where most pixels move, or without motion where the methods differ most from the truth.
    """
    scene: dict[str, Any] = {"reference_time": reference_time, "moving": moving, "scaling": scaling}
    scaled = {name: protocol.apply_scaling(result.radiance, truth, **scene) for name, result in results.items()}
    limited_truth = np.clip(truth, 0.0, 1.0)
    errors = {name: error_map(image, limited_truth) for name, image in scaled.items()}
    interest = moving
    if interest is None or not interest.any():
        worst = np.maximum.reduce(list(errors.values()))
        interest = worst > np.quantile(worst, 0.95)
    crop = figures.densest_square(interest, size)
    cells = [("truth", figures.mu_law_codes(limited_truth)[crop])]
    for name, image in scaled.items():
        heatmap = figures.heatmap(errors[name][crop], HEATMAP_MAX)
        both = np.concatenate([figures.mu_law_codes(image)[crop], heatmap], axis=1)
        cells.append((f"{name} {scores[name]['psnr_mu']:.1f} | error to {HEATMAP_MAX}", both))
        sigma = results[name].sigma
        if sigma is not None:
            cells.append((f"sigma to {HEATMAP_MAX}", figures.heatmap(sigma[crop], HEATMAP_MAX)))
    return figures.labelled_row(cells)
