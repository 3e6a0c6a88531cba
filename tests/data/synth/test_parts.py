"""Things of many parts against a plain drawing of each part by itself."""

import cmath

import pytest
import torch

from smarthdr_cli.data.synth.geometry import Blur, camera_motion, pixel_grid
from smarthdr_cli.data.synth.parts import figure, swarm, twigs

SIZE = (72, 88)
ROWS = torch.tensor([0, 2])
TIMES = torch.tensor([[0.0, -1.0, 1.0], [0.0, 1.0, 2.0]])
KINDS = [figure, twigs, swarm]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn_plainly(thing, world, frame, r):
    """(H, W) coverage and foremost part of sample r, each part over the whole picture, one after the other."""
    alpha = torch.zeros(SIZE)
    part = torch.full(SIZE, -1)
    touched = torch.full(SIZE, -1)
    for k in range(thing.parts):
        turn = cmath.exp(-1j * float(thing.angle[r, frame, k]))
        offset = torch.complex(*(world[r] - thing.centre[r, frame, k]).unbind(-1)) * turn
        x, y = offset.real, offset.imag
        a, w = thing.half[r, k].tolist()
        t = x / a
        wide = w * (1 + float(thing.taper[r, k]) * t) * (1 - t * t).clamp(min=0) ** float(thing.power[r, k])
        cover = (wide - (y - float(thing.bend[r, k]) * t * x).abs() + 0.5).clamp(0, 1) * (t.abs() < 1)
        alpha = torch.maximum(alpha, cover)
        part[cover > 0.5] = k
        touched[cover > 0] = k
    return alpha, torch.where(part >= 0, part, touched)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("shake", ["handheld", "aligned"])
def test_boxes_are_as_the_whole_picture(make, shake):
    thing = make(seeded(4), ROWS, TIMES, SIZE)
    motion = camera_motion(seeded(1), 2, 3, SIZE, shake=shake, reach_px=6)
    assert motion.diff(dim=2).norm(dim=-1).max() < 1  # where the view folds, boxes may cut what is seen twice
    world = pixel_grid(*SIZE, torch.device("cpu")) + motion
    for n in range(3):
        look = thing.look(world[:, n], motion[:, n], n)
        for r in range(2):
            alpha, part = drawn_plainly(thing, world[:, n], n, r)
            assert torch.allclose(look.alpha[r, 0], alpha, atol=1e-3)
            sure = (alpha - 0.5).abs() > 1e-3  # rounding may tip the scales
            assert torch.equal(look.part[r][sure & (alpha > 1e-3)], part[sure & (alpha > 1e-3)])
            assert (look.part[r][alpha == 0] == -1).float().mean() > 0.99
    assert (look.alpha > 0).any()


@pytest.mark.parametrize("make", KINDS)
def test_a_point_of_the_skin_stays_what_it_is(make):
    """Where a point goes, the other frame shows the same place of the skin of the same part."""
    thing = make(seeded(1), ROWS, TIMES, SIZE)
    world = pixel_grid(*SIZE, torch.device("cpu")).expand(2, -1, -1, -1)
    still = torch.zeros(2, *SIZE, 2)
    look = thing.look(world, still, 0)
    found = 0
    for r, y, x in (look.alpha[:, 0] > 0.9).nonzero()[::7].tolist():
        k = int(look.part[r, y, x])
        for n in (1, 2):
            there = thing.follow(world, look.part.clamp(min=0), n)[r, y, x]
            local = complex(*(there - thing.centre[r, n, k]).tolist()) * cmath.exp(-1j * float(thing.angle[r, n, k]))
            wanted = look.local[r, y, x] - thing.place[r, k]
            assert (local.real, local.imag) == pytest.approx(tuple(wanted.tolist()), abs=1e-3)
        found += 1
    assert found > 5


def test_the_joints_of_a_figure_hold_and_turn():
    thing = figure(seeded(2), torch.arange(40), TIMES[:1].expand(40, -1), SIZE)
    heading = torch.stack([torch.cos(thing.angle), torch.sin(thing.angle)], -1)
    long = thing.half[:, None, :, :1]
    inner, outer = thing.centre - 0.9 * heading * long, thing.centre + 0.9 * heading * long
    upper, lower, trunk = (slice(None), slice(None), [0, 3]), (slice(None), slice(None), [1, 4]), thing.centre[:, :, 2]
    tall = long[:, :, 2:3, 0] / 0.3
    # An elbow is where the upper link ends (limbs overlap by a fifth of it), a shoulder at one end of the trunk.
    assert torch.allclose(outer[upper], (thing.centre - heading * long)[lower], atol=float(0.05 * tall.max()))
    assert ((inner[upper] - trunk[:, :, None]).norm(dim=-1) - 0.24 * tall <= 0.05 * tall + 1e-3).all()
    bent = thing.angle[:, :, [0, 3]] - thing.angle[:, :, [1, 4]]
    swung = (bent - bent[:, :1])[:, 1:].abs()
    assert 0.1 < swung.mean() < 0.6
    assert swung.max() < 2.5


def test_twigs_are_1_to_3_pixels_wide_and_leaves_are_small():
    thin = twigs(seeded(3), torch.arange(30), TIMES[:1].expand(30, -1), SIZE)
    assert (2 * thin.half[..., 1] >= 1).all()
    assert (2 * thin.half[..., 1] <= 3).all()
    leaves = swarm(seeded(3), torch.arange(30), TIMES[:1].expand(30, -1), SIZE)
    assert leaves.half[..., 0].max() < 10
    way = leaves.centre[:, 2] - leaves.centre[:, 0]
    assert (way.std(dim=1).mean(dim=-1) > 0.2).all()  # each its own way
    assert (leaves.centre[:, 0].abs() <= 0.45 * torch.tensor([SIZE[1], SIZE[0]]) + 1e-3).all()


def test_a_long_exposure_takes_the_rows_that_are_there():
    evs = torch.tensor([[0.0, -1, 2], [0.0, 3, 2], [0.0, 1, 2]])
    blur = Blur.draw(seeded(), evs, TIMES[:1].expand(3, -1))
    thing = swarm(seeded(), ROWS, TIMES, SIZE)
    longer = thing.moments(blur)
    assert longer.centre.shape == (2, 7, 40, 2)
    assert longer.angle.shape == (2, 7, 40)
    assert torch.allclose(longer.centre[1, 3:].mean(0), thing.centre[1, 2], atol=1e-4)
