"""Moving pixels, found where something moved and nowhere else."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.align import Alignment
from smarthdr_cli.aligned_burst import AlignedBurst
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.burst.load import load_burst
from smarthdr_cli.evaluate import motion
from smarthdr_cli.response import named_response

TIMES = (1, 4, 16)
RESPONSE = named_response("gamma2.2", 4096)


def radiance() -> np.ndarray:
    """(80, 120, 3): smooth light over five stops, the right end clipping in the reference."""
    ramp = np.exp2(np.linspace(-5, 0, 120))[None, :, None] * np.array([0.9, 0.6, 0.4])
    waves = 1 + 0.3 * np.sin(np.arange(80) / 5)[:, None, None]
    return np.asarray(0.6 * ramp * waves, np.float32)


def source(folder: Path, views: list[np.ndarray], noise: float = 0.002) -> AlignedBurst:
    rng = np.random.default_rng(0)
    for number, (view, time) in enumerate(zip(views, TIMES, strict=True), start=1):
        seen = np.clip(view * time + rng.normal(0, noise, view.shape), 0, 1)
        code = np.round(seen ** (1 / 2.2) * 65535).astype(np.uint16)
        cv2.imwrite(str(folder / f"{number}.png"), code[..., ::-1])
    burst = load_burst([folder / f"{n}.png" for n in (1, 2, 3)], evs=np.log2(TIMES).tolist()).burst
    return AlignedBurst(replace(burst, reference=1), RESPONSE, Alignment.identity(3))


def test_nothing_moves_where_nothing_moves(tmp_path: Path) -> None:
    truth = radiance()
    assert motion.moving_pixels(source(tmp_path, [truth] * 3), truth).mean() < 0.001
    assert not motion.moving_pixels(source(tmp_path, [truth] * 3), truth * np.float32(3)).any()  # one scale is fitted


@pytest.mark.parametrize("frame", [0, 2])
@pytest.mark.parametrize("left", [10, 90], ids=["dark", "clipped in the reference"])
def test_what_one_frame_alone_shows_is_found(tmp_path: Path, frame: int, left: int) -> None:
    truth = radiance()
    place = np.s_[30:50, left : left + 20]
    views = [truth.copy() for _ in TIMES]
    views[frame][place] *= 2.0 if frame == 0 else 0.02  # too dark to clip even in the long frame
    mask = motion.moving_pixels(source(tmp_path, views), truth)
    inside = np.zeros(mask.shape, bool)
    inside[place] = True
    assert mask[34:46, left + 4 : left + 16].all()  # nearer to its edge, what clips beside it may be meant
    grown = cv2.dilate(inside.astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    assert mask[~grown].mean() < 0.001


def test_a_pixel_of_misalignment_is_no_motion_but_five_are(tmp_path: Path) -> None:
    truth = radiance()
    truth[:, 40:44] *= 6  # an edge that shows it
    for shift, least, most in ((1, 0.0, 0.001), (5, 0.03, 0.3)):
        views = [np.roll(truth, shift, axis=1), truth, truth]
        views[0][:, :shift] = truth[:, :shift]
        views[0][:, 60:] = truth[:, 60:]
        assert least <= motion.moving_pixels(source(tmp_path, views), truth).mean() <= most


def test_what_lies_outside_a_frame_moves_nowhere(tmp_path: Path) -> None:
    truth = radiance()
    views = [truth, truth, np.zeros_like(truth)]
    whole = source(tmp_path, views)
    assert motion.moving_pixels(whole, truth).mean() > 0.9
    away = np.tile(np.eye(3), (3, 1, 1))
    away[2, 0, 2] = 500.0
    gone = AlignedBurst(whole.burst, RESPONSE, Alignment(away, (False, False, True)))
    assert not motion.moving_pixels(gone, truth).any()


@given(st.floats(0.001, 3.0), st.sampled_from(TIMES))
def test_bounds_hold_the_light_that_was_there(light: float, time: int) -> None:
    frame = np.full((9, 9, 3), min(light * time, 1.0), np.float32)
    low, high = motion.bounds(frame, time)
    assert (low <= light).all()
    assert (high >= light).all()
    assert np.isinf(high).all() == (light * time >= motion.CLIPPED)


def test_the_burst_is_only_looked_at(tmp_path: Path) -> None:
    truth = radiance()
    seen = source(tmp_path, [truth] * 3)
    before = [frame.codes.copy() for frame in seen.burst.frames]
    motion.moving_pixels(seen, truth)
    assert isinstance(seen.burst, Burst)
    assert all((a == f.codes).all() for a, f in zip(before, seen.burst.frames, strict=True))
