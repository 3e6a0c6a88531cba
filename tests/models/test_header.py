"""The head of a checkpoint read alone says what reading the whole of it says, and nothing hostile crashes it."""

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smarthdr_cli.errors import ModelError
from smarthdr_cli.models.checkpoint import load_checkpoint, read_header, save_checkpoint

STATE = {"a.weight": torch.ones(3, 2, 5, 5), "a.bias": torch.zeros(3), "scale": torch.tensor(1.0)}


def saved(folder: Path) -> Path:
    path = folder / "some.safetensors"
    save_checkpoint(path, STATE, {"name": "saf"}, {"steps": 7}, licence="CC0-1.0", metrics={"psnr": 1.5})
    return path


def packed(path: Path, table: Any, *, length: int | None = None) -> Path:
    data = table if isinstance(table, bytes) else json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(data) if length is None else length) + data)
    return path


def test_the_same_as_the_whole_file_says(tmp_path: Path) -> None:
    path = saved(tmp_path)
    head, whole = read_header(path), load_checkpoint(path)
    assert head.shapes == {name: tuple(value.shape) for name, value in whole.state.items()}
    assert head.parameters == sum(value.numel() for value in STATE.values()) == 154
    assert (head.network, head.description["config"]) == ("saf", whole.config)
    for key in ("record", "metrics", "licence", "calibration"):
        assert head.description[key] == getattr(whole, key)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"", "not a safetensors file"),
        (b"{", "not a safetensors file"),
        (b"[" * 100_000, "not a safetensors file"),
        ([], "not a safetensors file"),
        ({"a": 3}, "not a safetensors file"),
        ({"a": {"shape": [2, -1]}}, "not a safetensors file"),
        ({"a": {"shape": ["x"]}}, "not a safetensors file"),
        ({"a": {"shape": [float("inf")]}}, "not a safetensors file"),
        ({"a": {"shape": [2]}}, "no smarthdr metadata"),
        ({"__metadata__": 5}, "no smarthdr metadata"),
        ({"__metadata__": {"smarthdr": 5}}, "damaged metadata"),
        ({"__metadata__": {"smarthdr": "{}"}}, "format is missing"),
        ({"__metadata__": {"smarthdr": '{"format": 99}'}}, "written by a newer smarthdr"),
    ],
)
def test_what_is_no_head_of_ours(tmp_path: Path, table: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_header(packed(tmp_path / "x.safetensors", table))


def test_a_length_that_lies(tmp_path: Path) -> None:
    for length in (2**63, 10**8, 50):  # beyond anything, beyond the file, beyond by a little
        with pytest.raises(ModelError, match="not a safetensors file"):
            read_header(packed(tmp_path / "x.safetensors", {"a": {"shape": [2]}}, length=length))
    with pytest.raises(ModelError, match="cannot be read"):
        read_header(tmp_path / "absent.safetensors")


@settings(max_examples=100)
@given(at=st.integers(0, 400), value=st.integers(0, 255))
def test_a_byte_changed_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, at: int, value: int) -> None:
    path = saved(tmp_path_factory.mktemp("head"))
    data = bytearray(path.read_bytes())
    data[at] = value
    path.write_bytes(data)
    with contextlib.suppress(ModelError):  # and nothing else
        assert read_header(path).parameters >= 0
