"""Markdown tables, conditions and JSON values."""

import re

import numpy as np
import pytest

from smarthdr_cli.evaluate.tables import json_value, markdown_table, measurement_conditions

pytestmark = pytest.mark.unit


def test_floats_have_two_decimals_and_missing_values_are_dashes() -> None:
    rows = [["a|b", 1.234], ["none", None], ["nan", float("nan")], ["n", 3]]
    assert markdown_table(["method", "dB"], rows).splitlines() == [
        "| method | dB |",
        "| :-- | --: |",
        "| a\\|b | 1.23 |",
        "| none | – |",
        "| nan | – |",
        "| n | 3 |",
    ]


def test_a_row_of_another_length_than_the_header_raises() -> None:
    with pytest.raises(ValueError, match="3 cells"):
        markdown_table(["a", "b"], [[1, 2, 3]])


def test_conditions_name_date_version_cores_and_torch() -> None:
    pattern = r"Measured on \d{4}-\d\d-\d\d: smarthdr \S+, \d+ CPU cores?, torch \S+\."
    assert re.fullmatch(pattern, measurement_conditions())


def test_json_has_numpy_values_and_null_for_nan() -> None:
    data = {"a": np.float64(1.5), "b": float("nan"), "c": [np.int64(3), np.inf], "d": np.arange(2.0)}
    assert json_value(data) == {"a": 1.5, "b": None, "c": [3, None], "d": [0.0, 1.0]}
