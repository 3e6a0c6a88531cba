"""What is written as TOML is what the standard library reads."""

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smarthdr_cli.train.toml import as_toml

from smarthdr_cli.train.config import TrainConfig, train_config

KEYS = st.from_regex(r"[a-z_][a-z0-9_]{0,9}", fullmatch=True)
PLAIN = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
VALUES = st.one_of(PLAIN, st.lists(PLAIN, max_size=4))
TABLES = st.recursive(
    st.dictionaries(KEYS, VALUES, max_size=4), lambda t: st.dictionaries(KEYS, st.one_of(VALUES, t), max_size=4)
)


@given(TABLES)
def test_it_reads_back(values):
    assert json.dumps(tomllib.loads(as_toml(values)), sort_keys=True) == json.dumps(values, sort_keys=True)


def test_every_option_of_a_config():
    assert train_config(tomllib.loads(as_toml(TrainConfig().to_dict()))) == TrainConfig()


def test_what_has_no_place_in_it():
    with pytest.raises(ValueError, match="None"):
        as_toml({"a": None})
