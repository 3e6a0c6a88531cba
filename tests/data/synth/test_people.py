"""Rendered people in bursts: compositing against its equation, truth, placement, and the files that training takes."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from smarthdr_cli.data.synth.burst import draw_exposures, make_bursts, render
from smarthdr_cli.data.synth.compositing import Canvas, true_flow
from smarthdr_cli.data.synth.config import SynthConfig, Variety
from smarthdr_cli.data.synth.geometry import MotionBlur
from smarthdr_cli.data.synth.people import Person, draw_people, load_people
from smarthdr_cli.data.synth.sources import HELD_OUT, Texture, bank_from_images
from smarthdr_cli.data.synth.sprites import write_sprite
from smarthdr_cli.errors import InputError
from tests.support.people import STEP, rectangle_sprite

pytestmark = pytest.mark.unit
SIZE = (80, 120)
LIGHT = 2.0  # of the background


def person(phases=(2, 3, 4), scale=1.0, side=1.0, gain=1.0, feet=(0.0, 25.0)):
    """One walking rectangle whose root is at ``feet`` in the reference, moving with its sprite."""
    sprite = rectangle_sprite()
    phase = torch.tensor([phases])
    travel = sprite.travel[phase] - sprite.travel[phase[:, :1]]
    anchor = torch.tensor([[feet]]) + travel * torch.tensor([side, 1.0]) * scale
    values = [torch.tensor([v]) for v in (scale, side, gain)]
    return Person(torch.tensor([0]), (sprite,), phase, anchor, *values)


def composited(one, frames=3):
    canvas = Canvas(
        torch.full((1, frames, 3, *SIZE), LIGHT), torch.zeros(1, frames, 1, *SIZE),
        torch.zeros(1, frames, *SIZE, 2), constant_brightness=True,
    )  # fmt: skip
    canvas.composite_rendered(one, 1)
    flow, visible = true_flow(canvas.displacement, [one], canvas.labels)
    return canvas, flow[0], visible[0]


def row(canvas, y, frame=0):
    """Radiance along a row, y px below the middle."""
    return canvas.frames[0, frame, 0, int(y + SIZE[0] / 2)]


def columns(x0, x1):
    """A slice of columns from x0 to x1 px right of the middle."""
    return slice(int(x0 + SIZE[1] / 2), int(x1 + SIZE[1] / 2))


def test_a_pixel_is_the_persons_light_over_what_its_shadow_leaves():
    canvas, _, _ = composited(person(gain=1.5))
    upper, lower, ground = row(canvas, 25 - 30), row(canvas, 25 - 10), row(canvas, 25 + 2)
    assert torch.allclose(upper[columns(-6, 6)], torch.tensor(1.0 * 1.5 * LIGHT))  # premultiplied 1, alpha 1
    assert torch.allclose(lower[columns(-6, 6)], torch.tensor(0.5 * 1.5 * LIGHT))
    assert torch.allclose(ground[columns(-18, 14)], torch.tensor(0.5 * LIGHT))
    assert torch.allclose(upper[columns(8, 40)], torch.tensor(LIGHT))
    assert torch.allclose(ground[columns(-40, -20)], torch.tensor(LIGHT))


def test_each_frame_shows_its_phase_where_the_root_has_moved():
    canvas, _, _ = composited(person())
    for frame in (0, 1, 2):
        upper = columns(STEP * frame - 6, STEP * frame + 6)
        lower = columns((STEP + 1) * frame - 6, (STEP + 1) * frame + 6)
        assert torch.allclose(row(canvas, 25 - 30, frame)[upper], torch.tensor(LIGHT))
        assert (canvas.labels[0, frame, 0, int(25 - 30 + SIZE[0] / 2)] == 1).sum() == 12
        assert torch.allclose(row(canvas, 25 - 10, frame)[lower], torch.tensor(0.5 * LIGHT))


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_flow_is_the_motion_of_every_part_scaled_and_mirrored(side, scale):
    canvas, flow, visible = composited(person(side=side, scale=scale))
    on = canvas.labels[0, 0, 0] == 1
    assert int(on.sum()) == pytest.approx(40 * 12 * scale**2, rel=0.05)
    y = torch.arange(SIZE[0])[:, None].expand(SIZE) - SIZE[0] / 2 + 0.5
    upper, lower = on & (y < 25 - 21 * scale), on & (y > 25 - 19 * scale)
    assert torch.allclose(flow[0, 0][upper], torch.tensor(side * scale * STEP))
    assert torch.allclose(flow[0, 0][lower], torch.tensor(side * scale * (STEP + 1)), atol=1e-4)
    assert (flow[0, 1][on].abs() < 1e-4).all()
    assert (flow[:, :, ~on] == 0).all()
    assert visible[0, 0][upper].all()


def test_where_a_person_hides_its_own_surface_nothing_is_visible_and_the_flow_is_finite():
    canvas, flow, visible = composited(person())
    upper = (canvas.labels[0, 0, 0] == 1) & (torch.arange(SIZE[0])[:, None] < 25 - 21 + SIZE[0] / 2)
    assert (visible[1, 0][upper] == 0).all()  # the last phase
    assert flow.isfinite().all()


def test_the_reference_of_a_burst_is_compositing_at_the_reference_phase(bank):
    """The truth of a burst is the background with every person in the middle phase, whatever other frames show."""
    grey = bank_from_images(["grey"], [np.full((64, 128, 3), 3.0, np.float32)])
    grey = replace(grey, people=(rectangle_sprite(),))
    config = SynthConfig(height=SIZE[0], width=SIZE[1], objects=0, shake="tripod", variety=Variety(people=1.0))
    generator = torch.Generator().manual_seed(4)
    evs, times = draw_exposures(config, generator, 2, 3)
    state = generator.get_state()
    moving = render(grey, config, generator, evs, times)
    generator.set_state(state)
    still = render(grey, config, generator, evs, torch.zeros_like(times))
    assert torch.equal(moving.radiance[:, 0], still.radiance[:, 0])
    assert not torch.equal(moving.radiance[:, 1], still.radiance[:, 1])
    background = (still.radiance[:, 0] == 1).all(dim=1, keepdim=True)
    assert not moving.moving[background & (moving.flow.abs().amax(dim=(1, 2))[:, None] == 0)].all()
    exposed = make_bursts(grey, replace(config, kind="gamma16", iso_high=100.0), torch.Generator().manual_seed(4), 2)
    assert torch.allclose(exposed.linear[:, 0], exposed.target.clamp(max=1), atol=0.05)


def test_without_sprites_a_burst_is_as_before(bank):
    config = SynthConfig(height=32, width=32, objects=1, variety=Variety(twigs=0.5))
    with_people = replace(config, variety=Variety(twigs=0.5, people=1.0))
    bursts = [make_bursts(bank, c, torch.Generator().manual_seed(3), 2) for c in (config, with_people)]
    assert torch.equal(bursts[0].codes, bursts[1].codes)


def test_people_stand_on_one_ground_the_nearer_ones_in_front():
    people = (rectangle_sprite(), replace(rectangle_sprite(), height=20.0))
    rows, times = torch.arange(64), torch.tensor([0.0, -1.0, 1.0]).repeat(64, 1)
    persons = draw_people(torch.Generator().manual_seed(1), people, rows, times, (200, 200), torch.full((64,), -30.0))
    counts = torch.bincount(torch.cat([one.rows for one in persons]), minlength=64)
    assert counts.min() == 1
    assert counts.max() == 3
    height, feet = torch.zeros(64, 3), torch.full((64, 3), torch.nan)
    for k, one in enumerate(persons):
        tall = torch.tensor([sprite.height for sprite in one.sprites]) * one.scale
        height[one.rows, k], feet[one.rows, k] = tall, one.anchor[:, 0, 1]
    three = counts == 3
    assert (height[three].diff(dim=1) >= 0).all()
    assert (feet[three].diff(dim=1) >= 0).all()  # the nearer, the lower their feet
    eye_level = (feet[three] + 30) / height[three]  # the horizon is 30 px above the middle
    assert ((eye_level > 0.7) & (eye_level < 1.15)).all()
    assert torch.allclose(eye_level, eye_level[:, :1].expand(-1, 3), rtol=1e-3)


def test_the_horizon_of_a_backdrop_is_the_middle_of_its_panorama(bank):
    height = bank.mips[0][0].shape[1]
    texture = Texture([0, 0], torch.tensor([[0.2, 0.5], [0.7, 0.25]]), [1.0, 2.0], [0, 0])
    assert texture.horizon(bank).tolist() == [0.0, height / 8]


def test_beyond_the_last_phase_a_person_stands_still():
    rows, times = torch.arange(8), torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0]).repeat(8, 1)
    for one in draw_people(torch.Generator().manual_seed(2), (rectangle_sprite(),), rows, times, SIZE, torch.zeros(8)):
        assert (one.phase[:, 0] == 2).all()
        assert (one.phase[:, 2:] == 4).all()
        assert torch.equal(one.anchor[:, 3], one.anchor[:, 4])


def test_a_long_exposure_moves_whole_people_by_a_few_pixels():
    one = person()
    blur = MotionBlur(torch.tensor([2]), torch.tensor([[-0.1, 0.1]]), torch.zeros(1, 2, 2))
    longer = one.with_blur(blur)
    assert longer.phase.tolist() == [[2, 3, 4, 4, 4]]
    assert torch.allclose(longer.anchor[0, 3:, 0] - one.anchor[0, 2, 0], torch.tensor([-1.6, 1.6]))


def test_a_folder_of_sprites_is_read_in_the_order_of_names(tmp_path):
    for name, panorama in (("b", "second"), ("a", "first")):
        write_sprite(tmp_path / f"{name}.npz", rectangle_sprite(panorama=panorama))
    assert [sprite.panorama for sprite in load_people(tmp_path)] == ["first", "second"]


def test_folders_that_training_must_not_use_are_refused(tmp_path):
    with pytest.raises(InputError, match=rf"{re.escape(str(tmp_path))}.*make_people\.py"):
        load_people(tmp_path)
    write_sprite(tmp_path / "a.npz", rectangle_sprite(panorama=HELD_OUT[0]))
    with pytest.raises(InputError, match=rf"a\.npz: lit by {HELD_OUT[0]}"):
        load_people(tmp_path)
