import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from smarthdr_cli.burst.burst import CaptureMetadata
from smarthdr_cli.colorspace import REC709, REC2020, convert_rgb
from smarthdr_cli.errors import OutputError, UsageError
from smarthdr_cli.output import tonemap
from smarthdr_cli.output.preview import render_srgb, write_preview_file
from smarthdr_cli.radiometry import linear_to_srgb


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
def test_any_finite_picture_has_a_preview(make_fused, radiance):
    fused = make_fused(radiance.astype(np.float32))
    tone = tonemap.plan(fused.radiance, REC709)
    planes = tone.apply(fused.radiance, 0, fused.radiance.shape[0])
    for plane in planes:
        assert np.isfinite(plane).all()
        assert plane.min() >= 0
        assert plane.max() <= 1
    assert render_srgb(fused, 8).shape == radiance.shape


def test_a_mapping_planned_elsewhere_shows_the_same_light_alike(make_fused):
    light, other = scene(), scene()
    other[10:30, 10:40] *= 8  # a ghost, which would move a mapping of its own
    tone = tonemap.plan(light, REC709)
    mine, theirs = (render_srgb(make_fused(one), 8, tone) for one in (light, other))
    same = (light == other).all(axis=-1)
    assert (mine == render_srgb(make_fused(light), 8)).all()
    assert (mine[same] == theirs[same]).all()
    assert (theirs[~same] > mine[~same]).mean() > 0.9
    assert (render_srgb(make_fused(other), 8)[same] != mine[same]).any()


def test_black_is_black_and_grey_is_grey(make_fused):
    assert render_srgb(make_fused(np.zeros((9, 9, 3), np.float32)), 8).max() == 0
    grey = render_srgb(make_fused(np.full((9, 9, 3), 0.18, np.float32)), 8)
    assert grey.min() > 100
    assert grey.max() < 160
    assert np.ptp(grey) == 0


def test_a_dark_cloth_is_no_hole(make_fused):
    """Two per cent of a bright picture, four stops below the rest: they keep more than half of their light and their
    hue, but there still is a black point."""
    light = np.full((100, 200, 3), 0.5, np.float32)
    cloth = np.array([0.016, 0.030, 0.028], np.float32)
    light[40:60, 80:100] = cloth
    tone = tonemap.plan(light, REC709)
    raw = replace(tone, black=0.0)
    shown, whole = (np.stack([plane[50, 90] for plane in one.apply(light, 0, 100)]) for one in (tone, raw))
    assert 0.5 * whole.sum() < shown.sum() < 0.9 * whole.sum()
    assert shown[0] / shown[1] == pytest.approx(whole[0] / whole[1], rel=0.15)


def test_window_and_room_both_show_their_texture(make_fused):
    picture = render_srgb(make_fused(scene()), 8).astype(float)
    window, room = picture[10:60, 90:150], picture[80:, :]
    assert window.mean() > room.mean() + 40  # it is still a window
    assert window.max(axis=2).mean() < 253
    assert room.mean() > 35
    assert window.std() > 5
    assert room.std() > 5


def test_brighter_stays_brighter_and_no_halo_at_an_edge(make_fused):
    """A step of 8 EV: each side stays flat to 12 % of the step right up to it."""
    radiance = np.full((100, 200, 3), 0.02, np.float32)
    radiance[:, 100:] = 5.0
    row = render_srgb(make_fused(radiance), 16)[50, :, 1].astype(float) / 65535
    step = row[150] - row[50]
    assert step > 0.3
    assert np.abs(row[:99] - row[10]).max() < 0.12 * step
    assert np.abs(row[101:] - row[190]).max() < 0.12 * step


def test_hue_is_kept_and_strong_colours_stay_in_gamut(make_fused):
    radiance = scene()
    radiance[20:40, 20:40] = (0.002, 0.01, 0.08)
    picture = render_srgb(make_fused(radiance), 16)[30, 30] / 65535
    light = np.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4)
    assert light[0] < light[1] < light[2]
    assert (light[1] - light[0]) / (light[2] - light[0]) == pytest.approx(0.008 / 0.078, abs=0.02)


def test_neither_anchor_nor_primaries_change_the_picture(make_fused):
    reference = render_srgb(make_fused(scene()), 8).astype(int)
    short = render_srgb(make_fused(scene() / 16, anchor_ev=-4.0), 8).astype(int)
    converted = make_fused(convert_rgb(scene(), REC709, REC2020), colorspace=REC2020)
    wide = render_srgb(converted, 8).astype(int)
    assert np.abs(short - reference).max() <= 1
    assert np.abs(wide - reference).max() <= 1


def test_bands_join_without_a_seam(make_fused, monkeypatch):
    fused = make_fused(scene(300, 400))
    monkeypatch.setattr(tonemap, "_SMALL", 5000)
    whole = render_srgb(fused, 16).astype(int)
    monkeypatch.setattr(tonemap, "_BAND", 400 * 7)
    assert np.abs(render_srgb(fused, 16).astype(int) - whole).max() <= 40  # of 65535; warping is fixed-point


def test_srgb_curve_is_the_standards():
    light = np.linspace(0, 1, 1001, dtype=np.float32).reshape(7, -1)
    value = linear_to_srgb(light).astype(float)
    back = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(back, light, atol=1e-5)


@pytest.mark.parametrize("name", ["p.jpg", "p.jpeg", "p.png"])
def test_exif_profile_and_pixels(tmp_path, make_fused, name):
    fused = make_fused(scene())
    assert write_preview_file(fused, tmp_path / name) == []
    with Image.open(tmp_path / name) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
        exif = picture.getexif()
        details, place = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
        profile = picture.info["icc_profile"]
        if name != "p.png":
            assert [layer[1:3] for layer in picture.layer] == [(1, 1)] * 3  # 4:4:4
    assert np.abs(pixels - render_srgb(fused, 8)).mean() < (0.001 if name == "p.png" else 2)
    assert exif[0x0110] == "Model X"
    assert exif[0x0112] == 1
    assert exif[0x0131].startswith("smarthdr ")
    assert exif[0x8298] == "A. Photographer"
    assert 0x0101 not in exif
    assert details[0x8827] == 200
    assert float(details[0x829A]) == pytest.approx(0.005)
    assert (details[0xA002], details[0xA003]) == (160, 120)
    assert 0x927C not in details
    assert place[0x0001] == "N"
    assert [float(value) for value in place[0x0002]] == [47.0, 22.0, 30.0]
    assert "sRGB" in ImageCms.getProfileDescription(io.BytesIO(profile))


def test_tiff_has_sixteen_bits(tmp_path, make_fused):
    fused = make_fused(scene())
    write_preview_file(fused, tmp_path / "p.tif")
    read = cv2.imread(str(tmp_path / "p.tif"), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read[..., ::-1], render_srgb(fused, 16))
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
def test_damaged_exif_costs_only_itself(tmp_path, make_fused, block):
    write_preview_file(make_fused(scene(), capture=CaptureMetadata(exif=block)), tmp_path / "p.jpg")
    with Image.open(tmp_path / "p.jpg") as picture:
        assert picture.getexif()[0x0112] == 1


def test_exif_too_large_for_jpeg(tmp_path, make_fused):
    exif = Image.Exif()
    exif[0x010E] = "x" * 70_000
    notes = write_preview_file(make_fused(scene(), capture=CaptureMetadata(exif=exif.tobytes())), tmp_path / "p.jpg")
    assert "larger than JPEG allows" in notes[0]
    with Image.open(tmp_path / "p.jpg") as picture:
        assert 0x010E not in picture.getexif()


def test_refusals(tmp_path, make_fused):
    with pytest.raises(UsageError):
        write_preview_file(make_fused(), tmp_path / "p.gif")
    with pytest.raises(OutputError, match="not finite"):
        write_preview_file(make_fused(np.full((4, 4, 3), np.inf, np.float32)), tmp_path / "p.jpg")
    with pytest.raises(OutputError, match="65535"):
        write_preview_file(make_fused(np.ones((1, 70_000, 3), np.float32)), tmp_path / "p.jpg")
    assert list(tmp_path.iterdir()) == []
