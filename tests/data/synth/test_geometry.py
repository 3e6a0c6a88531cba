"""Camera displacement, its inverse, and motion blur."""

import pytest
import torch

from smarthdr_cli.data.synth.geometry import MAX_BLUR_PX, MotionBlur, camera_motion, pixel_grid, sample_at, to_frame

pytestmark = pytest.mark.unit
SIZE = (64, 80)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_reference_does_not_move():
    for shake in ("aligned", "handheld"):
        motion = camera_motion(seeded(), 16, 3, SIZE, shake=shake, reach_px=20)
        assert (motion[:, 0] == 0).all()
        assert motion[:, 1:].abs().max() > 1


def test_a_tripod_does_not_move():
    assert not camera_motion(seeded(), 4, 3, SIZE, shake="tripod", reach_px=20).any()


def test_points_are_relative_to_the_centre():
    field = torch.rand(1, 2, 9, 12, generator=seeded())
    grid = pixel_grid(9, 12, torch.device("cpu"))
    assert grid[0, 0].tolist() == [-5.5, -4.0]
    assert torch.allclose(sample_at(field, grid[None]), field, atol=1e-5)
    assert torch.allclose(
        sample_at(field, grid[None] + torch.tensor([2.0, 1.0]))[..., :-1, :-2], field[..., 1:, 2:], atol=1e-5
    )


def test_to_frame_inverts_the_displacement():
    motion = camera_motion(seeded(3), 4, 3, SIZE, shake="handheld", reach_px=8)[:, 1]
    world = pixel_grid(*SIZE, torch.device("cpu")).expand(4, -1, -1, -1)[:, 20:44, 20:60]
    pixels = to_frame(motion, world)
    again = pixels + sample_at(motion.permute(0, 3, 1, 2), pixels).permute(0, 2, 3, 1)
    assert (again - world).norm(dim=-1).max() < 0.25


@pytest.fixture
def blur():
    evs = torch.tensor([[0.0, -2, 2], [0, 1, -2], [0, -2, -1]])
    return MotionBlur.draw(seeded(), evs, torch.tensor([[0.0, -1, 1], [0, 1, -1], [0, -2, -1]]))


def test_the_brightest_frame_is_blurred_unless_it_is_the_reference(blur):
    assert blur.frame.tolist() == [2, 1, 0]
    assert (blur.phase[:2].abs().amax(dim=1) > 0.02).all()
    assert blur.phase.abs().max() <= 0.3
    assert (blur.phase[2] == 0).all()
    assert (blur.shake[2] == 0).all()
    assert blur.shake.abs().max() <= 2


def test_moments_continue_the_motion_on_both_sides_of_the_middle(blur):
    centre = torch.zeros(3, 3, 2)
    centre[:, 1], centre[:, 2] = torch.tensor([6.0, 0]), torch.tensor([-3.0, 4])
    moments = blur.extend_positions(centre)
    assert torch.equal(moments[:, :3], centre)
    middle = centre[torch.arange(3), blur.frame]
    assert torch.allclose(moments[:, 3:].mean(1), middle, atol=1e-5)
    assert torch.allclose(moments[:, 3:] - middle[:, None], middle[:, None] * blur.phase[..., None], atol=1e-6)
    far = blur.extend_positions(centre * 1000)[:, 3:] - 1000 * middle[:, None]
    assert far.norm(dim=-1).max() == pytest.approx(MAX_BLUR_PX, rel=1e-3)
    angle = torch.tensor([[0.0, 0.1, 0.2]]).expand(3, -1)
    angles = blur.extend_values(angle)
    assert torch.allclose(angles[0, 3:], 0.2 + 0.2 * blur.phase[0])


def test_the_long_frame_is_the_mean_of_its_moments(blur):
    images = torch.rand(3, 7, 3, 4, 5, generator=seeded(1))
    frames = blur.integrate(images)
    assert frames.shape == (3, 3, 3, 4, 5)
    assert torch.allclose(frames[0, 2], images[0, [2, 3, 4, 5, 6]].mean(0))
    assert torch.allclose(frames[1, 1], images[1, [1, 3, 4, 5, 6]].mean(0))
    assert torch.equal(frames[0, :2], images[0, :2])
    still = blur.extend_static(images[:, :3])
    assert torch.allclose(blur.integrate(still), images[:, :3])
