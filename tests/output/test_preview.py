"""Previews: tone mapping of any finite image, sRGB codes, EXIF of the reference, and the three formats."""

import io
from dataclasses import replace
from typing import get_args

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from smarthdr_cli.burst.burst import CaptureMetadata
from smarthdr_cli.colorspace import REC709, REC2020, convert_rgb
from smarthdr_cli.errors import OutputError, UsageError
from smarthdr_cli.output.preview import fit_preview, render_srgb, write_jpeg, write_png, write_tiff
from smarthdr_cli.output.tonemap import LOOKS, ToneMapConfig, fit_tone_map, look_config
from smarthdr_cli.output.write_options import Look

pytestmark = pytest.mark.unit


def scene(height=120, width=160):
    """A dark room and a bright window, textures in both, smooth colours."""
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:height, :width] / height
    light = np.where((x > 0.5) & (y < 0.6), 12.0, 0.05)
    texture = 1 + 0.3 * np.sin(40 * x) * np.sin(31 * y)
    tint = np.stack((1 + 0.2 * x, np.ones_like(x), 1.2 - 0.3 * y), axis=-1)
    return (light[..., None] * texture[..., None] * tint * rng.uniform(0.97, 1.03, (height, width, 1))).astype(
        np.float32
    )


@pytest.mark.parametrize(
    "radiance",
    [
        np.zeros((20, 30, 3)),
        np.full((20, 30, 3), 0.18),
        np.full((20, 30, 3), 3e38),
        np.full((20, 30, 3), -1.0),
        np.full((1, 1, 3), 0.5),
        np.zeros((1, 1, 3)),
        np.full((1, 50, 3), 1e-30),
        np.geomspace(1e-38, 1e38, 3000).reshape(20, 50, 3),
        np.where(np.random.default_rng(0).random((30, 40, 3)) < 0.5, -1e38, 1e38),
        np.eye(40)[..., None] * [1e6, 0.0, 0.0],
    ],
)
def test_any_finite_picture_has_a_preview(make_result, radiance):
    result = make_result(radiance.astype(np.float32))
    planes = fit_tone_map(result.radiance, REC709).apply(result.radiance, 0, result.radiance.shape[0])
    for plane in planes:
        assert np.isfinite(plane).all()
        assert plane.min() >= 0
        assert plane.max() <= 1
    assert render_srgb(result, 8).shape == radiance.shape


def test_looks_differ_in_contrast_and_colour_and_not_in_brightness(make_result):
    result = make_result(scene())
    pictures = {look: render_srgb(result, 8, fit_preview(result, look_config(look))).astype(float) for look in LOOKS}
    assert set(LOOKS) == set(get_args(Look))

    def contrast(picture):
        return picture.mean(axis=2).std()

    def colour(picture):
        return (1 - picture.min(axis=2) / picture.max(axis=2)).mean()

    for measure in (contrast, colour):
        assert measure(pictures["neutral"]) < measure(pictures["natural"]) < measure(pictures["vivid"])
    means = [picture.mean() for picture in pictures.values()]
    assert max(means) - min(means) < 12
    with pytest.raises(UsageError, match="unknown look 'loud': one of natural, vivid, neutral"):
        look_config("loud")


@pytest.mark.parametrize("write", [write_jpeg, write_png, write_tiff])
def test_preview_ev_and_look_reach_the_file(tmp_path, make_result, write):
    result = make_result(scene())
    pictures = []
    for number, options in enumerate(({}, {"preview_ev": 1.0}, {"look": "vivid"})):
        write(result, tmp_path / f"{number}", **options)
        pictures.append(cv2.imread(str(tmp_path / f"{number}"), cv2.IMREAD_UNCHANGED).astype(float))
    plain, brighter, vivid = pictures
    assert brighter.mean() > 1.1 * plain.mean()
    assert vivid.std() > 1.05 * plain.std()


def test_a_tone_map_fitted_to_another_image_shows_equal_light_equally(make_result):
    light, other = scene(), scene()
    other[10:30, 10:40] *= 8  # a ghost, which changes a tone map fitted to it
    tone_map = fit_tone_map(light, REC709)
    mine, theirs = (render_srgb(make_result(radiance), 8, tone_map) for radiance in (light, other))
    same = (light == other).all(axis=-1)
    assert (mine == render_srgb(make_result(light), 8)).all()
    assert (mine[same] == theirs[same]).all()
    assert (theirs[~same] > mine[~same]).mean() > 0.9
    assert (render_srgb(make_result(other), 8)[same] != mine[same]).any()


def test_black_is_black_and_grey_is_grey(make_result):
    assert render_srgb(make_result(np.zeros((9, 9, 3), np.float32)), 8).max() == 0
    grey = render_srgb(make_result(np.full((9, 9, 3), 0.18, np.float32)), 8)
    assert grey.min() > 100
    assert grey.max() < 160
    assert np.ptp(grey) == 0


def test_dark_cloth_keeps_light_and_hue():
    """Two per cent of a bright picture, four stops below the rest: they keep more than half of their light and their
    hue, but there still is a black point."""
    light = np.full((100, 200, 3), 0.5, np.float32)
    cloth = np.array([0.016, 0.030, 0.028], np.float32)
    light[40:60, 80:100] = cloth
    tone_map = fit_tone_map(light, REC709)
    without_black = replace(tone_map, black=0.0)
    colour, brighter = (
        np.stack([plane[50, 90] for plane in mapping.apply(light, 0, 100)]) for mapping in (tone_map, without_black)
    )
    assert 0.5 * brighter.sum() < colour.sum() < 0.9 * brighter.sum()
    assert colour[0] / colour[1] == pytest.approx(brighter[0] / brighter[1], rel=0.15)


def test_window_and_room_both_keep_their_texture(make_result):
    picture = render_srgb(make_result(scene()), 8).astype(float)
    window, room = picture[10:60, 90:150], picture[80:, :]
    assert window.mean() > room.mean() + 40  # it is still a window
    assert window.max(axis=2).mean() < 253
    assert room.mean() > 35
    assert window.std() > 5
    assert room.std() > 5


def test_brighter_stays_brighter_and_no_halo_at_an_edge(make_result):
    """A step of 8 EV: each side stays flat to 12 % of the step right up to it."""
    radiance = np.full((100, 200, 3), 0.02, np.float32)
    radiance[:, 100:] = 5.0
    row = render_srgb(make_result(radiance), 16)[50, :, 1].astype(float) / 65535
    step = row[150] - row[50]
    assert step > 0.3
    assert np.abs(row[:99] - row[10]).max() < 0.12 * step
    assert np.abs(row[101:] - row[190]).max() < 0.12 * step


def test_hue_is_kept_and_strong_colours_stay_in_gamut(make_result):
    radiance = scene()
    radiance[20:40, 20:40] = (0.002, 0.01, 0.08)
    picture = render_srgb(make_result(radiance), 16)[30, 30] / 65535
    light = np.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4)
    assert light[0] < light[1] < light[2]
    assert (light[1] - light[0]) / (light[2] - light[0]) == pytest.approx(0.008 / 0.078, abs=0.02)


def test_neither_anchor_nor_primaries_change_the_picture(make_result):
    reference = render_srgb(make_result(scene()), 8).astype(int)
    short = render_srgb(make_result(scene() / 16, anchor_ev=-4.0), 8).astype(int)
    converted = make_result(convert_rgb(scene(), REC709, REC2020), colorspace=REC2020)
    wide = render_srgb(converted, 8).astype(int)
    assert np.abs(short - reference).max() <= 1
    assert np.abs(wide - reference).max() <= 1


def test_bands_join_without_a_seam(make_result):
    result = make_result(scene(300, 400))
    in_one, in_bands = (
        fit_tone_map(result.radiance, REC709, config=ToneMapConfig(analysis_pixels=5000, band_pixels=pixels))
        for pixels in (300 * 400, 400 * 7)
    )
    difference = render_srgb(result, 16, in_one).astype(int) - render_srgb(result, 16, in_bands)
    assert np.abs(difference).max() <= 40  # of 65535; warping is fixed-point


@pytest.mark.parametrize("write", [write_jpeg, write_png])
def test_exif_profile_and_pixels(tmp_path, make_result, write):
    result = make_result(scene())
    assert write(result, tmp_path / "preview") == []
    with Image.open(tmp_path / "preview") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
        exif = picture.getexif()
        details, gps = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
        profile = picture.info["icc_profile"]
        if write is write_jpeg:
            assert [layer[1:3] for layer in picture.layer] == [(1, 1)] * 3  # 4:4:4
    assert np.abs(pixels - render_srgb(result, 8)).mean() < (0.001 if write is write_png else 2)
    assert exif[0x0110] == "Model X"
    assert exif[0x0112] == 1
    assert exif[0x0131].startswith("smarthdr ")
    assert exif[0x8298] == "A. Photographer"
    assert 0x0101 not in exif
    assert details[0x8827] == 200
    assert float(details[0x829A]) == pytest.approx(0.005)
    assert (details[0xA002], details[0xA003]) == (160, 120)
    assert 0x927C not in details
    assert gps[0x0001] == "N"
    assert [float(value) for value in gps[0x0002]] == [47.0, 22.0, 30.0]
    assert "sRGB" in ImageCms.getProfileDescription(io.BytesIO(profile))


def test_tiff_has_sixteen_bits(tmp_path, make_result):
    result = make_result(scene())
    write_tiff(result, tmp_path / "p.tif")
    read = cv2.imread(str(tmp_path / "p.tif"), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read[..., ::-1], render_srgb(result, 16))
    with tifffile.TiffFile(tmp_path / "p.tif") as file:
        tags = file.pages[0].tags
        assert tags["Make"].value == "Maker"
        assert tags["Model"].value == "Model X"
        assert tags["Orientation"].value == 1
        assert tags["DateTime"].value == "2024:05:06 07:08:09"
        assert 34675 in tags


@pytest.mark.parametrize(
    "block", [b"", b"Exif\0\0", b"II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*" + b"\xff" * 60, b"text"]
)
def test_damaged_exif_is_left_out(tmp_path, make_result, block):
    write_jpeg(make_result(scene(), capture=CaptureMetadata(exif=block)), tmp_path / "p.jpg")
    with Image.open(tmp_path / "p.jpg") as picture:
        assert picture.getexif()[0x0112] == 1


def test_exif_too_large_for_jpeg(tmp_path, make_result):
    exif = Image.Exif()
    exif[0x010E] = "x" * 70_000
    notes = write_jpeg(make_result(scene(), capture=CaptureMetadata(exif=exif.tobytes())), tmp_path / "p.jpg")
    assert "larger than JPEG allows" in notes[0]
    with Image.open(tmp_path / "p.jpg") as picture:
        assert 0x010E not in picture.getexif()


@pytest.mark.parametrize("write", [write_jpeg, write_png, write_tiff])
def test_values_that_are_not_finite_are_refused(tmp_path, make_result, write):
    with pytest.raises(OutputError, match="not finite"):
        write(make_result(np.full((4, 4, 3), np.inf, np.float32)), tmp_path / "preview")
    assert list(tmp_path.iterdir()) == []


def test_images_too_wide_for_jpeg_are_refused(tmp_path, make_result):
    with pytest.raises(OutputError, match="65535"):
        write_jpeg(make_result(np.ones((1, 70_000, 3), np.float32)), tmp_path / "p.jpg")
    assert list(tmp_path.iterdir()) == []
