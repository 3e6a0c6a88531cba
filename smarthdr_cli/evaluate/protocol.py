"""How a prediction is scaled to the truth before it is scored, the cap of its PSNRs, and means over scenes.

    fitted:     p' = s p,  s = median(truth / p) over static pixels well exposed in the reference, all channels together
    published:  p' = p

with radiance p such that the shortest frame's clip is 1. "fitted" removes the absolute brightness, which a calibrated
curve leaves open, with the same pixels for every method. "published" is the protocol of papers on Kalantari's and Hu's
sets, where the curve and the exposures are known.

Both limit prediction and truth to [0, 1]: no frame measures radiance above the shortest frame's clip (published
networks end in a sigmoid, their truths at 1).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.evaluate import metrics

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
Scaling = Literal["published", "fitted"]

CAP_DB = 50.0  # per scene and metric: above it the score measures quantisation of the truth
PUBLISHED_CAP_DB = 100.0  # papers have none; keeps means finite
WELL_EXPOSED = (0.05, 0.8)  # linear share of the reference frame's clip, every channel
MIN_FIT_PIXELS = 100  # with fewer well-exposed static pixels the scale is fitted on all static, then on all pixels


def fit_pixels(truth: NDArray[Any], reference_time: float, moving: Mask | None) -> Mask:
    """(H, W) mask of the pixels the scale is fitted on: static and well exposed in the reference frame.

    ``truth``: shortest clip = 1. ``reference_time``: the reference's exposure over the shortest's. ``moving``: pixels
    that change between frames (None: none). Falls back to all static, then to all pixels, below MIN_FIT_PIXELS.
    """
    exposed = truth * reference_time
    static = np.ones(truth.shape[:2], np.bool_) if moving is None else ~moving
    well = static & (exposed >= WELL_EXPOSED[0]).all(axis=2) & (exposed <= WELL_EXPOSED[1]).all(axis=2)
    for mask in (well, static):
        if np.count_nonzero(mask) >= MIN_FIT_PIXELS:
            return np.asarray(mask)
    return np.ones(truth.shape[:2], np.bool_)


def fit_scale(prediction: NDArray[Any], truth: NDArray[Any], pixels: Mask) -> float:
    """Median of truth / prediction over ``pixels``, all channels.

    Raises ValueError where no pixel of the prediction is positive and finite.
    """
    p, t = prediction[pixels].astype(np.float64).ravel(), truth[pixels].astype(np.float64).ravel()
    usable = np.isfinite(p) & (p > 0) & (t > 0)
    if not usable.any():
        raise ValueError("the prediction has no positive pixel to fit a scale on")
    return float(np.median(t[usable] / p[usable]))


def can_fit_scale(prediction: NDArray[Any], truth: NDArray[Any], pixels: Mask) -> bool:
    """Whether any value on ``pixels`` is positive and finite in the prediction and positive in the truth."""
    p, t = prediction[pixels], truth[pixels]
    return bool((np.isfinite(p) & (p > 0) & (t > 0)).any())


def scale_and_limit(prediction: NDArray[Any], truth: NDArray[Any], pixels: Mask) -> F32:
    """``prediction`` times its fitted scale, limited to [0, 1]."""
    return limit(prediction * fit_scale(prediction, truth, pixels))


def limit(radiance: NDArray[Any]) -> F32:
    """``radiance`` with NaN as 0, limited to [0, 1]."""
    finite = np.nan_to_num(radiance, nan=0.0, posinf=1.0, neginf=0.0)
    return np.asarray(np.clip(finite, 0.0, 1.0), np.float32)


def apply_scaling(
    prediction: NDArray[Any], truth: NDArray[Any], *, reference_time: float, moving: Mask | None, scaling: Scaling
) -> F32:
    """``prediction`` as ``score`` compares it under ``scaling``; unscaled where no scale can be fitted."""
    pixels = fit_pixels(truth, reference_time, moving)
    if scaling == "published" or not can_fit_scale(prediction, truth, pixels):
        return limit(prediction)
    return scale_and_limit(prediction, truth, pixels)


def clipped_mask(truth: NDArray[Any], frame_time: float) -> Mask:
    """(H, W) pixels whose truth reaches the clip of a frame of relative exposure ``frame_time`` in any channel."""
    return np.asarray(truth.max(axis=2) * np.float32(frame_time) >= 1.0)


def score(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    *,
    reference_time: float,
    moving: Mask | None = None,
    scaling: Scaling = "fitted",
) -> dict[str, float]:
    """All metrics of one scene under ``scaling``.

    Keys: scale (the factor on the prediction), psnr_mu, psnr_l, ssim_mu, ssim_l, pu21, and psnr_mu_moving,
    psnr_l_moving, psnr_mu_clipped, psnr_l_clipped over moving pixels and over those clipped in the reference (NaN where
    there are none). PSNRs are capped at CAP_DB, those of all pixels under "published" at PUBLISHED_CAP_DB. Raises
    ValueError where shapes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"shapes differ: {prediction.shape} and {truth.shape}")
    scale = 1.0
    if scaling == "fitted":
        scale = fit_scale(prediction, truth, fit_pixels(truth, reference_time, moving))
    p, t = limit(prediction * scale), np.clip(truth, 0.0, 1.0)
    cap = CAP_DB if scaling == "fitted" else PUBLISHED_CAP_DB
    moving_mask = np.zeros(truth.shape[:2], np.bool_) if moving is None else moving
    clipped = clipped_mask(truth, reference_time)
    return {
        "scale": scale,
        "psnr_mu": min(cap, metrics.psnr_mu(p, t)),
        "psnr_l": min(cap, metrics.psnr_l(p, t)),
        "ssim_mu": metrics.ssim_mu(p, t),
        "ssim_l": metrics.ssim_l(p, t),
        "pu21": min(cap, metrics.pu21_psnr(p, t)),
        "psnr_mu_moving": _cap(metrics.psnr_mu(p, t, moving_mask)),
        "psnr_l_moving": _cap(metrics.psnr_l(p, t, moving_mask)),
        "psnr_mu_clipped": _cap(metrics.psnr_mu(p, t, clipped)),
        "psnr_l_clipped": _cap(metrics.psnr_l(p, t, clipped)),
    }


def mean_scores(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each key over scenes, NaNs (scenes without moving pixels) left out."""
    if not scores:
        return {}
    columns = {key: np.array([s[key] for s in scores]) for key in scores[0]}
    return {k: float(np.mean(v[~np.isnan(v)])) if (~np.isnan(v)).any() else float("nan") for k, v in columns.items()}


def gap_closed(score: float, reference: float, oracle: float) -> float:
    """(score - reference) / (oracle - reference); NaN where the oracle is not above the reference.

    >>> gap_closed(38.0, reference=34.0, oracle=42.0)
    0.5
    """
    return (score - reference) / (oracle - reference) if oracle > reference else float("nan")


def _cap(value: float) -> float:
    return value if np.isnan(value) else min(CAP_DB, value)
