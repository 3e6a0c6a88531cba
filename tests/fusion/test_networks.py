"""Which frames a network gets, and what the report says of those it does not get."""

from pathlib import Path

import fusion_bursts as made
import pytest
import torch

from smarthdr_cli.errors import UsageError
from smarthdr_cli.fusion.fuser import Fuser
from smarthdr_cli.fusion.memory_budget import MemoryBudget
from smarthdr_cli.fusion.network_fusion import split_frames
from smarthdr_cli.models.checkpoint import Checkpoint
from smarthdr_cli.models.gfhdr import GFHDR, GFHDRConfig

SMALL = GFHDRConfig(dim=12, blocks=1, depth=1, heads=3, window=4, squeeze=4)


def fused(evs, strong=False):
    """What the small gfhdr leaves in the report of a burst."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GFHDR(SMALL).eval()
    found = Checkpoint(Path("g.safetensors"), {"name": "gfhdr"}, model.state_dict(), {}, None, "CC0-1.0", {}, "0" * 64)
    source = made.source_of(made.burst_of(made.texture(40, 48, high=2.0), evs, len(evs) // 2))
    report = {}
    network = Fuser(found, model, torch.device("cpu"), torch.float32, {})
    plane = network.fuse(source, MemoryBudget(0, 1), strong, lambda _: None, report)
    assert plane.radiance.shape == (40, 48, 3)
    return report


def test_gfhdr_takes_three_frames_and_says_what_it_leaves_out():
    assert fused((-2.0, 0.0, 2.0)).get("notes", []) == []
    report = fused((-4.0, -2.0, 0.0, 2.0, 4.0))
    assert report["network_frames"] == 3
    assert report["notes"] == ["gfhdr takes three frames; the other 2 are not used"]
    with pytest.raises(UsageError, match="fuse three frames; this burst has two"):
        fused((0.0, 2.0))


def test_gfhdr_says_that_it_cannot_trust_less():
    assert fused((-2.0, 0.0, 2.0), strong=True)["notes"] == [
        "gfhdr has no trust to lower: --deghost strong changes nothing"
    ]


def test_the_nine_frames_that_span_the_range_go_through_the_network():
    burst = made.burst_of(made.texture(8, 8), tuple(float(ev) for ev in range(-6, 6)), 6)
    chosen, rest = split_frames(burst)
    assert len(chosen) == 9
    assert 6 in chosen
    assert {0, 11} <= set(chosen)
    assert sorted(chosen + rest) == list(range(12))
