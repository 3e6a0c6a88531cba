"""Displacements: of the camera, their inverse, and what goes on during an exposure."""

import pytest
import torch

from smarthdr_cli.data.synth.geometry import Blur, camera_motion, into_frame, look_up, pixel_grid

SIZE = (64, 80)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_reference_does_not_shake():
    for shake in ("aligned", "handheld"):
        motion = camera_motion(seeded(), 16, 3, SIZE, shake=shake, reach_px=20)
        assert (motion[:, 0] == 0).all()
        assert motion[:, 1:].abs().max() > 1


def test_a_tripod_does_not_move():
    assert not camera_motion(seeded(), 4, 3, SIZE, shake="tripod", reach_px=20).any()


def test_look_up_is_at_pixels_from_the_middle():
    field = torch.rand(1, 2, 9, 12, generator=seeded())
    grid = pixel_grid(9, 12, torch.device("cpu"))
    assert grid[0, 0].tolist() == [-5.5, -4.0]
    assert torch.allclose(look_up(field, grid[None]), field, atol=1e-5)
    assert torch.allclose(
        look_up(field, grid[None] + torch.tensor([2.0, 1.0]))[..., :-1, :-2], field[..., 1:, 2:], atol=1e-5
    )


def test_into_frame_inverts_what_a_frame_looks_at():
    motion = camera_motion(seeded(3), 4, 3, SIZE, shake="handheld", reach_px=8)[:, 1]
    world = pixel_grid(*SIZE, torch.device("cpu")).expand(4, -1, -1, -1)[:, 20:44, 20:60]
    found = into_frame(motion, world)
    again = found + look_up(motion.permute(0, 3, 1, 2), found).permute(0, 2, 3, 1)
    assert (again - world).norm(dim=-1).max() < 0.25


@pytest.fixture
def blur():
    evs = torch.tensor([[0.0, -2, 2], [0, 1, -2], [0, -2, -1]])
    return Blur.draw(seeded(), evs, torch.tensor([[0.0, -1, 1], [0, 1, -1], [0, -2, -1]]))


def test_the_brightest_frame_is_the_long_one_and_the_reference_never(blur):
    assert blur.frame.tolist() == [2, 1, 0]
    assert (blur.duty[:2].abs().amax(dim=1) > 0.02).all()
    assert blur.duty.abs().max() <= 0.3
    assert (blur.duty[2] == 0).all()
    assert (blur.shake[2] == 0).all()
    assert blur.shake.abs().max() <= 2


def test_an_exposure_is_around_its_middle_and_goes_on_as_things_went(blur):
    centre = torch.zeros(3, 3, 2)
    centre[:, 1], centre[:, 2] = torch.tensor([6.0, 0]), torch.tensor([-3.0, 4])
    moments = blur.moments(centre, pixels=True)
    assert torch.equal(moments[:, :3], centre)
    there = centre[torch.arange(3), blur.frame]
    assert torch.allclose(moments[:, 3:].mean(1), there, atol=1e-5)
    assert torch.allclose(moments[:, 3:] - there[:, None], there[:, None] * blur.duty[..., None], atol=1e-6)
    far = blur.moments(centre * 1000, pixels=True)[:, 3:] - 1000 * there[:, None]
    assert far.norm(dim=-1).max() == pytest.approx(Blur.FURTHEST, rel=1e-3)
    angle = torch.tensor([[0.0, 0.1, 0.2]]).expand(3, -1)
    turned = blur.moments(angle, pixels=False)
    assert torch.allclose(turned[0, 3:], 0.2 + 0.2 * blur.duty[0])


def test_a_long_exposure_is_the_mean_of_its_moments(blur):
    pictures = torch.rand(3, 7, 3, 4, 5, generator=seeded(1))
    frames = blur.integrated(pictures)
    assert frames.shape == (3, 3, 3, 4, 5)
    assert torch.allclose(frames[0, 2], pictures[0, [2, 3, 4, 5, 6]].mean(0))
    assert torch.allclose(frames[1, 1], pictures[1, [1, 3, 4, 5, 6]].mean(0))
    assert torch.equal(frames[0, :2], pictures[0, :2])
    still = blur.repeated(pictures[:, :3])
    assert torch.allclose(blur.integrated(still), pictures[:, :3])
