"""The practical clip code: found where a camera stops short of 255, and nowhere else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from response_bursts import CURVES, frame, make, scene, shoot, srgb_encode, true_table

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.radiometry import Response
from smarthdr_cli.response import named_response
from smarthdr_cli.response.clip_level import WHITE, Evidence, clip_code, with_clip

STILL = Alignment.identity(3)
SRGB = named_response("srgb")
LEVELS = np.interp(np.arange(256), np.linspace(0, 255, 256), SRGB.table[0])


def srgb(x, channel):
    return srgb_encode(x)


def short_of_white(codes, level, seed=0):
    """``codes`` whose clipped red lies at ``level`` to 255, now here and now there, as in-camera colour leaves it."""
    random = np.random.default_rng(seed)
    out = codes.copy()
    clipped = codes[..., 0] >= 254
    out[..., 0][clipped] = random.integers(level, 256, int(clipped.sum()))
    return out


def stack(level, evs=(-2, 0, 2)):
    radiance = scene(200, 300)
    return Burst(
        tuple(
            frame(short_of_white(shoot(radiance, ev, srgb, seed=n, quality=0), level), ev, n)
            for n, ev in enumerate(evs)
        ),
        1,
    )


@pytest.mark.parametrize("level", [240, 244, 248])
def test_a_channel_that_clips_short_of_white_is_found(level):
    found = with_clip(SRGB, stack(level), STILL)
    red, green, blue = found.record["clip_codes"]
    assert level - 2 <= red <= level + 2
    assert (green, blue) == (WHITE, WHITE)
    assert (found.table[0, red:] == 1).all()
    np.testing.assert_array_equal(found.table[1:], SRGB.table[1:])
    np.testing.assert_array_equal(found.table[0, : red - 4], SRGB.table[0, : red - 4])


@pytest.mark.parametrize("curve", [srgb, CURVES["contrast"], CURVES["filmic shoulder"]])
@pytest.mark.parametrize("stated", [(-2, 0, 2), (-2.3, 0, 1.8)])
def test_a_camera_that_clips_at_white_keeps_its_curve(curve, stated):
    """Even where exposures are misstated: what is off at usual codes is allowed for."""
    known = Response("made", true_table(curve).astype(np.float32), {})
    assert with_clip(known, make(curve, stated=stated, quality=0), STILL) is known


def test_deep_files_too():
    radiance = scene(200, 300)
    deep = named_response("srgb", 4096)
    frames = []
    for n, ev in enumerate((-2, 0, 2)):
        codes = shoot(np.minimum(radiance * 2.0**ev, 0.93), 0, srgb, bits=16, seed=n)
        frames.append(frame(codes, ev, n))
    found = with_clip(deep, Burst(tuple(frames), 1), STILL)
    assert found.table.shape == (3, 4096)
    assert max(found.record["clip_codes"]) <= 250
    assert (found.table[:, int(251 / 255 * 4095) :] == 1).all()


def test_linear_frames_have_their_own_clip():
    frames = tuple(
        frame(np.full((20, 30, 3), 0.5, np.float32), ev, n, encoding="linear") for n, ev in enumerate((-1, 1))
    )
    linear = named_response("linear")
    assert with_clip(linear, Burst(frames, 0), Alignment.identity(2)) is linear


def test_nothing_is_told_by_frames_that_see_nothing_alike():
    """Motion everywhere: bright codes stand for anything, and so do the usual ones."""
    frames = tuple(frame(shoot(scene(200, 300, seed=n), ev, srgb), ev, n) for n, ev in enumerate((-2, 0, 2)))
    assert with_clip(SRGB, Burst(frames, 1), STILL) is SRGB


def test_a_single_dark_picture_says_nothing():
    frames = tuple(frame(np.full((40, 40, 3), 9, np.uint8), ev, n) for n, ev in enumerate((-2, 0)))
    assert with_clip(SRGB, Burst(frames, 1), Alignment.identity(2)) is SRGB


@settings(max_examples=60)
@given(st.integers(236, 252).map(lambda code: code // 2 * 2), st.floats(0.5, 2.0), st.integers(0, 2**31))
def test_the_code_is_found_whatever_exposures_are_off_by(code, wrong, seed):
    """Against evidence made by rule: below ``code`` the light is what the curve says, from it on three times as much;
    all of it off by a factor, as under misstated exposures."""
    random = np.random.default_rng(seed)
    codes = random.integers(200, 256, 40_000)
    level = LEVELS[codes]
    light = level * wrong * np.exp(random.normal(0, 0.02, codes.size)) * np.where(codes >= code, 3.0, 1.0)
    assert clip_code(Evidence(codes, level, light)) == code
