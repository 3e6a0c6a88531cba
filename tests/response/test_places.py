"""Places that agree on a curve, in bursts much of which is lit otherwise in every frame."""

import numpy as np
import pytest
from response_bursts import CURVES, frame, make, relative_error, scene, shoot, true_table

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.response import estimate_response, named_response, resolve_response
from smarthdr_cli.response.crf_estimate import explain
from smarthdr_cli.response.fallback import fall_back
from smarthdr_cli.response.places import agreeing_places, only
from smarthdr_cli.response.samples import draw

STILL = Alignment.identity(3)
EVS = (-2, 0, 2)
WIDTH = 450


def lit_otherwise(encode, share=0.6):
    """Three frames whose left part is lit otherwise in each, from strip to strip by up to 1.5 EV: moving shadows."""
    frames = []
    for n, ev in enumerate(EVS):
        light = np.zeros(WIDTH)
        strips = np.repeat(np.random.default_rng(n).uniform(0.0, 1.5, 30), WIDTH // 30)
        light[: int(share * WIDTH)] = strips[: int(share * WIDTH)]
        radiance = scene(width=WIDTH) * np.exp2(light)[None, :, None]
        frames.append(frame(shoot(radiance, ev, encode, seed=n), ev, n))
    return Burst(tuple(frames), 1)


def left_of(samples, share=0.6):
    """(M,) which blocks of ``samples`` lie in the part that changes."""
    columns = (np.arange(samples.grid[1]) + 0.5) / samples.grid[1]
    return np.tile(columns < share, samples.grid[0])


def test_the_grid_has_as_many_blocks_as_there_are_samples():
    samples = draw(make(CURVES["contrast"]), STILL)
    assert samples.grid[0] * samples.grid[1] == samples.code.shape[1]


def test_all_places_of_a_still_burst_agree():
    burst = make(CURVES["contrast"])
    samples = draw(burst, STILL)
    fit = explain(samples, burst).fit
    assert agreeing_places(samples.grid, fit.rows, fit.log_curve).mean() > 0.97


def test_places_that_change_are_told_from_those_that_do_not():
    burst = lit_otherwise(CURVES["contrast"])
    samples = draw(burst, STILL)
    whole = found = explain(samples, burst)
    for _ in range(3):
        places = agreeing_places(samples.grid, whole.fit.rows, found.fit.log_curve)
        found = explain(only(samples, places), burst)
    changes = left_of(samples)
    told = samples.good.any(axis=2).sum(axis=0) > 1
    assert places[told & ~changes].mean() > 0.85
    assert places[told & changes].mean() < 0.25


def test_what_was_left_out_is_asked_again_under_the_new_curve():
    burst = lit_otherwise(CURVES["contrast"])
    samples = draw(burst, STILL)
    whole = explain(samples, burst)
    first = agreeing_places(samples.grid, whole.fit.rows, whole.fit.log_curve)
    again = explain(only(samples, first), burst)
    second = agreeing_places(samples.grid, whole.fit.rows, again.fit.log_curve)
    told = samples.good.any(axis=2).sum(axis=0) > 1
    dropped = told & ~first & left_of(samples)
    assert dropped.sum() > 1000
    assert second[dropped].mean() < 0.2  # having no equation in the second fit is no agreement


def test_only_keeps_what_is_good_in_its_places():
    samples = draw(make(CURVES["contrast"]), STILL)
    places = np.arange(samples.code.shape[1]) % 3 == 0
    left = only(samples, places)
    np.testing.assert_array_equal(left.good[:, places], samples.good[:, places])
    assert not left.good[:, ~places].any()


@pytest.mark.parametrize("curve", ["contrast", "strong contrast", "bright"])
def test_the_curve_is_that_of_what_stays_as_it_is(curve):
    burst = lit_otherwise(CURVES[curve], 0.9)
    assert estimate_response(burst, STILL).contradicted
    resolved = resolve_response(burst, STILL)
    assert not resolved.assumed
    assert "of the picture that contradicts it" in resolved.notes[0]
    truth = true_table(CURVES[curve])
    assert relative_error(resolved.response.table, truth) < 0.05
    assert relative_error(resolved.response.table, truth) < 0.5 * relative_error(named_response("srgb").table, truth)


def test_misstated_exposures_are_not_explained_away_by_leaving_out_places():
    for stated in ((-1.5, 0, 2), (-2, 0, 3), (-2, 0.5, 2)):
        found = fall_back(make(CURVES["strong contrast"], stated=stated), STILL)
        assert "of the picture" not in found.note


def test_a_stack_in_which_every_place_contradicts_some_pair_is_not_cut_to_pieces():
    evs = (-3, -2, -1, 0, 1, 2)
    frames = [
        frame(shoot(scene(seed=0 if n % 2 else 90), ev, CURVES["contrast"], seed=n), ev, n) for n, ev in enumerate(evs)
    ]
    found = fall_back(Burst(tuple(frames), 3), Alignment.identity(len(evs)))
    assert "of the picture" not in found.note
