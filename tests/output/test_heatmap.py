"""The heatmap: a fixed logarithmic scale, colours that rise in lightness, and a legend."""

import json

import numpy as np
import pytest
from PIL import Image, ImageFont
from skimage.color import rgb2lab

from smarthdr_cli.errors import OutputError
from smarthdr_cli.output.heatmap import (
    MAX_SIGMA,
    MIN_SIGMA,
    TICKS,
    TITLE,
    UNITS,
    colour_index,
    colour_table,
    draw,
    draw_legend,
    write_heatmap,
    write_legend,
)

pytestmark = pytest.mark.unit


def test_lightness_rises_with_sigma():
    lightness = rgb2lab(colour_table()[None] / 255.0)[0, :, 0]
    assert np.all(np.diff(lightness) > 0)
    assert lightness[0] < 2
    assert lightness[-1] > 95


def test_the_scale_is_logarithmic_and_clipped_at_its_ends():
    sigma = np.array([0, 1e-9, MIN_SIGMA, 1e-3, 1.01e-2, 1e-1, MAX_SIGMA, 7.0], np.float32)
    np.testing.assert_array_equal(colour_index(sigma), [0, 0, 0, 64, 128, 191, 255, 255])


def test_typical_sigmas_are_distinguishable():
    """A factor of 1.5 anywhere between 1e-4 and 1e-1 is at least 3 units of CIELAB apart, a visible step."""
    sigma = np.geomspace(1.01e-4, 1e-1, 40).astype(np.float32)
    first, second = (rgb2lab(colour_table()[colour_index(s)][None] / 255.0)[0] for s in (sigma, 1.5 * sigma))
    assert np.all(np.linalg.norm(first - second, axis=1) > 3)


def test_colours_are_pixel_for_pixel_and_equal_between_images():
    rng = np.random.default_rng(0)
    sigma = np.exp(rng.uniform(-10, 0, (60, 700))).astype(np.float32)
    canvas = draw(sigma)
    np.testing.assert_array_equal(canvas[:60], colour_table()[colour_index(sigma)])
    half = draw(sigma[:, :600] * 1.0)
    np.testing.assert_array_equal(half[:60], canvas[:60, :600])


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (40, 479), (2000, 30)])
def test_the_heatmap_has_the_size_of_the_picture(shape):
    assert draw(np.full(shape, 0.01, np.float32)).shape == (*shape, 3)


@pytest.mark.parametrize("width", [480, 960, 4000])
def test_nothing_of_the_legend_is_cut(width):
    legend = draw_legend(width)
    assert legend.shape[1] == width
    assert legend.shape[0] >= 80
    ink = (legend.min(axis=2) > 200).any(axis=0).nonzero()[0]
    assert ink.min() >= 2
    assert ink.max() < width - 2
    assert not (legend[-2:].min(axis=2) > 200).any()
    colours = {tuple(colour) for colour in legend.reshape(-1, 3)}
    assert {tuple(colour) for colour in colour_table()[::8]} <= colours


def test_the_legend_is_a_file_of_its_own(tmp_path):
    assert write_legend(None, tmp_path / "legend.png") == []
    with Image.open(tmp_path / "legend.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), draw_legend())
    with pytest.raises(OutputError, match="--overwrite"):
        write_legend(None, tmp_path / "legend.png")


def test_every_letter_of_the_legend_is_in_the_font():
    font = ImageFont.load_default(20)
    missing = bytes(font.getmask("\uffff"))
    text = TITLE + UNITS + "".join(label for _, label in TICKS)
    assert [letter for letter in set(text) - {" "} if bytes(font.getmask(letter)) == missing] == []


def test_the_file_has_the_heatmap_and_the_provenance(tmp_path, result):
    assert write_heatmap(result, tmp_path / "u.png") == []
    with Image.open(tmp_path / "u.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), draw(result.uncertainty))
        assert "68 %" in picture.text["Description"]
        assert json.loads(picture.text["smarthdr"])["smarthdr:reference"] == "img1.jpg"


def test_values_that_are_not_finite_are_refused(tmp_path, make_result):
    with pytest.raises(OutputError, match="not finite"):
        write_heatmap(make_result(uncertainty=np.full((4, 4), np.nan, np.float32)), tmp_path / "u.png")
