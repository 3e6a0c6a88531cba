"""The chart: curves where their values are, readable scales."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.evaluate import plot

BLUE, RED = (0, 0, 255), (255, 0, 0)


def chart(*curves: plot.Curve) -> np.ndarray:
    return plot.lines("title", "x", "y", curves)


def drawn(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """(H, W) within the axes, of that colour."""
    inside = np.zeros(image.shape[:2], bool)
    inside[plot.TOP : -plot.BOTTOM, plot.LEFT : -plot.RIGHT] = True
    return (image == colour).all(axis=2) & inside


def test_a_curve_lies_where_its_values_are() -> None:
    x = np.linspace(0, 1, 50)
    image = chart(plot.Curve("half", x, np.full(50, 0.5), BLUE), plot.Curve("one", x, np.full(50, 1.0), RED))
    height, width = plot.HEIGHT - plot.TOP - plot.BOTTOM, plot.WIDTH - plot.LEFT - plot.RIGHT
    for colour, value in ((BLUE, 0.5), (RED, 1.0)):
        rows, columns = np.nonzero(drawn(image, colour))
        expected = plot.HEIGHT - plot.BOTTOM - value / plot.nice(1.02) * height
        assert rows.mean() == pytest.approx(expected, abs=1)
        assert np.ptp(columns) == pytest.approx(width, abs=4)


def test_dashes_are_gaps_whatever_the_samples() -> None:
    shares = []
    for count in (2, 1000):
        x = np.linspace(0, 1, count)
        one = drawn(chart(plot.Curve("a", x, 1 - 0.5 * x, BLUE)), BLUE).sum()
        shares.append(drawn(chart(plot.Curve("a", x, 1 - 0.5 * x, BLUE, dashed=True)), BLUE).sum() / one)
    assert shares == pytest.approx([0.65, 0.65], abs=0.12)


def test_every_curve_is_in_the_legend_and_foreign_letters_do_no_harm() -> None:
    x = np.array([0.0, 1.0])
    image = chart(plot.Curve("σ", x, x, BLUE), plot.Curve("b", x, x / 2, RED))
    legend = image[:, -plot.RIGHT + 4 :]
    assert [(legend == colour).all(axis=2).any() for colour in (BLUE, RED)] == [True, True]
    with pytest.raises(ValueError, match="a curve"):
        chart()


@given(st.floats(1e-6, 1e6))
def test_scales_end_a_little_above_the_values(value: float) -> None:
    assert value * (1 - 1e-6) <= plot.nice(value) <= 1.34 * value
    assert plot.nice(plot.nice(value)) == pytest.approx(plot.nice(value))


def test_a_scale_for_nothing() -> None:
    assert plot.nice(0.0) == 1.0
