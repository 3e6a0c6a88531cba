"""One protocol for every method: how a scene's prediction is brought to the truth, a cap, and means over scenes.

"fitted": methods differ in the brightness they settle on (a calibrated curve has no absolute level), and none of that
is quality. So every prediction is multiplied by one number before it is scored: the median of truth / prediction over
static pixels well exposed in the reference frame, all channels together, the same pixels for every method.
"published": nothing is multiplied, as papers on Kalantari's and Hu's sets have it; both are in the scale where the
shortest frame's clip is 1, which a known curve and known exposures fix.

Either way prediction and truth are then limited to [0, 1]: above the shortest frame's clip nobody has seen anything
(published networks end in a sigmoid, their truths at 1).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.evaluate import metrics

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
Scaling = Literal["published", "fitted"]

CAP_DB = 50.0  # per scene and metric: beyond it the score measures quantisation of the truth
PUBLISHED_CAP_DB = 100.0  # papers have none; this one only keeps means finite
WELL_EXPOSED = (0.05, 0.8)  # linear share of the reference frame's clip, every channel
MIN_PIXELS = 100  # fewer well-exposed static pixels than this: all static, then all pixels


def fit_pixels(truth: NDArray[Any], reference_time: float, moving: Mask | None) -> Mask:
    """(H, W) pixels the scale is fitted on: static and well exposed in the reference frame.

    ``truth`` in short-clip = 1 scale; ``reference_time`` is the reference's exposure over the shortest's; ``moving``
    marks pixels that change between frames (None: none do). Falls back to the static pixels, then to all, where fewer
    than MIN_PIXELS are left.
    """
    exposed = truth * reference_time
    static = np.ones(truth.shape[:2], np.bool_) if moving is None else ~moving
    well = static & (exposed >= WELL_EXPOSED[0]).all(axis=2) & (exposed <= WELL_EXPOSED[1]).all(axis=2)
    for mask in (well, static):
        if np.count_nonzero(mask) >= MIN_PIXELS:
            return np.asarray(mask)
    return np.ones(truth.shape[:2], np.bool_)


def fit_scale(prediction: NDArray[Any], truth: NDArray[Any], pixels: Mask) -> float:
    """The factor that brings ``prediction`` to ``truth``: median of truth / prediction over ``pixels``, all channels.

    Raises ValueError where no pixel of the prediction is positive and finite.
    """
    p, t = prediction[pixels].astype(np.float64).ravel(), truth[pixels].astype(np.float64).ravel()
    usable = np.isfinite(p) & (p > 0) & (t > 0)
    if not usable.any():
        raise ValueError("the prediction has no positive pixel to fit a scale on")
    return float(np.median(t[usable] / p[usable]))


def fitted(prediction: NDArray[Any], truth: NDArray[Any], pixels: Mask) -> F32:
    """``prediction`` times its fitted scale, non-finite values as 0, limited to [0, 1]."""
    return limited(prediction * fit_scale(prediction, truth, pixels))


def limited(prediction: NDArray[Any]) -> F32:
    """``prediction`` with NaN as 0, limited to [0, 1]."""
    finite = np.nan_to_num(prediction, nan=0.0, posinf=1.0, neginf=0.0)
    return np.asarray(np.clip(finite, 0.0, 1.0), np.float32)


def shown(
    prediction: NDArray[Any], truth: NDArray[Any], *, reference_time: float, moving: Mask | None, scaling: Scaling
) -> F32:
    """``prediction`` as ``scaling`` scores it: fitted or left as it is, limited to [0, 1].

    For looking: left as it is, too, where there is nothing positive to fit a scale on.
    """
    pixels = fit_pixels(truth, reference_time, moving)
    if scaling == "published" or not fits(prediction, truth, pixels):
        return limited(prediction)
    return fitted(prediction, truth, pixels)


def fits(prediction: NDArray[Any], truth: NDArray[Any], pixels: Mask) -> bool:
    """Whether a scale can be fitted on ``pixels``: some value positive and finite in both."""
    p, t = prediction[pixels], truth[pixels]
    return bool((np.isfinite(p) & (p > 0) & (t > 0)).any())


def clipped(truth: NDArray[Any], reference_time: float) -> Mask:
    """(H, W) pixels whose truth is at or above the reference frame's clip in any channel."""
    return np.asarray(truth.max(axis=2) * np.float32(reference_time) >= 1.0)


def score(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    *,
    reference_time: float,
    moving: Mask | None = None,
    scaling: Scaling = "fitted",
) -> dict[str, float]:
    """All metrics of one scene under ``scaling``.

    Keys: scale (what the prediction was multiplied by), psnr_mu, psnr_l, ssim_mu, ssim_l, pu21 (radiance 1.0 at 1000
    cd/m^2), and psnr_mu_moving, psnr_l_moving, psnr_mu_clipped, psnr_l_clipped over moving pixels and over those
    clipped in the reference (NaN where there are none). PSNRs are capped at CAP_DB, or over the whole picture in the
    published scaling at PUBLISHED_CAP_DB. Raises ValueError for different shapes.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"shapes differ: {prediction.shape} and {truth.shape}")
    scale = 1.0
    if scaling == "fitted":
        scale = fit_scale(prediction, truth, fit_pixels(truth, reference_time, moving))
    p, t = limited(prediction * scale), np.clip(truth, 0.0, 1.0)
    cap = CAP_DB if scaling == "fitted" else PUBLISHED_CAP_DB
    nowhere = np.zeros(truth.shape[:2], np.bool_) if moving is None else moving
    bright = clipped(truth, reference_time)
    return {
        "scale": scale,
        "psnr_mu": min(cap, metrics.psnr_mu(p, t)),
        "psnr_l": min(cap, metrics.psnr_l(p, t)),
        "ssim_mu": metrics.ssim_mu(p, t),
        "ssim_l": metrics.ssim_l(p, t),
        "pu21": min(cap, metrics.pu21_psnr(p, t)),
        "psnr_mu_moving": _cap(metrics.psnr_mu(p, t, nowhere)),
        "psnr_l_moving": _cap(metrics.psnr_l(p, t, nowhere)),
        "psnr_mu_clipped": _cap(metrics.psnr_mu(p, t, bright)),
        "psnr_l_clipped": _cap(metrics.psnr_l(p, t, bright)),
    }


def average(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each key over scenes; a scene whose value is NaN (no moving pixel) does not count for that key."""
    if not scores:
        return {}
    columns = {key: np.array([s[key] for s in scores]) for key in scores[0]}
    return {k: float(np.mean(v[~np.isnan(v)])) if (~np.isnan(v)).any() else float("nan") for k, v in columns.items()}


def share_closed(ours: float, reference: float, oracle: float) -> float:
    """(ours - reference) / (oracle - reference): 0 at the reference frame alone, 1 at the oracle; NaN without a gap."""
    return (ours - reference) / (oracle - reference) if oracle > reference else float("nan")


def _cap(value: float) -> float:
    return value if np.isnan(value) else min(CAP_DB, value)
