"""Metrics against scikit-image and SciPy, values by hand, and the fixed points of PU21."""

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from smarthdr_cli.errors import UsageError
from smarthdr_cli.evaluate import metrics
from smarthdr_cli.radiometry import mu_law

pytestmark = pytest.mark.unit


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
    mu_law_pair = [np.log(1 + 5000 * x.astype(np.float64)) / np.log(5001) for x in pair]
    assert metrics.psnr_mu(*pair) == pytest.approx(
        peak_signal_noise_ratio(mu_law_pair[1], mu_law_pair[0], data_range=1.0)
    )


def test_mu_law_fixes_zero_and_one_and_takes_negatives_as_zero() -> None:
    assert mu_law(np.array([-0.5, 0.0, 1.0])) == pytest.approx([0.0, 0.0, 1.0])


def test_psnr_under_a_mask_is_of_its_pixels() -> None:
    truth = np.zeros((6, 6, 3))
    prediction = truth.copy()
    prediction[:3] = 0.1
    mask = np.zeros((6, 6), bool)
    mask[:3] = True
    assert metrics.psnr_l(prediction, truth, mask) == pytest.approx(20.0)
    assert metrics.psnr_l(prediction, truth, ~mask) == np.inf
    assert np.isnan(metrics.psnr_l(prediction, truth, np.zeros((6, 6), bool)))


def test_different_shapes_raise() -> None:
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


def test_ssim_mu_is_ssim_in_the_mu_law_domain(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert metrics.ssim_mu(*pair) == metrics.ssim(mu_law(pair[0]), mu_law(pair[1]))
    assert metrics.ssim_mu(pair[1], pair[1]) == pytest.approx(1.0)


def test_ssim_of_an_image_below_its_window_raises() -> None:
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


def test_the_bootstrap_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(3).lognormal(1.0, 0.5, 40)
    scipys = scipy.stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1)
    assert metrics.bootstrap_interval(values.tolist()) == pytest.approx(tuple(scipys.confidence_interval), rel=0.01)


def test_the_bootstrap_interval_covers_the_true_mean_at_its_level() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(150):
        low, high = metrics.bootstrap_interval(rng.normal(30, 4, 60).tolist(), level=0.8)
        covered.append(low < 30 < high)
    assert 0.7 < np.mean(covered) < 0.9


def test_the_bootstrap_interval_depends_on_the_seed_and_ignores_nans() -> None:
    values = [30.0, 31.37, 35.21, 28.13, 33.71, 29.53, 40.19]
    first = metrics.bootstrap_interval(values)
    assert first == metrics.bootstrap_interval([*values, float("nan")])
    assert first != metrics.bootstrap_interval(values, seed=1)
    assert first[0] < np.mean(values) < first[1]
    assert metrics.bootstrap_interval([5.0, 5.0]) == (5.0, 5.0)


@pytest.mark.parametrize("values", [[], [30.0], [30.0, float("nan")]])
def test_fewer_than_two_scenes_have_no_interval(values: list[float]) -> None:
    assert np.isnan(metrics.bootstrap_interval(values)).all()


def test_without_cvvdp_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycvvdp", None)
    for call in (metrics.require_cvvdp, lambda: metrics.load_cvvdp("cpu")):
        with pytest.raises(UsageError, match="pip install cvvdp"):
            call()


def test_cvvdp_gets_absolute_luminance_on_a_linear_display(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    class Metric:
        def __init__(self, **options: Any) -> None:
            given.update(options)

        def predict(self, test: Any, reference: Any, dim_order: str) -> tuple[Any, None]:
            assert dim_order == "HWC"
            assert test.dtype == reference.dtype == np.float32
            return np.float32(10 - np.abs(test - reference).max() / 100), None

    package = ModuleType("pycvvdp")
    package.__spec__ = sys.__spec__
    package.vvdp_display_photo_eotf = lambda peak, **options: (peak, options)  # type: ignore[attr-defined]
    package.cvvdp = Metric  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycvvdp", package)
    metrics.require_cvvdp()
    jod = metrics.load_cvvdp("cpu")
    peak, options = given["display_photometry"]
    assert peak == 1000
    assert options["EOTF"] == "linear"
    assert options["source_colorspace"] == "BT.709"
    assert str(given["device"]) == "cpu"
    truth = np.full((8, 9, 3), 0.5)
    assert jod(truth, truth) == 10
    assert jod(truth + 0.2, truth) == pytest.approx(8.0)
