"""The scale fit, the cap and the averages."""

import numpy as np
import pytest

from smarthdr_cli.evaluate import metrics, protocol


@pytest.fixture
def truth() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.02, 0.19, (32, 40, 3)).astype(np.float32)


def test_a_brightness_of_its_own_costs_nothing(truth: np.ndarray) -> None:
    scores = protocol.score(truth * np.float32(7.3), truth, reference_time=4.0)
    assert scores["scale"] == pytest.approx(1 / 7.3, rel=1e-5)
    assert scores["psnr_mu"] == protocol.CAP_DB == scores["psnr_l"]
    assert scores["ssim_l"] == pytest.approx(1.0, abs=1e-6)


def test_the_scale_is_one_number_so_a_colour_cast_remains(truth: np.ndarray) -> None:
    cast = truth * np.array([1.1, 1.0, 0.9], np.float32)
    assert protocol.score(cast, truth, reference_time=4.0)["psnr_mu"] < 45


def test_the_scale_is_fitted_on_static_well_exposed_pixels_only(truth: np.ndarray) -> None:
    moving = np.zeros(truth.shape[:2], bool)
    moving[:, :28] = True  # most of the picture, and wrong by a factor
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


def test_above_the_shortest_clip_and_beyond_finite_counts_as_clipped(truth: np.ndarray) -> None:
    truth[0, 0] = 5.0
    prediction = truth.copy()
    prediction[0, 0] = [np.inf, 1.0, 2.0]
    assert protocol.score(prediction, truth, reference_time=4.0)["psnr_l"] == protocol.CAP_DB
    prediction[0, 0] = np.nan
    assert protocol.score(prediction, truth, reference_time=4.0)["psnr_l"] < protocol.CAP_DB


def test_an_empty_prediction_has_no_scale(truth: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no positive pixel"):
        protocol.score(np.zeros_like(truth), truth, reference_time=4.0)
    with pytest.raises(ValueError, match="shapes differ"):
        protocol.score(truth[1:], truth, reference_time=4.0)


def test_averages_leave_out_what_a_scene_does_not_have() -> None:
    nan = float("nan")
    mean = protocol.average([{"a": 1.0, "b": nan, "c": nan}, {"a": 2.0, "b": 5.0, "c": nan}])
    assert mean["a"] == 1.5
    assert mean["b"] == 5.0
    assert np.isnan(mean["c"])
    assert protocol.average([]) == {}


def test_share_closed() -> None:
    assert protocol.share_closed(38.0, 34.0, 42.0) == 0.5
    assert np.isnan(protocol.share_closed(38.0, 42.0, 42.0))
