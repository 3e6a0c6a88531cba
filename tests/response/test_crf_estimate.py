"""The camera response estimated from one burst: accuracy, refusals, and robust estimates."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.response import estimate_response, named_response, resolve_response, sample_blocks
from smarthdr_cli.response.crf_acceptance import AcceptanceLimits, fit_and_assess
from smarthdr_cli.response.crf_estimate import agreeing_places
from tests.support.responses import (
    ALL_CURVES,
    CURVES,
    HARD,
    expose,
    make_burst,
    make_frame,
    make_relit_burst,
    make_scene,
    relative_error,
    samples_of,
    srgb,
    true_table,
)

STRICT = AcceptanceLimits(max_pair_error_ev=0.0)  # refuses every burst for a contradiction
SRGB = named_response("srgb").table


def estimate(burst, **options):
    return estimate_response(burst, samples_of(burst), **options)


def with_frame(burst, index, codes):
    """``burst`` with other pixels in one frame."""
    frames = list(burst.frames)
    frames[index] = make_frame(codes, burst.evs[index], index)
    return Burst(tuple(frames), burst.reference)


@pytest.mark.parametrize("conditions", [{}, HARD], ids=["static", "moving, 1 px off, noisy, JPEG 85"])
@pytest.mark.parametrize("name", CURVES)
def test_the_error_is_under_a_quarter_of_that_of_srgb(name, conditions):
    truth = true_table(CURVES[name])
    error_of_srgb = relative_error(SRGB, truth)
    assert error_of_srgb > 0.05, "the curve is too near sRGB to prove anything"
    result = estimate(make_burst(CURVES[name], **conditions))
    assert result.response is not None, result.note
    assert relative_error(result.response.table, truth) < error_of_srgb / 4


def test_srgb_is_estimated_as_srgb():
    assert relative_error(estimate(make_burst(srgb, **HARD)).response.table, SRGB) < 0.03


def test_two_frames_suffice():
    result = estimate(make_burst(CURVES["contrast"], evs=(0, 2)))
    assert relative_error(result.response.table, true_table(CURVES["contrast"])) < 0.19 / 4
    assert not result.record["exposures_checked"]


def test_deep_frames_have_4096_entries():
    result = estimate(make_burst(CURVES["contrast"], bits=16))
    assert result.response.table.shape == (3, 4096)
    assert relative_error(result.response.table, true_table(CURVES["contrast"], 4096)) < 0.03


def test_the_alignment_is_used():
    burst = make_burst(CURVES["contrast"], misalignment=12.0)
    shifts = np.tile(np.eye(3), (3, 1, 1))
    for n in (0, 2):  # a picture shifted by (dx, dy) shows reference pixel (x, y) at (x + dx, y + dy)
        shifts[n, :2, 2] = 12.0 * (-1) ** n, 7.2
    aligned = estimate_response(burst, sample_blocks(burst, Alignment(shifts, (True, False, True))))
    truth = true_table(CURVES["contrast"])
    assert relative_error(aligned.response.table, truth) < 0.03
    unaligned = estimate(burst)
    assert unaligned.response is None or relative_error(unaligned.response.table, truth) > 0.04


def test_neutrals_stay_neutral_and_white_is_one():
    table = estimate(make_burst(CURVES["per channel"])).response.table
    assert (table[:, -1] == 1).all()
    middle = [np.interp(0.5, np.linspace(0, 1, 256), channel) for channel in table]
    assert np.ptp(middle) / np.mean(middle) < 0.01


@pytest.mark.parametrize("stated", [(-2 + 1 / 6, 0, 2), (-2, 0, 2 + 1 / 6), (-2 - 1 / 6, 0, 2 + 1 / 6)])
def test_exposures_a_sixth_of_a_stop_off_are_accepted(stated):
    truth = true_table(CURVES["contrast"])
    result = estimate(make_burst(CURVES["contrast"], stated=stated))
    assert result.response is not None, result.note
    assert relative_error(result.response.table, truth) < relative_error(SRGB, truth) / 2


def test_the_stated_exposures_determine_the_exponent():
    """f and f^p explain the same pixels: with every stated EV times p, the estimate is the truth to the power p."""
    p = 1.25
    result = estimate(make_burst(CURVES["gamma 1.8"], stated=(-2 * p, 0, 2 * p)))
    assert relative_error(result.response.table, true_table(CURVES["gamma 1.8"]) ** p) < 0.03


REFUSED = {
    "equal exposures": ("contrast", {"evs": (0, 0.35)}, "span only 0.35 EV", False),
    "flat picture": ("contrast", {"radiance": np.full((120, 160, 3), 0.18)}, "tonal range", False),
    "nothing in common": ("contrast", {"evs": (-12, 0, 12)}, "well exposed in two frames", False),
    "one wrong exposure": ("contrast", {"stated": (-2, 0, 3)}, "agree|contradict", True),
    "half a stop wrong": ("gamma 1.8", {"stated": (-1.4, 0, 2)}, "agree|contradict", True),
    "all steps halved": ("contrast", {"stated": (-1, 0, 1)}, "imply a gamma of 0.8", True),
    "all steps doubled": ("srgb", {"stated": (-4, 0, 4)}, "imply a gamma of 4", True),
    "everything moves": ("contrast", {"moving_share": 0.99}, "agree|contradict|tonal|well exposed", None),
}


@pytest.mark.parametrize(("curve", "how", "reason", "contradicted"), REFUSED.values(), ids=REFUSED.keys())
def test_a_burst_that_supports_no_curve_is_refused_with_the_reason(curve, how, reason, contradicted):
    result = estimate(make_burst(ALL_CURVES[curve], **how))
    assert result.response is None
    assert re.search(reason, result.note), result.note
    assert contradicted is None or result.contradicted == contradicted


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), low=st.floats(-4, -0.4), high=st.floats(0.4, 4), share=st.floats(0, 0.9))
def test_any_estimate_is_a_curve(seed, low, high, share):
    """Whatever the pixels: a small noisy scene with motion, and exposures that do not fit it."""
    radiance = make_scene(60, 90, seed) * np.random.default_rng(seed).uniform(0.2, 5)
    how = {"moving_share": share, "radiance": radiance, "noise": 0.05}
    result = estimate(make_burst(CURVES["strong contrast"], stated=(low, 0, high), **how), robust=True)
    if result.response is None:
        assert result.note
        return
    table = result.response.table
    assert np.isfinite(table).all()
    assert (np.diff(table, axis=1) >= 0).all()
    assert (table[:, 0] == 0).all()
    assert (table[:, -1] == 1).all()


# Robust estimates


@pytest.mark.parametrize("curve", ["srgb", "contrast", "gamma 1.8", "per channel"])
@pytest.mark.parametrize("stated", [(-1.5, 0, 2), (-2.5, 0, 2), (-2, 0.5, 2), (-2, 0, 1.5), (-2, 0, 3)])
def test_a_misstated_exposure_has_a_note_and_is_never_worse_than_srgb(curve, stated):
    result = estimate(make_burst(ALL_CURVES[curve], stated=stated), robust=True)
    assert "contradict" in result.note or "agree" in result.note
    assert "of the picture" not in result.note  # places are not to blame
    truth = true_table(ALL_CURVES[curve])
    table = SRGB if result.response is None else result.response.table
    assert relative_error(table, truth) <= relative_error(SRGB, truth) + 1e-9


@pytest.mark.parametrize("curve", ["contrast", "per channel"])
def test_a_curve_far_from_srgb_is_estimated_with_the_exposures_shifted(curve):
    result = estimate(make_burst(CURVES[curve], stated=(-1.6, 0, 2)), robust=True)
    assert result.misstated
    assert "freed" in result.note
    truth = true_table(CURVES[curve])
    assert relative_error(result.response.table, truth) < 0.6 * relative_error(SRGB, truth)


@pytest.mark.parametrize("wrong", [0, 2])
def test_a_frame_of_another_scene_is_left_out(wrong):
    curve = CURVES["contrast"]
    burst = with_frame(make_burst(curve), wrong, expose(make_scene(seed=77), (-2, 0, 2)[wrong], curve))
    result = estimate(burst, robust=True)
    assert f"img{wrong}.jpg contradicts the other frames" in result.note
    assert result.record["without"] == result.response.record["without"] == f"img{wrong}.jpg"
    assert not result.misstated
    assert relative_error(result.response.table, true_table(curve)) < 0.03


def test_the_misstated_one_of_four_frames_is_left_out():
    curve = CURVES["contrast"]
    result = estimate(make_burst(curve, evs=(-3, -1, 1, 3), stated=(-3, -1.8, 1, 3)), robust=True)
    assert "img1.jpg contradicts the other frames" in result.note
    assert result.misstated
    assert relative_error(result.response.table, true_table(curve)) < 0.03


def test_a_curve_that_fits_clearly_better_than_srgb_is_kept():
    """Part of the brighter picture has other light: no curve fits all, but sRGB fits far worse."""
    curve = CURVES["strong contrast"]
    burst = make_burst(curve, evs=(0, 2))
    light = np.where(np.arange(burst.size[1]) > 0.6 * burst.size[1], 1.4, 1.0)[None, :, None]
    burst = with_frame(burst, 1, expose(make_scene() * light, 2, curve))
    result = estimate(burst, robust=True, limits=STRICT)
    assert result.response is not None, result.note
    assert "kept" in result.note
    truth = true_table(curve)
    assert relative_error(result.response.table, truth) < relative_error(SRGB, truth) / 2


def test_a_curve_that_fits_no_better_than_srgb_is_not_kept():
    burst = make_burst(srgb, evs=(0, 2), noise=0.02, quality=85)
    assert estimate(burst, robust=True, limits=STRICT).response is None


@pytest.mark.parametrize("curve", ["contrast", "strong contrast", "bright"])
def test_the_curve_is_that_of_the_places_with_constant_light(curve):
    burst = make_relit_burst(CURVES[curve], 0.9)
    assert estimate(burst).contradicted
    result = estimate(burst, robust=True)
    assert "of the picture that contradicts it" in result.note
    assert result.record["places"] < 0.3
    truth = true_table(CURVES[curve])
    assert relative_error(result.response.table, truth) < 0.05
    assert relative_error(result.response.table, truth) < 0.5 * relative_error(SRGB, truth)


@pytest.mark.parametrize(("long_burst", "leaves_out_places"), [(6, True), (5, False)])
def test_places_are_not_left_out_of_a_long_burst(long_burst, leaves_out_places):
    burst = make_relit_burst(CURVES["contrast"], 0.9, (-3, -2, -1, 0, 1, 2))
    limits = {"max_pair_error_ev": 0.1, "max_pair_error_long_ev": 0.1, "max_imbalance_ev": 0.4}
    result = estimate(burst, robust=True, limits=AcceptanceLimits(long_burst=long_burst, **limits))
    assert ("of the picture that contradicts it" in result.note) == leaves_out_places


def test_noise_gives_srgb():
    rng = np.random.default_rng(3)
    frames = [make_frame(rng.integers(20, 230, (120, 160, 3)).astype(np.uint8), ev, ev + 2) for ev in (-2, 0, 2)]
    resolved = resolve_response(Burst(tuple(frames), 1), Alignment.identity(3))
    assert resolved.response.name == "srgb"
    assert resolved.assumed


# Places


def test_all_places_of_a_static_burst_agree():
    burst = make_burst(CURVES["contrast"])
    samples = samples_of(burst)
    fit = fit_and_assess(samples, burst, AcceptanceLimits()).fit
    assert agreeing_places(samples.grid, fit.equations, fit.log_curve).mean() > 0.97


def test_places_with_other_light_are_left_out_and_stay_out():
    burst = make_relit_burst(CURVES["contrast"])
    samples = samples_of(burst)
    columns = (np.arange(samples.grid[1]) + 0.5) / samples.grid[1]
    relit = np.tile(columns < 0.6, samples.grid[0])
    usable = samples.valid.any(axis=2).sum(axis=0) > 1
    of_all = current = fit_and_assess(samples, burst, AcceptanceLimits())
    for _ in range(3):  # blocks without an equation in the current fit are judged all the same
        places = agreeing_places(samples.grid, of_all.fit.equations, current.fit.log_curve)
        assert places[usable & relit].mean() < 0.5
        current = fit_and_assess(samples.mask_blocks(places), burst, AcceptanceLimits())
    assert places[usable & ~relit].mean() > 0.85
    assert places[usable & relit].mean() < 0.25
