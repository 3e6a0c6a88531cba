"""A contest of methods on one burst: run each once, score all under one protocol, draw them side by side."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.evaluate import protocol, report, sheet, uncertainty_metrics
from smarthdr_cli.radiometry import mu_law

F32 = NDArray[np.float32]

POOL_STEP = 5  # every n-th pixel each way goes into the judge's pool
FEWEST = 100  # pixels in the pool, for a judgement in percent
TOP = 0.1  # mu-law error or sigma at the bright end of a heatmap


@dataclass(frozen=True)
class Result:
    """``radiance``: (H, W, 3), shortest clip = 1, reference's pose. ``sigma``: (H, W), mu-law domain, or None."""

    radiance: F32
    sigma: F32 | None = None
    seconds: float = 0.0


@dataclass
class Pool:
    """Errors and sigmas gathered over scenes, for the judge."""

    errors: list[NDArray[Any]] = field(default_factory=list)
    sigmas: list[NDArray[Any]] = field(default_factory=list)

    def add(self, error: NDArray[Any], sigma: NDArray[Any], known: NDArray[np.bool_] | None = None) -> None:
        """Thins (H, W) maps by POOL_STEP and keeps them, where ``known`` is given only its True pixels."""
        thinned = (slice(None, None, POOL_STEP),) * 2
        kept = slice(None) if known is None else known[thinned].ravel()
        self.errors.append(error[thinned].ravel()[kept])
        self.sigmas.append(sigma[thinned].ravel()[kept])

    def verdict(self) -> tuple[uncertainty_metrics.Sparsification, uncertainty_metrics.Coverage] | None:
        """Sparsification and coverage of all that was added; None for too few pixels to judge, or without error."""
        if not self.errors:
            return None
        error, sigma = np.concatenate(self.errors), np.concatenate(self.sigmas)
        if error.size < FEWEST or not error.any():
            return None
        return uncertainty_metrics.sparsification(error, sigma), uncertainty_metrics.coverage(error, sigma)


def run(methods: Mapping[str, Callable[[], Result]], chosen: Sequence[str]) -> dict[str, Result]:
    """The results of the chosen methods, timed, in the order of ``methods``."""
    results = {}
    for name, method in methods.items():
        if name in chosen:
            began = time.perf_counter()
            result = method()
            results[name] = Result(result.radiance, result.sigma, time.perf_counter() - began)
    return results


def error_map(radiance: NDArray[Any], truth: NDArray[Any]) -> F32:
    """(H, W) mean over channels of |error| in the mu-law domain."""
    return np.asarray(np.abs(mu_law(radiance) - mu_law(truth)).mean(axis=2), np.float32)


def pictures(
    results: Mapping[str, Result],
    truth: F32,
    scores: Mapping[str, Mapping[str, float]],
    *,
    reference_time: float,
    moving: NDArray[np.bool_] | None,
    size: int,
    scaling: protocol.Scaling = "fitted",
) -> sheet.U8:
    """One row of a sheet: truth, each method with its PSNR-mu and its error, and sigma where a method has one.

    Crops of ``size`` pixels where most moves, or else where the methods differ most from the truth.
    """
    view: dict[str, Any] = {"reference_time": reference_time, "moving": moving, "scaling": scaling}
    shown = {name: protocol.shown(result.radiance, truth, **view) for name, result in results.items()}
    limited = np.clip(truth, 0.0, 1.0)
    errors = {name: error_map(picture, limited) for name, picture in shown.items()}
    busy = moving
    if busy is None or not busy.any():
        worst = np.maximum.reduce(list(errors.values()))
        busy = worst > np.quantile(worst, 0.95)
    where = sheet.busiest(busy, size)
    cells = [("truth", sheet.toned(limited)[where])]
    for name, picture in shown.items():
        both = np.concatenate([sheet.toned(picture)[where], sheet.heat(errors[name][where], TOP)], axis=1)
        cells.append((f"{name} {scores[name]['psnr_mu']:.1f} | error to {TOP}", both))
        sigma = results[name].sigma
        if sigma is not None:
            cells.append((f"sigma to {TOP}", sheet.heat(sigma[where], TOP)))
    return sheet.row(cells)


def table(
    names: Mapping[str, str],
    means: Mapping[str, Mapping[str, float]],
    seconds: Mapping[str, float],
    floor: str,
    roof: str,
) -> str:
    """The quality table: a row a method, its gain over ``floor`` and the share of ``roof`` - ``floor`` closed."""
    header = ["method", "PSNR-μ", "PSNR-l", "PSNR-μ moving", "PSNR-l moving", "PU21-PSNR", "SSIM-μ"]
    header += ["over reference (μ)", "closed (μ)", "closed (l)", "s"]
    rows = []
    for key, mean in means.items():
        figures = [mean[c] for c in ("psnr_mu", "psnr_l", "psnr_mu_moving", "psnr_l_moving", "pu21")]
        gain = f"{mean['psnr_mu'] - means[floor]['psnr_mu']:+.2f}" if floor in means else None
        closed: list[str | None] = [None, None]
        if floor in means and roof in means:
            shares = [protocol.share_closed(mean[c], means[floor][c], means[roof][c]) for c in ("psnr_mu", "psnr_l")]
            closed = [None if np.isnan(share) else f"{100 * share:.0f} %" for share in shares]
        rows.append([names[key], *figures, f"{mean['ssim_mu']:.4f}", gain, *closed, seconds[key]])
    return report.markdown_table(header, rows)


def judge_text(verdict: tuple[uncertainty_metrics.Sparsification, uncertainty_metrics.Coverage]) -> str:
    """AUSE in a sentence and the coverage of each decile in a table."""
    curve, deciles = verdict
    rows: list[list[object]] = [["mean σ", *[f"{v:.4f}" for v in deciles.sigma]]]
    rows += [["share of errors < σ", *map(float, deciles.within_one)]]
    rows += [["share of errors < 2σ", *map(float, deciles.within_two)]]
    return (
        f"Uncertainty: AUSE {curve.ause:.3f} (a random order or a constant σ: {curve.ause_random:.3f}). "
        "Coverage per decile of σ; a calibrated σ has 0.68 below σ in each.\n\n"
        + report.markdown_table(["decile of σ", *map(str, range(1, deciles.sigma.size + 1))], rows)
    )
