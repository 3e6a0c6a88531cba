"""saf: sets of frames in any order, finer levels, gate and residual."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from smarthdr_cli.errors import ModelError
from smarthdr_cli.models.base import build_model
from smarthdr_cli.models.saf import SAF, SAFConfig
from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.models.tensor_ops import mu_law

SMALL = SAFConfig(encoder=8, motion=12, hidden=4, verify=12, refine=12, finest=4)


@pytest.fixture(autouse=True)
def _one_thread():
    """Pictures this small are not worth a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def lively(seed=0, size=0.3, flow=0.05, finest=4):
    """A random network whose heads are far from zero."""
    torch.manual_seed(seed)
    model = SAF(replace(SMALL, finest=finest)).eval()
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


@pytest.mark.parametrize("finest", [2, 1])
def test_finer_levels_refine_the_displacement_alone(finest):
    """Trust comes from the level of 4-pixel cells, the displacement from the last one; every weight learns."""
    coarse, model = lively(), lively(finest=1)
    model.set_finest_cell(finest)
    frames, evs, valid = burst(3)
    few, more = coarse(frames, evs, valid), model(frames, evs, valid)
    assert more.detail.flows[-1].shape[-1] * finest == frames.shape[-1]
    for a, b in zip(few.detail.flows, more.detail.flows, strict=False):
        assert torch.equal(a, b)
    assert (more.detail.merged - few.detail.merged).abs().max() > 0.01
    more.radiance.mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for n, p in model.named_parameters() if "judge" not in n)
    with pytest.raises(ModelError, match="finest must be"):
        build_model({"name": "saf", "finest": 3})


@torch.inference_mode()
@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_the_order_of_the_others_changes_nothing(count):
    model = lively()
    frames, evs, valid = burst(count)
    out = model(frames, evs, valid)
    assert (mu_law(out.radiance) - mu_law(out.detail.merged)).abs().max() > 0.01
    assert out.detail.trust.shape == (1, count - 1, 1, 64, 96)
    order = torch.randperm(count - 1, generator=torch.Generator().manual_seed(count)).tolist()
    turned = [0, *(i + 1 for i in order)]
    again = model(frames[:, turned], evs[:, turned], valid[:, turned])
    assert (mu_law(out.radiance) - mu_law(again.radiance)).abs().max() < 1e-4
    assert (out.log_sigma - again.log_sigma).abs().max() < 1e-3
    assert torch.allclose(out.detail.trust[:, order], again.detail.trust, atol=1e-4)


@torch.inference_mode()
def test_the_same_frame_twice_has_the_same_trust():
    """Pooling by mean and maximum over frames."""
    model = lively()
    frames, evs, valid = burst(2)
    out = model(frames, evs, valid)
    twice = model(frames[:, [0, 1, 1]], evs[:, [0, 1, 1]], valid[:, [0, 1, 1]])
    assert torch.allclose(twice.detail.trust[:, :1], out.detail.trust, atol=1e-5)
    assert torch.equal(twice.detail.trust[:, 0], twice.detail.trust[:, 1])
    assert out.detail.trust.std() > 0.01


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
    change = (mu_law(out.radiance * scale) - mu_law(out.detail.merged * scale)).abs()
    assert change.max() > 0.05
    assert (change <= out.detail.gate * SMALL.residual + 1e-3).all()
    assert torch.equal(
        out.radiance[(out.detail.gate == 0).expand_as(out.radiance)],
        out.detail.merged[(out.detail.gate == 0).expand_as(out.detail.merged)],
    )


@torch.inference_mode()
def test_without_valid_frames_the_result_is_the_reference():
    model = lively()
    frames, evs, valid = burst(3)
    valid[:, 1:] = 0
    out = model(frames, evs, valid)
    assert torch.allclose(out.detail.merged, frames[:, 0], rtol=1e-4, atol=1e-6)
    assert (out.detail.trust == 0).all()


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
