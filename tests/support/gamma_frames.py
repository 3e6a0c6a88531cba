"""A smooth scene and its exposures by a gamma-2.2 camera, for tests of methods."""

import numpy as np


def smooth_radiance() -> np.ndarray:
    """(96, 128, 3) float32 from 0.003 to 0.98."""
    y, x = np.mgrid[0:96, 0:128].astype(np.float64)
    base = np.exp(-3.5 + 2.2 * np.sin(x / 19) * np.cos(y / 13) + 0.5 * np.sin(x / 3.7 + y / 5.1))
    return np.clip(np.stack([base, 0.8 * base, 0.6 * base], 2), 0.003, 0.98).astype(np.float32)


def expose(radiance: np.ndarray, time: float, dtype: type = np.uint8) -> np.ndarray:
    """Codes of one frame, clipped at 1."""
    top = np.iinfo(dtype).max
    return np.round(np.clip(radiance * time, 0, 1) ** (1 / 2.2) * top).astype(dtype)
