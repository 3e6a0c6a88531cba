"""Curves that disagree are not motion; texture that does not correlate is."""

import pytest
import torch
from torch import Tensor

from smarthdr_cli.fusion.stillness import LARGEST, NEAR, SLACK, Pair, settle_still

EV = torch.zeros(1)


def scene(seed: int = 1) -> Tensor:
    """Smooth texture from 0.05 to 0.6 of the clip, (1, 3, 96, 128)."""
    grain = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(seed))
    return 0.05 + 0.55 * torch.nn.functional.interpolate(grain, scale_factor=4, mode="bicubic").clamp(0, 1)


def test_another_curve_over_the_same_surfaces_is_tolerated():
    ref = scene()
    for other in ((ref * 0.85) ** 1.2, (ref + 0.3 * (ref - ref.mean(dim=1, keepdim=True))).clamp(0.01, 1)):
        keep, offset, slack, _ = settle_still(ref, other, torch.roll(other, 2, -1), EV)
        pair = Pair.of(ref, other, EV)
        assert slack.unique().tolist() == [SLACK]
        assert float(keep[..., 8:-8].max()) == 0  # the displacement is a false one
        assert float((pair.b + offset - pair.a).mean().abs()) < 0.2 * float((pair.b - pair.a).mean().abs()) + 1e-3
        assert float(offset.abs().max()) <= LARGEST


def test_where_codes_agree_nothing_more_is_tolerated():
    ref = scene()
    for other, ev in ((ref, 0.0), (ref / 4, -2.0)):
        _, offset, slack, _ = settle_still(ref, other, other, torch.tensor([ev]))
        assert slack.unique().tolist() == [1.0]
        assert float(offset.abs().max()) < 1e-3


def test_other_content_is_motion():
    half = scene(1)
    half[..., 64:] = scene(2)[..., 64:]
    for other in (scene(2), half):
        keep, offset, slack, _ = settle_still(scene(1), other, other, EV)
        assert keep.unique().tolist() == [1.0]
        assert slack.unique().tolist() == [1.0]
        assert not bool(offset.any())


def test_one_small_moving_thing_is_strict_around_itself_only():
    moved = (scene(1) * 0.85) ** 1.1
    moved[..., 40:46, 60:66] = scene(2)[..., 40:46, 60:66]
    _, offset, slack, _ = settle_still(scene(1), moved, moved, EV)
    assert float(slack[..., 42:45, 62:65].max()) == 1
    assert not bool(offset[..., 42:45, 62:65].any())
    assert bool(offset[..., 46 + 2 * NEAR :, :].any())


def test_a_displacement_that_makes_textures_alike_is_kept():
    ref = scene()
    other = torch.roll(ref, 1, dims=-1)
    keep, *_ = settle_still(ref, other, ref, EV)
    assert float(keep[..., 4:-4].mean()) > 0.9


@pytest.mark.parametrize("flat", [0.0, 0.3, 1.0])
def test_without_texture_there_is_no_verdict(flat):
    image = torch.full((1, 3, 40, 40), flat)
    for size in (40, 3):
        part = image[..., :size, :size]
        keep, offset, slack, _ = settle_still(part, part * 0.8, part * 0.8, EV)
        assert (float(keep.min()), float(offset.abs().max()), float(slack.max())) == (1.0, 0.0, 1.0)


def test_clipped_pixels_have_no_say():
    ref = (scene() * 0.9) ** 1.1
    other = scene()
    ref[..., 90:] = 1.0
    other[..., 90:] = scene(2)[..., 90:]
    _, offset, slack, _ = settle_still(ref, other, other, EV)
    assert float(slack[..., :70].min()) == SLACK
    assert not bool(offset[..., 100:].any())


def glints(seed: int, clip: float) -> Tensor:
    """Bright water: coarse texture of which ``clip`` of the pixels are clipped, (1, 3, 96, 64)."""
    grain = torch.rand(1, 3, 24, 16, generator=torch.Generator().manual_seed(seed)).mean(dim=1, keepdim=True)
    grain = torch.nn.functional.interpolate(grain, scale_factor=4, mode="bicubic").expand(-1, 3, -1, -1)
    return (grain / grain.quantile(1 - clip)).clamp(0.01, 1)


@pytest.mark.parametrize("clip", [0.1, 0.2])
def test_half_clipped_water_beside_calm_rocks_has_its_say(clip):
    """Its windows all hold a clipped pixel; what they show besides moves."""
    ref, other = scene(), (scene() * 0.85) ** 1.1
    ref, other = ref.repeat(1, 1, 1, 2), other.repeat(1, 1, 1, 2)
    ref[..., 192:], other[..., 192:] = glints(3, clip), glints(4, clip)
    _, offset, slack, _ = settle_still(ref, other, other, EV)
    assert float(slack[..., 205:].max()) == 1
    assert not bool(offset[..., 205:].any())


def test_leniency_ends_without_an_edge():
    moved = (scene(1) * 0.85) ** 1.1
    moved[..., 40:46, 60:66] = scene(2)[..., 40:46, 60:66]
    _, _, slack, _ = settle_still(scene(1), moved, moved, EV)
    assert float(slack.max()) == SLACK
    for axis in (-1, -2):
        assert float(slack.diff(dim=axis).abs().max()) < 0.2 * SLACK


def test_too_few_windows_have_no_share_and_windows_all_unlike_have_none():
    flat = torch.full((1, 3, 96, 128), 0.3)
    assert Pair.of(flat, flat, EV).votes[0] is None
    assert Pair.of(scene(1), scene(2), EV).votes[0] < 0.05
    assert Pair.of(scene(1), scene(1), EV).votes[0] == 1
