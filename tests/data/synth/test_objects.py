"""Objects: what each kind of variety makes of them, and nothing else."""

import pytest
import torch

from smarthdr_cli.data.synth.geometry import pixel_grid
from smarthdr_cli.data.synth.objects import brightest, draw_object, varied
from smarthdr_cli.data.synth.variety import Variety

SIZE = (64, 80)
TIMES = torch.tensor([[0.0, -1.0, 1.0]]).expand(100, -1)
BRIGHT = torch.tensor([[10.0, -20.0]]).expand(100, -1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def plain():
    return draw_object(seeded(), 100, TIMES, SIZE, None)


def kind(plain, **share):
    return varied(plain, Variety(**share), seeded(1), TIMES, SIZE, BRIGHT)


def test_half_of_them_are_as_they_were(plain):
    for name in ("large", "lamps", "across", "fast"):
        made = kind(plain, **{name: 0.5})
        changed = torch.stack([
            (getattr(made, field) != getattr(plain, field)).flatten(1).any(1) if getattr(plain, field).dim() > 1
            else getattr(made, field) != getattr(plain, field)
            for field in ("centre", "radius", "aspect", "gain", "shadow", "present")]).any(0)  # fmt: skip
        assert 0.35 < changed.float().mean() < 0.65, name


def test_large_ones_fill_the_picture(plain):
    made = kind(plain, large=1.0)
    grid = pixel_grid(*SIZE, torch.device("cpu")).expand(100, -1, -1, -1)
    cover = (made.coverage(made.local(grid, 0)) > 0.5).float().mean(dim=(1, 2, 3))
    assert made.present.all()
    assert float((cover > 0.5).float().mean()) > 0.5
    assert cover.median() > 0.5


def test_fast_ones_move_by_up_to_their_own_size(plain):
    made = kind(plain, fast=1.0)
    gone = (made.centre[:, 1] - made.centre[:, 0]).norm(dim=-1)
    assert made.present.all()
    assert (gone <= (2 * made.radius).clamp(max=0.6 * 64) + 0.01).all()
    slow = (plain.centre[:, 1] - plain.centre[:, 0]).norm(dim=-1)
    assert gone.mean() > 1.5 * slow.mean()
    big = made.radius < 0.2 * 64
    assert (gone[big] / made.radius[big] >= 0.79).all()


def test_lamps_are_small_and_bright(plain):
    made = kind(plain, lamps=1.0)
    assert (made.gain >= 8).all()
    assert (made.radius <= 0.06 * 64 + 1e-4).all()
    assert not made.shadow.any()


def test_what_crosses_bright_places_is_there_at_the_reference(plain):
    made = kind(plain, across=1.0)
    assert torch.allclose(made.centre[:, 0], BRIGHT, atol=1e-4)
    assert torch.allclose(made.centre - made.centre[:, :1], plain.centre - plain.centre[:, :1], atol=1e-4)
    assert (made.gain <= 1).all()


def test_the_brightest_place_is_found():
    light = torch.full((3, 3, *SIZE), 0.1)
    light[0, :, 50, 70] = 500
    light[1, :, 10, 5] = 500
    light[2, :, :, :] = 0.1
    light[2, :, 30:40, 40:50] = 5
    found = brightest(light, seeded()) + torch.tensor([(80 - 1) / 2, (64 - 1) / 2])
    for place, wanted in zip(found.tolist(), ((70, 50), (5, 10), (45, 35)), strict=True):
        assert place == pytest.approx(wanted, abs=10)
