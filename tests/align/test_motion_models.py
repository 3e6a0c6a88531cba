"""Motion models fitted to points and to pixels."""

import cv2
import numpy as np
import pytest

from smarthdr_cli.align.motion_models import (
    HomographyFit,
    corner_deviation,
    fit_motion_model,
    fit_similarity,
    largest_shift,
    refine_by_ecc,
)
from smarthdr_cli.align.pyramid_view import make_view, project, translation
from tests.support.registration import grid_error, make_burst, make_frame, random_motion

pytestmark = pytest.mark.unit


def test_a_similarity_is_fitted_exactly():
    points = np.random.default_rng(19).uniform(0, 4000, (9, 2))
    true = np.array([[0.99, -0.03, 40.0], [0.03, 0.99, -12.0], [0, 0, 1]])
    np.testing.assert_allclose(fit_similarity(points, project(true, points)), true, atol=1e-9)


@pytest.mark.parametrize(("spread", "affine", "error"), [(1500, False, 1.5), (40, True, 80)])
def test_the_model_has_no_more_parameters_than_the_points_determine(spread, affine, error):
    rng = np.random.default_rng(12)
    true = random_motion(1000, 1500, 30.0, 2.0, rng)
    points = rng.uniform(0, 1, (60, 2)) * [spread, spread / 1.5] + [(1500 - spread) / 2, (1000 - spread / 1.5) / 2]
    target = project(true, points) + rng.normal(0, 0.3, points.shape)
    target[:15] += rng.uniform(-200, 200, (15, 2))  # outliers
    fit = fit_motion_model(points, target, 2.0, (1000, 1500), 16)
    assert 43 <= fit.inliers <= 47
    assert fit.tried == 60
    assert (fit.homography[2, 0] == 0) == affine
    assert grid_error(fit.homography, true, (1000, 1500)) < error


def test_few_points_give_their_most_frequent_shift():
    """Although a similarity would fit them exactly."""
    points = np.array([[0.0, 0.0], [500.0, 0.0], [0.0, 500.0], [500.0, 500.0], [250.0, 250.0]])
    target = points * 1.001 + np.array([3.0, -2.0])
    target[4] += 40
    fit = fit_motion_model(points, target, 1.0, (500, 500), 16)
    np.testing.assert_allclose(fit.homography, translation(3.25, -1.75), atol=1e-9)
    assert fit.inliers == 4


def test_corner_deviation_matches_a_simulation():
    rng = np.random.default_rng(13)
    points = [400, 300] + rng.uniform(0, 1, (30, 2)) * [500, 400]
    corners = np.array([[0, 0], [1500, 0], [1500, 1000], [0, 1000]], np.float64)
    fits = [cv2.findHomography(points, points + rng.normal(0, 0.2, points.shape), 0)[0] for _ in range(400)]
    displacements = np.array([project(fit, corners) - corners for fit in fits])
    simulated = np.sqrt(displacements.var(axis=0).sum(axis=1).max())
    assert corner_deviation(points, 0.2, (1000, 1500), similarity=False) == pytest.approx(simulated, rel=0.2)
    assert corner_deviation(points[:1], 0.2, (1000, 1500), similarity=True) == float("inf")


def test_the_largest_shift_is_that_of_a_corner():
    assert largest_shift(translation(3, 4), (1000, 1500)) == pytest.approx(5)
    assert largest_shift(np.diag([1.01, 1.0, 1.0]), (1000, 1500)) == pytest.approx(0.01 * 1499)


@pytest.mark.parametrize(("inliers", "tried", "reliable"), [(12, 40, True), (11, 11, False), (12, 41, False)])
def test_a_fit_is_reliable_with_enough_inliers(inliers, tried, reliable):
    assert HomographyFit(np.eye(3), inliers, tried).reliable == reliable


def test_ecc_refines_a_small_frame_despite_moving_content():
    burst, truth = make_burst(240, 320, 2, evs=(0.0, 1.5), shift=4.0, degrees=1.0)
    first, second = make_view(burst.frames[1]), make_view(burst.frames[0])
    start = truth[0] @ translation(0.7, -0.5)
    refined = refine_by_ecc(first, second, start)
    assert grid_error(refined, truth[0], burst.size) < 0.4 < grid_error(start, truth[0], burst.size)


def test_ecc_leaves_large_frames_and_frames_without_structure():
    large = make_view(make_frame(np.full((1700, 1700, 3), 90, np.uint8), 0.0))
    assert refine_by_ecc(large, large, np.eye(3)) is None
    flat = make_view(make_frame(np.full((120, 160, 3), 90, np.uint8), 0.0))
    assert refine_by_ecc(flat, flat, np.eye(3)) is None
