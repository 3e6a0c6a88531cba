"""Ultra HDR: the HDR picture as libultrahdr, OpenImageIO and the formula restore it, and the base that all see."""

import re
import struct
from dataclasses import replace

import cv2
import imagecodecs
import numpy as np
import OpenImageIO
import pytest
from PIL import Image
from PIL.MpoImagePlugin import MpoImageFile

from smarthdr_cli.colorspace import ACESCG, REC709, REC2020, convert_rgb
from smarthdr_cli.errors import OutputError
from smarthdr_cli.output.preview import render_srgb
from smarthdr_cli.output.ultra_hdr import MAX_HEADROOM, MIN_HEADROOM, is_intact, read_provenance, write_ultra_hdr
from smarthdr_cli.radiometry import srgb_to_linear

pytestmark = pytest.mark.unit

BLOCK = 8  # pixels a side; a single pixel has the base's 8 bits


def scene(height=240, width=320):
    """A dark room with a bright window of soft edges, textures and colours in both; up to 9 times the clip."""
    y, x = np.mgrid[:height, :width] / height
    window = 1 / (1 + np.exp(-40 * (x - 0.7))) / (1 + np.exp(40 * (y - 0.6)))
    light = 0.05 + 7.0 * window
    texture = 1 + 0.3 * np.sin(20 * x) * np.sin(17 * y)
    tint = np.stack((1 + 0.2 * x, np.ones_like(x), 1.2 - 0.3 * y), axis=-1)
    return (light[..., None] * texture[..., None] * tint).astype(np.float32)


def blocks(light):
    height, width = light.shape[:2]
    return cv2.resize(np.float32(light), (width // BLOCK, height // BLOCK), interpolation=cv2.INTER_AREA)


def stated(path):
    """(factor from radiance to HDR, headroom in stops) as the file says."""
    strings = read_provenance(path)
    return float(strings["smarthdr:hdrScale"]), float(strings["smarthdr:hdrHeadroom"])


def by_libultrahdr(path):
    restored = imagecodecs.ultrahdr_decode(
        path.read_bytes(), dtype="float16", transfer=imagecodecs.ULTRAHDR.CT.LINEAR, boost=2.0**MAX_HEADROOM
    )
    return restored[..., :3].astype(np.float32)


def by_openimageio(path):
    file = OpenImageIO.ImageInput.open(str(path))
    pixels = file.read_image("float")[..., :3]
    file.close()
    return pixels


def by_formula(path):
    """The HDR picture from the two JPEGs and the XMP of the second, as Adobe's specification has it."""
    with path.open("rb") as file, MpoImageFile(file) as picture:
        base = srgb_to_linear(np.asarray(picture.convert("RGB"), np.float64) / 255)
        assert picture.n_frames == 2
        picture.seek(1)
        codes = np.asarray(picture.convert("RGB"), np.float64) / 255
        xmp = picture.info["xmp"].decode()

    def values(name):
        sequence = re.search(rf"<hdrgm:{name}><rdf:Seq>(.*?)</rdf:Seq>", xmp)
        if sequence:
            return np.array([float(item) for item in re.findall(r"<rdf:li>(.*?)</rdf:li>", sequence[1])])
        return float(re.search(rf'hdrgm:{name}="(.*?)"', xmp)[1])

    gain = values("GainMapMin") + codes ** (1 / values("Gamma")) * (values("GainMapMax") - values("GainMapMin"))
    return (base + values("OffsetSDR")) * 2**gain - values("OffsetHDR")


@pytest.mark.parametrize("read", [by_libultrahdr, by_openimageio, by_formula])
@pytest.mark.parametrize("space", [REC709, REC2020, ACESCG], ids=lambda space: space.name)
@pytest.mark.parametrize("look", ["natural", "vivid"])
def test_readers_restore_the_radiance(tmp_path, make_result, read, space, look):
    radiance = scene()
    path = tmp_path / "a.jpg"
    result = make_result(convert_rgb(radiance, REC709, space), colorspace=space, anchor_ev=-1.0)
    assert write_ultra_hdr(result, path, look=look) == []
    scale, headroom = stated(path)
    expected = blocks(np.minimum(radiance * scale, 2**headroom))
    restored = blocks(read(path))
    error = np.abs(restored - expected) / expected
    assert error.mean() < 0.01
    assert np.quantile(error, 0.95) < 0.02


def test_what_is_brighter_than_the_headroom_is_clipped(tmp_path, make_result):
    radiance = scene()
    radiance[20:60, 200:260] = 1000.0
    write_ultra_hdr(make_result(radiance), tmp_path / "a.jpg")
    _, headroom = stated(tmp_path / "a.jpg")
    assert headroom == MAX_HEADROOM
    restored = by_formula(tmp_path / "a.jpg")
    np.testing.assert_allclose(restored[28:52, 208:252].mean(axis=(0, 1)), 2**headroom, rtol=0.01)


def test_a_flat_picture_has_the_least_headroom(tmp_path, make_result):
    write_ultra_hdr(make_result(np.full((40, 50, 3), 0.2, np.float32)), tmp_path / "a.jpg")
    scale, headroom = stated(tmp_path / "a.jpg")
    assert headroom == MIN_HEADROOM
    np.testing.assert_allclose(by_libultrahdr(tmp_path / "a.jpg"), 0.2 * scale, rtol=0.02)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (37, 53), (64, 101)])
def test_odd_sizes(tmp_path, make_result, size):
    write_ultra_hdr(make_result(np.full((*size, 3), 3.0, np.float32)), tmp_path / "a.jpg")
    scale, _ = stated(tmp_path / "a.jpg")
    np.testing.assert_allclose(by_formula(tmp_path / "a.jpg"), 3.0 * scale, rtol=0.02)
    if min(size) >= 8:  # libultrahdr reads no smaller ones
        np.testing.assert_allclose(by_libultrahdr(tmp_path / "a.jpg"), 3.0 * scale, rtol=0.02)


@pytest.mark.parametrize("radiance", [np.zeros((20, 30, 3)), np.full((20, 30, 3), -1.0), np.full((20, 30, 3), 3e38)])
def test_any_finite_picture_is_written(tmp_path, make_result, radiance):
    write_ultra_hdr(make_result(radiance.astype(np.float32)), tmp_path / "a.jpg")
    assert np.isfinite(by_libultrahdr(tmp_path / "a.jpg")).all()


def test_the_base_is_the_preview(tmp_path, make_result):
    result = make_result(scene())
    write_ultra_hdr(result, tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as picture:
        assert picture.format == "JPEG"
        assert picture.getexif()[0x010F] == "Maker"
        assert picture.getexif()[0x0112] == 1
        assert b"smarthdr rec709 sRGB curve" in picture.info["icc_profile"].replace(b"\0", b"")
        base = np.asarray(picture)
    assert np.abs(base - render_srgb(result, 8).astype(float)).mean() < 1
    assert cv2.imread(str(tmp_path / "a.jpg")).shape == base.shape


def test_preview_ev_brightens_base_and_hdr(tmp_path, make_result):
    result = make_result(scene())
    write_ultra_hdr(result, tmp_path / "a.jpg")
    write_ultra_hdr(result, tmp_path / "b.jpg", preview_ev=1.0)
    assert stated(tmp_path / "b.jpg")[0] == pytest.approx(2 * stated(tmp_path / "a.jpg")[0])
    a, b = (np.asarray(Image.open(tmp_path / name)).mean() for name in ("a.jpg", "b.jpg"))
    assert b > a + 10


def test_both_standards_state_one_map(tmp_path, make_result):
    """The block of ISO 21496-1, field by field, against the XMP; the base carries the container's length."""
    write_ultra_hdr(make_result(scene()), tmp_path / "a.jpg")
    data = tmp_path.joinpath("a.jpg").read_bytes()
    name = b"urn:iso:std:iso:ts:21496:-1\0"
    first, second = (match.end() for match in re.finditer(re.escape(name), data))
    assert data[first : first + 4] == bytes(4)
    minimum, writer, flags, *numbers = struct.unpack_from(">HHB34i", data, second)
    assert (minimum, writer, flags) == (0, 0, 0b1100_0000)
    fractions = np.array(numbers[::2]) / np.array(numbers[1::2])
    xmp = data[data.rindex(b"<x:xmpmeta") : data.rindex(b"</x:xmpmeta>")].decode()
    assert fractions[0] == 0
    assert fractions[1] == pytest.approx(float(re.search(r'HDRCapacityMax="(.*?)"', xmp)[1]), abs=1e-5)
    listed = [float(value) for value in re.findall(r"<rdf:li>(.*?)</rdf:li>", xmp)]
    channels = fractions[2:].reshape(3, 5)
    np.testing.assert_allclose(channels[:, :2].T.ravel(), listed, atol=1e-5)
    np.testing.assert_array_equal(channels[:, 2:], [[1, 1 / 64, 1 / 64]] * 3)
    length = int(re.search(rb'Item:Semantic="GainMap" Item:Length="(\d+)"', data)[1])
    assert data[-length:][:3] == b"\xff\xd8\xff"


def test_provenance(tmp_path, result):
    write_ultra_hdr(result, tmp_path / "a.jpg")
    assert read_provenance(tmp_path / "a.jpg")["smarthdr:reference"] == "img1.jpg"
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.jpg")
    assert read_provenance(tmp_path / "plain.jpg") is None
    for damaged in (b"", b"II*\0", tmp_path.joinpath("a.jpg").read_bytes()[:300]):
        (tmp_path / "b.jpg").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"no JPEG|breaks off"):
            read_provenance(tmp_path / "b.jpg")


def test_a_record_larger_than_a_segment_is_left_out_with_a_note(tmp_path, result):
    report = replace(result.report, notes=("x" * 70_000,))
    (note,) = write_ultra_hdr(replace(result, report=report), tmp_path / "a.jpg")
    assert note.startswith("a.jpg: the record of how it was made is larger than JPEG allows")
    assert read_provenance(tmp_path / "a.jpg") is None
    assert is_intact(tmp_path / "a.jpg")


@pytest.mark.parametrize("cut", [1, 2000, 12_000])
def test_a_truncated_base_or_map_is_not_intact(tmp_path, make_result, cut):
    path = tmp_path / "a.jpg"
    write_ultra_hdr(make_result(scene()), path)
    assert is_intact(path)
    path.write_bytes(path.read_bytes()[:-cut])
    assert not is_intact(path)


def test_a_plain_jpeg_is_intact_without_a_map(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "plain.jpg")
    assert is_intact(tmp_path / "plain.jpg")
    (tmp_path / "plain.jpg").write_bytes((tmp_path / "plain.jpg").read_bytes()[:-20])
    assert not is_intact(tmp_path / "plain.jpg")


def test_a_picture_too_large_for_jpeg(tmp_path, make_result):
    with pytest.raises(OutputError, match="65535"):
        write_ultra_hdr(make_result(np.zeros((1, 65536, 3), np.float32)), tmp_path / "a.jpg")
