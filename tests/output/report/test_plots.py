"""Coordinates of the plots, against values worked out by hand."""

import numpy as np
import pytest

from smarthdr_cli.align import Alignment
from smarthdr_cli.output.report.plots import curve_plot, frame_fields
from smarthdr_cli.radiometry import named_response

pytestmark = pytest.mark.unit


def translation(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def points(text: str) -> np.ndarray:
    return np.array([[float(value) for value in pair.split(",")] for pair in text.split()])


def test_a_gamma_curve_where_it_should_be():
    plot = curve_plot(named_response("gamma2.2"))
    left, top, right, bottom = plot.frame
    lines = dict(plot.lines)
    assert set(lines) == {"red", "green", "blue", "srgb"}
    line = points(lines["red"])
    assert line[-1].tolist() == [right, top]  # the brightest code is 0 EV below the clip
    middle = line[np.argmin(np.abs(line[:, 0] - (left + right) / 2))]
    assert middle[1] == pytest.approx(top + 2.2 / 10 * (bottom - top), abs=0.2)  # code 0.5: 2.2 EV below
    assert line[:, 1].max() <= bottom + 1e-6


def test_arrows_lead_from_the_reference_to_the_frame():
    alignment = Alignment(np.stack([translation(12, 0), np.eye(3)]), (True, False), ((0.5, 0.1), (0.0, 0.0)))
    moved, reference = frame_fields(alignment, ("a.jpg", "b.jpg"), 1, (600, 900))
    assert moved.largest == pytest.approx(12)
    assert (moved.before, moved.after) == (0.5, 0.1)
    x1, y1, x2, y2 = np.array(moved.arrows).T
    scale = moved.width / 900
    np.testing.assert_allclose(x2 - x1, 12 * moved.gain * scale, atol=0.11)
    np.testing.assert_allclose(y2, y1, atol=0.11)
    assert moved.height == pytest.approx(600 * scale, abs=1)
    assert reference.is_reference
    assert not reference.moved
    assert reference.arrows == ()
    assert reference.before is None


@pytest.mark.parametrize("shift", [0.1, 0.7, 12.0, 95.0, 2000.0])
def test_arrows_are_enlarged_to_half_a_grid_step_at_most(shift: float):
    alignment = Alignment(np.stack([translation(shift, 0), np.eye(3)]), (True, False))
    field = frame_fields(alignment, ("a.jpg", "b.jpg"), 1, (600, 900))[0]
    assert 20 <= field.gain * shift <= 50 * 1.001  # a step is 100 pixels
