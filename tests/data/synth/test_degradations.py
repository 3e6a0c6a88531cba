"""Degradations: bounded, as frequent as asked for, and absent from the reference."""

import pytest
import torch

from smarthdr_cli.data.synth import degradations
from smarthdr_cli.data.synth.config import Variety
from smarthdr_cli.data.synth.geometry import pixel_grid

pytestmark = pytest.mark.unit
EVS = torch.tensor([[0.0, -2.0, 2.0]]).expand(200, -1)
BITS16 = torch.arange(200) < 100


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_white_balance_drifts_by_a_few_percent():
    drawn = degradations.draw_degradations(seeded(), Variety(drift=0.25), EVS, (8, 8), aligned=True, bits16=BITS16)
    gain = drawn.balance[..., 0, 0]
    assert drawn.dark_current is None
    assert (gain[:, 0] == 1).all()
    drifted = (gain[:, 1:] != 1).any(dim=-1).all(dim=-1)
    assert 0.15 < drifted.float().mean() < 0.35
    assert (gain[~drifted] == 1).all()
    assert 0.03 < (gain - 1).abs().max() <= degradations.MAX_DRIFT
    light = torch.rand(200, 3, 3, 4, 4, generator=seeded(1))
    assert torch.allclose(drawn.apply(light), light * gain[..., None, None])


def test_highlights_of_some_8_bit_cameras_lose_their_colour():
    drawn = degradations.draw_degradations(seeded(), Variety(whitened=0.5), EVS, (8, 8), aligned=True, bits16=BITS16)
    strength = drawn.whitening.flatten()
    assert not strength[BITS16].any()
    assert 0.3 < (strength[~BITS16] > 0).float().mean() < 0.7
    assert 0.8 < strength.max() < 1
    light = torch.tensor([[4.0, 0.5, 0.1], [0.9, 0.5, 0.1], [1.0, 0.5, 0.1]])  # four times the clip, below it, at it
    seen = drawn.apply(light.view(3, 3, 1, 1).expand(200, -1, -1, -1, -1))[..., 0, 0]
    assert torch.equal(seen[:, 1:], light[1:].expand(200, -1, -1))
    assert torch.allclose(seen[:, 0, 1], 0.5 + 0.5 * strength * (1 - 1 / 8), atol=1e-6)
    assert torch.allclose(seen[:, 0, 2], 0.1 + 0.9 * strength * (1 - 1 / 8), atol=1e-6)
    assert (seen[:, 0, 0] == 4).all()


def test_hot_pixels_are_fixed_on_the_sensor_and_grow_with_the_exposure():
    hot = degradations.draw_hot_pixels(seeded(), EVS, (40, 48), 0.5, aligned=False)
    assert hot.shape == (200, 3, 3, 40, 48)
    for n, factor in ((1, 0.25), (2, 4.0)):
        assert torch.allclose(hot[:, n], hot[:, 0] * factor, rtol=1e-5)
    affected = (hot > 0).flatten(1).any(dim=1)
    assert 0.35 < affected.float().mean() < 0.6
    lit = (hot[:, 0] > 0).flatten(1).sum(dim=1)
    assert lit.max() <= 5 * degradations.MAX_HOT_PIXELS
    assert (hot[:, 2].flatten(2).amax(dim=-1) <= 4 * 2).all()


def test_alignment_shifts_hot_pixels():
    hot = degradations.draw_hot_pixels(seeded(), EVS, (40, 48), 1.0, aligned=True)
    places = (hot > 0).flatten(2)
    alike = (places[:, 1:] == places[:, :1]).all(dim=-1).all(dim=-1)
    assert 0.3 < alike.float().mean() < 0.8  # half of the bursts were not shifted, and some have no hot pixels


def test_a_hot_pixel_is_a_cross_in_one_channel():
    for seed in range(40):
        hot = degradations.draw_hot_pixels(seeded(seed), torch.zeros(1, 2), (32, 32), 1.0, aligned=False)[0, 0]
        if int((hot > 0).sum()) == 5:
            break
    channel, y, x = (hot == hot.max()).nonzero()[0].tolist()
    cross = hot[channel, y - 1 : y + 2, x - 1 : x + 2] / hot.max()
    assert torch.allclose(cross, torch.tensor([[0, 0.25, 0], [0.25, 1, 0.25], [0, 0.25, 0]]))
    assert float(hot.sum()) == pytest.approx(2 * float(hot.max()))


def test_stated_exposures_are_wrong_by_up_to_a_third_of_an_ev():
    error = degradations.draw_ev_errors(seeded(), EVS, 0.3)
    assert (error[:, 0] == 0).all()
    wrong = (error != 0).any(dim=1)
    assert 0.2 < wrong.float().mean() < 0.4
    assert 0.3 < error.abs().max() <= degradations.MAX_EV_ERROR


def test_flicker_is_fixed_in_the_scene_and_absent_from_the_reference():
    grid = pixel_grid(32, 40, torch.device("cpu"))
    shift = torch.tensor([0.0, 5.0]).view(1, 2, 1, 1, 1) * torch.tensor([1.0, 0.0])
    gain = degradations.draw_flicker(seeded(), (grid + shift).expand(100, -1, -1, -1, -1), 0.5)
    assert gain.shape == (100, 2, 1, 32, 40)
    assert (gain[:, 0] == 1).all()
    assert gain.log2().abs().max() <= degradations.MAX_FLICKER_EV
    assert 0.3 < (gain != 1).flatten(1).any(dim=1).float().mean() < 0.7
    same = degradations.draw_flicker(
        seeded(), grid.expand(100, 2, -1, -1, -1), 0.5
    )  # the other frame shows points 5 px further right
    assert torch.allclose(gain[:, 1, ..., :-5], same[:, 1, ..., 5:], atol=1e-5)
