"""Line charts, and sheets of labelled crops."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.evaluate import figures

pytestmark = pytest.mark.unit

BLUE, RED = (0, 0, 255), (255, 0, 0)


def chart(*curves: figures.Curve) -> np.ndarray:
    return figures.line_chart("title", "x", "y", curves)


def pixels_of_colour(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """(H, W) within the axes, of that colour."""
    inside = np.zeros(image.shape[:2], bool)
    inside[figures.TOP : -figures.BOTTOM, figures.LEFT : -figures.RIGHT] = True
    return (image == colour).all(axis=2) & inside


def test_a_curve_lies_where_its_values_are() -> None:
    x = np.linspace(0, 1, 50)
    image = chart(figures.Curve("half", x, np.full(50, 0.5), BLUE), figures.Curve("one", x, np.full(50, 1.0), RED))
    height, width = figures.HEIGHT - figures.TOP - figures.BOTTOM, figures.WIDTH - figures.LEFT - figures.RIGHT
    for colour, value in ((BLUE, 0.5), (RED, 1.0)):
        rows, columns = np.nonzero(pixels_of_colour(image, colour))
        expected = figures.HEIGHT - figures.BOTTOM - value / figures.axis_limit(1.02) * height
        assert rows.mean() == pytest.approx(expected, abs=1)
        assert np.ptp(columns) == pytest.approx(width, abs=4)


def test_dashes_do_not_depend_on_the_sampling() -> None:
    shares = []
    for count in (2, 1000):
        x = np.linspace(0, 1, count)
        solid = pixels_of_colour(chart(figures.Curve("a", x, 1 - 0.5 * x, BLUE)), BLUE).sum()
        shares.append(
            pixels_of_colour(chart(figures.Curve("a", x, 1 - 0.5 * x, BLUE, dashed=True)), BLUE).sum() / solid
        )
    assert shares == pytest.approx([0.65, 0.65], abs=0.12)


def test_every_curve_is_in_the_legend_with_non_ascii_labels_too() -> None:
    x = np.array([0.0, 1.0])
    image = chart(figures.Curve("σ", x, x, BLUE), figures.Curve("b", x, x / 2, RED))
    legend = image[:, -figures.RIGHT + 4 :]
    assert [(legend == colour).all(axis=2).any() for colour in (BLUE, RED)] == [True, True]
    with pytest.raises(ValueError, match="a curve"):
        chart()


@given(st.floats(1e-6, 1e6))
def test_axes_end_a_little_above_the_values(value: float) -> None:
    assert value * (1 - 1e-6) <= figures.axis_limit(value) <= 1.34 * value
    assert figures.axis_limit(figures.axis_limit(value)) == pytest.approx(figures.axis_limit(value))


def test_the_axis_of_zeros_ends_at_one() -> None:
    assert figures.axis_limit(0.0) == 1.0


def test_mu_law_codes_are_the_mu_law_in_eight_bits() -> None:
    radiance = np.array([[[0.0, 1.0, 7.0], [0.01, 0.1, -1.0]]])
    tone = np.round(np.log(1 + 5000 * np.array([0.01, 0.1])) / np.log(5001) * 255)
    assert figures.mu_law_codes(radiance).tolist() == [[[0, 255, 255], [*tone, 0]]]


def test_the_densest_square_has_most_of_the_mask() -> None:
    mask = np.zeros((40, 60), bool)
    mask[3:5, 2:4] = True
    mask[25:33, 44:52] = True
    rows, columns = figures.densest_square(mask, 8)
    assert mask[rows, columns].all()
    assert figures.densest_square(np.zeros((40, 60), bool), 10) == (slice(15, 25), slice(25, 35))
    assert figures.densest_square(mask, 100) == (slice(0, 40), slice(0, 60))


def test_rows_of_different_width_are_padded_to_one_image(tmp_path: Path) -> None:
    red = np.full((20, 30, 3), (200, 0, 0), np.uint8)
    rows = [figures.labelled_row([("one", red), ("two", red)]), figures.labelled_row([("one", red)])]
    figures.save_png(tmp_path / "sheet.png", rows)
    back = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1]
    assert back.shape == (2 * (20 + figures.LABEL_HEIGHT + figures.GAP), 60 + figures.GAP, 3)
    assert (back[figures.LABEL_HEIGHT : figures.LABEL_HEIGHT + 20, :30] == (200, 0, 0)).all()
    with pytest.raises((OSError, cv2.error)):
        figures.save_png(tmp_path / "missing" / "sheet.png", rows)


def test_a_jpeg_has_the_best_quality_within_its_limit(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    path = tmp_path / "sheet.jpg"
    sizes = []
    for largest in (60_000, 10_000):
        figures.save_jpeg(path, [figures.labelled_row([("noise", noise)])], largest)
        sizes.append(path.stat().st_size)
        assert sizes[-1] <= largest
        assert cv2.imread(str(path)).shape == (96 + figures.LABEL_HEIGHT, 128, 3)
    assert sizes[0] > sizes[1]
    with pytest.raises(ValueError, match="fits into 100 bytes"):
        figures.save_jpeg(path, [noise], 100)


def test_a_heatmap_is_monotone_in_brightness_and_saturates() -> None:
    colours = figures.heatmap(np.array([[0.0, 0.05, 0.1, 9.0]]), 0.1).astype(int).sum(axis=2)[0]
    assert colours[0] < colours[1] < colours[2] == colours[3]
