"""A homography is accepted only where it fits held-out windows better than the identity."""

import cv2
import numpy as np
import pytest

from smarthdr_cli.align.model_selection import plausible, select_homography
from smarthdr_cli.align.pyramid_view import make_view, translation
from tests.support.registration import grid_error, make_burst, make_frame

pytestmark = pytest.mark.unit

SIZE = (1000, 1500)


def moved_pair():
    burst, truth = make_burst(400, 600, 40, evs=(-1.0, 0.0), shift=5, degrees=0.5)
    return make_view(burst.frames[1]), make_view(burst.frames[0]), truth[0]


def test_the_true_motion_is_accepted_and_a_wrong_one_is_not():
    first, second, true = moved_pair()
    accepted = select_homography(first, second, np.eye(3), [true])
    np.testing.assert_array_equal(accepted.homography, true)
    assert accepted.after < 0.95 * accepted.before
    assert accepted.windows > 6
    refused = select_homography(first, second, np.eye(3), [true @ translation(0, 12)])
    assert refused.homography is None
    assert refused.before == refused.after


def test_the_best_candidate_is_selected():
    first, second, true = moved_pair()
    selection = select_homography(
        first, second, np.eye(3), [true @ translation(1.5, 0), true, true @ translation(0, 1)]
    )
    np.testing.assert_array_equal(selection.homography, true)


def test_the_comparison_can_rest_on_a_neighbouring_frame():
    first, second, true = moved_pair()
    to_anchor = translation(3, 2)  # the neighbour is the first frame seen from elsewhere
    selection = select_homography(first, second, to_anchor, [true @ to_anchor])
    np.testing.assert_array_equal(selection.homography, true @ to_anchor)


@pytest.mark.parametrize(("shift", "accepted"), [(0.14, False), (0.3, True)])
def test_motions_below_a_sixth_of_a_pixel_keep_the_identity(shift, accepted):
    burst, truth = make_burst(400, 600, 41, evs=(-1.0, 0.0), shift=shift, noise=0.0, moving=False)
    first, second = make_view(burst.frames[1]), make_view(burst.frames[0])
    selection = select_homography(first, second, np.eye(3), [truth[0]])
    assert (selection.homography is not None) == accepted


def test_a_gain_that_interpolation_alone_brings_keeps_the_identity():
    """Bilinear interpolation reduces noise, and with it the residual."""
    burst, _ = make_burst(400, 600, 42, evs=(-1.0, 0.0), noise=0.1, moving=False)
    first, second = make_view(burst.frames[1]), make_view(burst.frames[0])
    candidates = [translation(x, y) for x in (-0.3, 0.0, 0.3) for y in (-0.3, 0.3)]
    assert select_homography(first, second, np.eye(3), candidates).homography is None


def test_a_perspective_without_support_in_the_corners_is_reduced():
    burst, _ = make_burst(400, 600, 17, evs=(0.0, 1.0), moving=False)
    codes = burst.frames[0].codes.copy()
    codes[:, 240:], codes[200:] = 90, 90
    rng = np.random.default_rng(18)
    first, second = (
        make_frame(np.clip(shifted + rng.normal(0, 1, codes.shape), 0, 255).astype(np.uint8), ev)
        for ev, shifted in ((0.0, codes), (1.0, np.roll(codes, (3, 5), (0, 1))))
    )
    source = np.array([[20, 20], [200, 20], [200, 180], [20, 180.0]])
    target = np.array([[25, 23], [205, 23], [206, 183], [25, 183.0]])  # one point is a pixel off
    candidate = np.asarray(cv2.findHomography(source, target)[0], np.float64)
    true = translation(5, 3)
    assert grid_error(candidate, true, (400, 600)) > 3
    selection = select_homography(make_view(first), make_view(second), np.eye(3), [candidate])
    assert np.all(selection.homography[2, :2] == 0)
    assert grid_error(selection.homography, true, (400, 600)) < 0.75 * grid_error(candidate, true, (400, 600))


def tilted(strength):
    homography = np.eye(3)
    homography[2, 0] = strength
    return homography


@pytest.mark.parametrize(
    ("homography", "expected"),
    [
        (translation(200, 100), True),
        (translation(1200, 0), False),
        (np.diag([1.2, 1.2, 1.0]), True),
        (np.diag([2.0, 2.0, 1.0]), False),
        (translation(1499, 0) @ np.diag([-1.0, 1.0, 1.0]), False),
        (tilted(1 / 20_000), True),
        (tilted(-1 / 1200), False),
        (np.full((3, 3), np.nan), False),
    ],
    ids=["shift", "large shift", "zoom", "large zoom", "flip", "perspective", "large perspective", "nan"],
)
def test_a_plausible_motion_is_that_of_a_handheld_camera(homography, expected):
    assert plausible(homography, SIZE) == expected
