"""32-bit float TIFF: linear pixels, negatives kept, a linear ICC profile and the provenance as JSON.

Uncompressed RGB, since that is what every program reads in this depth; BigTIFF from 4 GB on. ImageDescription holds the
``smarthdr:*`` strings as a JSON object, DateTime the capture time of the reference frame.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tifffile

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output.icc_profile import matrix_profile
from smarthdr_cli.output.metadata import SOFTWARE, as_json, provenance, reference_frame, require_finite

_DATE_LENGTH = 19  # characters of DateTime (TIFF 6.0, section 8)


def write_tiff(result: FusionResult, path: Path, *, overwrite: bool = False) -> list[str]:
    """Write the radiance as float TIFF; there are no notes.

    Raises OutputError where the image is not finite or cannot be written.
    """
    require_finite(result.radiance, "radiance")
    pixels = np.ascontiguousarray(result.radiance)

    def is_as_written(written: Path) -> bool:
        stored = tifffile.memmap(written, mode="r")
        return stored.dtype == np.float32 and np.array_equal(stored, pixels)

    with atomic_file(path, overwrite=overwrite, is_as_written=is_as_written) as temporary:
        tifffile.imwrite(
            temporary,
            pixels,
            photometric="rgb",
            planarconfig="contig",
            software=SOFTWARE,
            datetime=_datetime(result),
            description=as_json(provenance(result)),
            iccprofile=matrix_profile(result.colorspace, "linear"),
            metadata=None,
        )
    return []


def read_provenance(path: Path) -> Mapping[str, str]:
    """The ``smarthdr:*`` strings of a TIFF. Raises what tifffile and json raise where it is damaged."""
    with tifffile.TiffFile(path) as file:
        strings: Mapping[str, str] = json.loads(file.pages.first.description or "{}")
    return strings


def _datetime(result: FusionResult) -> str | None:
    text = reference_frame(result).capture.datetime
    return text if text is not None and len(text) == _DATE_LENGTH and text.isascii() else None
