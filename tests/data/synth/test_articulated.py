"""Multi-part objects against a drawing of every part over the whole picture."""

import cmath

import pytest
import torch

from smarthdr_cli.data.synth.articulated import draw_figure, draw_swarm, draw_twigs
from smarthdr_cli.data.synth.geometry import MotionBlur, camera_motion, pixel_grid

pytestmark = pytest.mark.unit
SIZE = (72, 88)
ROWS = torch.tensor([0, 2])
TIMES = torch.tensor([[0.0, -1.0, 1.0], [0.0, 1.0, 2.0]])
KINDS = [draw_figure, draw_twigs, draw_swarm]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def draw_parts(scene_object, world, frame, r):
    """(H, W) coverage and foremost part of burst r, one part after the other over the whole picture."""
    alpha = torch.zeros(SIZE)
    part = torch.full(SIZE, -1)
    touched = torch.full(SIZE, -1)
    for k in range(scene_object.part_count):
        turn = cmath.exp(-1j * float(scene_object.angle[r, frame, k]))
        offset = torch.complex(*(world[r] - scene_object.centre[r, frame, k]).unbind(-1)) * turn
        x, y = offset.real, offset.imag
        a, w = scene_object.half_size[r, k].tolist()
        t = x / a
        wide = (
            w * (1 + float(scene_object.taper[r, k]) * t) * (1 - t * t).clamp(min=0) ** float(scene_object.power[r, k])
        )
        cover = (wide - (y - float(scene_object.bend[r, k]) * t * x).abs() + 0.5).clamp(0, 1) * (t.abs() < 1)
        alpha = torch.maximum(alpha, cover)
        part[cover > 0.5] = k
        touched[cover > 0] = k
    return alpha, torch.where(part >= 0, part, touched)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("shake", ["handheld", "aligned"])
def test_drawing_in_boxes_equals_drawing_over_the_picture(make, shake):
    scene_object = make(seeded(4), ROWS, TIMES, SIZE)
    motion = camera_motion(seeded(1), 2, 3, SIZE, shake=shake, reach_px=6)
    assert motion.diff(dim=2).norm(dim=-1).max() < 1  # where the view folds, boxes may cut parts
    world = pixel_grid(*SIZE, torch.device("cpu")) + motion
    for n in range(3):
        layer = scene_object.render_layer(world[:, n], motion[:, n], n)
        for r in range(2):
            alpha, part = draw_parts(scene_object, world[:, n], n, r)
            assert torch.allclose(layer.alpha[r, 0], alpha, atol=1e-3)
            decided = (alpha - 0.5).abs() > 1e-3  # beyond rounding error
            assert torch.equal(layer.part[r][decided & (alpha > 1e-3)], part[decided & (alpha > 1e-3)])
            assert (layer.part[r][alpha == 0] == -1).float().mean() > 0.99
    assert (layer.alpha > 0).any()


@pytest.mark.parametrize("make", KINDS)
def test_a_tracked_point_keeps_its_texture(make):
    scene_object = make(seeded(1), ROWS, TIMES, SIZE)
    world = pixel_grid(*SIZE, torch.device("cpu")).expand(2, -1, -1, -1)
    no_displacement = torch.zeros(2, *SIZE, 2)
    layer = scene_object.render_layer(world, no_displacement, 0)
    checked = 0
    for r, y, x in (layer.alpha[:, 0] > 0.9).nonzero()[::7].tolist():
        k = int(layer.part[r, y, x])
        for n in (1, 2):
            there = scene_object.track(world, layer.part.clamp(min=0), n)[r, y, x]
            local = complex(*(there - scene_object.centre[r, n, k]).tolist()) * cmath.exp(
                -1j * float(scene_object.angle[r, n, k])
            )
            expected = layer.texture_points[r, y, x] - scene_object.texture_offset[r, k]
            assert (local.real, local.imag) == pytest.approx(tuple(expected.tolist()), abs=1e-3)
        checked += 1
    assert checked > 5


def test_links_of_a_figure_stay_joined_and_turn():
    scene_object = draw_figure(seeded(2), torch.arange(40), TIMES[:1].expand(40, -1), SIZE)
    heading = torch.stack([torch.cos(scene_object.angle), torch.sin(scene_object.angle)], -1)
    long = scene_object.half_size[:, None, :, :1]
    inner, outer = scene_object.centre - 0.9 * heading * long, scene_object.centre + 0.9 * heading * long
    upper, lower, trunk = (
        (slice(None), slice(None), [0, 3]),
        (slice(None), slice(None), [1, 4]),
        scene_object.centre[:, :, 2],
    )
    tall = long[:, :, 2:3, 0] / 0.3
    # An elbow is where the upper link ends (limbs overlap by a fifth of it), a shoulder at one end of the trunk.
    assert torch.allclose(outer[upper], (scene_object.centre - heading * long)[lower], atol=float(0.05 * tall.max()))
    assert ((inner[upper] - trunk[:, :, None]).norm(dim=-1) - 0.24 * tall <= 0.05 * tall + 1e-3).all()
    bent = scene_object.angle[:, :, [0, 3]] - scene_object.angle[:, :, [1, 4]]
    swung = (bent - bent[:, :1])[:, 1:].abs()
    assert 0.1 < swung.mean() < 0.6
    assert swung.max() < 2.5


def test_sizes_and_motion_of_twigs_and_leaves():
    thin = draw_twigs(seeded(3), torch.arange(30), TIMES[:1].expand(30, -1), SIZE)
    assert (2 * thin.half_size[..., 1] >= 1).all()
    assert (2 * thin.half_size[..., 1] <= 3).all()
    leaves = draw_swarm(seeded(3), torch.arange(30), TIMES[:1].expand(30, -1), SIZE)
    assert leaves.half_size[..., 0].max() < 10
    way = leaves.centre[:, 2] - leaves.centre[:, 0]
    assert (way.std(dim=1).mean(dim=-1) > 0.2).all()  # every leaf has its own velocity
    assert (leaves.centre[:, 0].abs() <= 0.45 * torch.tensor([SIZE[1], SIZE[0]]) + 1e-3).all()


def test_blur_of_the_bursts_that_contain_the_object():
    evs = torch.tensor([[0.0, -1, 2], [0.0, 3, 2], [0.0, 1, 2]])
    blur = MotionBlur.draw(seeded(), evs, TIMES[:1].expand(3, -1))
    scene_object = draw_swarm(seeded(), ROWS, TIMES, SIZE)
    longer = scene_object.with_blur(blur)
    assert longer.centre.shape == (2, 7, 40, 2)
    assert longer.angle.shape == (2, 7, 40)
    assert torch.allclose(longer.centre[1, 3:].mean(0), scene_object.centre[1, 2], atol=1e-4)
