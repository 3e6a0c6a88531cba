"""The floor that a JPEG's codes leave under sigma: a code where a shadow stands alone, next to nothing elsewhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.fusion.network_fusion import fuse_members
from smarthdr_cli.fusion.noise import parts
from smarthdr_cli.fusion.rounding import CODES, _worth, code_floor
from smarthdr_cli.models.uncertainty_calibration import Calibration
from tests.support import bursts

SIDE = 16
WHOLE = Window(0, 0, SIDE, SIDE)


def jpeg(light, evs, kind="jpeg"):
    """An 8-bit burst of one even (3,) light, its files of ``kind``; the reference is the first."""
    burst = bursts.burst_of(np.broadcast_to(np.float32(light), (SIDE, SIDE, 3)), evs, 0, bits=8)
    return bursts.aligned(replace(burst, frames=tuple(replace(f, kind=kind) for f in burst.frames)))


def floor(source, light, evs, trust=1.0):
    indices = list(range(len(evs)))
    frames = torch.stack([torch.tensor(source.read(i, WHOLE)[0]).permute(2, 0, 1) for i in indices])[None]
    merged = torch.tensor(light, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, SIDE, SIDE)
    belief = torch.full((1, len(evs) - 1, 1, SIDE, SIDE), trust)
    stated = torch.tensor([evs])
    got = code_floor(source, indices, stated, merged, 2.0 ** min(evs), parts(frames, stated, belief))
    assert got.shape == (1, 1, SIDE, SIDE)
    assert torch.allclose(got, got[..., :1, :1].expand_as(got), rtol=1e-3)
    return float(got[0, 0, 0, 0])


@pytest.mark.parametrize("code", [6, 20, 90])
def test_a_shadow_that_stands_alone_is_a_code_off(code):
    """Twin: the curve itself, one code up and one down, as the reference alone has recorded it."""
    light = np.full(3, (code / 255) ** 2.2)
    wanted = (bursts.mu((code + CODES) ** 2.2 / 255**2.2) - bursts.mu((code - CODES) ** 2.2 / 255**2.2)) / 2
    assert floor(jpeg(light, (0.0, 2.0)), light, (0.0, 2.0), trust=0.0) == pytest.approx(wanted, rel=0.05)


def test_a_longer_exposure_makes_up_for_it():
    light = np.full(3, (6 / 255) ** 2.2)
    source = jpeg(light, (0.0, 5.0))
    assert floor(source, light, (0.0, 5.0)) < 0.25 * floor(source, light, (0.0, 5.0), trust=0.0)


def test_a_finer_table_of_the_same_curve_says_the_same():
    """As where a 16-bit file lies among the JPEGs."""
    light = torch.linspace(0, 1, 64).view(1, 1, 8, 8).expand(1, 3, 8, 8)
    coarse, fine = (_worth(light, np.tile(np.linspace(0, 1, n) ** 2.2, (3, 1))) for n in (256, 4096))
    assert torch.allclose(coarse[..., 1:, :], fine[..., 1:, :], rtol=0.05)


def test_only_the_files_that_are_jpegs_have_one():
    light = np.full(3, (6 / 255) ** 2.2)
    assert floor(jpeg(light, (0.0, 2.0), "png"), light, (0.0, 2.0)) == 0


def test_channels_count_evenly():
    dark, bright = (3 / 255) ** 2.2, (120 / 255) ** 2.2
    each = [floor(jpeg(light, (0.0, 2.0)), light, (0.0, 2.0), trust=0.0)
            for light in ([dark] * 3, [bright] * 3, [dark, bright, bright])]  # fmt: skip
    assert each[2] == pytest.approx((each[0] + 2 * each[1]) / 3, rel=1e-3)
    assert each[0] > 3 * each[1]


def test_sigma_is_no_less():
    light = np.full(3, (6 / 255) ** 2.2)
    source = jpeg(light, (0.0, 0.5))
    sure = Calibration(raw=(1e-4, 1.0), calibrated=(1e-4, 1.1e-4))
    network = bursts.saf_fuser(bursts.random_network(heads=0.0, flow=0.0), calibration=sure)
    sigma = fuse_members(network, source, (0, 1), (), 0, strong=False).image.sigma
    plain = fuse_members(network, jpeg(light, (0.0, 0.5), "png"), (0, 1), (), 0, strong=False).image.sigma
    assert plain.max() < 2e-3
    assert sigma.min() > 2 * plain.max()
