"""Image metrics for HDR, in numpy: PSNR and SSIM in linear and mu-law domains, PU21-PSNR.

Radiance everywhere: (H, W, 3) float, linear, 1.0 = clip level of the shortest exposure, and nothing is rescaled here
(protocol.py fits the one allowed scale). Data range is 1. Each function returns plain floats; averaging over scenes is
protocol.py's.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.radiometry import F64, mu_law

SSIM_SIGMA = 1.5
SSIM_RADIUS = 5  # 11x11 window
PU21_PEAK = 256.0  # PU21 maps 100 cd/m^2 to 256; its authors' PU-PSNR uses that as the peak

# Mantiuk & Azimi, "PU21: A novel perceptually uniform encoding for adapting existing quality metrics for HDR",
# Picture Coding Symposium 2021, the fit named "banding + glare".
_PU21 = (0.353487901, 0.3734658629, 8.277049286e-05, 0.9062562627, 0.09150303166, 0.9099517204, 596.3148142)
_PU21_RANGE = (0.005, 10000.0)  # cd/m^2

Mask = NDArray[np.bool_]


def psnr(prediction: NDArray[Any], truth: NDArray[Any], mask: Mask | None = None, peak: float = 1.0) -> float:
    """10 log10(peak^2 / MSE) in dB over all channels; ``mask`` (H, W) keeps its True pixels.

    Infinite where the two are equal, NaN where the mask is empty. Raises ValueError for different shapes.
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
    """PSNR in dB on linear radiance, data range 1."""
    return psnr(prediction, truth, mask)


def psnr_mu(prediction: NDArray[Any], truth: NDArray[Any], mask: Mask | None = None) -> float:
    """PSNR in dB on mu-law radiance, data range 1."""
    return psnr(mu_law(prediction), mu_law(truth), mask)


def ssim(prediction: NDArray[Any], truth: NDArray[Any]) -> float:
    """Mean SSIM over channels: 11x11 Gaussian, sigma 1.5, K = (0.01, 0.03), data range 1 (Wang et al. 2004).

    Population covariance; the outer 5 pixels, where the window leaves the picture, do not count. Raises ValueError for
    different shapes or pictures below 11x11.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"shapes differ: {prediction.shape} and {truth.shape}")
    if min(prediction.shape[:2]) < 2 * SSIM_RADIUS + 1:
        raise ValueError(f"SSIM needs at least 11x11 pixels, got {prediction.shape[:2]}")
    x, y = prediction.astype(np.float64), truth.astype(np.float64)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    cov = _blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    score = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    score /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    inner = slice(SSIM_RADIUS, -SSIM_RADIUS)
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
    powered = np.clip(luminance.astype(np.float64), *_PU21_RANGE) ** p4
    return np.asarray(np.maximum(p7 * (((p1 + p2 * powered) / (1 + p3 * powered)) ** p5 - p6), 0.0))


def pu21_psnr(
    prediction: NDArray[Any], truth: NDArray[Any], peak_nits: float = 1000.0, mask: Mask | None = None
) -> float:
    """PSNR in dB on PU21-encoded RGB, peak 256; radiance 1.0 is shown at ``peak_nits`` cd/m^2.

    The absolute level is a choice that PU21 needs and a camera does not give; name it beside the figure.
    """
    return psnr(pu21(prediction * peak_nits), pu21(truth * peak_nits), mask, peak=PU21_PEAK)


def _blur(image: F64) -> F64:
    kernel = cv2.getGaussianKernel(2 * SSIM_RADIUS + 1, SSIM_SIGMA, cv2.CV_64F)
    return np.asarray(cv2.sepFilter2D(image, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_REFLECT), np.float64)
