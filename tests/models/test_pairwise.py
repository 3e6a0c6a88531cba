"""The comparison of two frames against closed forms and OpenCV."""

import cv2
import numpy as np
import pytest
import torch

from smarthdr_cli.models.pairwise import (
    common_exposure,
    dead_zone,
    flow_helps,
    inside_frame,
    normalised_difference,
    warp,
)
from smarthdr_cli.models.tensor_ops import encode

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("ev", [-2.0, 0.0, 3.0])
def test_a_static_scene_agrees_at_the_common_exposure(ev):
    light = torch.rand(1, 3, 8, 8) * 2.0
    ref, other = light.clamp(max=1), (light * 2.0**ev).clamp(max=1)
    a, b, dark = common_exposure(ref, other, torch.tensor([ev]))
    assert torch.allclose(a, b, atol=1e-6)
    assert torch.allclose(dark, encode(ref if ev > 0 else other))
    assert normalised_difference(a, b, dark, torch.tensor([ev])).max() < 1e-3


def test_the_difference_that_noise_explains_is_1():
    a, b = torch.full((1, 3, 2, 2), 0.5), torch.full((1, 3, 2, 2), 0.5)
    b[:, 1] += 0.012 + 0.006 / 0.45
    gap = normalised_difference(a, b, torch.full((1, 3, 2, 2), 0.4), torch.zeros(1))
    assert torch.allclose(gap, torch.ones(1, 1, 2, 2), atol=1e-5)


def test_warp_equals_remap():
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, 30, 41, generator=generator)
    flow = torch.randn(1, 2, 30, 41, generator=generator) * 5
    y, x = np.mgrid[0:30, 0:41].astype(np.float32)
    wanted = cv2.remap(image[0].permute(1, 2, 0).numpy(), x + flow[0, 0].numpy(), y + flow[0, 1].numpy(),
                       cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
    assert np.abs(warp(image, flow)[0].permute(1, 2, 0).numpy() - wanted).max() < 1e-4
    assert torch.allclose(warp(image, torch.zeros_like(flow)), image, atol=1e-5)


def test_small_displacements_fall_into_the_dead_zone():
    flow = torch.zeros(1, 2, 1, 5)
    flow[0, 0, 0] = torch.tensor([0.0, 0.2, 0.5, 0.75, -9.0])
    assert torch.allclose(dead_zone(flow)[0, 0, 0], torch.tensor([0.0, 0.0, 0.25, 0.75, -9.0]))
    zero = torch.zeros(1, 2, 2, 2, requires_grad=True)
    dead_zone(zero).sum().backward()
    assert zero.grad.isfinite().all()


def test_a_pixel_is_inside_to_half_a_pixel():
    flow = torch.zeros(1, 2, 4, 6)
    flow[:, 0] = 3.0
    assert inside_frame(flow)[0, 0, 0].tolist() == [1, 1, 1, 0, 0, 0]
    flow[:, 0], flow[:, 1] = 0.0, -0.5
    assert inside_frame(flow).all()
    flow[:, 1] = -0.6
    assert inside_frame(flow)[0, 0, :, 0].tolist() == [0, 1, 1, 1]


def test_a_displacement_does_not_help_in_a_static_place():
    generator = torch.Generator().manual_seed(9)
    ref = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8, generator=generator) * 0.6 + 0.1, scale_factor=4)
    flow = torch.zeros(1, 2, 32, 32)
    flow[:, 0] = 3.0
    ev = torch.zeros(1)
    assert float(flow_helps(ref, ref, flow, ev).max()) == 0  # static
    moved = torch.roll(ref, 3, dims=-1)  # the displacement undoes it
    assert float(flow_helps(ref, moved, flow, ev)[..., 4:-4, 4:-8].min()) == 1
    unlike = torch.rand(1, 3, 32, 32, generator=generator)  # neither agrees: the network decides
    assert float(flow_helps(ref, unlike, flow, ev).min()) == 1
