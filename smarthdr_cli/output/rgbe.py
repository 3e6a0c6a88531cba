"""Radiance HDR: run-length encoded RGBE scanlines.

A pixel is three 8-bit mantissas under one exponent, value = mantissa / 256 * 2^(E - 128), so the error is at most 1/256
of the largest channel. The header has EXPOSURE, PRIMARIES, SOFTWARE and CAPDATE. Source: G. Ward, "Real Pixels",
Graphics Gems II (1991); Radiance file formats reference (filefmts).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.errors import OutputError
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output.metadata import SOFTWARE, anchor_statement, reference_frame, require_finite

U8 = NDArray[np.uint8]

RGBE_MAX = float(np.float32(2.0**127 * (255.0 / 256.0)))
_MAGIC = b"#?RADIANCE"
_RLE_WIDTHS = range(8, 32768)  # readers expect flat scanlines outside
_MIN_RUN = 4  # shorter runs cost more than they save, since they interrupt a literal
_MAX_RUN, _MAX_LITERAL = 127, 128
_BAND_PIXELS = 1 << 19  # encoded at a time
_MIN_EXPONENT = 7  # biased; below, pixels are black: their scale would leave float32


def write_rgbe(result: FusionResult, path: Path, *, overwrite: bool = False) -> list[str]:
    """Write ``result`` as Radiance HDR; returns notes for the user.

    Negatives (colours outside the output's gamut) become 0, with a note. EXPOSURE is 2^(EV of the reference + anchor)
    with EV = log2(time * ISO/100 / N^2) as stated for the burst, so pixel / EXPOSURE is one scale for every anchor,
    every choice of reference, and all bursts of one camera.

    Raises OutputError where the image is not finite or cannot be written.
    """
    minimum, maximum = require_finite(result.radiance, "radiance")
    if maximum > RGBE_MAX:
        raise OutputError(f"{path.name}: radiance reaches {maximum:g}, more than the format holds; write .exr")
    notes = []
    if minimum < 0:
        share = 100.0 * float(np.mean([(row < 0).any(axis=1).mean() for row in result.radiance]))
        notes.append(f"{path.name}: Radiance HDR holds no negatives; {share:.2g} % of the pixels had some, now 0")
    height, width = result.radiance.shape[:2]

    def is_as_written(written: Path) -> bool:
        with written.open("rb") as file:
            return file.read(len(header)) == header and written.stat().st_size == len(header) + size

    header = _header(result, height, width)
    size = 0
    with atomic_file(path, overwrite=overwrite, is_as_written=is_as_written) as temporary, temporary.open("wb") as file:
        file.write(header)
        for encoded in encode_scanlines(result.radiance):
            size += len(encoded)
            file.write(encoded)
    return notes


def read_provenance(path: Path) -> None:
    """None: the header has no provenance. Raises ValueError where the file is no Radiance HDR."""
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError(f"{path} is no Radiance HDR")


def to_rgbe(rgb: NDArray[np.float32]) -> U8:
    """(..., 3) linear float32, negatives as 0, to (..., 4) RGBE bytes.

    Mantissas are rounded to nearest, which is unbiased for readers that take them at face value (OpenCV, stb_image,
    Blender, Photoshop). Radiance's own tools add half a step when they read, on average 0.2 % of the largest channel.
    Where rounding would carry the largest mantissa to 256, the exponent is one higher. Pixels below 2^-120 are black.

    >>> to_rgbe(np.float32([1.0, 0.5, 0.0])).tolist()
    [128, 64, 0, 129]
    """
    positive = np.maximum(rgb, np.float32(0.0))
    largest = np.ascontiguousarray(np.maximum(np.maximum(positive[..., 0], positive[..., 1]), positive[..., 2]))
    # IEEE 754: biased exponent of the value rounded to 8 significant bits; frexp's exponent is that - 126
    biased = (largest.view(np.int32) + np.int32(1 << 15)) >> 23
    exponent = biased + 2  # frexp's exponent + 128
    black = biased < _MIN_EXPONENT
    exponent[black] = 0
    biased[black] = _MIN_EXPONENT
    scale = np.ldexp(np.float32(1.0), 134 - biased)  # 2^(8 - frexp's exponent)
    scale[black] = 0.0
    rgbe = np.empty((*rgb.shape[:-1], 4), np.uint8)
    for channel in range(3):
        rgbe[..., channel] = positive[..., channel] * scale + np.float32(0.5)
    rgbe[..., 3] = exponent
    return rgbe


def encode_scanlines(rgb: NDArray[np.float32]) -> Iterator[bytes]:
    """The file's scanlines of (H, W, 3) linear float32, some rows at a time."""
    height, width = rgb.shape[:2]
    rows = max(1, _BAND_PIXELS // max(1, width))
    for top in range(0, height, rows):
        pixels = to_rgbe(rgb[top : top + rows])
        if width in _RLE_WIDTHS:
            yield _run_lengths(np.ascontiguousarray(pixels.transpose(0, 2, 1)))
        else:
            yield pixels.tobytes()


def _run_lengths(planes: U8) -> bytes:
    """(h, 4, W) component planes as new-style RLE scanlines: 2, 2, W big-endian, then runs and literals per plane.

    All planes are encoded at once. A pixel is in a run where it is one of at least four equal neighbours in its row.
    Segments between boundaries are runs or literals, cut into packets of at most 127 or 128.
    """
    height, _, width = planes.shape
    flat = planes.reshape(height * 4, width)
    equal = flat[:, 1:] == flat[:, :-1]
    starts = equal[:, :-2] & equal[:, 1:-1] & equal[:, 2:]  # a run of four begins here
    in_run = np.zeros(flat.shape, np.bool_)
    for shift in range(_MIN_RUN):
        in_run[:, shift : shift + starts.shape[1]] |= starts
    boundary = np.ones(flat.shape, np.bool_)
    # a segment goes on where both pixels are literals, or both equal and in a run
    boundary[:, 1:] = np.where(in_run[:, 1:], ~(in_run[:, :-1] & equal), in_run[:, :-1])
    begin = np.flatnonzero(boundary)
    length = np.diff(begin, append=flat.size)
    is_run = in_run.ravel()[begin]
    limit = np.where(is_run, _MAX_RUN, _MAX_LITERAL)
    packets = -(-length // limit)
    # one entry per packet
    first = np.cumsum(packets) - packets
    within = np.arange(int(packets.sum())) - np.repeat(first, packets)
    is_run, limit = np.repeat(is_run, packets), np.repeat(limit, packets)
    begin = np.repeat(begin, packets) + within * limit
    length = np.minimum(limit, np.repeat(length, packets) - within * limit)
    # where each packet lands, four header bytes before each scanline
    size = np.where(is_run, 2, 1 + length)
    offset = np.cumsum(size) - size + 4 * (begin // (4 * width) + 1)
    encoded = np.empty(int(size.sum()) + 4 * height, np.uint8)
    literal = np.ones(encoded.size, np.bool_)
    codes = np.where(is_run, 128 + length, length)
    encoded[offset] = codes
    literal[offset] = False
    encoded[offset[is_run] + 1] = flat.ravel()[begin[is_run]]
    literal[offset[is_run] + 1] = False
    scanlines = offset[begin % (4 * width) == 0] - 4
    for byte, value in enumerate((2, 2, width >> 8, width & 255)):
        encoded[scanlines + byte] = value
        literal[scanlines + byte] = False
    encoded[literal] = flat[~in_run]
    return encoded.tobytes()


def _header(result: FusionResult, height: int, width: int) -> bytes:
    frame = reference_frame(result)
    exposure = 2.0 ** (frame.exposure.ev + result.anchor_ev)
    primaries = " ".join(f"{value:.5g}" for xy in result.colorspace.chromaticities for value in xy)
    lines: list[Any] = [
        "#?RADIANCE",
        f"# {anchor_statement(result)}",
        "# pixel / EXPOSURE is proportional to scene radiance, on one scale for every anchor and reference",
        f"SOFTWARE={SOFTWARE}",
        "FORMAT=32-bit_rle_rgbe",
        f"EXPOSURE={exposure:.8g}",
        f"PRIMARIES={primaries}",
    ]
    if frame.capture.datetime:
        lines.append(f"CAPDATE={_one_line(frame.capture.datetime)}")
    return ("\n".join(lines) + f"\n\n-Y {height} +X {width}\n").encode("ascii", "replace")


def _one_line(text: str) -> str:
    return " ".join(text.split())
