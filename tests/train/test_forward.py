"""The forward pass of either network: units, order of frames, precision; and the score."""

from dataclasses import replace

import pytest
import torch

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.errors import UsageError
from smarthdr_cli.models.base import build_model
from smarthdr_cli.models.gfhdr import pack_frames
from smarthdr_cli.models.merge import clamp_to_reference_strict
from smarthdr_cli.train.forward import forward, psnr, score

GFHDR = {"name": "gfhdr", "dim": 12, "blocks": 1, "depth": 2, "heads": 2, "squeeze": 4}


@pytest.fixture(scope="module")
def gfhdr():
    torch.manual_seed(0)
    return build_model(GFHDR).eval()


def burst(evs, seed=0):
    """Frames that all differ, of (B,) lists of EVs."""
    evs = torch.tensor(evs)
    frames = torch.rand(*evs.shape, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return Batch(frames, evs, torch.ones_like(frames[:, :, :1]))


@pytest.mark.parametrize("evs", [(0.0, -2.0, 2.0), (0.0, 1.0, 3.0), (0.0, -3.0, -1.0)])
def test_gfhdr_gets_its_frames_as_short_reference_long(gfhdr, evs):
    """The reference is in the middle even where it is the darkest or brightest, as in fusion."""
    batch = burst([evs])
    middle = [1, 0, 2]
    with torch.no_grad():
        expected = gfhdr.predict(pack_frames(batch.frames[:, middle], batch.evs[:, middle]))
        out = forward(gfhdr, batch)
        swapped = forward(gfhdr, Batch(batch.frames[:, [0, 2, 1]], batch.evs[:, [0, 2, 1]], batch.valid))
    scale = 2.0 ** min(evs)
    torch.testing.assert_close(out.radiance, clamp_to_reference_strict(expected.radiance / scale, batch.frames[:, 0]))
    torch.testing.assert_close(out.log_sigma, expected.log_sigma)
    assert torch.equal(swapped.radiance, out.radiance)
    assert out.detail is None


def test_gfhdr_sorts_every_burst_of_a_batch_by_itself(gfhdr):
    evs = [(0.0, -2.0, 2.0), (0.0, 2.0, -2.0)]
    batch = burst(evs)
    with torch.no_grad():
        together = forward(gfhdr, batch)
        for b in range(2):
            alone = forward(gfhdr, Batch(batch.frames[b : b + 1], batch.evs[b : b + 1], batch.valid[b : b + 1]))
            torch.testing.assert_close(together.radiance[b : b + 1], alone.radiance, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("evs", [(0.0, 2.0), (0.0, -2.0, 2.0, 4.0)])
def test_gfhdr_rejects_other_frame_counts(gfhdr, evs):
    with pytest.raises(UsageError, match=f"^gfhdr takes three frames; the bursts have {len(evs)}$"):
        forward(gfhdr, burst([evs]))


def test_saf_gives_all_its_predictions_and_float32_under_autocast(values, batch):
    torch.manual_seed(0)
    saf = build_model(values["model"]).eval()
    batch = replace(batch, target=None, flow=None, visible=None)
    with torch.no_grad():
        out, half = forward(saf, batch), forward(saf, batch, "bf16")
    assert out.detail is not None
    assert out.log_sigma.shape == (2, 1, 48, 48)
    assert half.radiance.dtype == half.log_sigma.dtype == torch.float32
    assert (half.log_sigma - out.log_sigma).abs().mean() < 0.1


def test_psnr_is_in_the_scale_of_the_short_frame(values, batch):
    model = build_model(values["model"])
    scores = score(model, [batch])
    expected = []
    for frames, evs, target in zip(batch.frames, batch.evs, batch.target, strict=True):
        scale = float(2.0 ** evs.min())
        a, t = (torch.log1p(5000 * x * scale) / 8.517393171418904 for x in (frames[0], target))
        expected.append(-10 * torch.log10((a - t).square().mean().clamp(min=1e-5)))
    assert scores["reference"] == pytest.approx(float(torch.stack(expected).mean()), abs=1e-3)
    assert set(scores) == {"psnr_mu", "reference", "merged"}
    assert model.training


def test_psnr_is_at_most_50_db():
    assert psnr(torch.zeros(1, 3, 4, 4)).item() == pytest.approx(50)
    assert psnr(torch.full((2, 3, 4, 4), 0.1)).tolist() == pytest.approx([20, 20])
