"""Painting: the later before the earlier, and skins that keep their brightness."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from smarthdr_cli.data.synth.geometry import true_motion
from smarthdr_cli.data.synth.layers import Canvas, Look
from smarthdr_cli.data.synth.sources import bank_from_images
from smarthdr_cli.data.synth.textures import Texture

SIZE = (24, 32)


@dataclass(frozen=True)
class Square:
    """11 pixels wide, moving right by ``speed`` px a frame; its two halves are two parts."""

    speed: float
    rows: torch.Tensor
    parts: int = 2
    shade: bool = False

    def look(self, world, shift, frame):
        local = world - torch.tensor([self.speed * frame, 0.0])
        alpha = (local.abs() <= 5.5).all(dim=-1).float()[:, None]
        part = (local[..., 0] > 0).long()
        shade = torch.full((len(world), 1, 1, 1), True) if self.shade else None
        return Look(alpha, part, local, torch.full((len(world), 1, 1, 1), 0.5), shade)

    def follow(self, points, part, frame):
        return points + torch.tensor([self.speed * frame, 0.0])


def canvas(frames=3, batch=2, *, steady=True):
    light = torch.full((batch, frames, 3, *SIZE), 2.0)
    return Canvas(light, torch.zeros(batch, frames, 1, *SIZE), torch.zeros(batch, frames, *SIZE, 2), steady)


@pytest.fixture(scope="module")
def ramp():
    """A source that gets brighter to the right."""
    return bank_from_images(["ramp"], [np.ones((64, 256, 3), np.float32) * np.linspace(0.1, 4, 256)[:, None]])


def skin(count):
    return Texture([0] * count, torch.full((count, 2), 0.5), [1.0] * count, [0] * count)


def test_the_later_is_before_the_earlier_and_only_in_its_samples(ramp):
    page = canvas()
    page.paint(Square(2.0, torch.tensor([0, 1])), 1, skin(2), ramp)
    page.paint(Square(-3.0, torch.tensor([1])), 3, skin(1), ramp)
    assert set(page.layers[0].unique().tolist()) == {0, 1, 2}
    assert set(page.layers[1, 0].unique().tolist()) == {0, 3, 4}  # they begin at one place
    assert set(page.layers[1, 2].unique().tolist()) == {0, 2, 1, 3, 4} - ({1} if 1 not in page.layers[1, 2] else set())
    assert (page.frames[0, 0][:, page.layers[0, 0, 0] == 0] == 2).all()


def test_flow_and_sight_of_two_that_pass(ramp):
    page = canvas(2, 1)
    one, two = Square(4.0, torch.tensor([0])), Square(0.0, torch.tensor([0]))
    page.paint(one, 1, skin(1), ramp)
    page.paint(two, 3, skin(1), ramp)
    page.layers[0, 0] = torch.where(page.layers[0, 0] > 2, page.layers[0, 0] - 2, 0)  # as if the second came later
    flow, visible = true_motion(page.motion, [one, two], page.layers)
    inside = page.layers[0, 0, 0] > 0
    assert torch.allclose(flow[0, 0, 0][inside], torch.tensor(4.0))
    assert (flow[0, 0, :, ~inside] == 0).all()
    columns = torch.arange(SIZE[1])[None].expand(SIZE) - (SIZE[1] - 1) / 2 + 4
    hidden = inside & (columns.abs() <= 5)
    assert (visible[0, 0, 0][hidden] == 0).all()
    assert (visible[0, 0, 0][inside & (columns > 6)] == 1).all()


def test_brightness_is_one_number_a_burst_where_it_is_to_be_steady(ramp):
    for steady in (True, False):
        page = canvas(2, 1, steady=steady)
        page.frames[:, 1] *= 1.5  # the picture as a whole, as where a lamp comes into view
        page.paint(Square(3.0, torch.tensor([0])), 1, skin(1), ramp)
        first = page.frames[0, 0][:, page.layers[0, 0, 0] > 0].mean()
        second = page.frames[0, 1][:, page.layers[0, 1, 0] > 0].mean()
        assert (float(second / first) == pytest.approx(1, abs=0.01)) is steady


def test_a_shade_changes_what_is_behind_and_hides_nothing(ramp):
    page = canvas(1, 1)
    page.paint(Square(0.0, torch.tensor([0]), shade=True), 1, skin(1), ramp)
    assert not page.layers.any()
    assert sorted(page.frames.unique().tolist()) == [1.0, 2.0]
