"""Where nothing moves the answer is the physics', whatever the network's heads say; where anything does it is not."""

import numpy as np
import pytest
import torch

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.fusion import network_fusion, tripod
from smarthdr_cli.fusion.belief import SURE
from smarthdr_cli.fusion.network_fusion import fuse_members
from smarthdr_cli.fusion.static_merge import static_merge
from smarthdr_cli.fusion.tripod import believed
from tests.support import bursts

SIZE = (160, 192)
EVS = (-2.0, 0.0, 2.0)


@pytest.mark.parametrize("evs", [EVS, (-5.2, -2.6, 0.0), (-1.5, 0.0), (-6.0, -4.0, -2.0, 0.0, 2.0)])
@pytest.mark.parametrize("strong", [False, True])
def test_a_tripod_burst_in_noise_and_clipped_light_is_the_classical_merge(evs, strong):
    source = bursts.aligned(bursts.noisy(bursts.bright(*SIZE), evs))
    network = bursts.saf_fuser(bursts.random_network(heads=1.0, flow=0.02))
    members = tuple(range(len(evs)))
    scale = 2.0 ** min(evs)
    light = fuse_members(network, source, members, (), 96, strong=strong).image.radiance * scale
    wanted = static_merge(source, 0).radiance * scale
    reference = source.read(source.burst.reference, Window(0, 0, *SIZE))[0]
    own = (reference.max(axis=2) > 0.8) & (reference.min(axis=2) < 0.8)  # held to what its other channels measured
    compared = (wanted.max(axis=2) < 0.8) & ~own
    assert compared.mean() > 0.7
    gap = np.abs(bursts.mu(light) - bursts.mu(wanted))[compared]
    assert (gap.max() < 1e-5) != strong  # who asks for distrust gets it


@pytest.mark.parametrize("few", [0.0, 0.02])
def test_where_one_thing_moves_the_network_has_its_way(monkeypatch, few):
    """It distrusts everything here: the light is the reference's around what moved, and the merge elsewhere."""
    monkeypatch.setattr(tripod, "FEW", few)
    monkeypatch.setattr(tripod, "ALIKE", 0.9)  # in a picture this small
    light = bursts.texture(*SIZE, seed=4, low=0.02, high=0.2)
    source = bursts.aligned(bursts.with_changed_patch(bursts.noisy(light, (0.0, 2.0)), 1, (60, 20, 12, 12), 0.4))
    model = bursts.random_network(heads=0.0, flow=0.0)
    model.verify_head.bias.data[:-1] = -20.0
    monkeypatch.setattr(network_fusion, "agreed", lambda logit, *_: logit)
    got = fuse_members(bursts.saf_fuser(model), source, (0, 1), (), 96, strong=False).image.radiance
    own, merged = source.read(0, Window(0, 0, *SIZE))[0], static_merge(source, 0).radiance
    assert np.abs(got / own - 1)[60:72, 20:32].max() < 0.01
    wanted = merged if few else own
    assert np.abs(got / wanted - 1)[:, 144:].max() < 1e-3
    assert np.abs(merged / own - 1)[:, 144:].mean() > 0.01


@pytest.mark.parametrize("logit", [-6.0, -3.0, 0.0, 5.0])
def test_trust_is_mixed_and_not_its_logit(logit):
    still = torch.linspace(0, 1, 9).view(1, 1, 1, 9)
    own = torch.full_like(still, logit)
    got, gap = believed(own, torch.full_like(still, 2.0), still)
    assert torch.allclose(got.sigmoid(), torch.lerp(own.sigmoid(), torch.ones_like(own), still), atol=1e-6)
    assert torch.allclose(gap, 2 * (1 - still))
    assert float(got[..., -1]) == SURE
    assert float(got[..., 0]) == logit


def test_a_hot_pixel_is_left_to_the_network():
    logit, gap = torch.full((1, 1, 1, 4), -3.0), torch.tensor([[[[0.5, 5.9, 7.0, 9.0]]]])
    unchanged = believed(logit, gap, torch.zeros_like(gap))
    assert torch.equal(unchanged[0], logit)
    assert torch.equal(unchanged[1], gap)
    trust, left = believed(logit, gap, torch.ones_like(gap))
    assert trust.sigmoid().flatten().tolist() == pytest.approx([1, 1, (1 + 0.0474) / 2, 0.0474], abs=1e-3)
    assert left.flatten().tolist() == pytest.approx([0.0, 0.0, 3.5, 9.0])


@pytest.mark.parametrize("moves", [False, True])
def test_the_report_says_so(moves):
    burst = bursts.noisy(bursts.bright(*SIZE))
    source = bursts.aligned(bursts.with_changed_patch(burst, 0, (100, 20, 40, 40), 0.4) if moves else burst)
    outcome = fuse_members(bursts.saf_fuser(bursts.random_network(flow=0.0)), source, (0, 1, 2), (), 0, strong=False)
    assert outcome.statistics.still_share == (0 if moves else 1)
