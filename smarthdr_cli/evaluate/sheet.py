"""Contact sheets for looking: crops of several pictures side by side, one row per scene."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.radiometry import mu_law

U8 = NDArray[np.uint8]

LABEL_HEIGHT = 18
GAP = 4


def toned(radiance: NDArray[Any]) -> U8:
    """(H, W, 3) radiance to 8-bit display codes by the mu-law, clipped at 1."""
    return np.round(np.clip(mu_law(radiance), 0.0, 1.0) * 255).astype(np.uint8)


def heat(sigma: NDArray[Any], top: float) -> U8:
    """(H, W) uncertainty to viridis, 0 to ``top``."""
    codes = np.round(np.clip(sigma / top, 0.0, 1.0) * 255).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(codes, cv2.COLORMAP_VIRIDIS)[..., ::-1]).astype(np.uint8)


def busiest(mask: NDArray[np.bool_], size: int) -> tuple[slice, slice]:
    """The square of ``size`` pixels (or the whole side, if less) holding the most of ``mask``, the middle if empty."""
    height, width = min(size, mask.shape[0]), min(size, mask.shape[1])
    top, left = (mask.shape[0] - height) // 2, (mask.shape[1] - width) // 2
    if mask.any():
        total = np.pad(mask.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        inside = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
        top, left = (int(i) for i in np.unravel_index(int(np.argmax(inside)), inside.shape))
    return slice(top, top + height), slice(left, left + width)


def row(pictures: Sequence[tuple[str, U8]]) -> U8:
    """Labelled pictures of one height side by side: (H + LABEL_HEIGHT, W, 3)."""
    cells = []
    for label, picture in pictures:
        strip = np.full((LABEL_HEIGHT, picture.shape[1], 3), 24, np.uint8)
        cv2.putText(strip, label, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (235, 235, 235), 1, cv2.LINE_AA)
        cells += [np.concatenate([strip, picture]), np.full((picture.shape[0] + LABEL_HEIGHT, GAP, 3), 24, np.uint8)]
    return np.concatenate(cells[:-1], axis=1)


def save(path: Path, rows: Sequence[U8]) -> None:
    """Rows, padded to one width, as one PNG. Raises OSError when it cannot be written."""
    if not cv2.imwrite(str(path), _stacked(rows)[..., ::-1]):
        raise OSError(f"cannot write {path}")


def save_jpeg(path: Path, rows: Sequence[U8], largest: int) -> None:
    """The same as a JPEG at the best quality, down to 50, that takes at most ``largest`` bytes.

    Raises ValueError where none does, OSError when it cannot be written.
    """
    picture = np.ascontiguousarray(_stacked(rows)[..., ::-1])
    for quality in range(95, 49, -3):
        done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1])
        if done and data.size <= largest:
            path.write_bytes(data.tobytes())
            return
    raise ValueError(f"{path.name}: no JPEG of {picture.shape[1]}x{picture.shape[0]} fits into {largest} bytes")


def _stacked(rows: Sequence[U8]) -> U8:
    width, gap = max(r.shape[1] for r in rows), GAP if len(rows) > 1 else 0
    return np.concatenate(
        [np.pad(r, ((0, gap), (0, width - r.shape[1]), (0, 0)), constant_values=24) for r in rows]
    ).astype(np.uint8)
