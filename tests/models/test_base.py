"""Configs as JSON, and what every network of the table has in common."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from smarthdr_cli.errors import ModelError, UsageError
from smarthdr_cli.models.base import (
    FusionModel,
    build_model,
    config_to_dict,
    network_config,
    network_types,
    parse_config,
)
from smarthdr_cli.models.gfhdr import GFHDRConfig
from smarthdr_cli.models.saf import SAF, SAFConfig

pytestmark = pytest.mark.unit
SMALL: dict[str, dict[str, Any]] = {
    "saf": {"name": "saf", "encoder": 8, "motion": 8, "hidden": 4, "verify": 8, "refine": 8},
    "gfhdr": {"name": "gfhdr", "dim": 6, "blocks": 1, "depth": 1, "heads": 2, "window": 2, "squeeze": 2},
}


@pytest.fixture(params=list(network_types()))
def network(request: pytest.FixtureRequest) -> FusionModel:
    """A small one of every network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_model(SMALL[request.param]).eval()


def burst(evs: tuple[float, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    light = 4 * torch.rand((1, 1, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    exposures = torch.tensor([evs])
    frames = (light * torch.exp2(exposures).view(1, -1, 1, 1, 1)).clamp(0, 1)
    return frames, exposures, torch.ones_like(frames[:, :, :1])


@torch.inference_mode()
def test_every_network_predicts_radiance_in_reference_units_and_sigma(network: FusionModel) -> None:
    for evs in ((0.0, -2.0, 2.0), (0.0, 2.0, 4.0)):
        frames, exposures, valid = burst(evs)
        prediction = network(frames, exposures, valid)
        assert prediction.radiance.shape == (1, 3, 32, 32)
        assert prediction.radiance.dtype == prediction.log_sigma.dtype == torch.float32
        assert prediction.log_sigma.shape == (1, 1, 32, 32)
        assert prediction.radiance.max() <= 2.0 ** -min(evs) + 0.1  # the shortest frame's clip


def test_every_network_is_built_from_its_config_and_has_a_judge(network: FusionModel) -> None:
    assert network_config(config_to_dict(network.config)) == network.config
    assert any(name.startswith("judge.") for name, _ in network.named_parameters())
    assert network.extend_state(network.state_dict()).keys() == network.state_dict().keys()


def test_only_a_network_with_a_motion_stage_has_flows(network: FusionModel) -> None:
    frames, exposures, valid = burst((0.0, -2.0, 2.0))
    if isinstance(network, SAF):
        network.set_finest_cell(4)
        flows = network.flows(frames, exposures)
        detail = network(frames, exposures, valid).detail
        assert detail is not None
        assert all(torch.equal(a, b) for a, b in zip(flows, detail.flows, strict=True))
        assert flows[-1].shape == (2, 2, 8, 8)
        network.set_finest_cell(1)
        assert network.flows(frames, exposures)[-1].shape == (2, 2, 32, 32)
    else:
        network.set_finest_cell(4)
        with pytest.raises(UsageError, match="gfhdr has no motion stage"):
            network.flows(frames, exposures)


def test_the_finest_cell_is_never_finer_than_the_config_says() -> None:
    model = SAF(dataclasses.replace(SAFConfig(), finest=2))
    for side, finest in ((4, 4), (2, 2), (1, 2)):
        model.set_finest_cell(side)
        assert model.finest == finest


@dataclass(frozen=True)
class Other:
    name: ClassVar[str] = "other"
    widths: tuple[int, ...] = (1, 2)
    gain: float = 1.0


KNOWN = (GFHDRConfig, Other)


@pytest.mark.parametrize("config", [GFHDRConfig(), GFHDRConfig(dim=12, heads=3), Other((3,), 0.5)])
def test_round_trip_through_json(config: object) -> None:
    assert parse_config(json.loads(json.dumps(config_to_dict(config))), KNOWN) == config


def test_missing_settings_take_their_defaults_and_integers_serve_as_floats() -> None:
    assert parse_config({"name": "gfhdr", "drop_path": 0}, KNOWN) == GFHDRConfig(drop_path=0.0)
    assert isinstance(parse_config({"name": "other", "gain": 2}, KNOWN).gain, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "gfhdr", "depht": 6}, "unknown gfhdr setting 'depht'; did you mean 'depth'"),
        ({"name": "gfhdr", "zzz": 6}, "unknown gfhdr setting 'zzz'; did you mean "),
        ({"name": "ghfdr"}, "unknown model 'ghfdr'; known are gfhdr, other"),
        ({"name": 3}, "unknown model 3"),
        ({}, "unknown model None"),
        ({"name": "gfhdr", "dim": "60"}, "gfhdr setting 'dim' must be int, not '60'"),
        ({"name": "gfhdr", "dim": 60.0}, "gfhdr setting 'dim' must be int, not 60.0"),
        ({"name": "gfhdr", "dim": True}, "gfhdr setting 'dim' must be int, not True"),
        ({"name": "gfhdr", "drop_path": True}, "gfhdr setting 'drop_path' must be float, not True"),
        ({"name": "gfhdr", "dim": 61}, "gfhdr config does not fit together: .*61 is not a multiple"),
    ],
)
def test_invalid_configs_are_one_clear_line(values: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        parse_config(values, KNOWN)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4
