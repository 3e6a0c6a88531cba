"""One curve from many bursts: nearer to the truth than from one, and refused where none tells of it."""

import numpy as np
from response_bursts import CURVES, make, relative_error, scene, true_table

from smarthdr_cli.align import Alignment
from smarthdr_cli.response import estimate_response
from smarthdr_cli.response.camera_calibration import MAX_EQUATIONS, Shoot

STILL = Alignment.identity(3)
NOISY = {"noise": 0.03, "quality": 80, "share": 0.15}


def bursts(curve, count, **how):
    return [make(curve, radiance=scene(120, 180, seed=10 + n), **how) for n in range(count)]


def test_the_curve_of_a_shoot_is_nearer_than_that_of_its_bursts():
    truth = true_table(CURVES["contrast"])
    own, shoot = [], Shoot()
    for burst in bursts(CURVES["contrast"], 6, **NOISY):
        own.append(relative_error(estimate_response(burst, STILL).response.table, truth))
        assert shoot.add(burst, STILL)
    found = shoot.estimate()
    assert relative_error(found.response.table, truth) < np.median(own)
    assert (found.record["sets"], found.record["frames"]) == (6, 18)
    assert found.record["equations"] <= MAX_EQUATIONS


def test_one_burst_gives_its_own_curve():
    (burst,) = bursts(CURVES["filmic shoulder"], 1)
    shoot = Shoot()
    shoot.add(burst, STILL)
    alone = estimate_response(burst, STILL).response.table
    np.testing.assert_allclose(shoot.estimate().response.table, alone, atol=2e-3)


def test_bursts_that_tell_nothing_are_left_out():
    shoot = Shoot()
    narrow = make(CURVES["contrast"], evs=(-0.2, 0, 0.2), radiance=scene(120, 180))
    wrong = make(CURVES["contrast"], stated=(-2, 0, 4), radiance=scene(120, 180))
    assert not shoot.add(narrow, STILL)
    assert not shoot.add(wrong, STILL)
    assert len(shoot) == 0
    refused = shoot.estimate()
    assert refused.response is None
    assert "span less than 0.6 EV" in refused.reason
    (good,) = bursts(CURVES["contrast"], 1)
    assert shoot.add(good, STILL)
    found = shoot.estimate()
    assert found.record["sets_refused"] == 2
    assert relative_error(found.response.table, true_table(CURVES["contrast"])) < 0.03


def test_bursts_of_two_cameras_agree_on_no_curve():
    shoot = Shoot()
    for curve in ("gamma 1.8", "strong contrast"):
        for burst in bursts(CURVES[curve], 2, noise=0.002):
            assert shoot.add(burst, STILL)
    found = shoot.estimate()
    assert found.response is None or found.record["agreeing"] < 0.9


def test_it_keeps_no_pixels():
    shoot = Shoot()
    (burst,) = bursts(CURVES["contrast"], 1, bits=16)
    shoot.add(burst, STILL)
    assert all(frame.codes.size == 0 for _, kept in shoot._parts for frame in kept.frames)
    assert shoot.estimate().response.table.shape == (3, 4096)
