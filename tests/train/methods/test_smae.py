"""APSS by its formula, the masked frames of stage 1, and what a masked pixel does to neither."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import train_pictures as made

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.train.methods.smae import Threshold, masked_frames, masked_loss, patch_loss, weight_map
from smarthdr_cli.train.rerendering import FLOOR, code, rerender, well_exposed


def burst(height=40, width=48, frames=3):
    """Two bursts whose frames show one radiance."""
    light = made.pair(height, width)[0]
    evs = torch.tensor([[0.0, -2.0, 2.0], [0.0, -3.0, 1.5]])[:, :frames]
    shown = (light[:, None] * torch.exp2(evs).view(2, frames, 1, 1, 1)).clamp(0, 1)
    return Batch(shown, evs, torch.ones_like(shown[:, :, :1])), light


def test_codes_are_gamma_2_2_clipped_as_the_frame():
    light = torch.tensor([0.0, FLOOR, 0.25, 1.0, 3.0])
    assert code(light).tolist() == pytest.approx([FLOOR ** (1 / 2.2)] * 2 + [0.25 ** (1 / 2.2), 1, 1])
    assert code(light, clip=False)[-1] == pytest.approx(3 ** (1 / 2.2))
    image = torch.full((2, 3, 1, 1), 0.2)
    assert rerender(image, torch.tensor([1.0, -1.0]))[:, 0, 0, 0].tolist() == pytest.approx(
        [0.4 ** (1 / 2.2), 0.1 ** (1 / 2.2)]
    )


def test_well_exposed_means_every_channel():
    frame = torch.tensor([[0.5, 0.5, 0.5], [0.5, 0.5, 0.9], [0.5, 0.001, 0.5], [0.007, 0.78, 0.1]]).T[None, :, None]
    assert well_exposed(frame)[0, 0, 0].tolist() == [1, 0, 0, 1]


def test_patch_loss_is_the_mean_over_well_exposed_pixels():
    batch, light = burst()
    predicted = light * 1.1
    found = patch_loss(predicted, batch, 16)
    assert found.shape == (2, 3, 3)
    reference = batch.frames[:, 0].numpy()
    codes = np.clip(reference, 1e-4, 1) ** (1 / 2.2)
    ours = np.clip(predicted.numpy(), 1e-4, 1) ** (1 / 2.2)
    good = ((codes > 0.1) & (codes < 0.9)).all(axis=1)
    gap = np.abs(ours - codes).mean(axis=1)
    for b in range(2):
        for y in range(3):
            for x in range(3):
                block = np.s_[b, y * 16 : y * 16 + 16, x * 16 : x * 16 + 16]
                wanted = gap[block][good[block]].mean() if good[block].any() else 0
                assert float(found[b, y, x]) == pytest.approx(wanted, abs=1e-6)
    whole = patch_loss(predicted, batch)
    assert whole.shape == (2, 1, 1)
    assert (whole > 0).all()


def test_the_clipped_part_of_a_prediction_is_not_judged():
    batch, light = burst()
    seen = well_exposed(batch.frames[:, 0]) > 0
    assert 0 < seen.float().mean() < 1
    other = torch.where(seen, light, torch.full_like(light, 7.0))
    assert patch_loss(light, batch).max() < 1e-6
    assert torch.equal(patch_loss(other, batch), patch_loss(light, batch))
    blind = replace(batch, valid=torch.zeros_like(batch.valid))
    assert (patch_loss(light * 9, blind) == 0).all()


def test_a_prediction_that_is_no_number_weighs_nothing():
    batch, light = burst()
    light = light.clone()
    y, x = torch.nonzero(well_exposed(batch.frames[:1, 0])[0, 0])[0].tolist()
    light[0, 1, y, x] = math.nan
    losses = patch_loss(light, batch, 16)
    assert torch.isinf(losses[0, y // 16, x // 16])
    assert torch.isfinite(losses).sum() == losses.numel() - 1
    threshold = Threshold(top="labelled")
    threshold.update(losses + 0.01)
    assert threshold.weights(losses).isfinite().all()
    assert threshold.weights(losses)[0, y // 16, x // 16] == 0


def test_weights_follow_equation_18():
    generator = torch.Generator().manual_seed(0)
    labelled, unlabelled = torch.rand(500, generator=generator) * 0.1, torch.rand(800, generator=generator) * 0.4
    threshold = Threshold()
    for part in labelled.split(60):
        threshold.update(part)
    threshold.update_unlabelled(unlabelled)
    tau, m = float(labelled.quantile(0.85)), float(unlabelled.max())
    assert threshold.levels == (pytest.approx(tau, rel=0.01), pytest.approx(m, rel=0.01))
    wanted = torch.where(unlabelled <= tau, torch.ones(()), (m - unlabelled) / (m - tau))
    assert torch.allclose(threshold.weights(unlabelled), wanted, atol=0.01)
    low = torch.tensor([0.0, 1e-5, tau * 0.98])
    assert (threshold.weights(low) == 1).all()
    assert threshold.weights(torch.tensor([0.9])) == 0


def test_the_top_may_be_that_of_the_labelled():
    threshold = Threshold(top="labelled")
    threshold.update(torch.linspace(0.01, 0.2, 1000))
    assert threshold.levels == (pytest.approx(0.01 + 0.19 * 0.85, rel=0.01), pytest.approx(0.2, rel=0.01))
    assert threshold.weights(torch.tensor([0.1, 0.25])).tolist() == [1, 0]
    assert 0 < threshold.weights(torch.tensor([0.19])) < 1
    with pytest.raises(ValueError, match="unlabelled or labelled"):
        Threshold(top="all")
    with pytest.raises(ValueError, match="no values seen"):
        Threshold().weights(torch.ones(1))


def test_the_threshold_goes_through_a_checkpoint(tmp_path):
    threshold = Threshold(decay=0.9)
    threshold.update(torch.rand(50, generator=torch.Generator().manual_seed(0)))
    threshold.update_unlabelled(torch.rand(50, generator=torch.Generator().manual_seed(1)))
    torch.save(threshold.state_dict(), tmp_path / "t.pt")
    again = Threshold(decay=0.9)
    again.load_state_dict(torch.load(tmp_path / "t.pt", weights_only=True))
    for one in (threshold, again):
        one.update(torch.full((5,), 0.3))
    assert threshold.levels == again.levels


def test_weights_are_laid_out_over_their_patches():
    weights = torch.arange(6.0).view(1, 2, 3)
    wide = weight_map(weights, 20, 40, 16)
    assert wide.shape == (1, 1, 20, 40)
    assert wide[0, 0, 15, 31] == 1
    assert wide[0, 0, 16, 32] == 5


def test_masked_frames_are_the_short_one_at_every_exposure():
    batch, _ = burst()
    found = masked_frames(batch, torch.Generator().manual_seed(0), share=0.0)
    short = batch.frames[:, 1]
    for n in range(3):
        gain = torch.exp2(batch.evs[:, n] - batch.evs[:, 1]).view(-1, 1, 1, 1)
        assert torch.allclose(found.batch.frames[:, n], (short * gain).clamp(0, 1), atol=1e-6)
    assert torch.allclose(found.short, short * torch.exp2(-batch.evs[:, 1]).view(-1, 1, 1, 1))
    assert found.batch.target is None


@pytest.mark.parametrize("shared", [False, True])
def test_three_quarters_of_the_patches_are_hidden(shared):
    batch = Batch(torch.ones(2, 3, 3, 64, 48), torch.tensor([[0.0, -2, 2]] * 2), torch.ones(2, 3, 1, 64, 48))
    frames = masked_frames(batch, torch.Generator().manual_seed(3), shared=shared).batch.frames
    patches = frames.view(2, 3, 3, 8, 8, 6, 8)
    shown = patches[:, :, :, :, 0, :, 0]
    assert (patches == shown[:, :, :, :, None, :, None]).all()  # whole patches
    assert ((shown > 0).float().mean(dim=(2, 3, 4)) == 0.25).all()
    assert torch.equal(shown[:, 0] > 0, shown[:, 1] > 0) == shared
    assert not torch.equal(shown[0], shown[1])
    again = masked_frames(batch, torch.Generator().manual_seed(3), shared=shared).batch.frames
    assert torch.equal(frames, again)


def test_sizes_that_are_no_multiples_of_a_patch():
    batch = Batch(torch.ones(1, 2, 3, 21, 30), torch.tensor([[0.0, -1.0]]), torch.ones(1, 2, 1, 21, 30))
    assert masked_frames(batch, torch.Generator()).batch.frames.shape == (1, 2, 3, 21, 30)


def test_the_masked_loss_is_equation_8():
    batch, light = burst()
    found = masked_frames(batch, torch.Generator().manual_seed(0))
    short = found.short.double().numpy()
    wanted = 0.0
    for n in range(3):
        gain = 2.0 ** batch.evs[:, n].view(-1, 1, 1, 1).double().numpy()
        a, b = (np.maximum(x * gain, 1e-4) ** (1 / 2.2) for x in (light.double().numpy() * 1.3, short))
        wanted += np.abs(a - b).mean()
    assert float(masked_loss(light * 1.3, found)) == pytest.approx(wanted, rel=1e-4)
    assert masked_loss(found.short, found) == 0


def test_masked_pixels_do_not_exist():
    batch, light = burst(48, 56)
    found = masked_frames(batch, torch.Generator().manual_seed(0))

    def loss(predicted, target, keep):
        return masked_loss(predicted, replace(found, short=target), keep)

    made.check_masked_pixels_do_not_exist(loss, light * 1.2 + 0.1, light, made.hole(light))
