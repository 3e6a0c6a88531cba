"""HEIC frames: read through pillow-heif where it is installed, else an error that says how."""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from smarthdr_cli.burst.read import read_file
from smarthdr_cli.burst.scan import MAX_FILE_BYTES
from smarthdr_cli.colorspace import DISPLAY_P3, REC709
from smarthdr_cli.errors import InputError
from smarthdr_cli.grouping.header import read_header
from smarthdr_cli.grouping.thumbnails import read_thumbnail

pytestmark = pytest.mark.unit

WIDTH, HEIGHT = 96, 64
HEADER = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def picture() -> NDArray[np.float64]:
    y, x = np.mgrid[:HEIGHT, :WIDTH] / HEIGHT
    return np.stack((0.2 + 0.4 * x, 0.1 + 0.8 * y, 0.5 + 0 * x), axis=-1)


@pytest.fixture
def pillow_heif() -> ModuleType:
    module: ModuleType = pytest.importorskip(
        "pillow_heif", reason="pillow-heif is never a dependency: its wheels are GPL"
    )
    return module


def write_heic(path: Path, heif: ModuleType, bits: int = 8, orientation: int = 1, **options: object) -> Path:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0x829A] = 0.01
    exif.get_ifd(0x8769)[0x829D] = 8.0
    exif.get_ifd(0x8769)[0x8827] = 100
    kind, mode = (np.uint8, "RGB") if bits == 8 else (np.uint16, "RGB;16")
    codes = np.round(picture() * np.iinfo(kind).max).astype(kind)
    file = heif.from_bytes(mode, (WIDTH, HEIGHT), codes.tobytes())
    buffer = io.BytesIO()
    file.save(buffer, quality=95, chroma=444, exif=exif.tobytes(), **options)
    path.write_bytes(buffer.getvalue())
    return path


@pytest.mark.parametrize("bits", [8, 10])
def test_pixels_and_exif(tmp_path: Path, pillow_heif: ModuleType, bits: int) -> None:
    read = read_file(write_heic(tmp_path / "a.heic", pillow_heif, bits))
    frame = read.frame
    assert frame.codes.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert (frame.kind, frame.encoding, frame.white) == ("heif", "display", np.iinfo(frame.codes.dtype).max)
    assert np.abs(frame.codes / frame.white - picture()).mean() < 0.01
    assert (frame.exposure.time, frame.exposure.iso, frame.exposure.source) == (0.01, 100, "exif")
    assert frame.capture.make == "Maker"
    assert frame.colorspace == REC709
    assert read.notes == ()


def test_rotation_is_applied_once(tmp_path: Path, pillow_heif: ModuleType) -> None:
    path = write_heic(tmp_path / "a.heic", pillow_heif, orientation=6)
    frame = read_file(path).frame
    assert frame.size == (WIDTH, HEIGHT)
    assert np.abs(frame.codes / 255 - np.rot90(picture(), -1)).mean() < 0.01
    assert read_header(path).size == (HEIGHT, WIDTH)


def test_primaries(tmp_path: Path, pillow_heif: ModuleType) -> None:
    path = write_heic(tmp_path / "a.heic", pillow_heif, color_primaries=12)
    assert read_file(path).frame.colorspace == DISPLAY_P3


def test_hdr_pictures_are_refused(tmp_path: Path, pillow_heif: ModuleType) -> None:
    path = write_heic(tmp_path / "a.heic", pillow_heif, 10, transfer_characteristics=16)
    with pytest.raises(InputError, match=r"HDR picture \(PQ\)"):
        read_file(path)


def test_limits_and_damage(tmp_path: Path, pillow_heif: ModuleType) -> None:
    path = write_heic(tmp_path / "a.heic", pillow_heif)
    with pytest.raises(InputError, match="--max-pixels"):
        read_file(path, max_pixels=100)
    for cut in (40, 300, path.stat().st_size - 50):
        (tmp_path / "b.heic").write_bytes(path.read_bytes()[:cut])
        with pytest.raises(InputError, match="damaged or cut short"):
            read_file(tmp_path / "b.heic")


class Picture:
    """What pillow-heif returns for a damaged file: ``pixels`` of another size than it states, or an error."""

    size = (WIDTH, HEIGHT)
    info: ClassVar[dict[str, object]] = {}

    def __init__(self, pixels: NDArray[np.uint8] | Exception) -> None:
        self.pixels = pixels

    def __array__(self, *_dtype: object, **_options: object) -> NDArray[np.uint8]:
        if isinstance(self.pixels, Exception):
            raise self.pixels
        return self.pixels


@pytest.fixture
def read_as(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Picture | Exception], None]:
    """``read_as(picture)``: reads a HEIC that pillow-heif opens as ``picture``, or fails to."""

    def read(picture: Picture | Exception) -> None:
        def open_heif(*_data: object, **_options: object) -> Picture:
            if isinstance(picture, Exception):
                raise picture
            return picture

        module = ModuleType("pillow_heif")
        module.open_heif = open_heif  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "pillow_heif", module)
        path = tmp_path / "a.heic"
        path.write_bytes(HEADER + bytes(200))
        read_file(path)

    return read


@pytest.mark.parametrize("kind", [ValueError, OSError, SyntaxError, EOFError, RuntimeError, IndexError])
def test_every_error_of_pillow_heif_is_one_line(read_as: Callable[..., None], kind: type[Exception]) -> None:
    error = kind("Decoder plugin generated an error:\nUnexpected end of file")
    said = r"a\.heic is damaged or cut short: Decoder plugin generated an error: Unexpected end of file; copy"
    for picture in (error, Picture(error)):
        with pytest.raises(InputError, match=said):
            read_as(picture)


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH + 1, 3), (WIDTH, HEIGHT, 3), (HEIGHT + 1, WIDTH)])
def test_a_picture_of_another_size_than_the_header_states(read_as: Callable[..., None], shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"a\.heic is damaged: its header and its picture differ in size"):
        read_as(Picture(np.zeros(shape, np.uint8)))


def test_a_file_of_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(HEADER)
    os.truncate(path, MAX_FILE_BYTES + 1)
    for read in (read_file, read_header):
        with pytest.raises(InputError, match=r"a\.heic is larger than 4 GB"):
            read(path)


def test_grouping_reads_headers_and_thumbnails(tmp_path: Path, pillow_heif: ModuleType) -> None:
    header = read_header(write_heic(tmp_path / "a.heic", pillow_heif))
    assert (header.kind, header.time, header.make, header.size) == ("heif", 0.01, "Maker", (WIDTH, HEIGHT))
    assert read_thumbnail(header) is not None


def test_without_pillow_heif_the_error_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "IMG_1.HEIC"
    path.write_bytes(HEADER + bytes(200))
    for read in (read_file, read_header):
        with pytest.raises(InputError, match=r"IMG_1\.HEIC is a HEIC.*pip install pillow-heif.*GPL.*Convert it first"):
            read(path)
