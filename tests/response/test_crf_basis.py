"""The spline basis of the camera response and its prior, against scipy."""

import numpy as np
import pytest
from scipy.interpolate import BSpline

from smarthdr_cli.radiometry import srgb_to_linear
from smarthdr_cli.response.crf_basis import GRID, INTERVALS, WARP, PriorWidths, log_srgb, make_prior

pytestmark = pytest.mark.unit


def test_the_basis_matches_scipy_and_sums_to_one():
    prior = make_prior(PriorWidths())
    np.testing.assert_allclose(prior.basis.sum(1), 1.0, atol=1e-12)
    s = np.log1p(WARP * np.linspace(0, 1, GRID + 1)) / np.log1p(WARP)
    knots = np.arange(-3, INTERVALS + 4) / INTERVALS
    np.testing.assert_allclose(prior.basis, BSpline.design_matrix(s, knots, 3).toarray(), atol=1e-12)


def test_the_family_starts_from_srgb():
    np.testing.assert_allclose(log_srgb()[GRID // 2], np.log(srgb_to_linear(np.array(0.5))), atol=1e-12)
    np.testing.assert_array_equal(make_prior(PriorWidths()).log_srgb, log_srgb())


@pytest.mark.parametrize(
    ("widths", "cost"),
    [
        (PriorWidths(0.05, size=1e6, channel_difference=1e6), lambda c: (np.diff(c, 2) ** 2).sum() / 0.05**2),
        (PriorWidths(1e6, size=0.5, channel_difference=1e6), lambda c: (c**2).sum() / 0.5**2),
    ],
    ids=["second difference", "size"],
)
def test_the_precision_is_that_of_the_stated_widths(widths, cost):
    """Of a curve common to the three channels, beyond what the constraint at white costs."""
    channel = np.random.default_rng(0).normal(size=INTERVALS + 3)
    c = np.tile(channel, 3)
    constraint = c @ make_prior(PriorWidths(1e6, 1e6, 1e6)).precision @ c
    assert c @ make_prior(widths).precision @ c - constraint == pytest.approx(3 * cost(channel), rel=1e-3)


def test_differences_between_channels_cost_more_under_a_narrower_width():
    difference = np.zeros((3, INTERVALS + 3))
    difference[0, 5], difference[1, 5] = 1.0, -1.0
    flat = difference.ravel()
    narrow, wide = (make_prior(PriorWidths(channel_difference=width)).precision for width in (0.05, 0.2))
    assert flat @ narrow @ flat > 4 * (flat @ wide @ flat)


def test_scaled_widths_are_all_scaled():
    assert PriorWidths(1.0, 2.0, 3.0).scaled(0.5) == PriorWidths(0.5, 1.0, 1.5)
