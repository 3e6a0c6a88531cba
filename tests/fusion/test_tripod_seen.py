"""What counts as moving: small things, lines, drift; and what does not: noise, a rounded shutter, a clipped RAW."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from smarthdr_cli.align import Alignment
from smarthdr_cli.aligned_burst import AlignedBurst
from smarthdr_cli.fusion import tripod
from smarthdr_cli.fusion.motion import pad_for_pyramid
from smarthdr_cli.fusion.static_merge import reference_first
from smarthdr_cli.fusion.stillness import Likeness, Pair
from smarthdr_cli.fusion.tripod import FEW, NEAR, at_rest
from smarthdr_cli.fusion.usual import usual_noise
from tests.support import bursts

SIZE = (160, 192)
ALIKE = {1: 1.0, 2: 1.0}
NO_GAIN = torch.zeros(3)


def stands(burst, alike=ALIKE, homographies=None, side=0, gain=NO_GAIN):
    """``at_rest`` of a burst whose frames' texture is as much ``alike`` as that says."""
    source = bursts.aligned(burst, homographies=homographies)
    at = reference_first(source, tuple(range(len(burst))))
    size = (-(-burst.size[0] // 4) + 1, -(-burst.size[1] // 4) + 2)  # as padded
    likeness = {n: Likeness(share, gain) for n, share in alike.items()}
    return at_rest(source, *at, likeness, usual_noise(source, *at), size, side)


def still(burst, *args, **options):
    """Whether it stands still, all of it."""
    found = stands(burst, *args, **options)
    return found is not None and bool((found == 1).all())


def test_frames_next_to_one_another_are_compared():
    """What moves where the reference is clipped is seen by the two darker frames alone."""
    light = bursts.bright(*SIZE)
    light[:, 96:] = 6.0
    evs = (-6.0, -4.0, -2.0, 0.0)
    burst = bursts.noisy(light, evs)
    alike = dict.fromkeys(range(1, 4), 1.0)
    assert still(burst, alike)
    for number in (0, 1):
        assert not still(bursts.with_changed_patch(burst, number, (60, 120, 16, 16), 0.5), alike)


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("side", [5, 12, 40])
def test_one_small_thing_that_moves_is_seen(number, side):
    assert (
        stands(bursts.with_changed_patch(bursts.noisy(bursts.bright(*SIZE)), number, (100, 20, side, side), 0.4))
        is None
    )


@pytest.mark.parametrize("few", [FEW, 0.02])
def test_what_is_put_down_to_hot_pixels_is_left_to_the_network_with_all_around_it(monkeypatch, few):
    """A far bird in a picture of many megapixels is less than FEW of it."""
    monkeypatch.setattr(tripod, "FEW", few)
    found = stands(bursts.with_changed_patch(bursts.noisy(bursts.bright(*SIZE)), 0, (60, 20, 12, 12), 0.4))
    if few == FEW:
        assert found is None
        return
    half = NEAR // 4
    assert found[..., 15 - half : 18 + half, : 8 + half].max() < 1e-5
    assert bool((found[0, 0, 18:, 6].diff() > -1e-5).all())
    across = found[0, 0, 16, 8:]
    assert bool((across.diff() > -1e-5).all())
    assert float(across[NEAR // 2 + NEAR // 4 + 3 :].min()) > 1 - 1e-5


def test_fine_texture_that_moves_is_seen():
    """Grains of two pixels: their mean over nine is the same wherever they go."""
    grain = np.kron(np.random.default_rng(3).uniform(0.02, 0.2, (80, 96, 1)), np.ones((2, 2, 3))).astype(np.float32)
    burst = bursts.noisy(grain)
    assert still(burst)
    moved = bursts.noisy(np.roll(grain, 3, axis=1))
    assert not still(replace(burst, frames=(moved.frames[0], *burst.frames[1:])))


@pytest.mark.parametrize("evs", [(0.0, 2.0), (-2.0, 0.0, 2.0)])
def test_lines_of_one_pixel_that_move_are_seen(evs):
    """Twigs and wires: over 8x8 pixels, and to the texture of cells, they are where they were."""
    light = bursts.texture(*SIZE, seed=4, low=0.02, high=0.15)
    light[60:130, 40:130] = 0.03
    lined, moved = light.copy(), light.copy()
    lined[60:130:16, 40:130] *= 0.45
    moved[63:130:16, 40:130] *= 0.45
    alike = dict.fromkeys(range(1, len(evs)), 1.0)
    burst = bursts.noisy(lined, evs, well=20_000.0)
    assert still(burst, alike)
    other = bursts.noisy(moved, evs, well=20_000.0)
    assert stands(replace(burst, frames=(*burst.frames[:-1], other.frames[-1])), alike) is None


def test_what_drifts_from_frame_to_frame_is_seen_against_the_reference():
    evs = tuple(n / 2 for n in range(9))
    light = bursts.texture(*SIZE, seed=4, low=0.005, high=0.05)
    alike = dict.fromkeys(range(1, 9), 1.0)
    assert still(bursts.noisy(light, evs, well=50_000.0), alike)
    frames = []
    for n, ev in enumerate(evs):
        shift = np.array([[1.0, 0.0, 0.2 * n], [0.0, 1.0, 0.0]])
        view = cv2.warpAffine(light, shift, SIZE[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        frames.append(bursts.noisy(view, (0.0, ev, 5.0), well=50_000.0, seed=n).frames[min(n, 1)])
    assert stands(bursts.Burst(tuple(frames), 0), alike) is None


def test_what_some_frame_did_not_see_is_left_to_the_network():
    """A thing in the darkest frame alone, where the one between it and the reference ends: none compares them."""
    evs = (-3.0, -1.5, 0.0)
    burst = bursts.noisy(bursts.texture(160, 640, seed=4, low=0.02, high=0.2), evs)
    dark = burst.frames[0].codes.copy()
    dark[60:100, 2:16] = dark[60:100, 2:16] // 2
    middle = np.roll(burst.frames[1].codes, -20, axis=1)
    frames = (replace(burst.frames[0], codes=dark), replace(burst.frames[1], codes=middle), burst.frames[2])
    shift = [np.eye(3), bursts.shift_homography(20.0, 0.0), np.eye(3)]
    found = stands(replace(burst, frames=frames), homographies=shift)
    assert found is None or found[..., :6].max() < 1e-5
    frames = (burst.frames[0], *frames[1:])
    found = stands(replace(burst, frames=frames), homographies=shift)
    assert found[..., :6].max() < 1e-5
    assert found[..., 40:].min() > 1 - 1e-5


@pytest.mark.parametrize(("drift", "said"), [(0.0, True), (0.1, True), (-0.15, True), (0.3, False)])
def test_a_shutter_off_by_what_is_rounded_moves_nothing(drift, said):
    """The frame is brighter than stated; its gain is as the texture's stage measures it."""
    light = bursts.texture(*SIZE, seed=4, low=0.1, high=0.7)
    dark, own = (
        bursts.noisy(light * 2.0**drift, (-2.0, 0.0), seed=1).frames[0],
        bursts.noisy(light, (-2.0, 0.0)).frames[1],
    )
    source = bursts.aligned(bursts.Burst((dark, own), 1))
    at = reference_first(source, (0, 1))
    ref, other = (pad_for_pyramid(source.downsample(n, 4), torch.device("cpu")) for n in (1, 0))
    gain = Pair.of(ref, other, at[1][0, 1:]).gain
    assert gain.tolist() == pytest.approx([drift] * 3, abs=0.01)
    burst = source.burst
    assert still(burst, {1: 1.0}, gain=gain) == said
    assert still(burst, {1: 1.0}) == (drift == 0)


@pytest.mark.parametrize("moves", [False, True])
def test_a_raw_is_white_wherever_one_channel_clips(moves):
    light = bursts.texture(*SIZE, seed=4, low=0.02, high=0.2)
    light[40:90, 100:150] = (0.4, 1.6, 0.3)
    if moves:
        light[40:90, 100:150] = (0.4, 0.6, 0.3)  # in the darker frame there is no such light
    dark = bursts.noisy(light, (-2.0, 0.0)).frames[0]
    light[40:90, 100:150] = (0.4, 1.6, 0.3)
    own = bursts.noisy(light, (-2.0, 0.0)).frames[1]
    white = np.zeros(SIZE, bool)
    white[40:90, 100:150] = True
    frames = (replace(dark, clipped=np.zeros(SIZE, bool)), replace(own, clipped=white))
    assert still(bursts.Burst(frames, 1), {1: 1.0}) != moves


def test_a_panorama_may_be_wider_than_opencv_resamples_at_once():
    light = np.tile(bursts.texture(64, 1000, seed=4, low=0.02, high=0.2), (1, 33, 1))
    frames = bursts.noisy(light, (0.0, 1.0)).frames
    moved = replace(frames[1], codes=np.roll(frames[1].codes, 3, axis=1))
    burst = bursts.Burst((frames[0], moved), 0)
    found = stands(burst, {1: 1.0}, homographies=[np.eye(3), bursts.shift_homography(-3.0, 0.0)])
    assert found[..., 40 : 33000 // 4 - 40].min() > 1 - 1e-5


@pytest.mark.parametrize("some", [(0, 1, 2), (2,)])
def test_a_camera_s_own_files_are_the_network_s(some):
    burst, own = bursts.noisy(bursts.bright(*SIZE), well=1e6), bursts.noisy(bursts.bright(*SIZE), bits=8, well=1e6)
    frames = [own.frames[n] if n in some else frame for n, frame in enumerate(burst.frames)]
    source = AlignedBurst(replace(burst, frames=tuple(frames)), bursts.GAMMA, Alignment.identity(3))
    at, likeness = reference_first(source, (0, 1, 2)), {n: Likeness(1.0, NO_GAIN) for n in (1, 2)}
    assert at_rest(source, *at, likeness, usual_noise(source, *at), (SIZE[0] // 4, SIZE[1] // 4), 0) is None
    assert still(burst)


@pytest.mark.parametrize(
    ("alike", "said"),
    [({1: None, 2: None}, False), ({1: None, 2: 1.0}, True), ({1: 0.98, 2: 1.0}, False), ({1: 0.0, 2: 1.0}, False)],
)
def test_texture_must_bear_it_out(alike, said):
    assert still(bursts.noisy(bursts.bright(*SIZE)), alike) == said


def test_texture_of_a_frame_beyond_reach_has_no_say():
    burst = bursts.noisy(bursts.bright(*SIZE), (-6.0, -2.0, 0.0))
    assert still(burst, {1: 0.1, 2: 1.0})
    assert not still(burst, {1: 1.0, 2: 0.1})


@pytest.mark.parametrize("side", [64, 100, 128])
def test_tiles_miss_nothing(monkeypatch, side):
    """As much differs in tiles as in one piece, wherever their borders lie."""
    monkeypatch.setattr(tripod, "FEW", 1.0)
    burst = bursts.with_changed_patch(bursts.noisy(bursts.bright(*SIZE)), 0, (60, 20, 30, 30), 0.4)
    whole = stands(burst)
    assert 0 < float(whole.mean()) < 1
    assert torch.equal(stands(burst, side=side), whole)


def test_what_moves_ends_the_looking(monkeypatch):
    looked = []
    real = tripod._differing
    monkeypatch.setattr(tripod, "_differing", lambda *a: looked.append(a) or real(*a))
    assert stands(bursts.with_changed_patch(bursts.noisy(bursts.bright(*SIZE)), 0, (0, 0, *SIZE), 0.4), side=32) is None
    assert len(looked) == 1
