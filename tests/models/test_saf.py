"""saf: its small functions against closed forms, the set property, banding and the gate."""

import math

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from smarthdr_cli.errors import ModelError
from smarthdr_cli.fusion import moving
from smarthdr_cli.fusion.moving import REACH, banded
from smarthdr_cli.models.build import build_model
from smarthdr_cli.models.compare import (
    FAR,
    common_exposure,
    disagreement,
    inside,
    settle,
    warp,
    within_reach,
    worthwhile,
)
from smarthdr_cli.models.saf import (
    CELL,
    SAF,
    Motion,
    SAFConfig,
    best_match,
    cost_volume,
    fold,
    pyramid,
    squared_gaps,
    squared_gaps_lean,
    upsample,
)
from smarthdr_cli.models.tone import MU, encode, inverse_mu_law, mu_law

SMALL = SAFConfig(encoder=8, motion=12, hidden=4, verify=12, refine=12)


@pytest.fixture(autouse=True)
def _one_thread():
    """Pictures this small are not worth a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def lively(seed=0, size=0.3, flow=0.05):
    """A random network whose heads are far from zero."""
    torch.manual_seed(seed)
    model = SAF(SMALL).eval()
    with torch.no_grad():
        for head, scale in ((model.motion_head, flow), (model.verify_head, size), (model.residual_head, size)):
            head.weight.normal_(std=scale)
            head.bias.normal_(std=scale)
    return model


def burst(count=3, height=64, width=96, seed=0):
    generator = torch.Generator().manual_seed(seed)
    frames = F.interpolate(
        torch.rand(count, 3, height // 4, width // 4, generator=generator), scale_factor=4, mode="bicubic"
    )
    frames = frames.clamp(0, 1).pow(2)[None]
    evs = torch.tensor([[0.0, *([-2.0, 2.0, 1.0, -1.0, 3.0, -3.0, 4.0, -4.0][: count - 1])]])
    return frames, evs, torch.ones(1, count, 1, height, width)


def test_mu_law_and_its_inverse():
    h = torch.tensor([0.0, 1e-6, 1e-3, 0.5, 1.0, 4.0])
    wanted = [math.log(1 + MU * v) / math.log(1 + MU) for v in h.tolist()]
    assert torch.allclose(mu_law(h), torch.tensor(wanted), atol=1e-6)
    assert torch.allclose(inverse_mu_law(mu_law(h)), h, rtol=1e-4, atol=1e-9)
    assert mu_law(torch.tensor([-1.0])) == 0


def test_mu_law_has_a_gradient_at_0():
    h = torch.zeros(3, requires_grad=True)
    mu_law(h).sum().backward()
    assert torch.allclose(h.grad, torch.full((3,), MU / math.log(1 + MU)))


def test_encoding_is_the_gamma_code_with_a_finite_slope():
    x = torch.tensor([0.0, 0.2, 1.0, 1.5], requires_grad=True)
    code = encode(x)
    assert code[1].item() == pytest.approx(0.2 ** (1 / 2.2))
    assert code[2] == code[3] == 1
    code.sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("ev", [-2.0, 0.0, 3.0])
def test_a_static_scene_agrees_at_the_common_exposure(ev):
    light = torch.rand(1, 3, 8, 8) * 2.0
    ref, other = light.clamp(max=1), (light * 2.0**ev).clamp(max=1)
    a, b, dark = common_exposure(ref, other, torch.tensor([ev]))
    assert torch.allclose(a, b, atol=1e-6)
    assert torch.allclose(dark, encode(ref if ev > 0 else other))
    assert disagreement(a, b, dark, torch.tensor([ev])).max() < 1e-3


def test_disagreement_is_1_at_what_the_codes_explain():
    a, b = torch.full((1, 3, 2, 2), 0.5), torch.full((1, 3, 2, 2), 0.5)
    b[:, 1] += 0.012 + 0.006 / 0.45
    gap = disagreement(a, b, torch.full((1, 3, 2, 2), 0.4), torch.zeros(1))
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


def test_settle_stills_what_hardly_moves():
    flow = torch.zeros(1, 2, 1, 5)
    flow[0, 0, 0] = torch.tensor([0.0, 0.2, 0.5, 0.75, -9.0])
    assert torch.allclose(settle(flow)[0, 0, 0], torch.tensor([0.0, 0.0, 0.25, 0.75, -9.0]))
    zero = torch.zeros(1, 2, 2, 2, requires_grad=True)
    settle(zero).sum().backward()
    assert zero.grad.isfinite().all()


def test_inside_counts_half_pixels():
    flow = torch.zeros(1, 2, 4, 6)
    flow[:, 0] = 3.0
    assert inside(flow)[0, 0, 0].tolist() == [1, 1, 1, 0, 0, 0]
    flow[:, 0], flow[:, 1] = 0.0, -0.5
    assert inside(flow).all()
    flow[:, 1] = -0.6
    assert inside(flow)[0, 0, :, 0].tolist() == [0, 1, 1, 1]


def test_the_lean_cost_is_the_one_that_training_differentiates():
    generator = torch.Generator().manual_seed(7)
    a, b = (torch.rand(2, 5, 13, 10, generator=generator) for _ in range(2))
    torch.testing.assert_close(squared_gaps_lean(a, b, 2), squared_gaps(a, b, 2))


def test_the_cost_volume_by_loops():
    generator = torch.Generator().manual_seed(2)
    a, b = (torch.rand(1, 4, 9, 11, generator=generator) for _ in range(2))
    volume = cost_volume(a, b, 2)
    assert volume.shape == (1, 25, 9, 11)

    def cost(y, x, dy, dx):
        total, count = 0.0, 0
        for v in range(max(y - 2, 0), min(y + 3, 9)):
            for u in range(max(x - 2, 0), min(x + 3, 11)):
                at = b[0, :, min(max(v + dy, 0), 8), min(max(u + dx, 0), 10)]
                total, count = total + float((a[0, :, v, u] - at).square().mean()), count + 1
        return total / count

    for y, x in ((0, 0), (4, 5), (8, 10)):
        every = [cost(y, x, tap // 5 - 2, tap % 5 - 2) for tap in range(25)]
        for tap in (0, 7, 12, 24):
            assert volume[0, tap, y, x].item() == pytest.approx(every[tap] / (np.mean(every) + 1e-4), rel=1e-4)


def test_the_best_match_is_the_true_shift():
    generator = torch.Generator().manual_seed(3)
    a = torch.rand(1, 6, 24, 24, generator=generator)
    b = torch.roll(a, (1, -2), (2, 3))  # what stood at (x, y) stands at (x - 2, y + 1)
    match = best_match(cost_volume(a, b, 2), 2, torch.tensor(50.0))[..., 5:-5, 5:-5]
    assert torch.allclose(match[:, 0], torch.full_like(match[:, 0], -2.0), atol=1e-3)
    assert torch.allclose(match[:, 1], torch.full_like(match[:, 1], 1.0), atol=1e-3)


def test_the_pyramid_ends_below_16_cells():
    shapes = [tuple(level.shape[-2:]) for level in pyramid(torch.rand(1, 3, 256, 192))]
    assert shapes == [(8, 6), (16, 12), (32, 24), (64, 48)] or shapes == [(16, 12), (32, 24), (64, 48)]
    assert 8 <= min(shapes[0]) < 16


def test_a_state_brought_up_keeps_its_motion_in_pixels():
    state = upsample(Motion(torch.full((1, 2, 4, 5), 1.5), torch.ones(1, 1, 4, 5), torch.zeros(1, 3, 4, 5)), 2)
    assert (state.flow == 3).all()
    assert state.flow.shape[-2:] == state.logit.shape[-2:] == state.hidden.shape[-2:] == (8, 10)


@torch.inference_mode()
def test_bands_equal_one_piece(monkeypatch):
    model = lively(flow=0.2)
    monkeypatch.setattr(moving, "BAND", 40 * 20)
    height = 2 * 40 + 3 * REACH
    generator = torch.Generator().manual_seed(3)
    ref, moved = (torch.rand(1, 3, height, 20, generator=generator) for _ in range(2))
    state = Motion(*(torch.randn(1, c, height, 20, generator=generator) for c in (2, 1, SMALL.hidden)))
    ev = torch.tensor([2.0])
    whole, parts = model.motion_level(ref, moved, ev, state), banded(model, ref, moved, ev, state)
    assert whole.flow.std() > 0.1
    for name in ("flow", "logit", "hidden"):
        assert torch.allclose(getattr(whole, name), getattr(parts, name), atol=1e-4), name


@torch.inference_mode()
@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_the_order_of_the_others_changes_nothing(count):
    model = lively()
    frames, evs, valid = burst(count)
    out = model(frames, evs, valid)
    assert (mu_law(out.radiance) - mu_law(out.merged)).abs().max() > 0.01
    assert out.trust.shape == (1, count - 1, 1, 64, 96)
    order = torch.randperm(count - 1, generator=torch.Generator().manual_seed(count)).tolist()
    turned = [0, *(i + 1 for i in order)]
    again = model(frames[:, turned], evs[:, turned], valid[:, turned])
    assert (mu_law(out.radiance) - mu_law(again.radiance)).abs().max() < 1e-4
    assert (out.log_sigma - again.log_sigma).abs().max() < 1e-3
    assert torch.allclose(out.trust[:, order], again.trust, atol=1e-4)


@torch.inference_mode()
def test_a_frame_given_twice_adds_no_new_opinion():
    """Pooling by mean and maximum: the same pair twice has the same features, trust and gaps as once."""
    model = lively()
    frames, evs, valid = burst(2)
    out = model(frames, evs, valid)
    twice = model(frames[:, [0, 1, 1]], evs[:, [0, 1, 1]], valid[:, [0, 1, 1]])
    assert torch.allclose(twice.trust[:, :1], out.trust, atol=1e-5)
    assert torch.equal(twice.trust[:, 0], twice.trust[:, 1])
    assert out.trust.std() > 0.01


@torch.inference_mode()
def test_a_batch_is_its_bursts_one_by_one():
    model = lively()
    first, second = burst(3, seed=1), burst(3, seed=2)
    both = model(*(torch.cat(pair) for pair in zip(first, second, strict=True)))
    for index, one in enumerate((first, second)):
        alone = model(*one)
        assert torch.allclose(both.radiance[index : index + 1], alone.radiance, atol=1e-4)
        assert torch.allclose(both.log_sigma[index : index + 1], alone.log_sigma, atol=1e-3)


@torch.inference_mode()
def test_the_residual_is_bounded_and_gated():
    model = lively(size=3.0)
    frames, evs, valid = burst(3)
    out = model(frames, evs, valid)
    scale = float(2.0 ** evs.min())
    change = (mu_law(out.radiance * scale) - mu_law(out.merged * scale)).abs()
    assert change.max() > 0.05
    assert (change <= out.gate * SMALL.residual + 1e-3).all()
    assert torch.equal(
        out.radiance[(out.gate == 0).expand_as(out.radiance)], out.merged[(out.gate == 0).expand_as(out.merged)]
    )


@torch.inference_mode()
def test_what_another_frame_did_not_see_comes_from_the_reference():
    model = lively()
    frames, evs, valid = burst(3)
    valid[:, 1:] = 0
    out = model(frames, evs, valid)
    assert torch.allclose(out.merged, frames[:, 0], rtol=1e-4, atol=1e-6)
    assert (out.trust == 0).all()


@torch.inference_mode()
def test_black_frames_stay_finite():
    out = lively()(torch.zeros(1, 3, 3, 64, 64), torch.tensor([[0.0, -8.0, 7.0]]), torch.ones(1, 3, 1, 64, 64))
    assert out.radiance.isfinite().all()
    assert out.log_sigma.isfinite().all()


def test_gradients_reach_every_weight_and_stay_finite_on_black():
    model = lively().train()
    frames, evs, valid = burst(3)
    frames = frames.clone()
    frames[..., :32] = 0
    out = model(frames, evs, valid)
    (mu_law(out.radiance).mean() + out.log_sigma.mean()).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 0, name


def test_the_model_is_built_from_its_config():
    model = build_model({"name": "saf", "refine": 24})
    assert isinstance(model, SAF)
    assert model.config == SAFConfig(refine=24)
    with pytest.raises(ModelError, match="refine"):
        build_model({"name": "saf", "refin": 24})
    with pytest.raises(ModelError, match="unknown model"):
        build_model({"name": "unet"})
    assert model.residual_head.out_channels == 3 * CELL * CELL


def test_a_displacement_of_what_stands_still_is_not_worthwhile():
    generator = torch.Generator().manual_seed(9)
    ref = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8, generator=generator) * 0.6 + 0.1, scale_factor=4)
    flow = torch.zeros(1, 2, 32, 32)
    flow[:, 0] = 3.0
    ev = torch.zeros(1)
    assert float(worthwhile(ref, ref, flow, ev).max()) == 0  # it stands still
    moved = torch.roll(ref, 3, dims=-1)  # seen through the displacement it is the reference again
    assert float(worthwhile(ref, moved, flow, ev)[..., 4:-4, 4:-8].min()) == 1
    unlike = torch.rand(1, 3, 32, 32, generator=generator)  # neither fits: the network decides
    assert float(worthwhile(ref, unlike, flow, ev).min()) == 1


def test_folding_is_pixel_unshuffle():
    planes = torch.rand(2, 3, 12, 20, generator=torch.Generator().manual_seed(3))
    assert torch.equal(fold(planes), torch.nn.functional.pixel_unshuffle(planes, 4))


def test_frames_far_from_the_reference_are_looked_at_from_nearer():
    frame = torch.tensor([0.0, 0.1, 0.5, 1.0, 1.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    ref = torch.tensor([0.0, 0.003, 0.015, 0.04, 0.001]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    for near in (-3.5, 0.0, 3.5):
        same, ev = within_reach(ref, frame, torch.tensor([near]))
        assert same is frame
        assert float(ev) == near
    seen, ev = within_reach(ref, frame, torch.tensor([FAR + 2]))
    assert float(ev) == FAR
    wanted = torch.tensor([0.0, 0.025, 0.125, 0.04 * 2**FAR, 1.0])  # clipped as it should be, and clipped by a stranger
    torch.testing.assert_close(seen[0, 0, 0], wanted)
    lifted, ev = within_reach(ref, frame, torch.tensor([-FAR - 2]))
    assert float(ev) == -FAR
    torch.testing.assert_close(lifted[0, 0, 0], torch.tensor([0.0, 0.4, 1.0, 1.0, 1.0]))
