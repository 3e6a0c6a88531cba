import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from response_bursts import CURVES, make, relative_error, scene, srgb_encode, true_table

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import CaptureMetadata
from smarthdr_cli.errors import InputError
from smarthdr_cli.radiometry import srgb_to_linear
from smarthdr_cli.response import calibrate, estimate_response, named_response
from smarthdr_cli.response.crf_basis import GRID, make_prior

STILL = Alignment.identity(3)
HARD = {"share": 0.2, "residue": 1.0, "noise": 0.02, "quality": 85}


@pytest.mark.parametrize("conditions", [{}, HARD], ids=["still", "moving, 1 px off, noisy, JPEG 85"])
@pytest.mark.parametrize("name", CURVES)
def test_under_a_quarter_of_the_error_of_srgb(name, conditions):
    burst = make(CURVES[name], **conditions)
    truth = true_table(CURVES[name])
    plain = relative_error(named_response("srgb").table, truth)
    assert plain > 0.05, "the curve is too near sRGB to prove anything"
    found = estimate_response(burst, STILL)
    assert found.response is not None, found.reason
    assert relative_error(found.response.table, truth) < plain / 4


def test_srgb_stays_srgb():
    found = estimate_response(make(lambda x, c: srgb_encode(x), **HARD), STILL)
    assert found.response is not None
    assert relative_error(found.response.table, named_response("srgb").table) < 0.03


def test_two_frames_suffice():
    burst = make(CURVES["contrast"], evs=(0, 2))
    found = estimate_response(burst, Alignment.identity(2))
    assert relative_error(found.response.table, true_table(CURVES["contrast"])) < 0.19 / 4
    assert not found.record["exposures_checked"]  # two exposures have no proportion that pixels could contradict


def test_sixteen_bits():
    burst = make(CURVES["contrast"], bits=16)
    found = estimate_response(burst, STILL)
    assert found.response.table.shape == (3, 4096)
    truth = true_table(CURVES["contrast"], 4096)
    assert relative_error(found.response.table, truth) < 0.03


def test_the_alignment_is_followed():
    moved = make(CURVES["contrast"], residue=12.0)
    shifts = np.tile(np.eye(3), (3, 1, 1))
    for n in (0, 2):  # a picture shifted by (dx, dy) shows reference pixel (x, y) at (x + dx, y + dy)
        shifts[n, :2, 2] = 12.0 * (-1) ** n, 7.2
    truth = true_table(CURVES["contrast"])
    found = estimate_response(moved, Alignment(shifts, (True, False, True)))
    assert relative_error(found.response.table, truth) < 0.03
    astray = estimate_response(moved, STILL)
    assert astray.response is None or relative_error(astray.response.table, truth) > 0.04


def test_neutrals_stay_neutral_and_white_is_one():
    table = estimate_response(make(CURVES["per channel"]), STILL).response.table
    assert (table[:, -1] == 1).all()
    middle = [np.interp(0.5, np.linspace(0, 1, 256), channel) for channel in table]
    assert np.ptp(middle) / np.mean(middle) < 0.01


def test_ratios_a_sixth_of_a_stop_off_bend_the_curve_but_do_not_break_it():
    truth = true_table(CURVES["contrast"])
    plain = relative_error(named_response("srgb").table, truth)
    for stated in ((-2 + 1 / 6, 0, 2), (-2, 0, 2 + 1 / 6), (-2 - 1 / 6, 0, 2 + 1 / 6)):
        found = estimate_response(make(CURVES["contrast"], stated=stated), STILL)
        assert found.response is not None, found.reason
        assert relative_error(found.response.table, truth) < plain / 2


def test_the_stated_ratios_carry_the_exponent():
    """f and f**p explain the same pixels: with every stated EV times p, the estimate is the truth to the power p."""
    p = 1.25
    found = estimate_response(make(CURVES["gamma 1.8"], stated=(-2 * p, 0, 2 * p)), STILL)
    assert relative_error(found.response.table, true_table(CURVES["gamma 1.8"]) ** p) < 0.03


REFUSED = {
    "equal exposures": (lambda: make(CURVES["contrast"], evs=(0, 0.35)), "span only 0.35 EV"),
    "flat picture": (lambda: make(CURVES["contrast"], radiance=np.full((120, 160, 3), 0.18)), "tonal range"),
    "nothing in common": (lambda: make(CURVES["contrast"], evs=(-12, 0, 12)), "well exposed in two frames"),
    "one wrong exposure": (lambda: make(CURVES["contrast"], stated=(-2, 0, 3)), "agree|contradict"),
    "half a stop wrong": (lambda: make(CURVES["gamma 1.8"], stated=(-1.4, 0, 2)), "agree|contradict"),
    "all steps halved": (lambda: make(CURVES["contrast"], stated=(-1, 0, 1)), "imply a gamma of 0.8"),
    "all steps doubled": (lambda: make(lambda x, c: srgb_encode(x), stated=(-4, 0, 4)), "imply a gamma of 4"),
    "all moves": (
        lambda: make(CURVES["contrast"], share=0.99),
        "agree|contradict|tonal|well exposed",
    ),
}


@pytest.mark.parametrize(("burst", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_support_a_curve_is_refused_with_the_reason(burst, says):
    made = burst()
    found = estimate_response(made, Alignment.identity(len(made)))
    assert found.response is None
    assert re.search(says, found.reason), found.reason
    with pytest.raises(InputError, match="no camera curve can be calibrated"):
        calibrate(made, Alignment.identity(len(made)))


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), low=st.floats(-4, -0.4), high=st.floats(0.4, 4), share=st.floats(0, 0.9))
def test_any_curve_given_is_monotone(seed, low, high, share):
    """Whatever the pixels: noise for a scene, any steps, a burst that does not fit what is stated."""
    random = np.random.default_rng(seed)
    radiance = scene(60, 90, seed) * random.uniform(0.2, 5)
    burst = make(CURVES["strong contrast"], (-2, 0, 2), (low, 0, high), share, radiance=radiance, noise=0.05)
    found = estimate_response(burst, STILL)
    if found.response is None:
        assert found.reason
        return
    table = found.response.table
    assert np.isfinite(table).all()
    assert (np.diff(table, axis=1) >= 0).all()
    assert (table[:, 0] == 0).all()
    assert (table[:, -1] == 1).all()


def test_calibration_from_many_frames_records_the_camera():
    capture = CaptureMetadata(make="Acme", model="Z1", datetime="2026:01:02 03:04:05")
    burst = make(CURVES["contrast"], evs=tuple(np.arange(-4, 5, 1.0)), radiance=scene(200, 300), capture=capture)
    response = calibrate(burst, Alignment.identity(9))
    assert {key: response.record[key] for key in ("make", "model", "date", "frames")} == {
        "make": "Acme",
        "model": "Z1",
        "date": "2026:01:02 03:04:05",
        "frames": 9,
    }
    assert relative_error(response.table, true_table(CURVES["contrast"])) < 0.02


def test_the_basis_is_a_partition_of_unity_and_matches_scipy():
    from scipy.interpolate import BSpline

    from smarthdr_cli.response.crf_basis import INTERVALS, WARP

    prior = make_prior(0.05, 1.0, 0.1)
    np.testing.assert_allclose(prior.basis.sum(1), 1.0, atol=1e-12)
    s = np.log1p(WARP * np.linspace(0, 1, GRID + 1)) / np.log1p(WARP)
    knots = np.arange(-3, INTERVALS + 4) / INTERVALS
    oracle = BSpline.design_matrix(s, knots, 3).toarray()
    np.testing.assert_allclose(prior.basis, oracle, atol=1e-12)
    np.testing.assert_allclose(prior.log_srgb[GRID // 2], np.log(srgb_to_linear(np.array(0.5))), atol=1e-12)
