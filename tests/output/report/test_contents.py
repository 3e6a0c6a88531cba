"""What is gathered from a fusion, against what the frames were made with."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from smarthdr_cli import fuse
from smarthdr_cli.errors import OutputError
from smarthdr_cli.output.report.contents import collect
from tests.support.files import write_dng

from .conftest import HEIGHT, SHIFT, WIDTH
from .test_pictures import light_of, unpack


def picture(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def linear(text: str, height: int, width: int) -> np.ndarray:
    green, red, blue = unpack(text, 3, height, width)
    return light_of(np.stack([red + green, green, blue + green], axis=2))


def test_exposures_stated_and_measured(fused):
    rows = collect(fused).frames
    assert [row.file for row in rows] == ["img1.jpg", "img2.jpg", "img3.jpg"]
    assert [row.stated for row in rows] == [f"1/{n} s, f/4, ISO 100" for n in (400, 100, 25)]
    assert [row.ev for row in rows] == pytest.approx([-2, 0, 2])
    assert [row.measured for row in rows] == pytest.approx([-2, 0, 2], abs=0.1)
    assert [row.is_reference for row in rows] == [False, True, False]
    assert {row.source for row in rows} == {"EXIF"}


def test_the_motion_of_the_camera(fused):
    fields = collect(fused).fields
    assert [field.largest for field in fields] == pytest.approx([SHIFT, 0, SHIFT], abs=0.5)
    assert fields[0].before > fields[0].after


def test_pictures_are_those_of_result_and_reference(fused):
    pictures = collect(fused).pictures
    assert (pictures.width, pictures.height) == (WIDTH, HEIGHT)
    result = linear(pictures.radiance, HEIGHT, WIDTH)
    visible = fused.radiance > 0.001
    np.testing.assert_allclose(result[visible], fused.radiance[visible], rtol=0.012)
    reference = linear(pictures.reference, HEIGHT, WIDTH)
    frame = fused.burst.frames[1]
    assert reference.max() == pytest.approx(1, rel=0.012)  # it clips where the result goes on
    assert result.max() > 1.5
    np.testing.assert_allclose(picture(pictures.camera).astype(float), frame.codes, atol=60)
    assert np.abs(picture(pictures.camera).astype(float) - frame.codes).mean() < 4  # JPEG


def test_light_does_not_depend_on_anchor_and_primaries(fused):
    anchored = replace(fused, radiance=fused.radiance * np.float32(0.25), anchor_ev=-2.0)
    assert collect(anchored).pictures.radiance == collect(fused).pictures.radiance


def test_the_slider_reaches_highlights_and_shadows(fused):
    lowest, highest = collect(fused).pictures.slider
    assert fused.radiance.max() * 2**lowest < 1
    assert np.quantile(fused.radiance.max(axis=2), 0.01) * 2**highest > 0.05


def test_without_frames_the_result_is_shown_alone(fused):
    contents = collect(replace(fused, registered=None))
    assert contents.pictures.reference is None
    assert contents.pictures.camera is None
    assert contents.fields == ()
    assert contents.curve is None
    assert [row.measured for row in contents.frames] == [None] * 3


def test_pixels_that_are_not_finite_are_refused(fused):
    with pytest.raises(OutputError, match="not finite"):
        collect(replace(fused, radiance=np.full_like(fused.radiance, np.nan)))


def test_raw_frames_are_shown_in_the_colours_of_the_result(tmp_path):
    """A grey wedge, white-balanced in the RAW: grey in the reference, whatever the camera's own colours are."""
    wedge = np.linspace(0.02, 1.6, 96)[None, :] * np.ones((64, 1))
    gains = np.tile([[0.5, 1.0], [1.0, 0.625]], (32, 48))  # of RGGB samples, for the neutral that write_dng states
    paths = [
        write_dng(tmp_path / f"{n}.dng", np.minimum(512 + wedge * 4.0**n * gains * 15488, 16000).round().astype(int))
        for n in (-1, 0, 1)
    ]
    result = fuse(paths, exposure_times=(1 / 400, 1 / 100, 1 / 25), deghost="off", align="none", device="cpu")
    contents = collect(result)
    reference = linear(contents.pictures.reference, 64, 96)[20:44, 8:40]
    fused = linear(contents.pictures.radiance, 64, 96)[20:44, 8:40]
    np.testing.assert_allclose(reference, fused, rtol=0.06)
    np.testing.assert_allclose(reference, reference[..., 1:2].repeat(3, axis=2), rtol=0.05)
    assert [row.source for row in contents.frames] == ["--exposure-times"] * 3
