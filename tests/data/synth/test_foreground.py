"""The foreground layer: its gaps, its shift against the background, and tracking."""

import pytest
import torch

from smarthdr_cli.data.synth.foreground import bars_mask, draw_foreground, foliage_mask, power_law_noise
from smarthdr_cli.data.synth.geometry import pixel_grid

pytestmark = pytest.mark.unit
SIZE = (64, 96)
TIMES = torch.tensor([[0.0, -1.0, 1.0]]).expand(60, -1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def inside_picture(mask):
    top, left = (mask.shape[-2] - SIZE[0]) // 2, (mask.shape[-1] - SIZE[1]) // 2
    return mask[..., top : top + SIZE[0], left : left + SIZE[1]]


def test_foliage_covers_10_to_50_percent():
    mask = foliage_mask(seeded(), 40, SIZE)
    assert mask.min() == 0
    assert mask.max() == 1
    covered = (inside_picture(mask) > 0.5).float().mean(dim=(1, 2, 3))
    assert covered.min() > 0.05
    assert covered.max() < 0.6
    assert covered.std() > 0.05


def test_bars_are_thin_and_regular():
    mask = bars_mask(seeded(), 40, SIZE)
    covered = (inside_picture(mask) > 0.5).float().mean(dim=(1, 2, 3))
    assert (covered > 0.01).float().mean() > 0.8
    assert covered.max() < 0.75
    inside = (mask > 0.02) & (mask < 0.98)
    assert inside.float().mean() < 0.3  # edges a pixel wide


def test_noise_has_the_slope_of_its_spectrum():
    field = power_law_noise(seeded(), 20, 128, (1.5, 1.5))
    assert torch.allclose(field.std(dim=(1, 2)), torch.ones(20), atol=1e-4)
    assert field.mean(dim=(1, 2)).abs().max() < 1e-4
    power = torch.fft.rfft2(field).abs().square().mean(0)[0]
    slope = torch.log(power[32] / power[4]) / torch.log(torch.tensor(32 / 4))
    assert float(slope) == pytest.approx(-3, abs=0.6)  # of power: twice that of amplitude


def test_layers_shift_by_1_to_20_pixels_and_the_background_by_a_share():
    layer, behind = draw_foreground(seeded(), torch.arange(60), TIMES, SIZE)
    shift = layer.offset[:, 1:].norm(dim=-1)
    assert (layer.offset[:, 0] == 0).all()
    assert (layer.zoom[:, 0] == 1).all()
    assert (behind[:, 0] == 0).all()
    assert shift.min() > 0.2
    assert 10 < shift.max() < 45
    assert 2 < shift.median() < 9
    share = (behind[:, 1:] * layer.offset[:, 1:]).sum(-1) / shift.square()
    assert 0.3 < (share == 0).float().mean() < 0.7
    assert ((share > 0.999).float().mean()) > 0.1
    assert (share > -1e-5).all()
    assert (share < 1 + 1e-5).all()


def test_a_tracked_point_keeps_its_texture():
    layer, _ = draw_foreground(seeded(1), torch.arange(3), TIMES[:3], SIZE)
    grid = pixel_grid(*SIZE, torch.device("cpu")).expand(3, -1, -1, -1)
    no_displacement = torch.zeros_like(grid)
    reference = layer.render_layer(grid, no_displacement, 0)
    assert torch.equal(reference.texture_points, grid)
    for n in (1, 2):
        other = layer.render_layer(layer.track(grid, no_displacement[..., 0], n), no_displacement, n)
        assert torch.allclose(other.texture_points, reference.texture_points, atol=1e-3)
        assert torch.allclose(other.alpha, reference.alpha, atol=2e-3)
