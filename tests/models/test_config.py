"""Configs to JSON and back, and what is refused on the way."""

import json
from dataclasses import dataclass
from typing import ClassVar

import pytest

from smarthdr_cli.errors import ModelError
from smarthdr_cli.models.base import config_to_dict, parse_config
from smarthdr_cli.models.gfhdr import GFHDRConfig


@dataclass(frozen=True)
class Other:
    name: ClassVar[str] = "other"
    widths: tuple[int, ...] = (1, 2)
    gain: float = 1.0


KNOWN = (GFHDRConfig, Other)


@pytest.mark.parametrize("config", [GFHDRConfig(), GFHDRConfig(dim=12, heads=3), Other((3,), 0.5)])
def test_round_trip_through_json(config: object) -> None:
    assert parse_config(json.loads(json.dumps(config_to_dict(config))), KNOWN) == config


def test_left_out_fields_take_their_defaults_and_whole_numbers_serve_as_floats() -> None:
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
def test_what_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        parse_config(values, KNOWN)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4
