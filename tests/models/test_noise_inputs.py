"""noise_inputs.py: differences in deviations of the noise, and a network that grows to see them."""

from dataclasses import replace

import pytest
import torch

from smarthdr_cli.models.noise_inputs import difference_in_deviations, of_default_camera
from smarthdr_cli.models.pairwise import common_exposure, normalised_difference
from smarthdr_cli.models.saf import SAF, SAFConfig
from smarthdr_cli.models.saf_layers import Motion

pytestmark = pytest.mark.unit
SMALL = SAFConfig(encoder=8, motion=12, hidden=4, verify=12, refine=12, finest=4)


@pytest.mark.parametrize("ev", [-2.0, 0.0, 1.5])
def test_noise_differs_by_more_than_two_deviations_as_often_as_normal_variables_do(ev):
    draw = torch.Generator().manual_seed(0)
    gain, sigma = 2.0**ev, 0.004
    ref = 0.2 + sigma * torch.randn(1, 3, 128, 128, generator=draw)
    other = (0.2 + sigma * torch.randn(1, 3, 128, 128, generator=draw)) * gain
    d = difference_in_deviations(ref, other, torch.tensor([ev]), torch.full((1, 1, 128, 128), 2 * sigma**2))
    within = 0.9545**3  # all three channels
    assert abs(float((d < 1).float().mean()) - within) < 0.02


def test_what_the_longer_frame_clips_is_no_difference():
    ref, other = torch.full((1, 3, 4, 4), 0.9), torch.ones(1, 3, 4, 4)
    assert difference_in_deviations(ref, other, torch.tensor([2.0]), torch.full((1, 1, 4, 4), 1e-6)).max() == 0


def test_a_default_camera_trusts_what_is_alike_and_states_less_noise_where_two_frames_show_it():
    frames = torch.full((1, 2, 3, 8, 8), 0.1)
    frames[:, 1] *= 4
    frames[:, 1, :, :, 4:] = 0.9  # something else
    _, trust, sigma = of_default_camera(frames, torch.tensor([[0.0, 2.0]]), torch.ones(1, 1, 1, 8, 8))
    trust, sigma = trust[0, 0, 0, 0], sigma[0, 0, 0]
    assert trust[0] == 1
    assert trust[-1] < 1e-3
    assert sigma[0] < 0.6 * sigma[-1]


def test_a_network_without_noise_inputs_grows_into_one_that_answers_the_same():
    torch.manual_seed(0)
    small = SAF(SMALL).eval()
    for head in (small.verify_head, small.residual_head):
        torch.nn.init.normal_(head.weight, std=0.3)
    grown = SAF(replace(SMALL, noise_inputs=True)).eval()
    grown.load_state_dict(grown.extend_state(small.state_dict()))
    ref, other = torch.rand(2, 1, 3, 16, 16)
    valid, ev = torch.ones(1, 1, 16, 16), torch.tensor([1.0])
    state = Motion(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4, 4))
    gap = normalised_difference(*common_exposure(ref, other, ev), ev)
    evs, frames = torch.tensor([[0.0, 1.0]]), torch.stack([ref, other], dim=1)
    with torch.inference_mode():
        logits, features, _ = small.verify(ref, other, valid, ev, state)
        seen = (gap, torch.rand(1, 1, 16, 16))
        logits_grown, features_grown, _ = grown.verify(ref, other, valid, ev, state, None, seen)
        light = small.refine(frames, evs, valid[:, None], logits[:, None], [features], gap[:, None])[0]
        sigma = torch.full((1, 1, 16, 16), 0.01)
        light_grown = grown.refine(
            frames, evs, valid[:, None], logits_grown[:, None], [features_grown], gap[:, None], sigma=sigma
        )[0]
    torch.testing.assert_close(logits_grown, logits)
    torch.testing.assert_close(light_grown, light)


def test_the_whole_network_makes_its_own_noise_inputs():
    torch.manual_seed(0)
    model = SAF(replace(SMALL, noise_inputs=True)).eval()
    with torch.inference_mode():
        out = model(torch.rand(2, 3, 3, 32, 32), torch.tensor([[0.0, -2, 2]] * 2), torch.ones(2, 3, 1, 32, 32))
    assert out.radiance.shape == (2, 3, 32, 32)
    assert torch.isfinite(out.radiance).all()
    assert torch.isfinite(out.log_sigma).all()
