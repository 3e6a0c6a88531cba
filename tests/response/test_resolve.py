from dataclasses import replace

import numpy as np
import pytest
from response_bursts import CURVES, frame, make, relative_error, scene, srgb_encode, true_table

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.errors import InputError, UsageError
from smarthdr_cli.response import calibrate, named_response, resolve_response, save_response

STILL = Alignment.identity(3)


def srgb(x, channel):
    return srgb_encode(x)


def test_auto_estimates_under_stated_exposures():
    resolved = resolve_response(make(CURVES["contrast"]), STILL)
    assert resolved.response.name == "auto"
    assert resolved.notes == ()
    assert not resolved.assumed
    assert relative_error(resolved.response.table, true_table(CURVES["contrast"])) < 0.03


@pytest.mark.parametrize("name", ["srgb", "gamma2.2", "linear"])
def test_a_forced_curve_is_taken_and_the_exposures_checked_under_it(name):
    resolved = resolve_response(make(srgb), STILL, name)
    assert resolved.response.name == name
    np.testing.assert_array_equal(resolved.response.table, named_response(name).table)
    assert any("EV stated" in note for note in resolved.notes) == (name == "linear")


def test_a_calibration_file_serves_another_burst_and_depth(tmp_path):
    response = calibrate(make(CURVES["contrast"]), STILL)
    save_response(response, tmp_path / "camera.toml")
    other = make(CURVES["contrast"], stated=(-2, 0, 3), radiance=scene(seed=9), bits=16)
    resolved = resolve_response(other, STILL, str(tmp_path / "camera.toml"), "fix")
    assert resolved.response.name == "camera.toml"
    assert resolved.response.table.shape == (3, 4096)
    assert relative_error(resolved.response.table, true_table(CURVES["contrast"], 4096)) < 0.03
    np.testing.assert_allclose(resolved.burst.evs, (-2, 0, 2), atol=0.1)


def test_neither_curve_nor_exposures_known():
    burst = make(srgb, stated=(-1, 0, 1), source="none")
    resolved = resolve_response(burst, STILL)
    assert resolved.response.name == "srgb"
    assert resolved.assumed
    assert "sRGB assumed" in resolved.notes[0]
    np.testing.assert_allclose(resolved.burst.evs, (-2, 0, 2), atol=0.05)


def test_unknown_exposures_under_a_forced_curve_are_measured():
    resolved = resolve_response(make(srgb, stated=(-1, 0, 1), source="none"), STILL, "srgb", "off")
    assert not resolved.assumed
    np.testing.assert_allclose(resolved.burst.evs, (-2, 0, 2), atol=0.05)


def test_a_refusal_falls_back_to_srgb_aloud_and_fix_measures():
    burst = make(srgb, stated=(-2, 0, 3.5))
    resolved = resolve_response(burst, STILL, "auto", "warn")
    assert resolved.response.name == "srgb"
    assert resolved.assumed
    assert "no camera curve could be estimated, sRGB assumed" in resolved.notes[0]
    np.testing.assert_array_equal(resolved.burst.evs, burst.evs)
    resolved = resolve_response(burst, STILL, "auto", "fix")
    np.testing.assert_allclose(resolved.burst.evs, (-2, 0, 2), atol=0.05)


def test_a_burst_too_narrow_is_not_called_contradictory():
    resolved = resolve_response(make(CURVES["contrast"], evs=(0, 0.4)), Alignment.identity(2), "auto", "fix")
    assert "span only" in resolved.notes[0]
    assert [f.exposure.source for f in resolved.burst.frames] == ["exif", "exif"]


@pytest.mark.parametrize("option", ["auto", "srgb"])
def test_linear_sources_stay_linear(option):
    radiance = scene(200, 300)
    lights = [np.clip(radiance * 2.0**ev, 0, 1).astype(np.float32) for ev in (-2, 0, 2)]
    burst = Burst(
        tuple(frame(x, ev, n, encoding="linear") for n, (x, ev) in enumerate(zip(lights, (-2, 0, 2), strict=True))), 1
    )
    resolved = resolve_response(burst, STILL, option)
    assert resolved.response.name == "linear"
    assert any("not applied" in note for note in resolved.notes) == (option == "srgb")


def test_the_alignment_follows_when_measured_exposures_change_the_order():
    burst = make(srgb, evs=(0, -2, 2), stated=(-1, 0, 1))  # the frame thought darkest is not
    matrices = np.tile(np.eye(3), (3, 1, 1))
    matrices[:, 0, 2] = [1e-4, 2e-4, 3e-4]
    before = {id(f.codes): m for f, m in zip(burst.frames, matrices, strict=True)}
    alignment = Alignment(matrices, (True, False, True), ((1.0, 0.5), (0.0, 0.0), (2.0, 0.5)))
    resolved = resolve_response(replace(burst), alignment, "srgb", "fix")
    assert np.ptp(resolved.burst.evs) == pytest.approx(4, abs=0.1)
    assert [f.path.name for f in resolved.burst.frames] == ["img1.jpg", "img0.jpg", "img2.jpg"]
    for moved, shot in zip(resolved.alignment.homographies, resolved.burst.frames, strict=True):
        np.testing.assert_array_equal(moved, before[id(shot.codes)])
    assert resolved.alignment.moved == (False, True, True)
    assert resolved.alignment.scores == ((0.0, 0.0), (1.0, 0.5), (2.0, 0.5))


def test_wrong_options_are_named(tmp_path):
    with pytest.raises(UsageError, match="unknown response 'sRGBB'"):
        resolve_response(make(srgb), STILL, "sRGBB")
    with pytest.raises(InputError, match="does not exist"):
        resolve_response(make(srgb), STILL, str(tmp_path / "none.toml"))
