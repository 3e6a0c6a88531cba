"""First homographies from features and from phase correlation."""

import numpy as np
import pytest

from smarthdr_cli.align.features import correlate, detect_features, match_features
from smarthdr_cli.align.pyramid_view import make_view, translation
from smarthdr_cli.burst.burst import Burst
from tests.support.registration import grid_error, make_burst, make_frame

pytestmark = pytest.mark.unit


def views(burst: Burst):
    return make_view(burst.frames[burst.reference]), make_view(burst.frames[0])


def test_matched_features_give_the_motion_between_exposures():
    burst, truth = make_burst(480, 640, 20, evs=(-2.0, 0.0), shift=25, degrees=3)
    first, second = (detect_features(view) for view in views(burst))
    fit = match_features(first, second, 2.0, burst.size)
    assert fit.inliers >= 24
    assert fit.inliers > 0.6 * fit.tried
    assert grid_error(fit.homography, truth[0], burst.size) < 4


def test_features_are_well_exposed_and_spread_over_the_picture():
    burst, _ = make_burst(480, 640, 21, evs=(-2.0, 0.0), moving=False)
    view = views(burst)[0]
    points = detect_features(view).points
    columns, rows = points.astype(int).T
    assert (view.valid[rows, columns] > 0).all()
    cells = np.histogram2d(points[:, 0], points[:, 1], bins=8, range=((0, 640), (0, 480)))[0]
    assert cells.max() <= 41  # 40, and a rounding at the border of a cell
    assert (cells > 0).mean() > 0.8


def test_a_scene_without_structure_has_no_features_and_no_match():
    features = detect_features(make_view(make_frame(np.full((200, 300, 3), 90, np.uint8), 0.0)))
    assert features.points.shape == (0, 2)
    assert match_features(features, features, 2.0, (200, 300)) is None


def test_different_scenes_do_not_match():
    pictures = [make_burst(300, 400, seed, evs=(0.0, 1.0), moving=False)[0].frames[0] for seed in (22, 23)]
    first, second = (detect_features(make_view(frame)) for frame in pictures)
    assert match_features(first, second, 2.0, (300, 400)) is None


def test_phase_correlation_finds_a_shift_between_exposures():
    burst, truth = make_burst(300, 400, 24, evs=(-1.0, 0.0), shift=12, moving=False)
    first, second = views(burst)
    assert grid_error(correlate(first, second), truth[0], burst.size) < 1.0
    assert grid_error(correlate(first, first), translation(0, 0), burst.size) < 0.05
