"""Optical flow of shifted images across exposures, and the consistency of forward and backward flow."""

import pytest
import torch

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.synth.burst import make_batch
from smarthdr_cli.data.synth.config import SynthConfig
from smarthdr_cli.models.pairwise import warp
from smarthdr_cli.train.optical_flow import Flows, consistent, dense_flows


def scene(height, width, seed=0):
    """(1, 3, H, W) blobs bright and dark, in reference units up to 1.5."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 6, width // 6, generator=generator) ** 2
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0.002, 1) * 1.5


def shifted(dx, dy, evs=(0.0, -2.0, 2.0), side=96):
    """A burst whose other frames look ``(dx, dy)`` pixels further on."""
    wide = scene(side + 40, side + 40)
    views = [wide[..., 20:-20, 20:-20]] + [wide[..., 20 - dy : side + 20 - dy, 20 - dx : side + 20 - dx]] * 2
    frames = torch.stack([(v * 2**ev).clamp(0, 1) for v, ev in zip(views, evs, strict=True)], dim=1)
    return Batch(frames, torch.tensor([evs]), torch.ones_like(frames[:, :, :1]))


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (4, -3), (-9, 6)])
def test_a_shift_is_recovered_both_ways_across_exposures(dx, dy):
    flows = dense_flows(shifted(dx, dy))
    assert flows.forward.shape == flows.backward.shape == (1, 2, 2, 96, 96)
    true = torch.tensor([dx, dy], dtype=torch.float32).view(1, 1, 2, 1, 1)
    inner = (..., slice(16, -16), slice(16, -16))
    assert (flows.forward - true)[inner].abs().median() < 0.1
    assert (flows.backward + true)[inner].abs().median() < 0.1
    mask = consistent(flows)
    assert mask.shape == (1, 2, 1, 96, 96)
    assert mask[inner].mean() > 0.9


def test_warp_undoes_the_flow():
    batch = shifted(5, 2)
    field = dense_flows(batch).forward[:, 0]
    warped = warp(batch.frames[:, 1], field)[..., 16:-16, 16:-16]
    expected = (batch.frames[:, 0] / 4)[..., 16:-16, 16:-16]
    unclipped = expected < 0.24  # not clipped in the reference
    assert (warped - expected)[unclipped].abs().mean() < 0.003
    assert (batch.frames[:, 1][..., 16:-16, 16:-16] - expected)[unclipped].abs().mean() > 0.02


def test_consistency_of_hand_made_flows():
    there = torch.zeros(1, 1, 2, 20, 30)
    there[:, :, 0] = 3.0
    back = -there
    mask = consistent(Flows(there, back))
    assert (mask[..., :-3] == 1).all()
    assert (mask[..., -3:] == 0).all()  # leads out of the picture
    back[..., 10:, :] = 0
    mask = consistent(Flows(there, back))
    assert (mask[..., :10, :-3] == 1).all()
    assert (mask[..., 10:, :] == 0).all()


def test_the_flow_of_a_burst_does_not_depend_on_its_batch(bank):
    batch = make_batch(bank, SynthConfig(height=48, width=64), torch.Generator().manual_seed(1), 2)
    both = dense_flows(batch)
    one = dense_flows(Batch(batch.frames[1:], batch.evs[1:], batch.valid[1:]))
    assert torch.equal(both.forward[1:], one.forward)
    assert torch.equal(both.backward[1:], one.backward)
    assert torch.equal(both.forward, dense_flows(batch).forward)


def test_small_frames_are_an_error_and_nan_is_tolerated():
    tiny = Batch(torch.rand(1, 2, 3, 12, 40), torch.zeros(1, 2), torch.ones(1, 2, 1, 12, 40))
    with pytest.raises(ValueError, match="at least 16 pixels"):
        dense_flows(tiny)
    odd = shifted(0, 0, side=33)
    odd.frames[0, 1, :, 5, 5] = torch.nan
    assert dense_flows(odd).forward.isfinite().all()
