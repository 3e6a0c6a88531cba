"""Fusers: which frames a network takes, and what its statistics say of the others."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from smarthdr_cli.errors import UsageError
from smarthdr_cli.fusion.fuser import FUSERS, load_network
from smarthdr_cli.fusion.gfhdr_fusion import GFHDRFuser
from smarthdr_cli.fusion.network_fusion import SAFFuser
from smarthdr_cli.fusion.pixel_functions import kernel_choice
from smarthdr_cli.fusion.result import FuserRecord
from smarthdr_cli.fusion.static_merge import StaticFuser
from smarthdr_cli.models.base import build_model, network_types
from smarthdr_cli.models.checkpoint import save_checkpoint
from smarthdr_cli.models.gfhdr import GFHDR, GFHDRConfig
from smarthdr_cli.models.uncertainty_calibration import Calibration
from tests.support import bursts

CPU = torch.device("cpu")
SMALL = GFHDRConfig(dim=12, blocks=1, depth=1, heads=3, window=4, squeeze=4)


@pytest.fixture(scope="module")
def gfhdr():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GFHDR(SMALL).eval()
    record = FuserRecord({"name": "g", "network": "gfhdr", "sha256": "0" * 64}, "cpu", "fp32")
    return GFHDRFuser(model, CPU, torch.float32, None, record)


def fused(fuser, evs):
    burst = bursts.aligned(bursts.burst_of(bursts.texture(40, 48, high=2.0), evs, len(evs) // 2))
    return bursts.fused(fuser, burst)


def test_gfhdr_fuses_three_frames_and_physics_the_others(gfhdr):
    fusion = fused(gfhdr, (-4.0, -2.0, 0.0, 2.0, 4.0))
    assert fusion.image.radiance.shape == (40, 48, 3)
    assert (fusion.statistics.network_frames, fusion.statistics.other_frames) == (3, 2)
    with pytest.raises(UsageError, match="fuse three frames; this burst has two"):
        fused(gfhdr, (0.0, 2.0))


def test_what_the_pass_ran_on_is_stated(gfhdr):
    burst = bursts.aligned(bursts.burst_of(bursts.texture(40, 48), (-2.0, 0.0, 2.0), 1))
    for fuser in (gfhdr, bursts.random_network(), StaticFuser()):
        assert bursts.fused(fuser, burst).kernel == kernel_choice().kernel


def test_the_sigma_of_8_bit_files_follows_their_own_calibration(gfhdr):
    calibration = Calibration((1e-3,), (2e-2,), eight_bit=Calibration((1e-3,), (3e-2,)))
    light = bursts.texture(96, 96, high=0.8)
    light[20:80, 20:80] *= 4  # clipped in the reference, and a shorter frame shows something else
    sigma = {}
    for bits in (8, 16):
        burst = bursts.burst_of(light, (-2.0, 0.0, 2.0), 1, bits)
        codes = burst.frames[0].codes.copy()
        codes[24:72, 24:72] //= 3
        source = bursts.aligned(replace(burst, frames=(replace(burst.frames[0], codes=codes), *burst.frames[1:])))
        image = bursts.fused(replace(gfhdr, calibration=calibration), source).image
        sigma[bits] = np.median(image.sigma[32:64, 32:64])
    assert 0.15 < sigma[16] < 0.5
    assert sigma[8] == pytest.approx(1.5 * sigma[16], rel=0.02)


def test_saf_fuses_every_frame_and_shows_the_network_nine_of_those_near_the_reference():
    evs = (-6.0, -4.0, -3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 5.0)
    burst = bursts.aligned(bursts.burst_of(bursts.texture(40, 48), evs, 7))
    statistics = bursts.fused(bursts.random_network(), burst).statistics
    assert (statistics.network_frames, statistics.other_frames) == (9, 4)


def test_every_network_has_a_fuser():
    assert FUSERS.keys() == network_types().keys()


def test_a_loaded_network_states_its_weights_device_and_precision(tmp_path):
    config = {"name": "saf", "encoder": 8, "motion": 8, "hidden": 4, "verify": 8, "refine": 8}
    with torch.random.fork_rng(devices=[]):
        sha256 = save_checkpoint(tmp_path / "small.safetensors", build_model(config).state_dict(), config)
    fuser = load_network(tmp_path / "small.safetensors", CPU, "bf16")
    assert isinstance(fuser, SAFFuser)
    assert fuser.record == FuserRecord({"name": "small", "network": "saf", "sha256": sha256}, "cpu", "bf16")
    assert {parameter.dtype for parameter in fuser.model.parameters()} == {torch.bfloat16}
