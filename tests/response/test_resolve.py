"""Which response and which exposures a burst is fused under."""

from dataclasses import replace

import numpy as np
import pytest

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.errors import InputError, UsageError
from smarthdr_cli.response import calibrate, named_response, resolve_response, sample_blocks, save_response
from tests.support.responses import CURVES, make_burst, make_frame, make_scene, relative_error, srgb, true_table

TRIPOD = Alignment.identity(3)


def test_auto_estimates_the_curve_under_stated_exposures():
    resolved = resolve_response(make_burst(CURVES["contrast"]), TRIPOD)
    assert resolved.response.name == "auto"
    assert resolved.notes == ()
    assert not resolved.assumed
    assert relative_error(resolved.response.table, true_table(CURVES["contrast"])) < 0.03


@pytest.mark.parametrize("name", ["srgb", "gamma2.2", "linear"])
def test_a_named_curve_is_taken_and_the_exposures_checked_under_it(name):
    resolved = resolve_response(make_burst(srgb), TRIPOD, name)
    assert resolved.response.name == name
    np.testing.assert_array_equal(resolved.response.table, named_response(name).table)
    assert any("EV stated" in note for note in resolved.notes) == (name == "linear")


def test_a_calibration_file_serves_another_burst_and_depth(tmp_path):
    save_response(calibrate(make_burst(CURVES["contrast"]), TRIPOD), tmp_path / "camera.toml")
    other = make_burst(CURVES["contrast"], stated=(-2, 0, 3), radiance=make_scene(seed=9), bits=16)
    resolved = resolve_response(other, TRIPOD, str(tmp_path / "camera.toml"), "fix")
    assert resolved.response.name == "camera.toml"
    assert resolved.response.table.shape == (3, 4096)
    assert relative_error(resolved.response.table, true_table(CURVES["contrast"], 4096)) < 0.03
    np.testing.assert_allclose(resolved.burst.evs, (-2, 0, 2), atol=0.1)


def test_unknown_exposures_are_measured_under_srgb():
    resolved = resolve_response(make_burst(srgb, stated=(-1, 0, 1), source="none"), TRIPOD)
    assert resolved.response.name == "srgb"
    assert resolved.assumed
    assert "sRGB assumed" in resolved.notes[0]
    np.testing.assert_allclose(resolved.burst.evs, (-2, 0, 2), atol=0.05)


def test_unknown_exposures_are_measured_under_a_named_curve():
    resolved = resolve_response(make_burst(srgb, stated=(-1, 0, 1), source="none"), TRIPOD, "srgb", "off")
    assert not resolved.assumed
    assert resolved.notes == ("exposure ratios measured from the pixels under srgb",)
    np.testing.assert_allclose(resolved.burst.evs, (-2, 0, 2), atol=0.05)


def test_without_an_estimate_srgb_is_assumed_and_fix_measures():
    burst = make_burst(srgb, stated=(-2, 0, 3.5))
    resolved = resolve_response(burst, TRIPOD, "auto", "warn")
    assert resolved.response.name == "srgb"
    assert resolved.assumed
    assert "no camera curve could be estimated, sRGB assumed" in resolved.notes[0]
    assert not any("measured" in note for note in resolved.notes)
    np.testing.assert_array_equal(resolved.burst.evs, burst.evs)
    resolved = resolve_response(burst, TRIPOD, "auto", "fix")
    np.testing.assert_allclose(resolved.burst.evs, (-2, 0, 2), atol=0.05)


def test_a_misstated_exposure_is_measured_under_the_curve_of_the_other_frames():
    burst = make_burst(CURVES["contrast"], evs=(-3, -1, 1, 3), stated=(-3, -1.8, 1, 3))
    warned = resolve_response(burst, Alignment.identity(4), "auto", "warn")
    assert "img1.jpg contradicts the other frames" in warned.notes[0]
    assert any(" EV stated, " in note and note.endswith("under auto") for note in warned.notes)
    np.testing.assert_array_equal(warned.burst.evs, burst.evs)
    fixed = resolve_response(burst, Alignment.identity(4), "auto", "fix")
    np.testing.assert_allclose(np.diff(fixed.burst.evs), 2, atol=0.1)


def test_a_narrow_burst_keeps_its_exposures():
    resolved = resolve_response(make_burst(CURVES["contrast"], evs=(0, 0.4)), Alignment.identity(2), "auto", "fix")
    assert "span only" in resolved.notes[0]
    assert [frame.exposure.source for frame in resolved.burst.frames] == ["exif", "exif"]


@pytest.mark.parametrize("option", ["auto", "srgb"])
def test_linear_sources_stay_linear(option):
    lights = [np.clip(make_scene(200, 300) * 2.0**ev, 0, 1).astype(np.float32) for ev in (-2, 0, 2)]
    frames = (make_frame(light, ev, ev, encoding="linear") for ev, light in zip((-2, 0, 2), lights, strict=True))
    resolved = resolve_response(Burst(tuple(frames), 1), TRIPOD, option)
    assert resolved.response.name == "linear"
    assert any("not applied" in note for note in resolved.notes) == (option == "srgb")


def test_alignment_and_samples_follow_when_measured_exposures_change_the_order():
    burst = make_burst(srgb, evs=(0, -2, 2), stated=(-1, 0, 1))
    matrices = np.tile(np.eye(3), (3, 1, 1))
    matrices[:, 0, 2] = [1e-4, 2e-4, 3e-4]
    alignment = Alignment(matrices, (True, False, True), ((1.0, 0.5), (0.0, 0.0), (2.0, 0.5)))
    resolved = resolve_response(replace(burst), alignment, "srgb", "fix")
    assert np.ptp(resolved.burst.evs) == pytest.approx(4, abs=0.1)
    assert [frame.path.name for frame in resolved.burst.frames] == ["img1.jpg", "img0.jpg", "img2.jpg"]
    np.testing.assert_array_equal(resolved.alignment.homographies, matrices[[1, 0, 2]])
    assert resolved.alignment.moved == (False, True, True)
    assert resolved.alignment.scores == ((0.0, 0.0), (1.0, 0.5), (2.0, 0.5))
    drawn_again = sample_blocks(resolved.burst, resolved.alignment)
    np.testing.assert_array_equal(resolved.samples.code, drawn_again.code)
    np.testing.assert_array_equal(resolved.samples.valid, drawn_again.valid)


def test_wrong_options_are_named(tmp_path):
    with pytest.raises(UsageError, match="unknown response 'sRGBB'"):
        resolve_response(make_burst(srgb), TRIPOD, "sRGBB")
    with pytest.raises(InputError, match="does not exist"):
        resolve_response(make_burst(srgb), TRIPOD, str(tmp_path / "none.toml"))


@pytest.mark.parametrize("unknown", range(3))
def test_a_frame_of_unknown_exposure_is_measured_under_the_curve_of_the_others(unknown):
    burst = make_burst(CURVES["contrast"])
    frames = list(burst.frames)
    exposure = frames[unknown].exposure
    frames[unknown] = replace(frames[unknown], exposure=replace(exposure, ev=exposure.ev + 0.7, source="none"))
    resolved = resolve_response(Burst(tuple(frames), 1), TRIPOD)
    assert resolved.response.name == "auto"
    assert relative_error(resolved.response.table, true_table(CURVES["contrast"])) < 0.05
    np.testing.assert_allclose(np.diff(resolved.burst.evs), (2, 2), atol=0.1)
    sources = [frame.exposure.source for frame in resolved.burst.frames]
    assert sources[unknown] == "pixels"
    assert sources.count("pixels") == 1
