"""Compositing order, label maps, brightness of textures, and the true flow."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from smarthdr_cli.data.synth.compositing import Canvas, RenderedLayer, true_flow
from smarthdr_cli.data.synth.sources import Texture, bank_from_images

pytestmark = pytest.mark.unit
SIZE = (24, 32)


@dataclass(frozen=True)
class Square:
    """11 px wide, moves right by ``speed`` px per frame; its left and right half are two parts."""

    speed: float
    rows: torch.Tensor
    part_count: int = 2
    shadow: bool = False

    def render_layer(self, points, displacement, frame):
        local = points - torch.tensor([self.speed * frame, 0.0])
        alpha = (local.abs() <= 5.5).all(dim=-1).float()[:, None]
        part = (local[..., 0] > 0).long()
        shadow = torch.full((len(points), 1, 1, 1), True) if self.shadow else None
        return RenderedLayer(alpha, part, local, torch.full((len(points), 1, 1, 1), 0.5), shadow)

    def track(self, points, part, frame):
        return points + torch.tensor([self.speed * frame, 0.0])


def grey_canvas(frames=3, batch=2, *, constant_brightness=True):
    light = torch.full((batch, frames, 3, *SIZE), 2.0)
    return Canvas(
        light, torch.zeros(batch, frames, 1, *SIZE), torch.zeros(batch, frames, *SIZE, 2), constant_brightness
    )


@pytest.fixture(scope="module")
def ramp():
    """A source whose radiance rises to the right."""
    return bank_from_images(["ramp"], [np.ones((64, 256, 3), np.float32) * np.linspace(0.1, 4, 256)[:, None]])


def texture(count):
    return Texture([0] * count, torch.full((count, 2), 0.5), [1.0] * count, [0] * count)


def test_later_objects_cover_earlier_ones_in_their_bursts(ramp):
    canvas = grey_canvas()
    canvas.composite(Square(2.0, torch.tensor([0, 1])), 1, texture(2), ramp)
    canvas.composite(Square(-3.0, torch.tensor([1])), 3, texture(1), ramp)
    assert set(canvas.labels[0].unique().tolist()) == {0, 1, 2}
    assert set(canvas.labels[1, 0].unique().tolist()) == {0, 3, 4}  # both start at the same position
    assert set(canvas.labels[1, 2].unique().tolist()) == {0, 2, 1, 3, 4} - (
        {1} if 1 not in canvas.labels[1, 2] else set()
    )
    assert (canvas.frames[0, 0][:, canvas.labels[0, 0, 0] == 0] == 2).all()


def test_flow_and_visibility_of_an_object_behind_another(ramp):
    canvas = grey_canvas(2, 1)
    back, front = Square(4.0, torch.tensor([0])), Square(0.0, torch.tensor([0]))
    canvas.composite(back, 1, texture(1), ramp)
    canvas.composite(front, 3, texture(1), ramp)
    canvas.labels[0, 0] = torch.where(
        canvas.labels[0, 0] > 2, canvas.labels[0, 0] - 2, 0
    )  # the reference shows the back one only
    flow, visible = true_flow(canvas.displacement, [back, front], canvas.labels)
    inside = canvas.labels[0, 0, 0] > 0
    assert torch.allclose(flow[0, 0, 0][inside], torch.tensor(4.0))
    assert (flow[0, 0, :, ~inside] == 0).all()
    columns = torch.arange(SIZE[1])[None].expand(SIZE) - (SIZE[1] - 1) / 2 + 4
    hidden = inside & (columns.abs() <= 5)
    assert (visible[0, 0, 0][hidden] == 0).all()
    assert (visible[0, 0, 0][inside & (columns > 6)] == 1).all()


def test_constant_brightness_does_not_follow_the_frames_mean(ramp):
    for constant in (True, False):
        canvas = grey_canvas(2, 1, constant_brightness=constant)
        canvas.frames[:, 1] *= 1.5  # as where a lamp comes into view
        canvas.composite(Square(3.0, torch.tensor([0])), 1, texture(1), ramp)
        first = canvas.frames[0, 0][:, canvas.labels[0, 0, 0] > 0].mean()
        second = canvas.frames[0, 1][:, canvas.labels[0, 1, 0] > 0].mean()
        assert (float(second / first) == pytest.approx(1, abs=0.01)) is constant


def test_a_shadow_darkens_and_takes_no_label(ramp):
    canvas = grey_canvas(1, 1)
    canvas.composite(Square(0.0, torch.tensor([0]), shadow=True), 1, texture(1), ramp)
    assert not canvas.labels.any()
    assert sorted(canvas.frames.unique().tolist()) == [1.0, 2.0]
