"""RAW files: linear light, clip mask, shared white balance, damage."""

import io
import os
import struct
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from smarthdr_cli.burst.load import load_burst
from smarthdr_cli.burst.raw import develop
from smarthdr_cli.burst.read import read_file, read_frame
from smarthdr_cli.colorspace import REC709, conversion
from smarthdr_cli.errors import InputError
from smarthdr_cli.grouping.header import read_header
from smarthdr_cli.grouping.thumbnails import read_thumbnail

BLACK, WHITE = 512, 16000
NEUTRAL = (0.5, 1.0, 0.625)
Dng = Callable[..., Path]


def mosaic(scene: NDArray[np.float64], neutral: tuple[float, float, float] = NEUTRAL) -> NDArray[np.int64]:
    """(H, W) RGGB raw codes of an (H, W) neutral scene, 1 = where green clips after black and white are applied."""
    red, green, blue = neutral
    gains = np.tile([[red, green], [green, blue]], (scene.shape[0] // 2, scene.shape[1] // 2))
    return np.minimum(BLACK + scene * gains * (WHITE - BLACK), WHITE).round().astype(np.int64)


@pytest.fixture
def ramp() -> NDArray[np.float64]:
    """Neutral light from 0 to 1.6 across 96 columns."""
    return np.asarray(np.linspace(0, 1.6, 96)[None, :] * np.ones((64, 1)))


def test_linear_and_neutral_up_to_the_clip(dng: Dng, ramp: NDArray[np.float64]) -> None:
    frame = read_frame(dng("a.dng", mosaic(ramp)))
    assert (frame.kind, frame.encoding, frame.white, frame.codes.dtype) == ("raw", "linear", 65535, np.uint16)
    inside = slice(4, -4)
    light = frame.codes[inside, 4:56].astype(float) / 65535
    np.testing.assert_allclose(light, np.repeat(ramp[inside, 4:56, None], 3, 2), atol=2e-3)


def test_clipped_highlights_are_neutral_and_at_white(dng: Dng, ramp: NDArray[np.float64]) -> None:
    codes = read_frame(dng("a.dng", mosaic(ramp))).codes[4:-4, 64:-4]
    assert (codes == 65535).all()


def test_clip_mask_is_taken_before_white_balance(dng: Dng, ramp: NDArray[np.float64]) -> None:
    frame = read_frame(dng("a.dng", mosaic(ramp)))
    assert frame.clipped is not None
    first = int(np.argmax(ramp[0] >= 1.0))  # green, the most sensitive colour, reaches the raw white here
    assert frame.clipped[:, first:].all()
    assert not frame.clipped[:, : first - 3].any()
    # A red surface whose red is balanced above white without any raw sample at its level: bright, but not clipped.
    red = mosaic(np.full((32, 32), 0.4))
    red[::2, ::2] = BLACK + round(0.7 * (WHITE - BLACK))
    frame = read_frame(dng("b.dng", red))
    assert frame.clipped is not None
    assert not frame.clipped.any()


def test_exposure_and_camera(dng: Dng, ramp: NDArray[np.float64]) -> None:
    frame = read_frame(dng("a.dng", mosaic(ramp), time=(1, 60), iso=400))
    assert (frame.exposure.time, frame.exposure.aperture, frame.exposure.iso) == (1 / 60, 8, 400)
    assert frame.capture.model == "Camera"


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_orientation(orientation: int, turns: int, dng: Dng, ramp: NDArray[np.float64]) -> None:
    upright = read_frame(dng("a.dng", mosaic(ramp)))
    turned = read_frame(dng("b.dng", mosaic(ramp), orientation=orientation))
    np.testing.assert_array_equal(turned.codes, np.rot90(upright.codes, turns))
    assert turned.clipped is not None
    assert upright.clipped is not None
    np.testing.assert_array_equal(turned.clipped, np.rot90(upright.clipped, turns))


def test_camera_matrix_against_the_dng_specification(dng: Dng, ramp: NDArray[np.float64]) -> None:
    space = read_frame(dng("a.dng", mosaic(ramp))).colorspace
    to_rec709 = conversion(space, REC709)
    np.testing.assert_allclose(to_rec709.sum(1), 1, atol=1e-4)  # neutral stays neutral
    # DNG 1.4, chapter 6: ColorMatrix1 takes XYZ to camera; for its own illuminant (D65) the white-balanced matrix is
    # its inverse with the camera's white divided out.
    matrix = np.array([[0.6722, -0.0635, -0.0963], [-0.4287, 1.2460, 0.2028], [-0.0908, 0.2162, 0.5668]])
    white = np.array([0.9505, 1.0, 1.0891])
    expected = np.linalg.inv(matrix / (matrix @ white)[:, None])
    np.testing.assert_allclose(space.to_xyz(), expected, atol=2e-3)


def test_a_burst_shares_the_white_balance_of_its_reference(dng: Dng) -> None:
    rng = np.random.default_rng(0)
    scene = np.kron(rng.uniform(0.05, 0.2, (8, 8)), np.ones((8, 8)))
    paths = [
        dng("a.dng", mosaic(scene), time=(1, 100)),
        dng("b.dng", mosaic(scene * 2), time=(1, 50), neutral=(0.4, 1.0, 0.8)),
        dng("c.dng", mosaic(scene * 4), time=(1, 25), neutral=(0.7, 1.0, 0.5)),
    ]
    burst = load_burst(paths, reference=1).burst
    np.testing.assert_allclose(burst.evs, [0, 1, 2])
    dark, middle, _ = (frame.codes[4:-4, 4:-4].astype(float) for frame in burst.frames)
    grey = dark[2::8, 2::8]
    np.testing.assert_allclose(grey[..., 0], grey[..., 1], rtol=0.01)
    np.testing.assert_allclose(middle[2::8, 2::8], 2 * grey, rtol=0.01)


def test_a_camera_that_clips_below_its_stated_white(dng: Dng) -> None:
    scene = np.tile(np.linspace(0, 2, 128), (128, 1))
    low = np.minimum(mosaic(scene), 14500)
    short = mosaic(scene / 8)
    settings = develop(dng("long.dng", low).read_bytes(), "long.dng").settings
    assert settings.clip_level == 14500
    assert develop(dng("short.dng", short, time=(1, 800)).read_bytes(), "short.dng").settings.clip_level == WHITE
    burst = load_burst([Path(dng("short.dng", short, time=(1, 800))), dng("long.dng", low)], reference=2).burst
    dark, bright = burst.frames
    assert (bright.codes[4:-4, -10:] == 65535).all()  # neutral white, no cast
    np.testing.assert_allclose(8.0 * dark.codes[10, 10:40], bright.codes[10, 10:40], rtol=0.02, atol=60)


def test_cut_and_damaged(dng: Dng, ramp: NDArray[np.float64]) -> None:
    path = dng("a.dng", mosaic(ramp))
    data = path.read_bytes()
    for share in (0.3, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(InputError, match=r"a\.dng"):
            read_frame(path)


def test_an_unknown_colour_filter_pattern_is_an_error(dng: Dng, ramp: NDArray[np.float64]) -> None:
    """4x4 samples, all but two of them red."""
    path = dng("a.dng", mosaic(ramp), pattern=bytes((0, 1, 2, *[0] * 13)))
    with pytest.raises(InputError, match=r"a\.dng is damaged: LibRaw cannot develop it \(filters"):
        read_frame(path)


@pytest.mark.parametrize("kind", ["MemoryError", "LibRawUnsufficientMemoryError"])
def test_out_of_memory_is_no_damage(dng: Dng, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    import rawpy

    class RawPyWithoutMemory(rawpy.RawPy):  # type: ignore[misc]
        def postprocess(self, **_options: object) -> None:
            raise MemoryError if kind == "MemoryError" else getattr(rawpy, kind)(b"Insufficient memory")

    def opened(file: object) -> rawpy.RawPy:
        raw = RawPyWithoutMemory()
        raw.open_buffer(file)
        return raw

    path = dng("a.dng", np.full((64, 96), 900))
    monkeypatch.setattr(rawpy, "imread", opened)
    with pytest.raises(MemoryError):
        read_file(path)


def test_without_rawpy_the_error_names_the_extra(
    dng: Dng, ramp: NDArray[np.float64], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dng("a.dng", mosaic(ramp))
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(InputError, match=r"pip install 'smarthdr\[raw\]'"):
        read_frame(path)


def test_notes_and_settings(dng: Dng, ramp: NDArray[np.float64]) -> None:
    result: Any = read_file(dng("a.dng", mosaic(ramp)))
    assert result.notes == ()
    np.testing.assert_allclose(result.raw_settings.white_balance, (2.0, 1.0, 1.6, 1.0), rtol=1e-5)
    assert result.raw_settings.clip_level == WHITE


def test_a_raw_cut_at_every_kilobyte(dng: Dng, capfd: pytest.CaptureFixture[str]) -> None:
    path = dng("a.dng", np.full((64, 96), 900))
    data = path.read_bytes()
    for length in range(1024, len(data), 1024):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"a\.dng is damaged or cut short: .*; copy the file again"):
            read_file(path)
        read_thumbnail(read_header(path))
    assert capfd.readouterr().err == ""


def test_a_sensor_far_larger_than_its_picture_is_not_unpacked(dng: Dng) -> None:
    """A DNG with an active area of 48x32 pixels on a sensor of 30000x30000."""
    path = dng("a.dng", np.full((64, 96), 900), active=(0, 0, 32, 48))
    assert read_frame(path).size == (32, 48)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tiff.pages.first.tags[tag].overwrite(30_000)
    with pytest.raises(InputError, match=r"a\.dng is damaged: a sensor of 30000x30000 pixels for 48x32"):
        read_frame(path)


class WarningLibRaw:
    """Replaces rawpy.imread by one that writes lines to stderr while unpacking, as LibRaw does for damaged data."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import rawpy

        lines = self.lines = [b""]
        unpack = rawpy.RawPy.unpack

        class RawPyWithWarnings(rawpy.RawPy):  # type: ignore[misc]
            def unpack(self) -> None:
                os.write(2, lines.pop(0))
                unpack(self)

        def opened(file: object) -> rawpy.RawPy:
            raw = RawPyWithWarnings()
            raw.open_buffer(file)
            return raw

        monkeypatch.setattr(rawpy, "imread", opened)


def test_a_warning_of_libraw_is_an_error(
    dng: Dng, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """LibRaw decodes on after damaged data. Other output to stderr during the capture is printed afterwards."""
    path = dng("a.dng", np.full((64, 96), 900))
    WarningLibRaw(monkeypatch).lines[:] = [
        b"another library\nunknown file: data corrupted at 4711\n",
        b"another library\n",
    ]
    with pytest.raises(InputError, match=r"a\.dng is damaged or cut short: LibRaw says data corrupted at 4711"):
        read_file(path)
    assert read_file(path).frame.size == (64, 96)
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "another library\nanother library\nafter\n"


def lossy_dng(damage: Callable[[bytes], bytes] = bytes) -> bytes:
    """A DNG of one lossy JPEG tile (DNG 1.4, compression 34892), with ``damage`` done to the tile."""
    y, x = np.mgrid[:256, :256]
    pixels = np.stack((x / 2 + x * y % 9, y / 2 + 20, (x + y) / 4), axis=-1).astype(np.uint8)
    matrix = [part for number in (1, 0, 0, 0, 1, 0, 0, 0, 1) for part in (10_000 * number, 10_000)]
    tags = [
        (50706, "B", 4, bytes((1, 4, 0, 0)), True), (271, "s", 0, "Test", True), (272, "s", 0, "Camera", True),
        (50721, "2i", 9, matrix, True), (50778, "H", 1, 21, True), (50728, "2I", 3, (1,) * 6, True),
    ]  # fmt: skip
    stream = io.BytesIO()
    tifffile.imwrite(
        stream, pixels, photometric=34892, compression="jpeg", tile=(256, 256), metadata=None, extratags=tags
    )
    data = bytearray(stream.getvalue())
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages.first
        struct.pack_into("<H", data, page.tags["Compression"].valueoffset, 34892)
        start, end = page.dataoffsets[0], page.dataoffsets[0] + page.databytecounts[0]
    data[start:end] = damage(bytes(data[start:end]))
    return bytes(data)


def test_a_damaged_jpeg_in_a_lossy_dng_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The libjpeg inside LibRaw prints its warnings past LibRaw."""
    path = tmp_path / "a.dng"
    path.write_bytes(lossy_dng())
    assert read_file(path).frame.size == (256, 256)
    for damage, said in (
        (lambda tile: tile[: len(tile) // 2].ljust(len(tile), b"\0"), "Premature end of JPEG file"),
        (lambda tile: tile[: len(tile) // 2] + 20 * b"\xff\xc9" + tile[len(tile) // 2 + 40 :], "Corrupt JPEG data: .+"),
    ):
        path.write_bytes(lossy_dng(damage))
        with pytest.raises(InputError, match=rf"a\.dng is damaged or cut short: LibRaw says {said}"):
            read_file(path)
    assert capfd.readouterr().err == ""


def test_unusual_header_fields_of_a_jpeg_in_a_raw_are_no_damage(
    dng: Dng, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = dng("a.dng", np.full((64, 96), 900))
    WarningLibRaw(monkeypatch).lines[:] = [b"Warning: unknown JFIF revision number 9.01\n"]
    assert read_file(path).frame.size == (64, 96)
    assert capfd.readouterr().err == ""


def test_warnings_belong_to_one_file_among_threads(
    dng: Dng, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = dng("a.dng", np.full((64, 96), 900))
    WarningLibRaw(monkeypatch).lines[:] = [
        b"unknown file: data corrupted at 1\n" if n % 4 == 0 else b"" for n in range(40)
    ]

    def damaged(_: int) -> bool:
        try:
            read_file(path)
        except InputError:
            return True
        return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(damaged, range(40))) == 10
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc")
def test_no_file_stays_open(dng: Dng) -> None:
    path = dng("a.dng", np.full((64, 96), 900))
    path.write_bytes(path.read_bytes()[:5000])
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(InputError):
            read_file(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == open_files


@pytest.mark.parametrize("missing", ["dup", "dup2"])
def test_a_process_without_stderr_reads_raw(dng: Dng, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    def refuse(*_arguments: int) -> int:
        raise OSError(9, "Bad file descriptor")

    path = dng("a.dng", np.full((64, 96), 900))
    with monkeypatch.context() as broken:
        broken.setattr(os, missing, refuse)
        assert read_file(path).frame.size == (64, 96)
