"""Running methods, pooling their errors, drawing a row."""

import numpy as np
import pytest

from smarthdr_cli.evaluate import comparison, figures, protocol
from smarthdr_cli.evaluate.comparison import MethodResult, UncertaintyPool

pytestmark = pytest.mark.unit


@pytest.fixture
def truth() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.02, 0.19, (60, 80, 3)).astype(np.float32)


def test_only_the_chosen_methods_run_each_once_and_timed(truth: np.ndarray) -> None:
    calls: list[str] = []

    def method(name: str) -> MethodResult:
        calls.append(name)
        return MethodResult(truth)

    results = comparison.run_methods(
        {"a": lambda: method("a"), "b": lambda: method("b"), "c": lambda: method("c")}, ["c", "a"]
    )
    assert list(results) == ["a", "c"] == calls
    assert all(result.seconds > 0 for result in results.values())


def test_the_pool_has_sparsification_and_coverage() -> None:
    pool = UncertaintyPool()
    assert pool.metrics() is None
    sigma = np.random.default_rng(1).uniform(0.01, 0.1, (300, 400))
    pool.add(sigma * 0.9, sigma)
    pool.add(sigma * 1.5, sigma)
    metrics = pool.metrics()
    assert metrics is not None
    curve, deciles = metrics
    assert deciles.within_one == pytest.approx(np.full(10, 0.5), abs=0.03)
    assert (deciles.within_two == 1).all()
    assert 0 < curve.ause < curve.ause_random


def test_the_pool_leaves_out_unknown_pixels() -> None:
    rng = np.random.default_rng(1)
    sigma, error = rng.uniform(0.01, 0.1, (100, 110)), rng.uniform(0, 0.1, (100, 110))
    known = rng.random((100, 110)) < 0.7
    step = comparison.POOL_STEP_PX
    pool, by_hand = UncertaintyPool(), UncertaintyPool()
    pool.add(error, sigma, known)
    by_hand.errors.append(error[::step, ::step][known[::step, ::step]])
    by_hand.sigmas.append(sigma[::step, ::step][known[::step, ::step]])
    metrics, expected = pool.metrics(), by_hand.metrics()
    assert metrics is not None
    assert expected is not None
    assert metrics[0].ause == expected[0].ause
    assert pool.errors[0].size < error[::step, ::step].size


@pytest.mark.parametrize(("error", "known"), [(0.1, False), (0.0, True)], ids=["no known pixels", "no error"])
def test_a_pool_without_known_pixels_or_errors_has_no_metrics(error: float, known: bool) -> None:
    pool = UncertaintyPool()
    pool.add(np.full((90, 90), error), np.full((90, 90), 0.1), np.full((90, 90), known))
    assert pool.metrics() is None


def test_the_error_map_is_in_the_mu_law_domain() -> None:
    first, second = np.full((2, 3, 3), 0.1), np.full((2, 3, 3), 0.1)
    second[..., 0] = 0.2
    step = (np.log(1001) - np.log(501)) / np.log(5001)
    assert comparison.error_map(first, second) == pytest.approx(np.full((2, 3), step / 3), rel=1e-5)


@pytest.mark.parametrize("moves", [True, False])
def test_a_row_shows_the_crop_with_most_motion_or_error(truth: np.ndarray, moves: bool) -> None:
    moving = np.zeros(truth.shape[:2], bool)
    moving[40:56, 60:76] = moves
    wrong = truth.copy()
    wrong[40:56, 60:76] *= 4
    results = {"good": MethodResult(truth), "bad": MethodResult(wrong, np.full(truth.shape[:2], 0.05, np.float32))}
    scores = {n: protocol.score(r.radiance, truth, reference_time=4.0, moving=moving) for n, r in results.items()}
    image = comparison.comparison_row(results, truth, scores, reference_time=4.0, moving=moving, size=16)
    cells = [16, 32, 32, 16]  # truth, two methods with their errors, one sigma
    assert image.shape == (16 + figures.LABEL_HEIGHT, sum(cells) + 3 * figures.GAP, 3)
    body = image[figures.LABEL_HEIGHT :]
    assert (body[:, :16] == body[:, 20:36]).all()  # the exact method equals the truth
    assert (body[:, 36:52] == figures.heatmap(np.zeros((16, 16)), 1.0)).all()
    assert body[:, 72:88].mean() > body[:, 36:52].mean()
