"""Rigid objects and the effects of variety on them."""

import pytest
import torch

from smarthdr_cli.data.synth.config import Variety
from smarthdr_cli.data.synth.geometry import pixel_grid
from smarthdr_cli.data.synth.objects import apply_variety, draw_bright_point, draw_object

pytestmark = pytest.mark.unit
SIZE = (64, 80)
TIMES = torch.tensor([[0.0, -1.0, 1.0]]).expand(100, -1)
BRIGHT_POINT = torch.tensor([[10.0, -20.0]]).expand(100, -1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def plain():
    return draw_object(seeded(), 100, TIMES, SIZE, None)


def varied(plain, **probabilities):
    return apply_variety(plain, Variety(**probabilities), seeded(1), TIMES, SIZE, BRIGHT_POINT)


def test_a_probability_of_a_half_changes_half_of_the_objects(plain):
    for name in ("large", "lamps", "across", "fast"):
        varied_object = varied(plain, **{name: 0.5})
        fields = ("centre", "radius", "aspect", "gain", "shadow", "present")
        differences = [(getattr(varied_object, f) != getattr(plain, f)).view(100, -1).any(1) for f in fields]
        changed = torch.stack(differences).any(0)
        assert 0.35 < changed.float().mean() < 0.65, name


def test_large_objects_fill_the_picture(plain):
    varied_object = varied(plain, large=1.0)
    grid = pixel_grid(*SIZE, torch.device("cpu")).expand(100, -1, -1, -1)
    cover = (varied_object.coverage(varied_object.to_local(grid, 0)) > 0.5).float().mean(dim=(1, 2, 3))
    assert varied_object.present.all()
    assert float((cover > 0.5).float().mean()) > 0.5
    assert cover.median() > 0.5


def test_fast_objects_move_by_up_to_their_own_size(plain):
    varied_object = varied(plain, fast=1.0)
    speed = (varied_object.centre[:, 1] - varied_object.centre[:, 0]).norm(dim=-1)
    assert varied_object.present.all()
    assert (speed <= (2 * varied_object.radius).clamp(max=0.6 * 64) + 0.01).all()
    slow = (plain.centre[:, 1] - plain.centre[:, 0]).norm(dim=-1)
    assert speed.mean() > 1.5 * slow.mean()
    unclamped = varied_object.radius < 0.2 * 64
    assert (speed[unclamped] / varied_object.radius[unclamped] >= 0.79).all()


def test_lamps_are_small_and_bright(plain):
    varied_object = varied(plain, lamps=1.0)
    assert (varied_object.gain >= 8).all()
    assert (varied_object.radius <= 0.06 * 64 + 1e-4).all()
    assert not varied_object.shadow.any()


def test_crossing_objects_are_at_the_bright_point_at_the_reference(plain):
    varied_object = varied(plain, across=1.0)
    assert torch.allclose(varied_object.centre[:, 0], BRIGHT_POINT, atol=1e-4)
    assert torch.allclose(
        varied_object.centre - varied_object.centre[:, :1], plain.centre - plain.centre[:, :1], atol=1e-4
    )
    assert (varied_object.gain <= 1).all()


def test_bright_points_are_within_the_brightest_cell():
    light = torch.full((3, 3, *SIZE), 0.1)
    light[0, :, 50, 70] = 500
    light[1, :, 10, 5] = 500
    light[2, :, :, :] = 0.1
    light[2, :, 30:40, 40:50] = 5
    points = draw_bright_point(light, seeded()) + torch.tensor([(80 - 1) / 2, (64 - 1) / 2])
    for point, expected in zip(points.tolist(), ((70, 50), (5, 10), (45, 35)), strict=True):
        assert point == pytest.approx(expected, abs=10)
