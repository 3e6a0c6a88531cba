"""The EXIF of the reference frame, as it goes into pictures.

It gets orientation 1, smarthdr as Software and the new size; it loses the thumbnail and the maker note, whose offsets
would be wrong, and the tags that describe the pixels of the input.
"""

import datetime
from typing import Any

from PIL import Image

from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output.metadata import SOFTWARE, reference_frame

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
DESCRIPTION, MAKE, MODEL, ARTIST, COPYRIGHT = 0x010E, 0x010F, 0x0110, 0x013B, 0x8298
ORIENTATION, DATE = 0x0112, 0x0132
MAX_JPEG_SEGMENT = 65533  # bytes of content in one segment (ITU-T T.81, B.1.1.4)

_SOFTWARE, _RATING, _RATING_PERCENT = 0x0131, 0x4746, 0x4749
_INTEROP_IFD, _COLOR_SPACE, _PIXEL_X, _PIXEL_Y, _MAKER_NOTE = 0xA005, 0xA001, 0xA002, 0xA003, 0x927C
_SRGB = 1  # value of ColorSpace
# Tags of the first directory that describe the camera and its owner; the others describe the pixels of the input.
_OWNER_TAGS = frozenset((DESCRIPTION, MAKE, MODEL, DATE, ARTIST, COPYRIGHT, _RATING, _RATING_PERCENT))
_KEPT_TAGS = _OWNER_TAGS | {ORIENTATION, _SOFTWARE, EXIF_IFD, GPS_IFD}


def reference_exif(result: FusionResult) -> tuple[Image.Exif, list[str]]:
    """(EXIF, notes): the reference frame's where it has one that can be parsed, else only our tags."""
    block = reference_frame(result).capture.exif
    if not block:
        return _with_own_tags(Image.Exif(), result), []
    try:
        exif = Image.Exif()
        exif.load(block)
        for tag in set(exif) - _KEPT_TAGS:
            del exif[tag]
        exif.get_ifd(GPS_IFD)  # Pillow writes only directories that were read
        details = exif.get_ifd(EXIF_IFD)
        for tag in (_MAKER_NOTE, _INTEROP_IFD):
            details.pop(tag, None)
        _with_own_tags(exif, result)
        exif.tobytes()
    except Exception:  # Pillow raises anything on a damaged block
        return _with_own_tags(Image.Exif(), result), ["the reference's EXIF is damaged and was not carried over"]
    return exif, []


def jpeg_exif(result: FusionResult, name: str) -> tuple[bytes, list[str]]:
    """(content of the EXIF segment, notes) for the JPEG ``name``: only our tags where the EXIF exceeds a segment."""
    exif, notes = reference_exif(result)
    block = exif.tobytes()
    if len(block) > MAX_JPEG_SEGMENT:
        notes.append(f"{name}: the EXIF is larger than JPEG allows; only our own tags were written")
        block = _with_own_tags(Image.Exif(), result).tobytes()
    return block, notes


def tiff_tags(exif: Image.Exif) -> list[tuple[int, str, int, Any, bool]]:
    """Make, model, artist, copyright, description and date, as ``extratags`` of tifffile: ASCII (TIFF 6.0)."""
    texts = {tag: exif.get(tag) for tag in (MAKE, MODEL, ARTIST, COPYRIGHT, DESCRIPTION)}
    texts[DATE] = tiff_date(exif.get(DATE))
    return [(tag, "s", 0, _ascii(text), True) for tag, text in texts.items() if isinstance(text, str) and text]


def tiff_date(value: object) -> str | None:
    """``value`` where it is a date as TIFF writes them, else None."""
    try:
        datetime.datetime.strptime(str(value), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    return str(value)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()


def _with_own_tags(exif: Image.Exif, result: FusionResult) -> Image.Exif:
    exif[ORIENTATION] = 1
    exif[_SOFTWARE] = SOFTWARE
    details = exif.get_ifd(EXIF_IFD)
    details[_COLOR_SPACE] = _SRGB
    details[_PIXEL_Y], details[_PIXEL_X] = result.radiance.shape[:2]
    return exif
