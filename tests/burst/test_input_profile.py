"""Colour spaces by ICC profiles, PNG chunks and EXIF."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from smarthdr_cli.burst.input_profile import colorspace_of_icc, colorspace_of_png
from smarthdr_cli.burst.read import read_file
from smarthdr_cli.colorspace import ADOBE_RGB, D50, DISPLAY_P3, PROPHOTO, SRGB
from tests.support.files import exif_block, with_png_chunk

pytestmark = pytest.mark.unit

# Colorants in published profiles (s15Fixed16, rounded to four decimals), columns R, G, B.
PUBLISHED = {
    "adobe-rgb": [[0.6097, 0.2053, 0.1492], [0.3111, 0.6257, 0.0632], [0.0195, 0.0609, 0.7446]],
    "display-p3": [[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]],
    "prophoto": [[0.7977, 0.1352, 0.0313], [0.2880, 0.7119, 0.0001], [0.0000, 0.0000, 0.8249]],
    "rec709": [[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]],
}
SPACES = {space.name: space for space in (ADOBE_RGB, DISPLAY_P3, PROPHOTO, SRGB)}


def matrix_profile(colorants: Any, description: bytes = b"a name") -> bytes:
    """A version 2 matrix profile (ICC.1:2001-04) without curves."""
    desc = b"desc" + bytes(4) + struct.pack(">I", len(description) + 1) + description + b"\0"
    desc += bytes(-len(desc) % 4)
    tags = [(b"desc", desc)]
    for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), np.array(colorants).T, strict=True):
        tags.append((name, b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in column))))
    offset = 132 + 12 * len(tags)
    table = struct.pack(">I", len(tags))
    body = b""
    for name, content in tags:
        table += name + struct.pack(">II", offset + len(body), len(content))
        body += content
    header = bytearray(128)
    header[12:16], header[16:20], header[20:24], header[36:40] = b"mntr", b"RGB ", b"XYZ ", b"acsp"
    return bytes(header) + table + body


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_matrix_profile_is_recognised_by_its_colorants(name: str) -> None:
    assert colorspace_of_icc(matrix_profile(PUBLISHED[name])) == (SPACES[name], None)


def test_the_srgb_profile_of_littlecms_is_srgb() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert colorspace_of_icc(profile) == (SRGB, None)


def test_an_unknown_matrix_profile_keeps_its_primaries_with_a_note() -> None:
    colorants = np.array(PUBLISHED["adobe-rgb"]) * 0.5 + np.array(PUBLISHED["prophoto"]) * 0.5
    space, note = colorspace_of_icc(matrix_profile(colorants, b"My Monitor"))
    assert note is not None
    assert "My Monitor" in note
    red = colorants[:, 0] / colorants[:, 0].sum()
    np.testing.assert_allclose(space.chromaticities[0], red[:2], atol=1e-4)
    assert space.chromaticities[3] == D50


@pytest.mark.parametrize("damage", [b"", b"short", bytes(200), b"\xff" * 500])
def test_a_damaged_profile_is_srgb_with_a_note(damage: bytes) -> None:
    space, note = colorspace_of_icc(damage)
    assert space == SRGB
    assert note is not None
    assert "sRGB primaries assumed" in note


@pytest.mark.parametrize(
    ("red", "green"),
    [
        ((-0.5, 0.25, 0.25), (0.2, 0.5, 1.2)),
        ((0.5, 0.25, -0.75), (0.2, 0.5, 1.2)),
        ((0.9, 0.25, -1.2), (-0.2, 0.5, 0.2)),
    ],
)
def test_colorants_without_chromaticity_are_damage(red: Any, green: Any) -> None:
    """X + Y + Z of a colorant is 0 or less."""
    blue = np.array((0.9642, 1.0, 0.8249)) - red - green
    space, note = colorspace_of_icc(matrix_profile(np.array((red, green, blue)).T))
    assert space == SRGB
    assert note is not None
    assert "sRGB primaries assumed" in note


def test_png_chromaticities() -> None:
    assert colorspace_of_png((0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)) == (ADOBE_RGB, None)
    assert colorspace_of_png("rec709") == (SRGB, None)
    space, note = colorspace_of_png((0.3127, 0.3290, 0.6, 0.35, 0.25, 0.65, 0.15, 0.07))
    assert space == SRGB
    assert note is not None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_the_profile_of_a_file_reaches_the_frame(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    Image.new("RGB", (20, 10), (90, 120, 40)).save(path, kind, icc_profile=matrix_profile(PUBLISHED["display-p3"]))
    assert read_file(path).frame.colorspace == DISPLAY_P3


def test_exif_colour_space_two_is_adobe_rgb(jpeg: Callable[..., Path]) -> None:
    path = jpeg("a.jpg", np.full((16, 16, 3), 90, np.uint8), exif_block(ColorSpace=2))
    assert read_file(path).frame.colorspace == ADOBE_RGB


def test_png_chrm_reaches_the_frame(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    body = struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
    path = tmp_path / "a.png"
    path.write_bytes(with_png_chunk(file.getvalue(), b"cHRM", body))
    assert read_file(path).frame.colorspace == ADOBE_RGB
