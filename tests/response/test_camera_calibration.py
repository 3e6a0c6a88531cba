"""The response of a camera from one burst and from many."""

import gc
import weakref

import numpy as np
import pytest

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import CaptureMetadata
from smarthdr_cli.errors import InputError
from smarthdr_cli.response import CameraCalibrator, calibrate
from smarthdr_cli.response.camera_calibration import MAX_EQUATIONS
from tests.support.responses import CURVES, make_burst, make_scene, relative_error, true_table

TRIPOD = Alignment.identity(3)
NOISY = {"noise": 0.03, "quality": 80, "moving_share": 0.15}


def bursts(curve, count, **how):
    return [make_burst(CURVES[curve], radiance=make_scene(120, 180, seed=10 + n), **how) for n in range(count)]


def test_a_calibration_from_one_burst_records_the_camera():
    capture = CaptureMetadata(make="Acme", model="Z1", datetime="2026:01:02 03:04:05")
    evs = tuple(np.arange(-4, 5, 1.0))
    burst = make_burst(CURVES["contrast"], evs=evs, radiance=make_scene(200, 300), capture=capture)
    response = calibrate(burst, Alignment.identity(9))
    camera = {"make": "Acme", "model": "Z1", "date": "2026:01:02 03:04:05", "frames": 9}
    assert camera.items() <= response.record.items()
    assert relative_error(response.table, true_table(CURVES["contrast"])) < 0.02


def test_a_burst_that_contradicts_itself_gives_no_calibration():
    with pytest.raises(InputError, match=r"can be calibrated from these frames: .* contradict"):
        calibrate(make_burst(CURVES["contrast"], stated=(-1.5, 0, 2)), TRIPOD)


def test_many_bursts_give_a_better_curve_than_one():
    truth = true_table(CURVES["contrast"])
    calibrator = CameraCalibrator()
    errors = []
    for burst in bursts("contrast", 6, **NOISY):
        errors.append(relative_error(calibrate(burst, TRIPOD).table, truth))
        assert calibrator.add(burst, TRIPOD)
    estimate = calibrator.estimate()
    assert relative_error(estimate.response.table, truth) < np.median(errors)
    assert (estimate.record["sets"], estimate.record["frames"]) == (6, 18)
    assert estimate.record["equations"] <= MAX_EQUATIONS


def test_a_single_burst_gives_its_own_curve():
    (burst,) = bursts("filmic shoulder", 1)
    calibrator = CameraCalibrator()
    calibrator.add(burst, TRIPOD)
    np.testing.assert_allclose(calibrator.estimate().response.table, calibrate(burst, TRIPOD).table, atol=2e-3)


def test_bursts_without_a_curve_are_refused():
    calibrator = CameraCalibrator()
    narrow = make_burst(CURVES["contrast"], evs=(-0.2, 0, 0.2), radiance=make_scene(120, 180))
    wrong = make_burst(CURVES["contrast"], stated=(-2, 0, 4), radiance=make_scene(120, 180))
    assert not calibrator.add(narrow, TRIPOD)
    assert not calibrator.add(wrong, TRIPOD)
    assert len(calibrator) == 0
    estimate = calibrator.estimate()
    assert estimate.response is None
    assert "span less than 0.6 EV" in estimate.note
    (good,) = bursts("contrast", 1)
    assert calibrator.add(good, TRIPOD)
    estimate = calibrator.estimate()
    assert estimate.record["sets_refused"] == 2
    assert relative_error(estimate.response.table, true_table(CURVES["contrast"])) < 0.03


def test_bursts_of_two_cameras_agree_on_no_curve():
    calibrator = CameraCalibrator()
    for curve in ("gamma 1.8", "strong contrast"):
        for burst in bursts(curve, 2, noise=0.002):
            assert calibrator.add(burst, TRIPOD)
    estimate = calibrator.estimate()
    assert estimate.response is None or estimate.record["agreeing"] < 0.9


def test_no_pixels_are_kept_but_their_depth():
    (burst,) = bursts("contrast", 1, bits=16)
    codes = [weakref.ref(frame.codes) for frame in burst.frames]
    calibrator = CameraCalibrator()
    calibrator.add(burst, TRIPOD)
    del burst
    gc.collect()
    assert all(reference() is None for reference in codes)
    assert calibrator.estimate().response.table.shape == (3, 4096)
