"""32-bit float TIFF: linear pixels, negatives kept, with a linear ICC profile and the provenance as JSON."""

from pathlib import Path

import numpy as np
import tifffile

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.errors import OutputError
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output.icc_profile import matrix_profile
from smarthdr_cli.output.metadata import SOFTWARE, as_json, provenance, reference_frame
from smarthdr_cli.output.sigma import require_finite


def write_tiff(fused: FusionResult, path: Path, *, overwrite: bool = False) -> list[str]:
    """Write ``fused`` as an uncompressed 32-bit float RGB TIFF (BigTIFF from 4 GB on); nothing to say aloud.

    Uncompressed because that is what every program reads in this depth. ImageDescription holds the ``smarthdr:*``
    provenance as a JSON object, DateTime the capture of the reference.
    Raises OutputError when the picture is not finite or cannot be written.
    """
    require_finite(fused.radiance, "radiance")
    pixels = np.ascontiguousarray(fused.radiance)

    def verify(written: Path) -> None:
        stored = tifffile.memmap(written, mode="r")
        good = stored.dtype == np.float32 and np.array_equal(stored, pixels)
        del stored
        if not good:
            raise OutputError(f"{path} does not read back as it was written; it was not kept")

    with atomic_file(path, overwrite=overwrite, verify=verify) as temporary:
        tifffile.imwrite(
            temporary,
            pixels,
            photometric="rgb",
            planarconfig="contig",
            software=SOFTWARE,
            datetime=_datetime(fused),
            description=as_json(provenance(fused)),
            iccprofile=matrix_profile(fused.colorspace, "linear"),
            metadata=None,
        )
    return []


def _datetime(fused: FusionResult) -> str | None:
    """The capture date where it has TIFF's form (19 ASCII characters), else none."""
    text = reference_frame(fused).capture.datetime
    return text if text is not None and len(text) == 19 and text.isascii() else None
