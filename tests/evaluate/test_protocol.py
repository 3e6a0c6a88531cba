"""The fitted scale, the caps and the means."""

import numpy as np
import pytest

from smarthdr_cli.evaluate import metrics, protocol

pytestmark = pytest.mark.unit


@pytest.fixture
def truth() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.02, 0.19, (32, 40, 3)).astype(np.float32)


def test_a_global_brightness_factor_costs_nothing(truth: np.ndarray) -> None:
    scores = protocol.score(truth * np.float32(7.3), truth, reference_time=4.0)
    assert scores["scale"] == pytest.approx(1 / 7.3, rel=1e-5)
    assert scores["psnr_mu"] == protocol.CAP_DB == scores["psnr_l"]
    assert scores["ssim_l"] == pytest.approx(1.0, abs=1e-6)


def test_the_scale_is_one_number_so_a_colour_cast_remains(truth: np.ndarray) -> None:
    cast = truth * np.array([1.1, 1.0, 0.9], np.float32)
    assert protocol.score(cast, truth, reference_time=4.0)["psnr_mu"] < 45


def test_the_scale_is_fitted_on_static_well_exposed_pixels_only(truth: np.ndarray) -> None:
    moving = np.zeros(truth.shape[:2], bool)
    moving[:, :28] = True  # most of the image, wrong by a factor
    truth[:4] = 0.9  # clipped in the reference
    prediction = 2 * truth
    prediction[:, :28] *= 5
    prediction[:4] *= 3
    pixels = protocol.fit_pixels(truth, 4.0, moving)
    assert not pixels[:, :28].any()
    assert not pixels[:4].any()
    assert pixels[4:, 28:].mean() > 0.5
    assert protocol.fit_scale(prediction, truth, pixels) == pytest.approx(0.5)


def test_without_well_exposed_pixels_all_static_ones_are_used_and_then_all() -> None:
    dark = np.full((20, 20, 3), 1e-5, np.float32)
    moving = np.zeros((20, 20), bool)
    moving[:5] = True
    assert (protocol.fit_pixels(dark, 4.0, moving) == ~moving).all()
    assert protocol.fit_pixels(dark, 4.0, np.ones((20, 20), bool)).all()


def test_moving_pixels_are_scored_apart(truth: np.ndarray) -> None:
    moving = np.zeros(truth.shape[:2], bool)
    moving[10:15, 10:15] = True
    prediction = truth.copy()
    prediction[moving] += np.float32(0.1)
    scores = protocol.score(prediction, truth, reference_time=4.0, moving=moving)
    assert scores["psnr_l_moving"] == pytest.approx(20.0, abs=0.01)
    assert scores["psnr_l"] == pytest.approx(20.0 + 10 * np.log10(moving.size / 25), abs=0.01)
    expected = metrics.psnr_mu(prediction, truth, moving)
    assert scores["psnr_mu_moving"] == pytest.approx(expected, abs=0.01)
    assert np.isnan(protocol.score(truth, truth, reference_time=4.0)["psnr_mu_moving"])


def test_radiance_above_the_shortest_clip_and_infinity_count_as_clipped(truth: np.ndarray) -> None:
    truth[0, 0] = 5.0
    prediction = truth.copy()
    prediction[0, 0] = [np.inf, 1.0, 2.0]
    assert protocol.score(prediction, truth, reference_time=4.0)["psnr_l"] == protocol.CAP_DB
    prediction[0, 0] = np.nan
    assert protocol.score(prediction, truth, reference_time=4.0)["psnr_l"] < protocol.CAP_DB


def test_a_black_prediction_or_another_shape_raises(truth: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no positive pixel"):
        protocol.score(np.zeros_like(truth), truth, reference_time=4.0)
    with pytest.raises(ValueError, match="shapes differ"):
        protocol.score(truth[1:], truth, reference_time=4.0)


def test_means_leave_out_nans() -> None:
    nan = float("nan")
    mean = protocol.mean_scores([{"a": 1.0, "b": nan, "c": nan}, {"a": 2.0, "b": 5.0, "c": nan}])
    assert mean["a"] == 1.5
    assert mean["b"] == 5.0
    assert np.isnan(mean["c"])
    assert protocol.mean_scores([]) == {}


def test_published_does_not_scale_and_caps_at_100_db(truth: np.ndarray) -> None:
    dim = truth * np.float32(0.9)
    scores = protocol.score(dim, truth, reference_time=4.0, scaling="published")
    assert scores["scale"] == 1.0
    assert scores["psnr_l"] == pytest.approx(metrics.psnr_l(dim, truth))
    assert scores["psnr_mu"] == pytest.approx(metrics.psnr_mu(dim, truth))
    assert scores["pu21"] == pytest.approx(metrics.pu21_psnr(dim, truth))
    near = protocol.score(truth + np.float32(1e-4), truth, reference_time=4.0, scaling="published")
    assert near["psnr_l"] == pytest.approx(80, abs=0.1)
    same = protocol.score(truth, truth, reference_time=4.0, scaling="published")
    assert same["psnr_l"] == protocol.PUBLISHED_CAP_DB


def test_pixels_clipped_in_the_reference_are_scored_apart(truth: np.ndarray) -> None:
    truth[5:9, 5:9, 0] = 0.25  # one channel at the clip of a frame four times the shortest
    mask = np.zeros(truth.shape[:2], bool)
    mask[5:9, 5:9] = True
    assert (protocol.clipped_mask(truth, 4.0) == mask).all()
    prediction = truth.copy()
    prediction[mask] += np.float32(0.01)
    for scaling in ("published", "fitted"):
        scores = protocol.score(prediction, truth, reference_time=4.0, scaling=scaling)
        assert scores["psnr_l_clipped"] == pytest.approx(40.0, abs=0.01)
        assert scores["psnr_mu_clipped"] == pytest.approx(metrics.psnr_mu(prediction, truth, mask), abs=0.01)
        assert np.isnan(protocol.score(truth, truth, reference_time=1.0, scaling=scaling)["psnr_l_clipped"])


def test_apply_scaling_gives_the_image_that_is_scored(truth: np.ndarray) -> None:
    context = {"reference_time": 4.0, "moving": None}
    for scaling, level in (("published", 3.0), ("fitted", 1.0)):
        scaled = protocol.apply_scaling(truth * np.float32(3), truth, **context, scaling=scaling)
        assert scaled == pytest.approx(truth * level, rel=1e-4)
    black = np.zeros_like(truth)
    assert not protocol.can_fit_scale(black, truth, np.ones(truth.shape[:2], bool))
    assert (protocol.apply_scaling(black, truth, **context, scaling="fitted") == 0).all()
    assert (protocol.limit(np.array([np.nan, np.inf, -1.0, 0.5])) == [0, 1, 0, 0.5]).all()


def test_gap_closed() -> None:
    assert protocol.gap_closed(38.0, 34.0, 42.0) == 0.5
    assert np.isnan(protocol.gap_closed(38.0, 42.0, 42.0))
