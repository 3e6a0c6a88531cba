"""Where physics overrules the network."""

import pytest
import torch

from smarthdr_cli.fusion.belief import agreed, as_measured, at_clip, bounded, known, unheard
from smarthdr_cli.fusion.static_merge import lowest_peak
from smarthdr_cli.models.merge import LOOSE_NOISE, noise_bound


def test_agreement_overrules_distrust_only_below_the_clip():
    gap = torch.tensor([0.1, 0.25, 0.375, 0.5, 3.0]).view(1, 1, 1, 5)
    logit = torch.full((1, 1, 1, 5), -4.0)
    mid = torch.full((1, 3, 1, 5), 0.2)
    found = agreed(logit, gap, mid, mid * 2, torch.ones(1))
    assert found.flatten().tolist() == pytest.approx([20, 20, 8, -4, -4])
    assert torch.sigmoid(found)[..., 0] == 1
    assert torch.equal(agreed(logit, gap, mid, torch.full_like(mid, 0.98), torch.ones(1)), logit)
    assert torch.equal(agreed(logit, gap, torch.full_like(mid, 0.98), mid, -torch.ones(1)), logit)
    assert torch.equal(agreed(torch.full_like(logit, 30.0), gap, mid, mid, torch.ones(1)), torch.full_like(logit, 30.0))


def test_the_residual_is_believed_only_near_what_is_shown():
    frames = torch.full((1, 2, 3, 1, 4), 0.5)
    frames[:, 1] = 0.25  # ev -1: the same radiance
    evs = torch.tensor([[0.0, -1.0]])
    merged = torch.full((1, 3, 1, 4), 0.5)
    light = torch.tensor([0.5, 0.55, 0.9, 0.1]).view(1, 1, 1, 4).expand(1, 3, 1, 4)
    out, share = bounded(light, merged, frames, torch.ones(1, 1, 1, 1, 4), evs)
    assert torch.allclose(out[0, 0, 0], torch.tensor([0.5, 0.55, 0.5, 0.5]))
    assert share == 0.5
    over = frames.clone()
    over[:, 0] = 1.0  # a clipped reference beside a frame that is not
    out, share = bounded(light, merged, over, torch.ones(1, 1, 1, 1, 4), evs)
    assert torch.allclose(out[0, 0, 0], torch.tensor([0.5, 0.55, 0.5, 0.5]))
    clipped = torch.ones_like(frames)
    out, _ = bounded(light + 0.7, merged * 2, clipped, torch.ones(1, 1, 1, 1, 4), evs)
    assert torch.allclose(out[0, 0, 0], torch.tensor([1.2, 1.25, 1.6, 0.8]))  # clipped frames do not bound from above
    unseen = frames.clone()
    unseen[:, 1] = 1.0
    out, share = bounded(light, merged, unseen, torch.zeros(1, 1, 1, 1, 4), evs)
    assert share == 0.5


def test_clipped_everywhere_means_the_shortest_that_saw_it():
    frames = torch.ones(1, 3, 3, 1, 4)
    frames[:, 0, :, :, 0] = 0.5  # the reference is well exposed there
    frames[:, 1, 0, :, 3] = 0.6  # the short frame clips in two channels only
    seen = torch.tensor([[1.0, 1, 0, 1], [1, 1, 1, 1]]).view(1, 2, 1, 1, 4)
    out = at_clip(torch.full((1, 3, 1, 4), 0.7), lowest_peak(frames), frames, seen, torch.tensor([[0.0, -2.0, 3.0]]))
    assert torch.allclose(out[0, :, 0].T, torch.tensor([[0.7, 0.7, 0.7], [4, 4, 4], [1, 1, 1], [2.4, 4, 4]]))


def test_a_frame_without_weight_cannot_open_the_residual():
    frames = torch.full((1, 3, 3, 1, 2), 0.4)
    frames[:, 1] = 0.001  # 8 EV darker than the reference, and at odds with it
    frames[:, 0, :, :, 1] = frames[:, 2, :, :, 1] = 1.0  # there it is the only one that knows
    gaps = [torch.full((1, 1, 1, 2), 3.0), torch.full((1, 1, 1, 2), 3.0)]
    dark, bright = unheard(gaps, frames, torch.tensor([[0.0, -8.0, 2.0]]))
    assert float(dark[..., 0]) < 0.1
    assert float(dark[..., 1]) == 3.0
    assert float(bright[..., 0]) == 3.0


def test_the_residual_fades_below_what_training_shows():
    assert [known(torch.tensor([[0.0, ev, 2.0]])) for ev in (-3.0, -5.0, -6.0, -12.0)] == [1.0, 0.75, 0.5, 0.0]


def test_beside_a_clipped_channel_the_others_are_what_they_measured():
    reference = torch.tensor([[1.0, 0.4, 0.1], [1.0, 0.9, 0.1], [0.7, 0.4, 0.1], [1.0, 1.0, 1.0]]).T.reshape(1, 3, 1, 4)
    light = torch.tensor([3.0, 2.0, 0.9]).view(1, 3, 1, 1).expand(1, 3, 1, 4).contiguous()
    before = light.clone()
    out = as_measured(light, reference)
    slack = noise_bound(reference, LOOSE_NOISE)
    assert torch.equal(light, before)
    torch.testing.assert_close(out[0, 1:, 0, 0], (reference + slack)[0, 1:, 0, 0])
    assert out[0, 0, 0, 0] == 3.0
    torch.testing.assert_close(out[0, :, 0, 1], torch.tensor([3.0, 2.0, float((reference + slack)[0, 2, 0, 1])]))
    assert torch.equal(out[..., 2:], light[..., 2:])  # nothing clips, or all: as a RAW reads where one channel did
    under = as_measured(torch.zeros_like(light), reference)
    torch.testing.assert_close(under[0, 1:, 0, 0], (reference - slack).clamp(min=0)[0, 1:, 0, 0])
    assert as_measured(light, reference * 0.7) is light
