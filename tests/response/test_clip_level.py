"""The clip code is found where a camera clips below 255, and nowhere else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.radiometry import Response
from smarthdr_cli.response import apply_clip_level, named_response
from smarthdr_cli.response.clip_level import WHITE, ClipSamples, find_clip_code
from tests.support.responses import CURVES, expose, make_burst, make_frame, make_scene, srgb, true_table

pytestmark = pytest.mark.unit

TRIPOD = Alignment.identity(3)
SRGB = named_response("srgb")


def burst_with_red_clipped_at(level, evs=(-2, 0, 2)):
    """sRGB frames with clipped red at random codes from ``level`` to 255, as in-camera colour processing leaves it."""
    frames = []
    for n, ev in enumerate(evs):
        codes = expose(make_scene(200, 300), ev, srgb, seed=n, quality=0)
        clipped = codes[..., 0] >= 254
        codes[..., 0][clipped] = np.random.default_rng(0).integers(level, 256, int(clipped.sum()))
        frames.append(make_frame(codes, ev, n))
    return Burst(tuple(frames), 1)


@pytest.mark.parametrize("level", [240, 244, 248])
def test_a_channel_that_clips_below_white_is_found(level):
    result = apply_clip_level(SRGB, burst_with_red_clipped_at(level), TRIPOD)
    red, green, blue = result.record["clip_codes"]
    assert level - 2 <= red <= level + 2
    assert (green, blue) == (WHITE, WHITE)
    assert (result.table[0, red:] == 1).all()
    np.testing.assert_array_equal(result.table[1:], SRGB.table[1:])
    np.testing.assert_array_equal(result.table[0, : red - 4], SRGB.table[0, : red - 4])


@pytest.mark.parametrize("curve", [srgb, CURVES["contrast"], CURVES["filmic shoulder"]])
@pytest.mark.parametrize("stated", [(-2, 0, 2), (-2.3, 0, 1.8)])
def test_a_camera_that_clips_at_white_keeps_its_curve(curve, stated):
    """Also with misstated exposures, which the control codes reveal."""
    response = Response("true", true_table(curve).astype(np.float32), {})
    assert apply_clip_level(response, make_burst(curve, stated=stated, quality=0), TRIPOD) is response


def test_deep_frames_are_searched_in_codes_of_255():
    radiance = make_scene(200, 300)
    frames = [
        make_frame(expose(np.minimum(radiance * 2.0**ev, 0.93), 0, srgb, bits=16, seed=n), ev, n)
        for n, ev in enumerate((-2, 0, 2))
    ]
    result = apply_clip_level(named_response("srgb", 4096), Burst(tuple(frames), 1), TRIPOD)
    assert result.table.shape == (3, 4096)
    assert max(result.record["clip_codes"]) <= 250
    assert (result.table[:, int(251 / 255 * 4095) :] == 1).all()


def test_linear_frames_keep_their_curve():
    codes = np.full((20, 30, 3), 0.5, np.float32)
    frames = tuple(make_frame(codes, ev, n, encoding="linear") for n, ev in enumerate((-1, 1)))
    linear = named_response("linear")
    assert apply_clip_level(linear, Burst(frames, 0), Alignment.identity(2)) is linear


def test_frames_of_different_scenes_decide_nothing():
    frames = [make_frame(expose(make_scene(200, 300, n), ev, srgb), ev, n) for n, ev in enumerate((-2, 0, 2))]
    assert apply_clip_level(SRGB, Burst(tuple(frames), 1), TRIPOD) is SRGB


def test_dark_frames_decide_nothing():
    frames = tuple(make_frame(np.full((40, 40, 3), 9, np.uint8), ev, n) for n, ev in enumerate((-2, 0)))
    assert apply_clip_level(SRGB, Burst(frames, 1), Alignment.identity(2)) is SRGB


@pytest.mark.parametrize(("control_share", "expected"), [(0.1, 240), (0.3, WHITE)])
def test_motion_at_control_codes_decides_nothing(control_share, expected):
    """Bright codes show more than the clip, but with motion so do codes that no camera clips at."""
    rng = np.random.default_rng(0)
    codes = rng.integers(200, 256, 40_000)
    level = SRGB.table[0].astype(np.float64)[codes]
    beyond = rng.random(codes.size) < np.where(codes >= 240, 0.9, control_share)
    assert find_clip_code(ClipSamples(codes, level, level * np.where(beyond, 3.0, 1.0))) == expected


@settings(max_examples=60)
@given(st.integers(236, 252).map(lambda code: code // 2 * 2), st.floats(0.5, 2.0), st.integers(0, 2**31))
def test_the_code_is_found_under_misstated_exposures(code, factor, seed):
    """Below ``code`` the light is what the curve gives, from it on three times as much; all of it off by ``factor``."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(200, 256, 40_000)
    level = SRGB.table[0].astype(np.float64)[codes]
    light = level * factor * np.exp(rng.normal(0, 0.02, codes.size)) * np.where(codes >= code, 3.0, 1.0)
    assert find_clip_code(ClipSamples(codes, level, light)) == code
