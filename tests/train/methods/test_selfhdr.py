"""SelfHDR's targets: close to the truth where they are kept, and dropped where there is a ghost."""

from dataclasses import replace

import pytest
import torch

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.synth.burst import make_batch
from smarthdr_cli.data.synth.config import SynthConfig
from smarthdr_cli.models.merge import merge
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.train.methods.selfhdr import (
    Component,
    SelfHDR,
    aligned,
    colour_target,
    fill_masked,
    merged_colour,
    structure_target,
    structure_weight,
)
from smarthdr_cli.train.optical_flow import Flows
from smarthdr_cli.train.state import generator, new_state
from smarthdr_cli.train.step import semi_supervised_loss

EVS = torch.tensor([[0.0, -2.0, 2.0]])


def still(light, evs=EVS):
    """A still burst without noise, and a flow of 0."""
    frames = (light[:, None] * torch.exp2(evs).view(1, -1, 1, 1, 1)).clamp(0, 1)
    zero = torch.zeros(1, evs.shape[1] - 1, 2, *light.shape[-2:])
    return Batch(frames, evs, torch.ones_like(frames[:, :, :1])), Flows(zero, zero)


def ramp(height=32, width=64):
    """Radiance from 0.001 to 3.5 in reference units, from left to right."""
    return (0.001 * 3500 ** torch.linspace(0, 1, width)).expand(1, 3, height, width).contiguous()


def test_targets_of_a_still_burst_are_the_truth():
    light = ramp()
    batch, flows = still(light)
    colour = colour_target(batch, flows)
    assert torch.allclose(colour.radiance, light, rtol=1e-3)
    assert (colour.keep == 1).all()
    structure = structure_target(batch, colour.radiance)
    assert torch.allclose(structure.radiance, light, rtol=1e-3)


def test_the_colour_target_is_the_merge_of_aligned_frames():
    batch, flows = still(ramp())
    frames, valid_mask = aligned(batch, flows)
    assert torch.allclose(frames, batch.frames, atol=1e-6)
    assert (valid_mask == 1).all()
    expected, _ = merge(batch.frames, batch.evs, valid_mask)
    assert torch.allclose(merged_colour(batch, flows), expected, atol=1e-5)


def test_the_structure_weight_is_a_triangle():
    codes = torch.tensor([0.02, 0.125, 0.5, 0.875, 1.0])
    frame = (codes**2.2).view(1, 1, 1, -1).expand(1, 3, 1, -1)
    assert structure_weight(frame)[0, 0, 0].tolist() == pytest.approx([0.04, 0.25, 1, 0.25, 0], abs=1e-5)


def test_structure_minimises_the_papers_loss_pixel_by_pixel():
    """Against a search over all values between the two labels, away from the clip of the reference."""
    generator = torch.Generator().manual_seed(0)
    light = torch.rand(1, 3, 8, 8, generator=generator) ** 3 * 0.7
    batch, _ = still(light)
    colour = light * torch.exp2(0.8 * torch.randn(light.shape, generator=generator))
    result = structure_target(batch, colour).radiance
    scale = batch.scale_short.view(-1, 1, 1, 1)
    t_ref, t_col, t_found = (mu_law(x * scale) for x in (light, colour, result))
    w = structure_weight(light)
    m = (((t_col - t_ref).abs() * w).mean(dim=1, keepdim=True) < 5 / 255).float()
    steps = torch.linspace(0, 1, 101).view(-1, 1, 1, 1, 1)
    grid = t_ref + (t_col - t_ref) * steps
    loss = m * (grid - t_col).abs() + 4 * w * (grid - t_ref).abs()
    ours = m * (t_found - t_col).abs() + 4 * w * (t_found - t_ref).abs()
    assert (ours <= loss.amin(dim=0) + 1e-5).all()
    assert 0 < (result == colour).float().mean() < 1
    assert 0 < m.mean() < 1


def test_a_ghost_is_masked():
    light = ramp()
    batch, flows = still(light)
    frames = batch.frames.clone()
    frames[:, 1:, :, 8:16, 20:50] = 0.3  # something that the reference does not show
    colour = colour_target(replace(batch, frames=frames), flows)
    wrong = (mu_law(colour.radiance / 4) - mu_law(light / 4)).abs().mean(dim=1, keepdim=True) > 0.05
    assert wrong.float().mean() > 0.03
    assert (colour.keep[wrong] == 0).all()
    assert colour.keep[~wrong].mean() > 0.95


def test_a_clipped_reference_is_a_lower_bound():
    light = torch.full((1, 3, 32, 32), 2.0)
    batch, flows = still(light)
    frames = batch.frames.clone()
    frames[:, 1, :, 8:16, 8:16] = 0.05  # 0.2 in reference units: darker than the reference saw it
    dark = replace(batch, frames=frames)
    colour = colour_target(dark, flows)
    assert (colour.keep[..., 8:16, 8:16] == 0).all()
    assert (colour.keep[..., :8, :] == 1).all()
    assert (structure_target(dark, colour.radiance).radiance >= 1 - 1e-6).all()


def test_colour_under_a_clipped_reference_needs_consistent_flow():
    light = torch.full((1, 3, 32, 32), 2.0)
    light[..., :8] = 0.2
    batch, flows = still(light)
    torn = flows.backward.clone()
    torn[:, 0, 0, 16:] = 6.0
    keep = colour_target(batch, Flows(flows.forward, torn)).keep
    assert (keep[..., 16:, 8:] == 0).all()
    assert (keep[..., :16, :] == 1).all()
    assert (keep[..., :8] == 1).all()  # well exposed: the reference itself is the check


def test_invalid_pixels_are_dropped_and_targets_capped():
    light = ramp() * 3
    batch, flows = still(light)
    valid = batch.valid.clone()
    valid[:, 0, :, :5] = 0
    colour = colour_target(replace(batch, valid=valid), flows)
    assert (colour.keep[..., :5, :] == 0).all()
    assert colour.radiance.max() <= 4 + 1e-6


def test_invalid_frames_are_not_merged():
    batch, flows = still(ramp())
    frames, valid = batch.frames.clone(), batch.valid.clone()
    frames[:, 2] = 0.5
    valid[:, 2] = 0
    result = merged_colour(replace(batch, frames=frames, valid=valid), flows)
    inner = ramp() < 0.6
    assert torch.allclose(result[inner], ramp()[inner], rtol=1e-3)


def test_kept_pixels_of_synthetic_bursts_are_close_to_the_truth(bank):
    batch = make_batch(bank, SynthConfig(height=96, width=96, frames=(3,)), torch.Generator().manual_seed(3), 4)
    colour = colour_target(batch)
    scale = batch.scale_short.view(-1, 1, 1, 1)
    truth = mu_law(batch.target * scale)
    error = (mu_law(colour.radiance * scale) - truth).abs().mean(dim=1, keepdim=True)
    alone = (mu_law(batch.frames[:, 0] * scale) - truth).abs().mean(dim=1, keepdim=True)
    kept = colour.keep > 0
    assert 0.6 < kept.float().mean() < 1
    assert error[kept].mean() < 0.5 * error[~kept].mean()
    assert error[kept].mean() < alone[kept].mean()


def test_masked_pixels_of_one_component_are_filled_from_another():
    values = torch.tensor([1.0, 2.0, torch.nan, torch.nan]).view(1, 1, 1, 4).expand(1, 3, 1, 4)
    first = Component(values, torch.tensor([1.0, 0.5, 0.0, torch.nan]).view(1, 1, 1, 4))
    second = Component(torch.full((1, 3, 1, 4), 9.0), torch.tensor([1.0, 1.0, 1.0, 0.0]).view(1, 1, 1, 4))
    filled = fill_masked(first, second)
    assert filled.radiance[0, 0, 0].tolist() == [1, 2, 9, 9]
    assert filled.keep[0, 0, 0].tolist() == [1, 0.5, 1, 0]


def test_the_method_learns_colour_and_structure_from_the_start(config_of, crops):
    method = SelfHDR(config_of(method="selfhdr"))
    assert method.first_unlabeled == 0
    target = method.targets(crops, None, None)
    assert torch.equal(target.weight, target.weight.round())
    assert not target.from_teacher
    student = new_state(method.config, torch.device("cpu")).student
    loss, terms = semi_supervised_loss(student, None, target, method.config, generator(4))
    loss.backward()
    assert float(terms["unlabeled_structure"]) > 0
    assert sum(float(p.grad.abs().sum()) for p in student.parameters() if p.grad is not None) > 0
