import numpy as np
import pytest
from response_bursts import CURVES, frame, make, relative_error, scene, shoot, srgb_encode, true_table

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.response import crf_estimate, estimate_response, named_response, resolve_response
from smarthdr_cli.response.crf_basis import GRID, make_prior
from smarthdr_cli.response.crf_fit import Rows
from smarthdr_cli.response.fallback import fall_back, misfit

STILL = Alignment.identity(3)
SRGB = named_response("srgb").table


def replaced(burst, index, codes):
    """``burst`` with other pixels in one frame."""
    frames = list(burst.frames)
    frames[index] = frame(codes, burst.evs[index], index)
    return Burst(tuple(frames), burst.reference)


@pytest.mark.parametrize("curve", [*CURVES, "sRGB"])
@pytest.mark.parametrize("stated", [(-1.5, 0, 2), (-2.5, 0, 2), (-2, 0.5, 2), (-2, 0, 1.5), (-2, 0, 3)])
def test_a_misstated_exposure_is_said_and_never_makes_it_worse_than_srgb(curve, stated):
    encode = CURVES.get(curve, lambda x, c: srgb_encode(x))
    burst = make(encode, stated=stated)
    resolved = resolve_response(burst, STILL)
    assert resolved.notes
    assert any("contradict" in note or "agree" in note for note in resolved.notes)
    np.testing.assert_array_equal(resolved.burst.evs, burst.evs)
    truth = true_table(encode)
    assert relative_error(resolved.response.table, truth) <= relative_error(SRGB, truth) + 1e-9


@pytest.mark.parametrize("curve", ["contrast", "per channel"])
def test_a_curve_far_from_srgb_is_estimated_with_the_exposures_freed(curve):
    burst = make(CURVES[curve], stated=(-1.6, 0, 2))
    assert estimate_response(burst, STILL).contradicted
    found = fall_back(burst, STILL)
    assert found.misstated
    assert "freed" in found.note
    truth = true_table(CURVES[curve])
    assert relative_error(found.response.table, truth) < 0.6 * relative_error(SRGB, truth)


def test_fix_measures_under_the_curve_that_was_freed():
    burst = make(CURVES["strong contrast"], stated=(-2.0, 0, 3.0))
    resolved = resolve_response(burst, STILL, "auto", "fix")
    steps = np.diff(resolved.burst.evs)
    assert steps[1] / steps[0] == pytest.approx(1.0, abs=0.1)  # the proportion that pixels tell; 1.5 was stated


@pytest.mark.parametrize("bad", [0, 2])
def test_a_frame_of_something_else_is_left_out(bad):
    encode = CURVES["contrast"]
    burst = replaced(make(encode), bad, shoot(scene(seed=77), (-2, 0, 2)[bad], encode))
    resolved = resolve_response(burst, STILL)
    assert f"img{bad}.jpg" in resolved.notes[0]
    assert "without it" in resolved.notes[0]
    assert resolved.response.record["without"] == f"img{bad}.jpg"
    assert not resolved.assumed
    assert relative_error(resolved.response.table, true_table(encode)) < 0.03


def test_of_four_frames_the_misstated_one_is_found():
    encode = CURVES["contrast"]
    burst = make(encode, evs=(-3, -1, 1, 3), stated=(-3, -1.8, 1, 3))
    resolved = resolve_response(burst, Alignment.identity(4))
    assert "img1.jpg contradicts the other frames" in resolved.notes[0]
    assert relative_error(resolved.response.table, true_table(encode)) < 0.03


def test_a_curve_that_explains_clearly_more_than_srgb_is_kept(monkeypatch):
    """Part of the brighter picture lit otherwise: no one curve fits all, but sRGB fits far worse."""
    monkeypatch.setattr(crf_estimate, "MAX_PAIR_ERROR", 0.0)
    encode = CURVES["strong contrast"]
    burst = make(encode, evs=(0, 2))
    lit = np.where(np.arange(burst.size[1]) > 0.6 * burst.size[1], 1.4, 1.0)[None, :, None]
    burst = replaced(burst, 1, shoot(scene() * lit, 2, encode))
    pair = Alignment.identity(2)
    assert estimate_response(burst, pair).contradicted
    found = fall_back(burst, pair)
    assert found.response is not None, found.note
    assert "kept" in found.note
    truth = true_table(encode)
    assert relative_error(found.response.table, truth) < relative_error(SRGB, truth) / 2


def test_a_curve_that_explains_no_more_than_srgb_is_not_kept(monkeypatch):
    monkeypatch.setattr(crf_estimate, "MAX_PAIR_ERROR", 0.0)
    burst = make(lambda x, c: srgb_encode(x), evs=(0, 2), noise=0.02, quality=85)
    assert estimate_response(burst, Alignment.identity(2)).contradicted
    assert fall_back(burst, Alignment.identity(2)).response is None


def test_noise_gives_srgb():
    random = np.random.default_rng(3)
    frames = [frame(random.integers(20, 230, (120, 160, 3)).astype(np.uint8), ev, ev + 2) for ev in (-2, 0, 2)]
    resolved = resolve_response(Burst(tuple(frames), 1), STILL)
    assert resolved.response.name == "srgb"
    assert resolved.assumed


def test_misfit_is_the_mean_residual_in_ev():
    log_srgb = make_prior(1.0, 1.0, 1.0).log_srgb
    low = np.full(500, int(0.4 * GRID))
    high = np.full(500, int(0.6 * GRID))
    step = float(log_srgb[low[0]] - log_srgb[high[0]])
    rows = [
        Rows((0, 1), 0, low, low, high, np.zeros(500), np.zeros(500), step + shift * np.log(2))
        for shift in (0.0, 0.3, 7.0)
    ]
    curves = np.tile(log_srgb, (3, 1))
    assert misfit((rows[0],), curves) == pytest.approx(0.0, abs=1e-12)
    assert misfit((rows[1],), curves) == pytest.approx(0.3)
    assert misfit((rows[2],), curves) == pytest.approx(1.0)  # far ones count as one stop
    assert misfit(tuple(rows[:2]), curves) == pytest.approx(0.15)
    dark = Rows((0, 1), 0, low, low * 0 + 10, low * 0 + 20, low * 0.0, low * 0.0, 0.0)
    assert np.isnan(misfit((dark,), curves))
