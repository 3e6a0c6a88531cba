"""Running, judging and drawing a contest."""

import numpy as np
import pytest

from smarthdr_cli.evaluate import comparison, protocol, sheet
from smarthdr_cli.evaluate.comparison import Result


@pytest.fixture
def truth() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.02, 0.19, (60, 80, 3)).astype(np.float32)


def test_only_the_chosen_run_and_each_once(truth: np.ndarray) -> None:
    calls: list[str] = []

    def method(name: str) -> Result:
        calls.append(name)
        return Result(truth)

    results = comparison.run({"a": lambda: method("a"), "b": lambda: method("b"), "c": lambda: method("c")}, ["c", "a"])
    assert list(results) == ["a", "c"] == calls
    assert all(result.seconds > 0 for result in results.values())


def test_the_pool_judges_what_it_was_given() -> None:
    pool = comparison.Pool()
    assert pool.verdict() is None
    sigma = np.random.default_rng(1).uniform(0.01, 0.1, (300, 400))
    pool.add(sigma * 0.9, sigma)
    pool.add(sigma * 1.5, sigma)
    found = pool.verdict()
    assert found is not None
    assert found[1].within_one == pytest.approx(np.full(10, 0.5), abs=0.03)
    assert (found[1].within_two == 1).all()
    assert 0 < found[0].ause < found[0].ause_random
    assert "AUSE" in comparison.judge_text(found)
    assert comparison.judge_text(found).count("\n") == 6


def test_the_pool_leaves_out_what_is_not_known() -> None:
    rng = np.random.default_rng(1)
    sigma, error = rng.uniform(0.01, 0.1, (100, 110)), rng.uniform(0, 0.1, (100, 110))
    known = rng.random((100, 110)) < 0.7
    step = comparison.POOL_STEP
    pool, by_hand = comparison.Pool(), comparison.Pool()
    pool.add(error, sigma, known)
    by_hand.errors.append(error[::step, ::step][known[::step, ::step]])
    by_hand.sigmas.append(sigma[::step, ::step][known[::step, ::step]])
    one, other = pool.verdict(), by_hand.verdict()
    assert one is not None
    assert other is not None
    assert one[0].ause == other[0].ause
    assert pool.errors[0].size < error[::step, ::step].size


@pytest.mark.parametrize(("error", "known"), [(0.1, False), (0.0, True)], ids=["nothing known", "no error"])
def test_a_pool_with_nothing_to_judge(error: float, known: bool) -> None:
    pool = comparison.Pool()
    pool.add(np.full((90, 90), error), np.full((90, 90), 0.1), np.full((90, 90), known))
    assert pool.verdict() is None


def test_the_table_states_gain_and_share_closed() -> None:
    keys = ("psnr_mu", "psnr_l", "psnr_mu_moving", "psnr_l_moving", "pu21", "ssim_mu")
    means = {name: dict.fromkeys(keys, value) for name, value in (("floor", 30.0), ("mine", 36.0), ("roof", 40.0))}
    names = {"floor": "reference", "mine": "**ours**", "roof": "oracle"}
    seconds = dict.fromkeys(means, 1.5)
    row = comparison.table(names, means, seconds, "floor", "roof").splitlines()[3]
    assert row == ("| **ours** | 36.00 | 36.00 | 36.00 | 36.00 | 36.00 | 36.0000 | +6.00 | 60 % | 60 % | 1.50 |")
    del means["roof"]
    assert "| +6.00 | – | – |" in comparison.table(names, means, seconds, "floor", "roof")


def test_the_error_map_is_in_the_mu_law_domain() -> None:
    one, other = np.full((2, 3, 3), 0.1), np.full((2, 3, 3), 0.1)
    other[..., 0] = 0.2
    step = (np.log(1001) - np.log(501)) / np.log(5001)
    assert comparison.error_map(one, other) == pytest.approx(np.full((2, 3), step / 3), rel=1e-5)


@pytest.mark.parametrize("moves", [True, False])
def test_pictures_show_the_busiest_place(truth: np.ndarray, moves: bool) -> None:
    moving = np.zeros(truth.shape[:2], bool)
    moving[40:56, 60:76] = moves
    wrong = truth.copy()
    wrong[40:56, 60:76] *= 4
    results = {"good": Result(truth), "bad": Result(wrong, np.full(truth.shape[:2], 0.05, np.float32))}
    scores = {n: protocol.score(r.radiance, truth, reference_time=4.0, moving=moving) for n, r in results.items()}
    picture = comparison.pictures(results, truth, scores, reference_time=4.0, moving=moving, size=16)
    cells = [16, 32, 32, 16]  # truth, two methods with their errors, one sigma
    assert picture.shape == (16 + sheet.LABEL_HEIGHT, sum(cells) + 3 * sheet.GAP, 3)
    body = picture[sheet.LABEL_HEIGHT :]
    assert (body[:, :16] == body[:, 20:36]).all()  # the good method equals the truth
    assert (body[:, 36:52] == sheet.heat(np.zeros((16, 16)), 1.0)).all()
    assert body[:, 72:88].mean() > body[:, 36:52].mean()
