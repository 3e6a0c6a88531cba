"""Light matched across frames' ends: what a frame that contradicts changed goes on beyond it; others change nothing."""

import numpy as np
import pytest
import torch

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.fusion import ends as subject
from smarthdr_cli.fusion.border import lacking, unmoved
from smarthdr_cli.fusion.ends import find_ends, matched_light
from smarthdr_cli.fusion.network_fusion import fuse_members
from smarthdr_cli.fusion.static_merge import reference_first, static_merge
from tests.support import bursts

SIZE = (240, 320)
MISSED = 20


def one(light, ev):
    return bursts.burst_of(light, (ev, ev + 1), 0).frames[0]


def burst(light, others, by=(0, MISSED)):
    """A reference that shows ``light`` and frames of 2 EV more that show ``others``, one each; ``by``: columns and rows
    that the first of them misses, the next twice as many."""
    frames = [one(light, 0.0)]
    moved = [np.eye(3)]
    for n, other in enumerate(others):
        frames.append(one(other, 2.0 + n / 8))
        moved.append(bursts.shift_homography(*(side * (n + 1) for side in by)))
    return bursts.aligned(bursts.Burst(tuple(frames), 0), homographies=moved)


def wall(level=0.06):
    return np.full((*SIZE, 3), level, np.float32)


def trusting():
    model = bursts.random_network(heads=0.0, flow=0.0)
    model.verify_head.bias.data[:-1] = 20.0
    return model


def fused(source, learned):
    if not learned:
        return static_merge(source, 96)
    members = tuple(range(len(source.burst)))
    return fuse_members(bursts.saf_fuser(trusting()), source, members, (), 96, strong=False).image


def found(source):
    return find_ends(source, *reference_first(source, tuple(range(len(source.burst)))))


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("by", [(0, MISSED), (MISSED, 0), (0, -MISSED), (-MISSED, 0)])
def test_no_strip_is_left_beyond_the_end_of_a_frame_that_says_half_a_stop_more(by, learned):
    source = burst(wall(), [wall() * 2**0.5], by)
    light = fused(source, learned).radiance
    assert 1.25 < light[120, 160, 1] / 0.06 < 2**0.5  # the frame of four times the light outweighs
    ev = np.log2(light / light[120, 160])
    assert np.abs(ev).max() < 0.05
    assert np.abs(np.diff(ev, axis=0)).max() < 0.01
    assert np.abs(np.diff(ev, axis=1)).max() < 0.01


def test_what_two_frames_say_is_undone_one_after_the_other():
    """They end one inside the other: beyond both, the reference alone is brought to the merge of all three."""
    source = burst(wall(), [wall() * 2**0.5, wall() * 2**-0.25], (0, 10))
    each = found(source)
    assert [(end.frame, end.side) for end in each] == [(1, 1), (2, 1)]  # the least deep is undone first
    light = static_merge(source, 0).radiance
    assert np.abs(np.log2(light / light[120, 160])).max() < 0.05


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("side", range(4))
def test_a_turned_frame_that_ends_first_at_one_end_of_a_side_is_there_at_the_other(side, learned):
    """Two frames that are only shifted end there before it, and what they changed they changed beside it."""
    light = wall(1.6)  # clips the reference, which comes last: a burst has its frames in the order of their exposure
    frames = [one(light * 2**0.6, -2.0), one(light, -2.0), one(light * 2**-0.6, -2.0), one(light, 0.0)]
    across, deepest, span = side % 2, 0.09 * SIZE[1 - side % 2], SIZE[side % 2] - 1
    turned = np.eye(3)
    turned[across, 1 - across], turned[across, 2] = -2 * deepest / span, deepest
    by = [-12 if side > 1 else 12, -6 if side > 1 else 6]
    if side > 1:
        turned[across] = -turned[across] + 2 * np.eye(3)[across]
    shifted = [bursts.shift_homography(*((0, pixels) if across else (pixels, 0))) for pixels in by]
    source = bursts.aligned(bursts.Burst(tuple(frames), 3), homographies=[turned, *shifted, np.eye(3)])
    light = fused(source, learned).radiance
    ev = np.log2(light / light[120, 160])
    assert np.abs(ev[:, :80] if across else ev[:60]).max() < 0.12


def test_a_step_is_taken_from_places_alike_in_light():
    """Only the bright half of the side is contradicted: the dark half stays as it is."""
    light = wall()
    light[:, 160:] = 0.01
    other = light.copy()
    other[:, :160] *= 2**0.5
    got = static_merge(burst(light, [other]), 0).radiance
    assert np.abs(np.log2(got[:, 170:] / 0.01)).max() < 0.01
    assert np.abs(np.log2(got[:, :150] / got[120, 50])).max() < 0.05


def test_channels_are_matched_for_themselves():
    other = wall() * np.array([1.3, 1.0, 0.8], np.float32)
    got = static_merge(burst(wall(), [other]), 0).radiance
    assert np.abs(np.log2(got / got[120, 160])).max() < 0.03


@pytest.mark.parametrize("learned", [True, False])
def test_beyond_a_corner_the_step_is_undone_once(learned):
    light = fused(burst(wall(), [wall() * 2**0.5], (12, 16)), learned).radiance
    assert np.abs(np.log2(light / light[120, 160])).max() < 0.05


@pytest.mark.parametrize("learned", [True, False])
def test_where_the_reference_is_clipped_the_frames_that_fade_together_are_matched_too(learned):
    """Two short frames know the sky, half a stop apart, and end one inside the other."""
    frames = [one(wall(3.0 * 2**0.5), -3.0), one(wall(3.0), -2.0), one(wall(3.0), 0.0)]  # in the order a burst has
    for by in ((6, 16), (16, 6)):
        homographies = [*(bursts.shift_homography(side, 0) for side in by), np.eye(3)]
        light = fused(bursts.aligned(bursts.Burst(tuple(frames), 2), homographies=homographies), learned).radiance
        beside = light[:, 6:]  # further out only repeated edges stand for the sky
        assert np.abs(np.log2(beside / light[120, 160])).max() < 0.05


@pytest.mark.parametrize("seed", range(3))
def test_frames_that_agree_have_no_ends(seed):
    light = bursts.texture(*SIZE, seed=seed, low=0.01, high=0.2)
    noise = np.random.default_rng(seed)
    seen = np.clip(np.roll(light, -MISSED, axis=0) * noise.normal(1, 0.03, light.shape), 0, None).astype(np.float32)
    source = bursts.aligned(bursts.Burst((one(light, 0.0), one(seen, 2.0)), 0),
                            homographies=[np.eye(3), bursts.shift_homography(0, MISSED)])  # fmt: skip
    assert found(source) == []


def test_where_something_moved_there_is_no_step():
    """A frame that shows another picture altogether: places of one light differ by all there is."""
    rng = np.random.default_rng(0)
    light, other = (
        np.kron(np.exp2(rng.uniform(-8, -4, (15, 20, 1))), np.ones((16, 16, 3))).astype(np.float32) for _ in range(2)
    )
    assert np.median(np.abs(np.log2(light / other))) > 1
    moved = [float(end.step.abs().mean()) for end in found(burst(light, [other]))]
    dimmed = [float(end.step.abs().mean()) for end in found(burst(light, [np.roll(light, -MISSED, axis=0) / 2]))]
    assert sum(moved) < 0.5 * sum(dimmed)


def test_a_frame_that_is_not_trusted_is_not_asked():
    source = burst(wall(), [wall() * 2**0.5])
    seen = []

    def look(window):
        seen.append(window)
        frames = torch.full((1, 2, 3, window.height, window.width), 0.06)
        frames[:, 1] = 0.06 * 2**2.5
        return frames, torch.full((1, 1, 1, window.height, window.width), trust)

    at = reference_first(source, (0, 1))
    trust = 0.0
    assert find_ends(source, *at, look) == []
    trust = 1.0
    assert [(end.frame, end.side) for end in find_ends(source, *at, look)] == [(1, 1)]
    assert max(window.width for window in seen) <= subject.AT_ONCE
    agreeing = burst(wall(), [wall()])
    seen.clear()
    assert find_ends(agreeing, *reference_first(agreeing, (0, 1)), look) == []
    assert not seen  # no strip is fused for frames that agree


def test_an_end_far_inside_is_left_alone():
    assert found(burst(wall(), [wall() * 2**0.5], (0, 30))) == []
    assert found(burst(wall(), [wall() * 2**0.5], (0, 20))) != []


def test_one_that_ends_far_inside_does_not_keep_others_from_being_matched():
    each = found(burst(wall(), [wall() * 2**0.5, wall()], (0, MISSED)))
    assert [(end.frame, end.side) for end in each] == [(1, 1)]


def test_clipped_light_tells_no_step():
    assert found(burst(wall(1.0), [wall(1.0)])) == []
    assert found(burst(wall(0.3), [wall(0.3 * 2**0.5)])) == []  # 2 EV more: the other frame is clipped


@pytest.mark.parametrize("learned", [True, False])
def test_no_line_is_drawn_in_what_every_frame_clips(learned):
    """A lamp across the end of a frame that says half a stop more: it is at the clip on either side."""
    light = wall(0.5)
    light[:, 100:140] = 4.0
    frames = (one(light, 0.0), one(light * 2**-0.5, 0.6))
    source = bursts.aligned(bursts.Burst(frames, 0), homographies=[np.eye(3), bursts.shift_homography(0, MISSED)])
    got = fused(source, learned).radiance
    assert np.abs(np.log2(got[:, :90] / got[120, 50])).max() < 0.1  # matched beside it
    assert np.abs(np.diff(np.log2(got[:, 104:136]), axis=0)).max() < 0.01


def test_a_window_is_matched_as_the_whole_and_sigma_says_by_how_much():
    source = burst(wall(), [wall() * 2**0.5], (MISSED, 12))
    at = reference_first(source, (0, 1))
    light = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)) * 0.1 + 0.02
    sigma = torch.full((1, 1, *SIZE), 1e-3)
    each = found(source)
    assert {end.side for end in each} == {0, 1}
    everything = Window(0, 0, *SIZE)
    seen = unmoved(source, *at, everything)
    lack = lacking(seen.edges, seen.frames, at[1])
    whole, told = matched_light(each, source, light, sigma, everything, lack, 1.0)
    part = Window(4, 8, 60, 40)
    cut, _ = matched_light(
        each, source, *(x[..., 4:64, 8:48] for x in (light, sigma)), part, lack[..., 4:64, 8:48], 1.0
    )
    assert torch.allclose(cut, whole[..., 4:64, 8:48], rtol=1e-5)
    changed = np.abs(bursts.mu(whole.numpy()) - bursts.mu(light.numpy())).mean(axis=1)
    assert changed.max() > 0.01
    assert np.allclose(told[:, 0], np.maximum(changed, 1e-3), atol=1e-5)
    assert torch.equal(whole[..., 60:, 60:], light[..., 60:, 60:])


def test_a_table_is_the_mean_of_like_places():
    """Twin: a loop over places, the bell of five nodes each way."""
    generator = torch.Generator().manual_seed(3)
    light = torch.rand(1, 3, 6, 5, generator=generator) * 0.2 + 0.02
    step = -0.5 + 0.1 * torch.rand(1, 3, 6, 5, generator=generator)
    told = torch.rand(1, 1, 6, 5, generator=generator) > 0.3
    got = subject._table(step, light, told)
    bell = {-2: 1 / 6, -1: 4 / 6, 0: 1.0, 1: 4 / 6, 2: 1 / 6}
    assert got.shape == (1, 3, 3, 41)
    for k, octave in ((0, 20), (1, 22), (2, 19), (1, 5)):
        found = []
        for y, x in np.ndindex(6, 5):
            here = (np.log2(float(light[0, :, y, x].mean())) + 14) * 2
            weight = bell.get(round(y * 2 / 5) - k, 0.0) * bell.get(round(here) - octave, 0.0)
            if told[0, 0, y, x] and weight:
                found.append((weight, step[0, :, y, x].double().numpy()))
        wanted = np.zeros(3)
        if found:
            w, s = np.array([f[0] for f in found]), np.array([f[1] for f in found])
            mean, square = (w[:, None] * s).sum(0) / w.sum(), (w[:, None] * s**2).sum(0) / w.sum()
            wanted = mean * mean**2 / square * w.sum() / (w.sum() + 1)
        assert np.allclose(got[0, :, k, octave], wanted, atol=1e-4)
