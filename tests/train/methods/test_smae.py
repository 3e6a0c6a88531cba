"""SMAE: weights of patches by its formulas, the masked frames of the first stage and their loss."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from smarthdr_cli.data.augment import Augmentation
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.train.methods.smae import SMAE, Threshold, masked_frames, masked_loss, patch_loss, weight_map
from smarthdr_cli.train.pseudo_labels import Pseudo
from smarthdr_cli.train.rerendering import well_exposed
from smarthdr_cli.train.state import generator, new_state
from smarthdr_cli.train.step import semi_supervised_loss
from tests.support.training import check_masked_pixels_do_not_exist, hole, pair


def burst(height=40, width=48, frames=3):
    """Two bursts whose frames show one radiance."""
    light = pair(height, width)[0]
    evs = torch.tensor([[0.0, -2.0, 2.0], [0.0, -3.0, 1.5]])[:, :frames]
    exposed = (light[:, None] * torch.exp2(evs).view(2, frames, 1, 1, 1)).clamp(0, 1)
    return Batch(exposed, evs, torch.ones_like(exposed[:, :, :1])), light


def test_patch_loss_is_the_mean_over_well_exposed_pixels():
    batch, light = burst()
    predicted = light * 1.1
    result = patch_loss(predicted, batch, 16)
    assert result.shape == (2, 3, 3)
    reference = batch.frames[:, 0].numpy()
    codes = np.clip(reference, 1e-4, 1) ** (1 / 2.2)
    ours = np.clip(predicted.numpy(), 1e-4, 1) ** (1 / 2.2)
    good = ((codes > 0.1) & (codes < 0.9)).all(axis=1)
    gap = np.abs(ours - codes).mean(axis=1)
    for b in range(2):
        for y in range(3):
            for x in range(3):
                block = np.s_[b, y * 16 : y * 16 + 16, x * 16 : x * 16 + 16]
                expected = gap[block][good[block]].mean() if good[block].any() else 0
                assert float(result[b, y, x]) == pytest.approx(expected, abs=1e-6)
    whole = patch_loss(predicted, batch)
    assert whole.shape == (2, 1, 1)
    assert (whole > 0).all()


def test_pixels_that_are_not_well_exposed_do_not_count():
    batch, light = burst()
    seen = well_exposed(batch.frames[:, 0]) > 0
    assert 0 < seen.float().mean() < 1
    other = torch.where(seen, light, torch.full_like(light, 7.0))
    assert patch_loss(light, batch).max() < 1e-6
    assert torch.equal(patch_loss(other, batch), patch_loss(light, batch))
    blind = replace(batch, valid=torch.zeros_like(batch.valid))
    assert (patch_loss(light * 9, blind) == 0).all()


def test_a_prediction_that_is_not_finite_weighs_0():
    batch, light = burst()
    light = light.clone()
    y, x = torch.nonzero(well_exposed(batch.frames[:1, 0])[0, 0])[0].tolist()
    light[0, 1, y, x] = math.nan
    losses = patch_loss(light, batch, 16)
    assert torch.isinf(losses[0, y // 16, x // 16])
    assert torch.isfinite(losses).sum() == losses.numel() - 1
    threshold = Threshold()
    threshold.labelled.update(losses + 0.01)
    threshold.unlabelled.update(losses + 0.01)
    assert threshold.weights(losses).isfinite().all()
    assert threshold.weights(losses)[0, y // 16, x // 16] == 0


def test_weights_follow_equation_18():
    generator = torch.Generator().manual_seed(0)
    labelled, unlabelled = torch.rand(500, generator=generator) * 0.1, torch.rand(800, generator=generator) * 0.4
    threshold = Threshold()
    for part in labelled.split(60):
        threshold.labelled.update(part)
    threshold.unlabelled.update(unlabelled)
    tau, m = float(labelled.quantile(0.85)), float(unlabelled.max())
    assert threshold.levels == (pytest.approx(tau, rel=0.01), pytest.approx(m, rel=0.01))
    expected = torch.where(unlabelled <= tau, torch.ones(()), (m - unlabelled) / (m - tau))
    assert torch.allclose(threshold.weights(unlabelled), expected, atol=0.01)
    low = torch.tensor([0.0, 1e-5, tau * 0.98])
    assert (threshold.weights(low) == 1).all()
    assert threshold.weights(torch.tensor([0.9])) == 0


def test_a_threshold_survives_a_checkpoint(tmp_path):
    threshold = Threshold(decay=0.9)
    threshold.labelled.update(torch.rand(50, generator=torch.Generator().manual_seed(0)))
    threshold.unlabelled.update(torch.rand(50, generator=torch.Generator().manual_seed(1)))
    torch.save(threshold.state_dict(), tmp_path / "t.pt")
    again = Threshold(decay=0.9)
    again.load_state_dict(torch.load(tmp_path / "t.pt", weights_only=True))
    for one in (threshold, again):
        one.labelled.update(torch.full((5,), 0.3))
    assert threshold.levels == again.levels


def test_weights_fill_their_patches():
    weights = torch.arange(6.0).view(1, 2, 3)
    wide = weight_map(weights, 20, 40, 16)
    assert wide.shape == (1, 1, 20, 40)
    assert wide[0, 0, 15, 31] == 1
    assert wide[0, 0, 16, 32] == 5


def test_masked_frames_show_the_short_frame_at_every_exposure():
    batch, _ = burst()
    result = masked_frames(batch, torch.Generator().manual_seed(0), share=0.0)
    short = batch.frames[:, 1]
    for n in range(3):
        gain = torch.exp2(batch.evs[:, n] - batch.evs[:, 1]).view(-1, 1, 1, 1)
        assert torch.allclose(result.batch.frames[:, n], (short * gain).clamp(0, 1), atol=1e-6)
    assert torch.allclose(result.short, short * torch.exp2(-batch.evs[:, 1]).view(-1, 1, 1, 1))
    assert result.batch.target is None


def test_three_quarters_of_the_patches_of_every_frame_are_hidden():
    batch = Batch(torch.ones(2, 3, 3, 64, 48), torch.tensor([[0.0, -2, 2]] * 2), torch.ones(2, 3, 1, 64, 48))
    frames = masked_frames(batch, torch.Generator().manual_seed(3)).batch.frames
    patches = frames.view(2, 3, 3, 8, 8, 6, 8)
    visible = patches[:, :, :, :, 0, :, 0]
    assert (patches == visible[:, :, :, :, None, :, None]).all()  # whole patches
    assert ((visible > 0).float().mean(dim=(2, 3, 4)) == 0.25).all()
    assert not torch.equal(visible[:, 0], visible[:, 1])
    assert not torch.equal(visible[0], visible[1])
    again = masked_frames(batch, torch.Generator().manual_seed(3)).batch.frames
    assert torch.equal(frames, again)


def test_masked_frames_of_sizes_that_are_no_multiples_of_a_patch():
    batch = Batch(torch.ones(1, 2, 3, 21, 30), torch.tensor([[0.0, -1.0]]), torch.ones(1, 2, 1, 21, 30))
    assert masked_frames(batch, torch.Generator()).batch.frames.shape == (1, 2, 3, 21, 30)


def test_the_masked_loss_is_equation_8():
    batch, light = burst()
    result = masked_frames(batch, torch.Generator().manual_seed(0))
    short = result.short.double().numpy()
    expected = 0.0
    for n in range(3):
        gain = 2.0 ** batch.evs[:, n].view(-1, 1, 1, 1).double().numpy()
        a, b = (np.maximum(x * gain, 1e-4) ** (1 / 2.2) for x in (light.double().numpy() * 1.3, short))
        expected += np.abs(a - b).mean()
    assert float(masked_loss(light * 1.3, result)) == pytest.approx(expected, rel=1e-4)
    assert masked_loss(result.short, result) == 0


def test_the_masked_loss_ignores_masked_pixels():
    batch, light = burst(48, 56)
    result = masked_frames(batch, torch.Generator().manual_seed(0))

    def loss(predicted, target, keep):
        return masked_loss(predicted, replace(result, short=target), keep)

    check_masked_pixels_do_not_exist(loss, light * 1.2 + 0.1, light, hole(light))


@pytest.fixture
def method(config_of):
    return SMAE(config_of(method="smae", pseudo="step"))


def test_pseudo_labels_are_weighted_by_the_loss_of_their_patch(method, crops, pseudo):
    assert method.targets(crops, pseudo, None) is None  # before there is a tau
    method.threshold.labelled.update(torch.full((50,), 0.001))
    method.threshold.unlabelled.update(torch.tensor([0.001, 0.5]))
    worse = Pseudo(pseudo.radiance * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1), pseudo.sigma)
    good, bad = (method.targets(crops, p, None) for p in (pseudo, worse))
    assert good.weight.shape == (2, 1, 48, 48)
    assert torch.equal(good.weight[0], bad.weight[0])
    assert bad.weight[1].mean() < good.weight[1].mean()
    assert torch.equal(bad.batch.target, worse.radiance)
    assert good.coverage["kept"] == good.weight.mean()
    assert torch.equal(method.masks(pseudo, crops)["weight"], good.weight)


def test_thresholds_are_observed_at_a_step_and_replaced_at_a_refresh(method, crops, pseudo):
    method.observe(pseudo, crops)
    method.observe_labeled(pseudo, crops.batch)
    for histogram in (method.threshold.labelled, method.threshold.unlabelled):
        assert float(histogram.counts.sum()) == 2  # a patch of each burst
        assert histogram.decay < 1
    one = replace(crops.batch, frames=crops.batch.frames[:1], evs=crops.batch.evs[:1], valid=crops.batch.valid[:1])
    single = Pseudo(pseudo.radiance[:1], pseudo.sigma[:1])
    labels = SimpleNamespace(labeled=lambda: [(single, one)], crops=lambda: [(single, SimpleNamespace(batch=one))] * 3)
    method.refresh(labels)
    assert float(method.threshold.labelled.counts.sum()) == 1
    assert float(method.threshold.unlabelled.counts.sum()) == pytest.approx(3, abs=0.01)  # with decay
    assert method.statistics().keys() == {"threshold"}


def test_the_first_stage_learns_to_complete_masked_frames(method, config_of, crops):
    target = method.first_stage_targets(crops, generator(1))
    assert target.batch.target is None
    assert (target.batch.frames == 0).float().mean() > 0.7
    student = new_state(method.config, torch.device("cpu")).student
    loss, terms = semi_supervised_loss(student, None, target, method.config, generator(4))
    loss.backward()
    assert float(terms["unlabeled_masked"]) > 0
    assert sum(float(p.grad.abs().sum()) for p in student.parameters() if p.grad is not None) > 0
    assert not method.has_first_stage
    assert SMAE(config_of(method="smae", smae_stage1=True)).has_first_stage


def test_the_short_frame_is_augmented_with_the_burst(method, crops):
    target = method.first_stage_targets(crops, generator(1))
    augmentation = Augmentation(True, 1, (2, 0, 1))
    assert torch.equal(target.augmented(augmentation).short, augmentation.colour(target.short))
