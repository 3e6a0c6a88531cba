"""The pictures of a report, reduced and encoded for a browser.

HDR: c = round(32 log2(L / 2^low)) + 1, 0 where L <= 2^low, so that a step is 1/32 EV (2.2 %) at every brightness. From
c a page computes the picture at any exposure with one look-up. The codes become bytes that deflate well:

    G, R - G, B - G  ->  residual of the gradient predictor (left + above - above left)  ->  zigzag  ->  low bytes, high
    bytes  ->  deflate (RFC 1950)  ->  base64

A browser undoes this exactly, whatever it does to colours: a PNG read back through a canvas may be colour-managed or
altered against fingerprinting.
"""

import base64
import io
import zlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from smarthdr_cli.output.preview import reduce_to

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

MAX_PIXELS = 800_000  # of a reduced picture: a page of about 4 MB
LOW_EV = -14.0  # relative to the reference's clip; less light is black at any exposure that the page offers
STEPS_PER_EV = 32
CODES = 1 << 13  # 256 EV, more than float32 light has; a residual, the sum of eight codes, fits into 16 bits
_JPEG_QUALITY = 88
_THUMBNAIL_QUALITY = 80
THUMBNAIL_SIDE = 320  # pixels


@dataclass(frozen=True)
class Reduction:
    """How a picture of ``(height, width)`` becomes one of ``size`` (width, height), with at most MAX_PIXELS.

    First box means over cells of ``cell`` pixels, then a reduction by area. Rows and columns that fill no cell are cut.
    """

    cell: int
    cropped: tuple[int, int]
    size: tuple[int, int]

    @staticmethod
    def of(height: int, width: int, max_pixels: int = MAX_PIXELS) -> "Reduction":
        """The reduction to at most ``max_pixels``; a smaller picture stays as it is."""
        scale = max(1.0, (height * width / max_pixels) ** 0.5)
        cell = int(scale)
        cropped = (max(1, height // cell) * cell, max(1, width // cell) * cell)
        return Reduction(cell, cropped, (max(1, int(width / scale)), max(1, int(height / scale))))

    def reduce(self, picture: F32) -> F32:
        """(H, W) or (H, W, C) ``picture`` at the reduced size."""
        height, width = self.cropped
        return self._resize(picture[:height, :width])

    def reduce_cells(self, cells: F32) -> F32:
        """The same for box means of the picture, edges repeated, as ``AlignedBurst.downsample`` gives them."""
        height, width = self.cropped
        return self._resize(cells[: height // self.cell, : width // self.cell])

    def _resize(self, picture: F32) -> F32:
        if picture.shape[1::-1] == self.size:
            return np.ascontiguousarray(picture)
        return np.asarray(cv2.resize(picture, self.size, interpolation=cv2.INTER_AREA), np.float32)


def log_codes(light: F32) -> NDArray[np.int32]:
    """(H, W, 3) linear light, 1 = the reference's clip, to codes c."""
    ev = np.log2(np.maximum(light, np.float32(2.0**LOW_EV))) - np.float32(LOW_EV)
    codes = np.rint(ev * np.float32(STEPS_PER_EV)) + (light > 2.0**LOW_EV)
    return np.asarray(np.minimum(codes, CODES - 1), np.int32)


def pack_light(light: F32) -> str:
    """(H, W, 3) linear light as base64, see the module."""
    codes = log_codes(light)
    green = codes[..., 1]
    return _pack(np.stack([green, codes[..., 0] - green, codes[..., 2] - green]))


def pack_indices(indices: U8) -> str:
    """(H, W) rows of a colour table as base64, in the same form with one plane."""
    return _pack(indices[None].astype(np.int32))


def _pack(planes: NDArray[np.int32]) -> str:
    residual = planes.copy()
    residual[:, :, 1:] -= planes[:, :, :-1]
    residual[:, 1:] -= residual[:, :-1].copy()
    zigzag = np.where(residual < 0, -2 * residual - 1, 2 * residual).astype(np.uint16)
    low, high = (zigzag & 0xFF).astype(np.uint8), (zigzag >> 8).astype(np.uint8)
    # Residuals hold no longer repetitions than runs of one value: RLE is 30 times as fast as the search, and smaller.
    deflate = zlib.compressobj(strategy=zlib.Z_RLE)
    return base64.b64encode(deflate.compress(low.tobytes() + high.tobytes()) + deflate.flush()).decode()


def jpeg_uri(pixels: NDArray[Any], quality: int = _JPEG_QUALITY) -> str:
    """(H, W, 3) uint8 sRGB as a data: URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def thumbnail_uri(pixels: NDArray[Any]) -> str:
    """The same with its longer side reduced to THUMBNAIL_SIDE."""
    return jpeg_uri(reduce_to(pixels, THUMBNAIL_SIDE), _THUMBNAIL_QUALITY)
