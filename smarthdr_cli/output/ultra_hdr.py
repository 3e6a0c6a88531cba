"""Ultra HDR: a JPEG of the preview that carries a gain map, from which an HDR display restores the linear picture.

With the base B (the preview, display light in [0, 1], 1 = SDR white) and the HDR picture H on the same scale (the
radiance times one factor, clipped at the headroom 2^c), the map holds for each channel

    G = log2((H + k) / (B + k)),   restored: H = (B + k) 2^(w G) - k,

k = OFFSET, w = 1 on a display that is 2^c times as bright as SDR white, less on others. G is stored in 8 bits between
its minimum and maximum, as a second JPEG behind the first. It is measured on the decoded base, so that it makes up for
the base's loss. It has the size of the base, for a fifth of the file: readers disagree by half a pixel on how to
enlarge a smaller one, and at half the size libultrahdr errs by 5 % beside soft edges.

Both ways of stating this are written, since each has readers of its own: ISO 21496-1 (a binary block in APP2, C.2), and
the ``hdrgm`` and container XMP of Ultra HDR Image Format v1.1 (Android) after Adobe's gain map specification 1.0. The
second picture is found by CIPA DC-007 (Multi-Picture Format). Other programs show the base as an ordinary JPEG.
The provenance is JSON in a comment segment (COM), with ``smarthdr:hdrScale``: H / radiance.
"""

import json
import math
import re
import struct
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output.exif import MAX_JPEG_SEGMENT, jpeg_exif
from smarthdr_cli.output.metadata import as_json, provenance, require_finite
from smarthdr_cli.output.preview import check_jpeg_size, encode_jpeg, fit_preview, render_srgb, srgb_profile
from smarthdr_cli.output.tonemap import look_config
from smarthdr_cli.output.write_options import Look
from smarthdr_cli.radiometry import srgb_to_linear

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

MIN_HEADROOM, MAX_HEADROOM = 1.0, 4.0  # stops above SDR white; displays have 1 to 4
OFFSET = 1 / 64  # k; the value of Adobe's specification
_PEAK_PERCENTILE = 99.9  # of the largest channel: a lamp of a few pixels does not decide
_PEAK_STEP = 4  # rows and columns between the pixels it is measured on
_BASE_QUALITY, _MAP_QUALITY = 92, 90  # higher ones gain little: the base's 8 bits are steps of 2 % of linear light
_THREADS = 2
_BAND_PIXELS = 1 << 20
_FIXED = 1 << 20  # denominator of the block's fractions

_SOI, _SOS, _APP1, _APP2, _COM = 0xD8, 0xDA, 0xE1, 0xE2, 0xFE
_ISO_NAME = b"urn:iso:std:iso:ts:21496:-1\0"
_XMP_NAME = b"http://ns.adobe.com/xap/1.0/\0"
_MAP_BYTES = re.compile(rb'Item:Semantic="GainMap" Item:Length="(\d+)"')
_MPF_BYTES = 82  # of the index of two pictures


@dataclass(frozen=True)
class GainMap:
    """``codes``: (H, W, 3) uint8 from ``lowest`` to ``highest`` (G of each channel). ``headroom``: c, in stops."""

    codes: U8
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    headroom: float


def write_ultra_hdr(
    result: FusionResult, path: Path, *, look: Look = "natural", preview_ev: float = 0.0, overwrite: bool = False
) -> list[str]:
    """Write the preview with a gain map as Ultra HDR JPEG; returns notes for the user.

    ``look``: of the base, see ``tonemap.LOOKS``. ``preview_ev``: EV by which both base and HDR are brighter.
    Raises OutputError where the image is not finite, larger than JPEG's 65535 pixels a side, or cannot be written.
    """
    require_finite(result.radiance, "radiance")
    check_jpeg_size(result, path)
    tone_map = fit_preview(result, look_config(look, preview_ev))
    base = encode_jpeg(render_srgb(result, 8, tone_map), _BASE_QUALITY)
    gain_map = make_gain_map(result.radiance, simplejpeg.decode_jpeg(base), tone_map.matrix)
    exif, notes = jpeg_exif(result, path.name)
    strings = provenance(result) | {
        "smarthdr:hdrScale": f"{tone_map.matrix.sum() / 3:.9g}",  # of grey, the same in any RGB
        "smarthdr:hdrHeadroom": f"{gain_map.headroom:.6g}",
    }
    comment = as_json(strings).encode()
    if len(comment) > MAX_JPEG_SEGMENT:
        notes.append(f"{path.name}: the record of how it was made is larger than JPEG allows and was left out")
        comment = b""
    data = _join(base, gain_map, exif, comment)

    def is_as_written(written: Path) -> bool:
        stored = written.read_bytes()
        return stored == data and simplejpeg.decode_jpeg_header(stored)[:2] == result.radiance.shape[:2]

    with atomic_file(path, overwrite=overwrite, is_as_written=is_as_written) as temporary:
        temporary.write_bytes(data)
    return notes


def read_provenance(path: Path) -> Mapping[str, str] | None:
    """The ``smarthdr:*`` strings of an Ultra HDR JPEG, None where it has none. Raises ValueError for a damaged one."""
    for marker, content in _segments(path.read_bytes()):
        if marker == _COM:
            strings: Mapping[str, str] = json.loads(content)
            return strings
    return None


def is_intact(path: Path) -> bool:
    """Whether every pixel of a JPEG can be read, and of its gain map where it has one."""
    try:
        data = path.read_bytes()
        map_bytes = next((int(found[1]) for _, text in _segments(data) if (found := _MAP_BYTES.search(text))), 0)
        for jpeg in (data, data[-map_bytes:]):
            simplejpeg.decode_jpeg(jpeg)
    except (OSError, ValueError):
        return False
    return True


def make_gain_map(radiance: F32, base: U8, matrix: NDArray[np.float64]) -> GainMap:
    """The map from ``base`` (H, W, 3), sRGB codes, to ``matrix`` times ``radiance`` (H, W, 3), in Rec. 709."""
    peaks = cv2.transform(np.ascontiguousarray(radiance[::_PEAK_STEP, ::_PEAK_STEP]), matrix).max(axis=2)
    peak = max(float(np.percentile(peaks, _PEAK_PERCENTILE)), 1.0)
    headroom = min(max(math.log2(peak), MIN_HEADROOM), MAX_HEADROOM)
    base_plus_k = np.asarray(srgb_to_linear(np.arange(256) / 255) + OFFSET, np.float32)
    gains = np.empty(base.shape, np.float16)  # finer than the map's 8 bits
    rows = max(1, _BAND_PIXELS // base.shape[1])

    def measure(top: int) -> tuple[NDArray[Any], NDArray[Any]]:
        gain = np.asarray(cv2.transform(np.ascontiguousarray(radiance[top : top + rows]), matrix), np.float32)
        np.clip(gain, 0.0, 2.0**headroom, out=gain)
        gain += np.float32(OFFSET)
        gain /= cv2.LUT(base[top : top + rows], base_plus_k)
        cv2.log(gain, gain)
        gain *= np.float32(1 / math.log(2))
        gains[top : top + rows] = gain
        planes = [gains[top : top + rows, :, channel] for channel in range(3)]
        return np.array([plane.min() for plane in planes]), np.array([plane.max() for plane in planes])

    codes = np.empty(base.shape, np.uint8)
    with ThreadPoolExecutor(_THREADS) as pool:
        extremes = list(pool.map(measure, range(0, len(base), rows)))
        lowest = np.min([low for low, _ in extremes], axis=0).astype(np.float32)
        highest = np.max([high for _, high in extremes], axis=0).astype(np.float32)
        highest = np.maximum(highest, lowest + np.float32(0.01))  # readers divide by the difference

        def encode(top: int) -> None:
            gain = (gains[top : top + rows] - lowest) * (np.float32(255) / (highest - lowest))
            gain += np.float32(0.5)
            codes[top : top + rows] = gain

        list(pool.map(encode, range(0, len(base), rows)))
    return GainMap(codes, tuple(map(float, lowest)), tuple(map(float, highest)), headroom)


def _join(base: bytes, gain_map: GainMap, exif: bytes, comment: bytes) -> bytes:
    """The whole file: the base with its metadata, then the map with its own."""
    second = _with_segments(
        encode_jpeg(gain_map.codes, _MAP_QUALITY),
        _segment(_APP1, _XMP_NAME + _map_xmp(gain_map)),
        _segment(_APP2, _ISO_NAME + _iso_metadata(gain_map)),
    )
    segments = [
        _segment(_APP1, exif),
        _segment(_APP1, _XMP_NAME + _base_xmp(len(second))),
        _segment(_APP2, _ISO_NAME + struct.pack(">HH", 0, 0)),  # versions alone: the map has the metadata
        _segment(_APP2, b"ICC_PROFILE\0\x01\x01" + srgb_profile()),
        *([_segment(_COM, comment)] if comment else []),
    ]
    place = _after_jfif(base) + sum(map(len, segments))  # of the index
    first_bytes = len(base) + sum(map(len, segments)) + len(_segment(_APP2, b"MPF\0" + bytes(_MPF_BYTES)))
    # the index counts from its own TIFF header, behind the segment's marker, length and name
    index = _mpf_index(first_bytes, len(second), first_bytes - (place + 8))
    return _with_segments(base, *segments, _segment(_APP2, b"MPF\0" + index)) + second


def _after_jfif(jpeg: bytes) -> int:
    """Where segments may stand: behind SOI and JFIF's APP0."""
    return 4 + int.from_bytes(jpeg[4:6], "big") if jpeg[2:4] == b"\xff\xe0" else 2


def _with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    place = _after_jfif(jpeg)
    return jpeg[:place] + b"".join(segments) + jpeg[place:]


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, content) of the segments before the pixels. Raises ValueError where they are damaged."""
    if jpeg[:2] != bytes((0xFF, _SOI)):
        raise ValueError("it is no JPEG")
    position = 2
    while True:
        start, marker, length = struct.unpack(">BBH", jpeg[position : position + 4].ljust(4, b"\0"))
        if start != 0xFF or length < 2 or position + 2 + length > len(jpeg):
            raise ValueError(f"the JPEG breaks off at byte {position}")
        if marker == _SOS:
            return
        yield marker, jpeg[position + 4 : position + 2 + length]
        position += 2 + length


def _mpf_index(first_bytes: int, second_bytes: int, second_offset: int) -> bytes:
    """The index of two pictures, as TIFF (CIPA DC-007, 5.2): its version, their number, and an entry for each."""
    entries = struct.pack(">IIIHH", 0x030000, first_bytes, 0, 0, 0)  # 0x030000: baseline primary image
    entries += struct.pack(">IIIHH", 0, second_bytes, second_offset, 0, 0)
    fields = (
        struct.pack(">HHI4s", 0xB000, 7, 4, b"0100"),
        struct.pack(">HHII", 0xB001, 4, 1, 2),
        struct.pack(">HHII", 0xB002, 7, len(entries), 8 + 2 + 3 * 12 + 4),
    )
    return b"MM\0*" + struct.pack(">IH", 8, len(fields)) + b"".join(fields) + bytes(4) + entries


def _iso_metadata(gain_map: GainMap) -> bytes:
    """ISO 21496-1, C.2.2: versions, flags, headroom of base and alternate, then five fractions for each channel."""
    multichannel, in_base_space = 1 << 7, 1 << 6
    parts = [struct.pack(">HHB", 0, 0, multichannel | in_base_space), _fraction(0.0), _fraction(gain_map.headroom)]
    for low, high in zip(gain_map.lowest, gain_map.highest, strict=True):
        parts += [_fraction(value) for value in (low, high, 1.0, OFFSET, OFFSET)]
    return b"".join(parts)


def _fraction(value: float) -> bytes:
    return struct.pack(">iI", round(value * _FIXED), _FIXED)


def _map_xmp(gain_map: GainMap) -> bytes:
    def sequence(name: str, values: tuple[float, ...]) -> str:
        items = "".join(f"<rdf:li>{value:.6f}</rdf:li>" for value in values)
        return f"<hdrgm:{name}><rdf:Seq>{items}</rdf:Seq></hdrgm:{name}>"

    attributes = {
        "Version": "1.0",
        "BaseRenditionIsHDR": "False",
        "Gamma": "1",
        "OffsetSDR": f"{OFFSET:.6f}",
        "OffsetHDR": f"{OFFSET:.6f}",
        "HDRCapacityMin": "0",
        "HDRCapacityMax": f"{gain_map.headroom:.6f}",
    }
    stated = " ".join(f"hdrgm:{name}={quoteattr(value)}" for name, value in attributes.items())
    content = sequence("GainMapMin", gain_map.lowest) + sequence("GainMapMax", gain_map.highest)
    return _xmp(f'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" {stated}', content)


def _base_xmp(map_bytes: int) -> bytes:
    names = (
        'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" '
        'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
        'xmlns:Item="http://ns.google.com/photos/1.0/container/item/" hdrgm:Version="1.0"'
    )
    items = ('Item:Semantic="Primary"', f'Item:Semantic="GainMap" Item:Length="{map_bytes}"')
    listed = "".join(
        f'<rdf:li rdf:parseType="Resource"><Container:Item {item} Item:Mime="image/jpeg"/></rdf:li>' for item in items
    )
    return _xmp(names, f"<Container:Directory><rdf:Seq>{listed}</rdf:Seq></Container:Directory>")


def _xmp(attributes: str, content: str) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {attributes}>{content}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()
