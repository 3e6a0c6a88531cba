"""Linear DNG: demosaiced, white-balanced pixels that raw editors develop as they do a camera's raw.

The camera that the file describes is the RGB space of the result: AsShotNeutral is (1, 1, 1), ColorMatrix1 takes CIE
XYZ under D65 to that space, ForwardMatrix1 the space to the D50 connection space. Neutral is therefore what is neutral
in the reference. Pixels are radiance / 2^b with the least whole b that makes them at most 1, and BaselineExposure is b.
UniqueCameraModel names the space, so that no editor takes a profile of the camera that shot the frames.

Up to b = MAX_INTEGER_EV pixels are 16-bit integers in lossless JPEG, which LibRaw 0.22, darktable 4.2 and RawTherapee
5.9 read; for more range half floats, deflated with the floating-point predictor, which RawTherapee 5.9 does not read.
None of them reads deflated integers, nor floats deflated without predictor. Adobe's programs apply BaselineExposure,
RawTherapee's default profile matches its curve to the preview, darktable shows the pixels as they are.

Source: Adobe DNG specification 1.6 (chapter 6, mapping camera colour space to CIE XYZ). The first directory is a
JPEG preview, its SubIFD the picture, DNGPrivateData the provenance as JSON.
"""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.colorspace import PROPHOTO, REC709, ColorSpace, conversion
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output.exif import EXIF_IFD, GPS_IFD, ORIENTATION, reference_exif, tiff_tags
from smarthdr_cli.output.metadata import SOFTWARE, as_json, provenance, require_finite
from smarthdr_cli.output.preview import encode_jpeg, render_reduced
from smarthdr_cli.output.tonemap import look_config
from smarthdr_cli.output.write_options import Look

MAX_INTEGER_EV = 4  # b up to which 16 bits hold what the shadows of 8-bit frames do: steps of 2^-12 of the clip
MAX_EV = 11  # largest b, with which mid-grey is still a normal half, of 11 bits
_PREVIEW_SIDE = 1600  # pixels
_PREVIEW_QUALITY = 85
_TILE = (256, 256)
_MAX_VERIFIED_VALUES = 8_000_000 * 3  # of an image that is compared after writing
_DEFLATE_LEVEL = 4
_THREADS = 2

_LINEAR_RAW, _D65, _SRGB = 34892, 21, 2  # values of PhotometricInterpretation, CalibrationIlluminant, PreviewColorSpace
_DNG_VERSION, _DNG_BACKWARD_VERSION, _UNIQUE_CAMERA_MODEL, _PRIVATE_DATA = 50706, 50707, 50708, 50740
_WHITE_LEVEL, _COLOR_MATRIX, _AS_SHOT_NEUTRAL, _BASELINE_EXPOSURE = 50717, 50721, 50728, 50730
_CALIBRATION_ILLUMINANT, _FORWARD_MATRIX, _PREVIEW_COLOR_SPACE = 50778, 50964, 50970
_LONG = 4  # TIFF type
_PRIVATE_NAME = b"smarthdr\0"  # the specification wants the maker's name first


def write_dng(
    result: FusionResult, path: Path, *, look: Look = "natural", preview_ev: float = 0.0, overwrite: bool = False
) -> list[str]:
    """Write the radiance as linear DNG; returns notes for the user.

    ``look``, ``preview_ev``: of the preview inside. Negatives (colours outside the output's gamut) become 0.
    What is brighter than 2^MAX_EV is clipped, with a note.
    Raises OutputError where the image is not finite or cannot be written.
    """
    _, peak = require_finite(result.radiance, "radiance")
    baseline = min(math.ceil(math.log2(max(peak, 1.0))), MAX_EV)
    exif, notes = reference_exif(result)
    if baseline:
        notes.append(
            f"{path.name}: darktable does not apply BaselineExposure and opens it dark; raise the exposure by "
            f"{baseline} EV there"
        )
    if peak > 2.0**baseline:
        notes.append(
            f"{path.name}: radiance reaches {peak:.3g}; above {2**baseline} it is clipped, write .exr to keep it"
        )
    pixels = result.radiance * np.float32(2.0**-baseline)
    np.clip(pixels, 0.0, 1.0, out=pixels)
    coding: dict[str, Any]
    if baseline <= MAX_INTEGER_EV:
        pixels *= np.float32(65535)
        pixels += np.float32(0.5)
        stored, white = pixels.astype(np.uint16), 65535
        coding = {"compression": "jpeg", "compressionargs": {"lossless": True, "bitspersample": 16}}
    else:
        stored, white = pixels.astype(np.float16), 1
        coding = {"compression": "adobe_deflate", "predictor": 3, "compressionargs": {"level": _DEFLATE_LEVEL}}
        notes.append(
            f"{path.name} has half floats for its range of {baseline} EV above the clip; RawTherapee needs .exr"
        )

    def is_as_written(written: Path) -> bool:
        with tifffile.TiffFile(written) as file:
            page = _raw_page(file)
            if (page.shape, page.dtype) != (stored.shape, stored.dtype):
                return False
            return stored.size > _MAX_VERIFIED_VALUES or np.array_equal(page.asarray(), stored)

    preview = render_reduced(result, _PREVIEW_SIDE, look_config(look, preview_ev))
    with atomic_file(path, overwrite=overwrite, is_as_written=is_as_written) as temporary:
        with tifffile.TiffWriter(temporary, byteorder="<") as writer:
            writer.write(
                iter([encode_jpeg(preview, _PREVIEW_QUALITY)]),  # tifffile's own JPEGs say nowhere that they are YCbCr
                shape=preview.shape,
                dtype=preview.dtype,
                subfiletype=1,
                subifds=1,
                photometric="ycbcr",
                subsampling=(1, 1),
                compression="jpeg",
                rowsperstrip=preview.shape[0],
                software=SOFTWARE,
                extratags=[*tiff_tags(exif), *_dng_tags(result, baseline), *_placeholders(exif)],
                metadata=None,
            )
            writer.write(
                stored,
                subfiletype=0,
                photometric=_LINEAR_RAW,
                planarconfig="contig",
                tile=_TILE,
                maxworkers=_THREADS,
                extratags=[(_WHITE_LEVEL, "I", 3, (white,) * 3, True)],
                metadata=None,
                **coding,
            )
        _append_exif(temporary, exif)
    return notes


def read_provenance(path: Path) -> Mapping[str, str] | None:
    """The ``smarthdr:*`` strings of a DNG, None where it has none. Raises what tifffile and json raise for damage."""
    with tifffile.TiffFile(path) as file:
        tag = file.pages.first.tags.get(_PRIVATE_DATA)
        if tag is None or not bytes(tag.value).startswith(_PRIVATE_NAME):
            return None
        strings: Mapping[str, str] = json.loads(bytes(tag.value).removeprefix(_PRIVATE_NAME))
        return strings


def is_intact(path: Path) -> bool:
    """Whether every pixel of a DNG of ours can be read."""
    try:
        with tifffile.TiffFile(path) as file:
            _raw_page(file).asarray()
    except Exception:  # tifffile and its codecs have no common class of errors
        return False
    return True


def _raw_page(file: tifffile.TiffFile) -> tifffile.TiffPage:
    """The picture: the SubIFD of the first directory. Raises ValueError where there is none."""
    pages = file.pages.first.pages
    page = pages[0] if pages is not None else None
    if not isinstance(page, tifffile.TiffPage):
        raise ValueError("it has no SubIFD")
    return page


def _dng_tags(result: FusionResult, baseline: int) -> list[tuple[int, str, int, Any, bool]]:
    space = result.colorspace
    record = _PRIVATE_NAME + as_json(provenance(result)).encode()
    return [
        (ORIENTATION, "H", 1, 1, True),
        (_DNG_VERSION, "B", 4, (1, 6, 0, 0), True),
        (_DNG_BACKWARD_VERSION, "B", 4, (1, 4, 0, 0), True),  # the first with floats
        (_UNIQUE_CAMERA_MODEL, "s", 0, f"smarthdr linear {space.name}", True),
        (_COLOR_MATRIX, "2i", 9, _rationals(np.linalg.inv(_to_xyz_d65(space))), True),
        (_FORWARD_MATRIX, "2i", 9, _rationals(PROPHOTO.to_xyz() @ conversion(space, PROPHOTO)), True),
        (_CALIBRATION_ILLUMINANT, "H", 1, _D65, True),
        (_AS_SHOT_NEUTRAL, "2I", 3, (1, 1) * 3, True),
        (_BASELINE_EXPOSURE, "2i", 1, (baseline, 1), True),
        (_PREVIEW_COLOR_SPACE, "I", 1, _SRGB, True),
        (_PRIVATE_DATA, "B", len(record), record, True),
    ]


def _to_xyz_d65(space: ColorSpace) -> NDArray[np.float64]:
    """(3, 3) linear RGB of ``space``, its white adapted to D65, to CIE XYZ."""
    return REC709.to_xyz() @ conversion(space, REC709)


def _rationals(matrix: NDArray[np.floating]) -> tuple[int, ...]:
    return tuple(number for value in matrix.ravel() for number in (round(float(value) * 10**6), 10**6))


def _placeholders(exif: Image.Exif) -> list[tuple[int, str, int, Any, bool]]:
    """Entries for the EXIF and GPS directories that are not empty, see ``_append_exif``."""
    return [(tag + 1, "I", 1, 0, True) for tag in (EXIF_IFD, GPS_IFD) if exif.get_ifd(tag)]


def _append_exif(path: Path, exif: Image.Exif) -> None:
    """Append the EXIF and GPS directories behind the pixels and enter them in the first directory.

    tifffile writes no tags that point at directories: it wrote placeholders, whose numbers are one higher, so that
    the entries are in order.
    """
    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages.first.tags
        entries = {tag: tags[tag + 1].offset for tag in (EXIF_IFD, GPS_IFD) if tag + 1 in tags}
    with path.open("r+b") as file:
        for tag, entry in entries.items():
            directory = ImageFileDirectory_v2(prefix=b"II")
            for key, value in exif.get_ifd(tag).items():
                directory[key] = value
            place = file.seek(0, 2)
            if place % 2:  # directories begin at even bytes
                place += file.write(b"\0")
            file.write(directory.tobytes(place))
            file.seek(entry)
            file.write(struct.pack("<HHII", tag, _LONG, 1, place))
