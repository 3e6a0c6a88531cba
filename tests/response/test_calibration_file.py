"""The calibration file is read back exactly, and every damage to it is one clear error."""

import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarthdr_cli.errors import InputError, OutputError
from smarthdr_cli.radiometry import Response
from smarthdr_cli.response import load_response, named_response, save_response, to_toml

pytestmark = pytest.mark.unit


def random_table(seed=0):
    steps = np.random.default_rng(seed).random((3, 255)) + 0.01
    table = np.concatenate([np.zeros((3, 1)), np.cumsum(steps, 1)], 1)
    return (table / table[:, -1:]).astype(np.float32)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), make=st.text(max_size=30), frames=st.integers(2, 40))
def test_a_saved_response_is_read_back_exactly(tmp_path_factory, seed, make, frames):
    path = tmp_path_factory.mktemp("calibration") / "camera.toml"
    response = Response("calibrated", random_table(seed), {"make": make, "model": 'X "100" \\ é', "frames": frames})
    save_response(response, path)
    loaded = load_response(path)
    np.testing.assert_array_equal(loaded.table, response.table)
    assert loaded.name == "camera.toml"
    assert loaded.record["model"] == 'X "100" \\ é'
    assert loaded.record["frames"] == frames
    assert loaded.record["make"] == "".join(char for char in make if char.isprintable())


def test_a_deep_table_is_saved_with_256_entries(tmp_path):
    save_response(named_response("srgb", 4096), tmp_path / "deep.toml")
    assert (tmp_path / "deep.toml").stat().st_size < 20_000
    np.testing.assert_allclose(load_response(tmp_path / "deep.toml").table, named_response("srgb").table, atol=1e-7)


def damaged_files():
    good = to_toml(Response("calibrated", random_table(), {}))
    value = f"{tomllib.loads(good)['curve']['green'][9]:.9g}"
    yield "not toml", "not [ toml", "not a calibration file"
    yield "deeply nested", "x = " + "[" * 100_000, "not a calibration file"
    yield "long number", "x = " + "9" * 5000, "not a calibration file"
    yield "binary", b"\xff\xd8\xff\xe0 a jpeg", "not a calibration file"
    yield "other toml", "[project]\nname = 'x'\n", "not a smarthdr calibration file"
    yield "empty", "", "not a smarthdr calibration file"
    yield "other version", good.replace("version = 1", "version = 9"), "version 9"
    yield "missing channel", good.replace("green = [", "grey = ["), "damaged"
    yield "cut off", good[: len(good) // 2], "not a calibration file"
    yield "nan", good.replace(value, "nan"), "damaged"
    yield "falling curve", good.replace(value, "0.999"), "damaged"
    yield "text for a number", good.replace(value, '"0.1"'), "damaged"
    yield "missing value", good.replace(f"{value}, ", ""), "damaged"


@pytest.mark.parametrize(("content", "message"), [pytest.param(c, m, id=name) for name, c, m in damaged_files()])
def test_a_damaged_file_is_one_clear_error(tmp_path, content, message):
    path = tmp_path / "camera.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        load_response(path)
    assert "\n" not in str(caught.value)
    assert "camera.toml" in str(caught.value)


def test_missing_files_folders_and_huge_files_are_errors(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_response(tmp_path / "none.toml")
    with pytest.raises(InputError, match="cannot read"):
        load_response(tmp_path)
    (tmp_path / "huge.toml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(InputError, match="too large"):
        load_response(tmp_path / "huge.toml")


def test_an_unwritable_target_leaves_nothing_behind(tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        save_response(named_response("srgb"), tmp_path / "no" / "camera.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        save_response(named_response("srgb"), tmp_path / "folder.toml")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.toml"]
