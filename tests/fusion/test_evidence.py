"""Frames beyond the network's nine, by themselves: what they may change, and what not."""

import numpy as np
import torch

from smarthdr_cli.fusion.evidence import add_evidence
from smarthdr_cli.fusion.tiles import tile_grid
from smarthdr_cli.models.tensor_ops import mu_law
from tests.support import bursts


def test_evidence_has_no_say_where_it_should_be_clipped():
    """A highlight that crosses the shortest frame's clip, and a longer frame that shows something dimmer there."""
    evs = torch.tensor([[0.0, -6.0]])
    given = torch.linspace(50, 64, 64 * 64).view(1, 1, 64, 64).expand(1, 3, 64, 64)
    for seen in (0.8, 0.9, 0.96):
        source = bursts.aligned(bursts.burst_of(np.full((64, 64, 3), seen, np.float32), (0.0, -6.0, -3.0), 0))
        (index,) = (i for i, ev in enumerate(source.burst.evs) if ev == -3)
        source.burst.frames[index].codes[:] = round(seen ** (1 / 2.2) * 65535)
        (tile,) = tile_grid(64, 64, 0)
        assert torch.equal(add_evidence(source, (index,), tile, given, evs), given)


def test_evidence_that_agrees_everywhere_weighs_as_the_merge_would():
    light = np.full((8, 8, 3), 0.2, np.float32)
    source = bursts.aligned(bursts.burst_of(light, (0.0, 1.0, 1.5), 0))
    (tile,) = tile_grid(8, 8, 0)
    given = torch.full((1, 3, 8, 8), 0.2)
    out = add_evidence(source, (2,), tile, given, torch.tensor([[0.0, 1.0]]))
    assert torch.allclose(out, given, rtol=1e-4)
    off = given * 1.02
    out = add_evidence(source, (2,), tile, off, torch.tensor([[0.0, 1.0]]))
    assert ((out < off) & (out > given)).all()
    assert (mu_law(out) - mu_law(off)).abs().max() < 0.01
