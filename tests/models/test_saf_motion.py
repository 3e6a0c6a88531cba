"""The decoder of finer motion: which levels it computes, and that weights without it stay what they are."""

from dataclasses import replace

import pytest
import torch

from smarthdr_cli.errors import ModelError
from smarthdr_cli.models.base import build_model
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.saf_layers import Motion
from smarthdr_cli.models.saf_motion import MotionDecoder, finer_cells
from tests.support import bursts

pytestmark = pytest.mark.unit

FINEST = replace(bursts.SMALL, finest=1)


def frames(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, 3, 64, 96, generator=generator), torch.tensor([[0.0, -2.0, 2.0]])


@pytest.mark.parametrize(("finest", "wanted"), [(4, ()), (2, (2,)), (1, (2, 1))])
def test_finer_cells_lie_below_those_of_the_coarse_motion(finest, wanted):
    assert finer_cells(finest) == wanted


@torch.inference_mode()
def test_a_finer_decoder_computes_the_levels_below_4_px_and_no_other():
    one, two = (bursts.random_network(config=replace(FINEST, finer=finer), flow=0.3) for finer in (0, 8))
    two.load_state_dict(two.state_dict() | one.state_dict())
    levels = list(zip(one.flows(*frames()), two.flows(*frames()), strict=True))
    assert [bool(torch.equal(*level)) for level in levels] == [True] * (len(levels) - 2) + [False, False]
    assert [level[0].shape[-1] for level in levels[-2:]] == [48, 96]
    two.set_finest_cell(4)
    assert all(torch.equal(*level) for level in zip(one.flows(*frames()), two.flows(*frames()), strict=False))


def test_its_weights_are_a_part_of_their_own():
    one, two = SAF(FINEST).state_dict(), SAF(replace(FINEST, finer=8)).state_dict()
    assert {name for name in two if name not in one} == {name for name in two if name.startswith("finer.")}
    assert {name: value.shape for name, value in one.items()} == {name: two[name].shape for name in one}
    assert two["finer.decoder.0.0.weight"].shape[0] == 8
    for wrong in (1, 513, -3):
        with pytest.raises(ModelError, match="finer must be"):
            build_model({"name": "saf", "finer": wrong})


def test_a_decoder_without_correction_repeats_the_level_above():
    """Its head begins near zero, and half of a match of two equal frames is nothing."""
    torch.manual_seed(0)
    decoder = MotionDecoder(features=4, width=8, hidden=2, match=4, radius=1, limit=4.0)
    ref = torch.rand(1, 3, 24, 32)
    state = Motion(torch.full((1, 2, 24, 32), 1.25), torch.ones(1, 1, 24, 32), torch.zeros(1, 2, 24, 32))
    found = decoder.motion_level(ref, ref, torch.zeros(1), state)
    assert (found.flow - state.flow)[..., 4:-4, 4:-4].abs().max() < 0.3
    assert found.hidden.shape == state.hidden.shape
