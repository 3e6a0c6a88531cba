"""One call for both networks: units, order of frames, precision."""

from dataclasses import replace

import pytest
import torch

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.errors import UsageError
from smarthdr_cli.models.base import build_model
from smarthdr_cli.models.gfhdr import pack_frames
from smarthdr_cli.models.merge import clamp_to_reference_strict
from smarthdr_cli.train.estimate import estimate

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
def test_gfhdr_sees_the_darker_other_the_reference_and_the_brighter_one(gfhdr, evs):
    """As fusing hands them over: the reference stands in the middle even where it is the darkest or brightest."""
    batch = burst([evs])
    middle = [1, 0, 2]
    with torch.no_grad():
        wanted = gfhdr.predict(pack_frames(batch.frames[:, middle], batch.evs[:, middle]))
        found = estimate(gfhdr, batch)
        swapped = estimate(gfhdr, Batch(batch.frames[:, [0, 2, 1]], batch.evs[:, [0, 2, 1]], batch.valid))
    scale = 2.0 ** min(evs)
    torch.testing.assert_close(found.radiance, clamp_to_reference_strict(wanted.radiance / scale, batch.frames[:, 0]))
    torch.testing.assert_close(found.log_sigma, wanted.log_sigma)
    assert torch.equal(swapped.radiance, found.radiance)
    assert found.detail is None


def test_gfhdr_takes_a_batch_of_bursts_in_different_orders(gfhdr):
    evs = [(0.0, -2.0, 2.0), (0.0, 2.0, -2.0)]
    batch = burst(evs)
    with torch.no_grad():
        together = estimate(gfhdr, batch)
        for b in range(2):
            alone = estimate(gfhdr, Batch(batch.frames[b : b + 1], batch.evs[b : b + 1], batch.valid[b : b + 1]))
            torch.testing.assert_close(together.radiance[b : b + 1], alone.radiance, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("evs", [(0.0, 2.0), (0.0, -2.0, 2.0, 4.0)])
def test_gfhdr_says_how_many_frames_it_takes(gfhdr, evs):
    with pytest.raises(UsageError, match=f"^gfhdr takes three frames; the bursts have {len(evs)}$"):
        estimate(gfhdr, burst([evs]))


def test_saf_is_handed_on_and_half_precision_comes_back_whole(values, batch):
    torch.manual_seed(0)
    saf = build_model(values["model"]).eval()
    batch = replace(batch, target=None, flow=None, visible=None)
    with torch.no_grad():
        out, half = estimate(saf, batch), estimate(saf, batch, "bf16")
    assert out.detail is not None
    assert out.log_sigma.shape == (2, 1, 48, 48)
    assert half.radiance.dtype == half.log_sigma.dtype == torch.float32
    assert (half.log_sigma - out.log_sigma).abs().mean() < 0.1
