"""Fusers: which frames a network takes, and what its statistics say of the others."""

from dataclasses import replace

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


def fused(fuser, evs, strong=False):
    burst = bursts.aligned(bursts.burst_of(bursts.texture(40, 48, high=2.0), evs, len(evs) // 2))
    return bursts.fused(fuser, burst, strong=strong)


def test_gfhdr_fuses_three_frames_and_notes_the_others(gfhdr):
    fusion = fused(gfhdr, (-4.0, -2.0, 0.0, 2.0, 4.0))
    assert fusion.image.radiance.shape == (40, 48, 3)
    assert fusion.statistics.network_frames == 3
    assert fusion.statistics.notes == ("gfhdr takes three frames; the other 2 are not used",)
    assert fused(gfhdr, (-2.0, 0.0, 2.0)).statistics.notes == ()
    with pytest.raises(UsageError, match="fuse three frames; this burst has two"):
        fused(gfhdr, (0.0, 2.0))


def test_what_the_pass_ran_on_is_stated_where_there_was_one(gfhdr):
    burst = bursts.aligned(bursts.burst_of(bursts.texture(40, 48), (-2.0, 0.0, 2.0), 1))
    assert bursts.fused(gfhdr, burst).kernel is None
    assert bursts.fused(bursts.random_network(), burst).kernel == kernel_choice().kernel
    assert bursts.fused(StaticFuser(), burst).kernel == kernel_choice().kernel


def test_gfhdr_notes_that_strong_deghosting_changes_nothing(gfhdr):
    note = "gfhdr has no trust to lower: --deghost strong changes nothing"
    assert fused(gfhdr, (-2.0, 0.0, 2.0), strong=True).statistics.notes == (note,)


def test_the_sigma_of_8_bit_files_follows_their_own_calibration(gfhdr):
    double = Calibration((1e-3,), (2e-3,), eight_bit=Calibration((1e-3,), (3e-3,)))
    for bits, factor in ((8, 3.0), (16, 2.0)):
        burst = bursts.aligned(bursts.burst_of(bursts.texture(40, 48, high=0.8), (-2.0, 0.0, 2.0), 1, bits))
        raw, calibrated = (bursts.fused(replace(gfhdr, calibration=c), burst).image.sigma for c in (None, double))
        free = (raw > 1.1e-3) & (raw < 0.3)
        assert free.any()
        assert abs(calibrated[free] / raw[free] - factor).max() < 1e-3


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
