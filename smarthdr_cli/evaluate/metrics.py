"""Image metrics for HDR: PSNR and SSIM in the linear and mu-law domains, PU21-PSNR, ColorVideoVDP, bootstrap intervals.

    PSNR = 10 log10(peak^2 / MSE) in dB, over all channels
    SSIM = (2 m_x m_y + c1)(2 s_xy + c2) / ((m_x^2 + m_y^2 + c1)(s_x^2 + s_y^2 + c2))       (Wang et al. 2004, eq. 13)

Images are (H, W, 3) float linear radiance, 1.0 = clip level of the shortest exposure; data range 1. Nothing is rescaled
here: ``protocol.py`` fits the one scale that is allowed. Functions return plain floats for one scene.
"""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.errors import UsageError
from smarthdr_cli.radiometry import F64, mu_law

SSIM_SIGMA_PX = 1.5
SSIM_RADIUS_PX = 5  # 11x11 window
PU21_PEAK = 256.0  # PU21 maps 100 cd/m^2 to 256; its authors' PU-PSNR uses that as the peak
PEAK_NITS = 1000.0  # cd/m^2 of radiance 1, for PU21 and ColorVideoVDP: both need an absolute level, a choice
BOOTSTRAP_RESAMPLES = 10_000
_RESAMPLES_PER_BLOCK = 500  # bounds memory

# Mantiuk and Azimi 2021, "PU21: A novel perceptually uniform encoding for adapting existing quality metrics for HDR",
# Picture Coding Symposium, the fit named "banding + glare".
_PU21 = (0.353487901, 0.3734658629, 8.277049286e-05, 0.9062562627, 0.09150303166, 0.9099517204, 596.3148142)
_PU21_RANGE_NITS = (0.005, 10000.0)

AMBIENT_LUX = 10.0
CVVDP_GEOMETRY = "standard_hdr_linear"  # the metric's own viewing distance and size
CVVDP_CONDITIONS = (
    f"radiance 1 at {PEAK_NITS:.0f} cd/m², BT.709 primaries, {AMBIENT_LUX:.0f} lux, geometry {CVVDP_GEOMETRY}"
)
_CVVDP_MODULE = "pycvvdp"  # what the distribution cvvdp installs

Mask = NDArray[np.bool_]
PerceptualMetric = Callable[[NDArray[Any], NDArray[Any]], float]


def psnr(prediction: NDArray[Any], truth: NDArray[Any], mask: Mask | None = None, peak: float = 1.0) -> float:
    """PSNR in dB over all channels, of the True pixels of ``mask`` (H, W) where given.

    Infinite where the two are equal, NaN where the mask is empty. Raises ValueError where shapes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"shapes differ: {prediction.shape} and {truth.shape}")
    difference = prediction.astype(np.float64) - truth.astype(np.float64)
    if mask is not None:
        difference = difference[mask]
    if difference.size == 0:
        return float("nan")
    mse = float(np.mean(difference**2))
    return float("inf") if mse == 0.0 else float(10.0 * np.log10(peak**2 / mse))


def psnr_l(prediction: NDArray[Any], truth: NDArray[Any], mask: Mask | None = None) -> float:
    """PSNR in dB on linear radiance."""
    return psnr(prediction, truth, mask)


def psnr_mu(prediction: NDArray[Any], truth: NDArray[Any], mask: Mask | None = None) -> float:
    """PSNR in dB on mu-law radiance."""
    return psnr(mu_law(prediction), mu_law(truth), mask)


def ssim(prediction: NDArray[Any], truth: NDArray[Any]) -> float:
    """Mean SSIM over channels: 11x11 Gaussian, sigma 1.5, K = (0.01, 0.03), population covariance.

    Leaves out the outer 5 pixels, where the window leaves the image. Raises ValueError where shapes differ or a side is
    below 11 pixels.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"shapes differ: {prediction.shape} and {truth.shape}")
    if min(prediction.shape[:2]) < 2 * SSIM_RADIUS_PX + 1:
        raise ValueError(f"SSIM needs at least 11x11 pixels, got {prediction.shape[:2]}")
    x, y = prediction.astype(np.float64), truth.astype(np.float64)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    cov = _blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    score = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    score /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    inner = slice(SSIM_RADIUS_PX, -SSIM_RADIUS_PX)
    return float(np.mean(score[inner, inner]))


def ssim_l(prediction: NDArray[Any], truth: NDArray[Any]) -> float:
    """SSIM on linear radiance."""
    return ssim(prediction, truth)


def ssim_mu(prediction: NDArray[Any], truth: NDArray[Any]) -> float:
    """SSIM on mu-law radiance."""
    return ssim(mu_law(prediction), mu_law(truth))


def pu21(luminance: NDArray[Any]) -> F64:
    """PU21 code of absolute luminance in cd/m^2 (banding + glare fit), clamped to the fit's 0.005 to 10000 cd/m^2."""
    p1, p2, p3, p4, p5, p6, p7 = _PU21
    powered = np.clip(luminance.astype(np.float64), *_PU21_RANGE_NITS) ** p4
    return np.asarray(np.maximum(p7 * (((p1 + p2 * powered) / (1 + p3 * powered)) ** p5 - p6), 0.0))


def pu21_psnr(prediction: NDArray[Any], truth: NDArray[Any]) -> float:
    """PSNR in dB on PU21-encoded RGB, peak 256; radiance 1.0 is displayed at PEAK_NITS cd/m^2."""
    return psnr(pu21(prediction * PEAK_NITS), pu21(truth * PEAK_NITS), peak=PU21_PEAK)


def require_cvvdp() -> None:
    """Raises UsageError where the package cvvdp is not installed."""
    if importlib.util.find_spec(_CVVDP_MODULE) is None:
        raise UsageError("--cvvdp needs the package cvvdp, which is not installed: pip install cvvdp")


def load_cvvdp(device: str) -> PerceptualMetric:
    """ColorVideoVDP (Mantiuk et al. 2024) as a function of (prediction, truth), (H, W, 3) in [0, 1]: quality in JOD.

    10 JOD is no visible difference. ``device``: as torch names it. Raises UsageError where the package is missing.
    """
    require_cvvdp()
    import torch

    package: Any = importlib.import_module(_CVVDP_MODULE)
    display = package.vvdp_display_photo_eotf(
        PEAK_NITS, contrast=1_000_000, source_colorspace="BT.709", EOTF="linear", E_ambient=AMBIENT_LUX
    )
    metric = package.cvvdp(
        display_name=CVVDP_GEOMETRY, display_photometry=display, heatmap=None, quiet=True, device=torch.device(device)
    )

    def jod(prediction: NDArray[Any], truth: NDArray[Any]) -> float:
        luminances = [np.ascontiguousarray(image * PEAK_NITS, np.float32) for image in (prediction, truth)]
        with torch.inference_mode():
            value, _ = metric.predict(*luminances, dim_order="HWC")
        return float(value)

    return jod


def bootstrap_interval(values: Sequence[float], *, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of ``values`` at ``level`` (Efron and Tibshirani 1993, section 13.3).

    Ignores NaNs; (NaN, NaN) for fewer than two values. The same seed gives the same interval.
    """
    finite = np.asarray(values, np.float64)
    finite = finite[~np.isnan(finite)]
    if finite.size < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    count = BOOTSTRAP_RESAMPLES // _RESAMPLES_PER_BLOCK
    blocks = [rng.integers(0, finite.size, (_RESAMPLES_PER_BLOCK, finite.size)) for _ in range(count)]
    means = np.concatenate([finite[block].mean(axis=1) for block in blocks])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _blur(image: F64) -> F64:
    kernel = cv2.getGaussianKernel(2 * SSIM_RADIUS_PX + 1, SSIM_SIGMA_PX, cv2.CV_64F)
    return np.asarray(cv2.sepFilter2D(image, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_REFLECT), np.float64)
