"""FSHDR: artificial bursts whose truth is the prediction, and consistency with the reference."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.synth.burst import make_batch
from smarthdr_cli.data.synth.config import SynthConfig
from smarthdr_cli.train.methods.fshdr import FSHDR, artificial_burst, rerender_consistency
from smarthdr_cli.train.optical_flow import Flows
from smarthdr_cli.train.state import generator, new_state
from smarthdr_cli.train.step import semi_supervised_loss
from tests.support.training import check_masked_pixels_do_not_exist, hole, pair


def still(light, evs=(0.0, -2.0, 2.0)):
    evs = torch.tensor([evs] * len(light))
    frames = (light[:, None] * torch.exp2(evs).view(len(light), -1, 1, 1, 1)).clamp(0, 1)
    return Batch(frames, evs, torch.ones_like(frames[:, :, :1]))


def fields(batch, dx=0.0, dy=0.0):
    b, n, _, h, w = batch.frames.shape
    backward = torch.tensor([dx, dy]).view(1, 1, 2, 1, 1).expand(b, n - 1, 2, h, w).contiguous()
    return Flows(-backward, backward)


def test_a_still_burst_is_reproduced():
    light = pair()[0]
    batch = still(light)
    again = artificial_burst(light, batch, flows=fields(batch))
    assert torch.allclose(again.frames, batch.frames, atol=1e-5)
    assert torch.equal(again.evs, batch.evs)
    assert torch.allclose(again.target, light.clamp(max=4))
    assert (again.valid == 1).all()
    assert again.flow is None


def test_other_frames_show_the_prediction_moved_by_the_flow():
    """The backward flow leads from a pixel of the other frame to its place in the reference."""
    light = pair()[0]
    batch = still(light)
    again = artificial_burst(light, batch, flows=fields(batch, dx=3.0, dy=-2.0))
    assert torch.allclose(again.frames[:, 0], light.clamp(0, 1), atol=1e-6)
    expected = (light[..., :-2, 3:] * 2**-2).clamp(0, 1)
    assert torch.allclose(again.frames[:, 1][..., 2:, :-3], expected, atol=1e-4)
    assert (again.valid[:, 1:, :, :2] == 0).all()  # looks outside the picture
    assert (again.valid[:, 1:, ..., -3:] == 0).all()
    assert (again.valid[:, 1:, :, 2:, :-3] == 1).all()
    assert (again.valid[:, 0] == 1).all()


def test_the_artificial_burst_moves_as_the_real_one_did(bank):
    """Made from the truth of a burst, the artificial frames are nearer the real ones than unmoved ones would be."""
    config = SynthConfig(height=96, width=96, frames=(3,), shake="handheld", shake_px=10, ev_error=0, curve_residue=0)
    batch = make_batch(bank, config, torch.Generator().manual_seed(8), 4)
    moved = artificial_burst(batch.target, batch)
    unmoved = artificial_burst(batch.target, batch, flows=fields(batch))
    inner = (..., slice(12, -12), slice(12, -12))
    errors = [float((x.frames[:, 1:] - batch.frames[:, 1:]).abs()[inner].mean()) for x in (moved, unmoved)]
    assert errors[0] < 0.6 * errors[1]


def test_artificial_bursts_are_finite_and_carry_no_gradient():
    light = pair()[0].requires_grad_()
    batch = still(light.detach())
    broken = light.clone()
    broken[0, 1, 10, 12] = math.nan
    broken[1, 0, 3, 4] = math.inf
    again = artificial_burst(broken, batch, flows=fields(batch))
    assert not again.target.requires_grad
    assert again.frames.isfinite().all()
    assert again.target.isfinite().all()
    assert (again.valid[0, :, 0, 10, 12] == 0).all()
    assert (again.valid[1, :, 0, 3, 4] == 0).all()
    assert again.valid.mean() > 0.99
    assert artificial_burst(light * 100, batch, flows=fields(batch)).target.max() == 4  # the shortest frame's clip


def test_consistency_is_the_mean_squared_difference_of_codes():
    light, other = pair()
    batch = still(light)
    a, b = (np.clip(x.double().numpy(), 1e-4, 1) ** (1 / 2.2) for x in (other, batch.frames[:, 0]))
    assert float(rerender_consistency(other, batch)) == pytest.approx(((a - b) ** 2).mean(), rel=1e-4)
    assert rerender_consistency(light, batch) == 0
    half = torch.full_like(light[:, :1], 0.5)
    assert float(rerender_consistency(other, batch, half)) == pytest.approx(((a - b) ** 2).mean() / 2, rel=1e-4)


def test_a_clipped_reference_is_a_lower_bound():
    light = torch.full((1, 3, 16, 16), 2.0)
    batch = still(light)
    brighter, darker = (torch.full_like(light, v).requires_grad_() for v in (3.5, 0.5))
    for leaf, pulled in ((brighter, False), (darker, True)):
        value = rerender_consistency(leaf, batch)
        value.backward()
        assert bool(value > 0) == pulled
        assert bool((leaf.grad < 0).all()) == pulled


def test_consistency_ignores_invalid_and_masked_pixels():
    light, other = pair()
    keep = hole(light)
    batch = still(light)

    def masked(predicted, target, mask):
        frames = torch.cat([target[:, None], batch.frames[:, 1:]], dim=1)
        return rerender_consistency(predicted, replace(batch, frames=frames), mask)

    def unseen(predicted, target, mask):
        frames = torch.cat([target[:, None], batch.frames[:, 1:]], dim=1)
        valid = torch.cat([mask[:, None], batch.valid[:, 1:]], dim=1)
        return rerender_consistency(predicted, replace(batch, frames=frames, valid=valid))

    for loss in (masked, unseen):
        check_masked_pixels_do_not_exist(loss, other * 0.4 + 0.01, light * 0.4 + 0.01, keep)


def test_targets_are_bursts_synthesised_from_the_prediction(config_of, crops, pseudo):
    target = FSHDR(config_of(method="fshdr")).targets(crops, pseudo, None)
    assert target.weight is None
    assert (target.batch.target - pseudo.radiance.clamp(min=0)).abs().max() < 1e-6
    assert not torch.equal(target.batch.frames[:, 1:], crops.batch.frames[:, 1:])


@pytest.mark.parametrize(("stage", "term"), [("first", "rerendered"), ("second", "reconstruction")])
def test_both_stages_train_the_student(config_of, crops, pseudo, stage, term):
    method = FSHDR(config_of(method="fshdr"))
    first = stage == "first"
    target = method.first_stage_targets(crops, generator(1)) if first else method.targets(crops, pseudo, None)
    student = new_state(method.config, torch.device("cpu")).student
    loss, terms = semi_supervised_loss(student, None, target, method.config, generator(4))
    loss.backward()
    assert float(terms[f"unlabeled_{term}"]) > 0
    assert not first or float(loss.detach()) == pytest.approx(0.5 * float(terms["unlabeled_rerendered"]))
    assert sum(float(p.grad.abs().sum()) for p in student.parameters() if p.grad is not None) > 0
