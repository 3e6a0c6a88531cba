"""Metrics against scikit-image, hand-made values and the fixed points of PU21."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from smarthdr_cli.evaluate import metrics
from smarthdr_cli.radiometry import mu_law


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.random((40, 53, 3)).astype(np.float32) ** 3
    return np.clip(truth + rng.normal(0, 0.05, truth.shape), 0, 1).astype(np.float32), truth


def test_psnr_of_a_constant_error_is_its_decibels() -> None:
    truth = np.full((8, 9, 3), 0.5, np.float32)
    assert metrics.psnr_l(truth + np.float32(0.1), truth) == pytest.approx(20.0, abs=1e-5)


def test_psnr_agrees_with_skimage(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert metrics.psnr_l(*pair) == pytest.approx(peak_signal_noise_ratio(pair[1], pair[0], data_range=1.0), abs=1e-4)


def test_psnr_mu_is_psnr_after_the_published_curve(pair: tuple[np.ndarray, np.ndarray]) -> None:
    toned = [np.log(1 + 5000 * x.astype(np.float64)) / np.log(5001) for x in pair]
    assert metrics.psnr_mu(*pair) == pytest.approx(peak_signal_noise_ratio(toned[1], toned[0], data_range=1.0))


def test_mu_law_fixes_zero_and_one_and_takes_negatives_as_zero() -> None:
    assert mu_law(np.array([-0.5, 0.0, 1.0])) == pytest.approx([0.0, 0.0, 1.0])


def test_mask_keeps_only_its_pixels() -> None:
    truth = np.zeros((6, 6, 3))
    prediction = truth.copy()
    prediction[:3] = 0.1
    mask = np.zeros((6, 6), bool)
    mask[:3] = True
    assert metrics.psnr_l(prediction, truth, mask) == pytest.approx(20.0)
    assert metrics.psnr_l(prediction, truth, ~mask) == np.inf
    assert np.isnan(metrics.psnr_l(prediction, truth, np.zeros((6, 6), bool)))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        metrics.psnr_l(np.zeros((4, 4, 3)), np.zeros((4, 5, 3)))
    with pytest.raises(ValueError, match="shapes differ"):
        metrics.ssim(np.zeros((14, 14, 3)), np.zeros((14, 15, 3)))


def test_ssim_agrees_with_skimage(pair: tuple[np.ndarray, np.ndarray]) -> None:
    expected = structural_similarity(
        pair[0].astype(np.float64),
        pair[1].astype(np.float64),
        data_range=1.0,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert 0.2 < expected < 0.99
    assert metrics.ssim_l(*pair) == pytest.approx(expected, abs=1e-9)


def test_ssim_mu_is_ssim_of_toned_pictures_and_one_for_equal(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert metrics.ssim_mu(*pair) == metrics.ssim(mu_law(pair[0]), mu_law(pair[1]))
    assert metrics.ssim_mu(pair[1], pair[1]) == pytest.approx(1.0)


def test_ssim_refuses_pictures_below_its_window() -> None:
    with pytest.raises(ValueError, match="11x11"):
        metrics.ssim(np.zeros((10, 30, 3)), np.zeros((10, 30, 3)))


def test_pu21_fixed_points() -> None:
    # The authors fix 0.005 cd/m^2 at 0 and 100 cd/m^2 at 256; 10000 cd/m^2 comes to about 595 on this fit.
    codes = metrics.pu21(np.array([1e-6, 0.005, 100.0, 1e4, 1e6]))
    assert codes[:2] == pytest.approx([0.0, 0.0], abs=0.01)
    assert codes[2] == pytest.approx(256.0, abs=0.5)
    assert codes[3] == pytest.approx(595.4, abs=0.5)
    assert codes[4] == codes[3]
    assert (np.diff(metrics.pu21(np.geomspace(0.006, 9e3, 500))) > 0).all()


def test_pu21_psnr_by_hand() -> None:
    truth, prediction = np.full((4, 4, 3), 0.1), np.full((4, 4, 3), 0.2)
    step = float(metrics.pu21(np.array(200.0)) - metrics.pu21(np.array(100.0)))
    assert metrics.pu21_psnr(prediction, truth) == pytest.approx(20 * np.log10(256 / step))
