"""Checkpoints: what is saved is read, every kind of damage is one clear line, and networks are loaded from them."""

import contextlib
import dataclasses
import hashlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smarthdr_cli.errors import ModelError, OutputError
from smarthdr_cli.models.base import build_model, config_to_dict
from smarthdr_cli.models.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_model,
    load_state,
    read_header,
    save_checkpoint,
)
from smarthdr_cli.models.gfhdr import GFHDRBackbone, GFHDRConfig
from smarthdr_cli.models.uncertainty_calibration import Calibration
from smarthdr_cli.models.weights import ManifestEntry

CONFIG = GFHDRConfig(dim=6, blocks=1, depth=1, heads=2, window=2, squeeze=2)
CURVE = Calibration((0.01, 0.1), (0.02, 0.2), samples=7)
SMALL = dataclasses.asdict(GFHDRConfig(dim=6, blocks=1, depth=2, heads=2, window=2, squeeze=2))
STATE = {"a.weight": torch.ones(3, 2, 5, 5), "a.bias": torch.zeros(3), "scale": torch.tensor(1.0)}
RECORD = {"epochs": 3, "data": ["synthetic", "ß"], "seed": 1}


def _save(path: Path, **changes: Any) -> str:
    parts: dict[str, Any] = {
        "model_state": GFHDRBackbone(CONFIG).state_dict(),
        "config": config_to_dict(CONFIG),
        "record": RECORD,
        "calibration": CURVE,
        "licence": "MIT",
        "metrics": {"psnr_mu": 41.5},
    }
    return save_checkpoint(path, **(parts | changes))


def _refused(path: Path, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_checkpoint(path)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_checkpoint_round_trip(tmp_path: Path) -> None:
    model = GFHDRBackbone(CONFIG)
    path = tmp_path / "model.safetensors"
    digest = _save(path, model_state=model.state_dict())
    checkpoint = load_checkpoint(path)
    assert checkpoint.sha256 == digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert checkpoint.config == config_to_dict(CONFIG)
    assert checkpoint.record == RECORD
    assert checkpoint.calibration == CURVE
    assert checkpoint.licence == "MIT"
    assert checkpoint.metrics == {"psnr_mu": 41.5}
    other = GFHDRBackbone(CONFIG)
    load_state(other, checkpoint)
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)


def test_the_same_checkpoint_is_the_same_file_and_replaces_an_older_one(tmp_path: Path) -> None:
    state = GFHDRBackbone(CONFIG).state_dict()
    first = _save(tmp_path / "a.safetensors", model_state=state)
    assert _save(tmp_path / "b.safetensors", model_state=state) == first
    assert _save(tmp_path / "a.safetensors", calibration=None) != first
    assert load_checkpoint(tmp_path / "a.safetensors").calibration is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_weights_come_back_as_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {name: tensor.to(dtype) for name, tensor in GFHDRBackbone(CONFIG).state_dict().items()}
    path = tmp_path / "half.safetensors"
    _save(path, model_state=state)
    loaded = load_checkpoint(path).state
    assert all(tensor.dtype == torch.float32 for tensor in loaded.values())
    assert all(torch.equal(loaded[name], tensor.float()) for name, tensor in state.items())


def test_shared_and_strided_tensors_are_stored_by_value(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    path = tmp_path / "x.safetensors"
    _save(path, model_state={"a": base, "b": base.T, "c": base[:, 1]})
    loaded = load_checkpoint(path).state
    assert torch.equal(loaded["b"], base.T)
    assert torch.equal(loaded["c"], base[:, 1])


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    digest = _save(path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space"):
        _save(path, licence="other")
    assert [item.name for item in tmp_path.iterdir()] == ["model.safetensors"]
    assert load_checkpoint(path).sha256 == digest


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {}},
        {"record": {"x": float("nan")}},
        {"record": {"x": Path()}},
        {"model_state": {"steps": torch.zeros(1, dtype=torch.int64)}},
    ],
)
def test_values_that_cannot_be_stored_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        _save(tmp_path / "x.safetensors", **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-5], "not a safetensors file"),
        (lambda data: data[: len(data) // 2], "not a safetensors file"),
        (lambda data: data[:6], "not a safetensors file"),
        (lambda data: b"", "not a safetensors file"),
        (lambda data: data + b"x", "not a safetensors file"),
        (lambda data: b"PK\x03\x04" + data, "not a safetensors file"),
        (lambda data: b"a text file that was renamed\n" * 9, "not a safetensors file"),
        (lambda data: struct.pack("<Q", 2**62) + data[8:], "not a safetensors file"),
    ],
)
def test_damaged_files(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    path = tmp_path / "model.safetensors"
    _save(path)
    path.write_bytes(damage(path.read_bytes()))
    _refused(path, message)


def test_a_missing_file_a_folder_and_a_file_that_is_too_large(tmp_path: Path) -> None:
    _refused(tmp_path / "no.safetensors", "no such weights file")
    _refused(tmp_path, "a folder")
    _save(tmp_path / "x.safetensors")
    _refused(tmp_path / "x.safetensors" / "y.safetensors", "cannot be read|no such")
    with pytest.raises(ModelError, match="too large"):
        load_checkpoint(tmp_path / "x.safetensors", max_bytes=100)


def _description(**changes: Any) -> str:
    full = {"format": 1, "config": {"name": "gfhdr"}, "record": {}, "calibration": None, "licence": "", "metrics": {}}
    return json.dumps(full | changes)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "no smarthdr metadata"),
        ({"format": "pt"}, "no smarthdr metadata"),
        ({"smarthdr": "{"}, "damaged metadata"),
        ({"smarthdr": "[]"}, "damaged metadata"),
        ({"smarthdr": "3"}, "damaged metadata"),
        ({"smarthdr": "{}"}, "format is missing"),
        ({"smarthdr": json.dumps({"format": 1})}, "config is missing"),
        ({"smarthdr": _description(format=2)}, "newer smarthdr .format 2"),
        ({"smarthdr": _description(format="1")}, "format is '1'"),
        ({"smarthdr": _description(format=0)}, "format is 0"),
        ({"smarthdr": _description(config={})}, "config names no model"),
        ({"smarthdr": _description(config=[])}, "config is not an object"),
        ({"smarthdr": _description(licence=None)}, "licence is not text"),
        ({"smarthdr": _description(metrics={"x": float("inf")})}, "not JSON compliant"),
        ({"smarthdr": _description(metrics={"x": 7}).replace("7", "1e999")}, "not JSON compliant"),
        ({"smarthdr": _description(calibration={"raw": [1]})}, "damaged metadata: not a calibration"),
        ({"smarthdr": _description(calibration=[])}, "damaged metadata"),
        ({"smarthdr": _description(calibration=CURVE.to_dict()).replace("7}", "1e999}")}, "damaged metadata"),
        ({"smarthdr": "[" * 100_000}, "damaged metadata"),
    ],
)
def test_damaged_metadata(tmp_path: Path, metadata: dict[str, str] | None, message: str) -> None:
    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(2)}, path, metadata)
    _refused(path, message)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.tensor([1.0, torch.nan]), "a holds values that are not finite"),
        (torch.zeros(2, dtype=torch.int8), "int8"),
    ],
)
def test_tensors_that_are_not_weights(tmp_path: Path, tensor: torch.Tensor, message: str) -> None:
    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file({"a": tensor}, path, {"smarthdr": _description()})
    _refused(path, message)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1500), st.binary(min_size=1, max_size=4))
def test_mutated_files_load_or_are_refused(tmp_path: Path, where: int, what: bytes) -> None:
    path = tmp_path / "mutated.safetensors"
    state = {"a": torch.zeros(2, 3), "b": torch.ones(4)}
    _save(path, model_state=state)
    data = bytearray(path.read_bytes())
    where %= len(data)
    data[where : where + len(what)] = what
    path.write_bytes(data)
    try:
        checkpoint = load_checkpoint(path)
    except ModelError:
        _refused(path, "mutated")
    else:  # bytes that are not read were changed: padding, or the word "checksum" itself
        assert (checkpoint.config, checkpoint.record, checkpoint.calibration) == (config_to_dict(CONFIG), RECORD, CURVE)
        assert all(torch.equal(checkpoint.state[name], tensor) for name, tensor in state.items())
        assert checkpoint.state.keys() == state.keys()


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_flipped_bit_in_the_weights_is_detected(tmp_path: Path, place: str) -> None:
    path = tmp_path / "mine.safetensors"
    _save(path)
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    data[{"first": start, "middle": (start + len(data)) // 2, "last": len(data) - 1}[place]] ^= 1
    path.write_bytes(data)
    _refused(path, "damaged: .* checksum .*; copy or download it again")


def test_a_changed_config_record_or_calibration_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    _save(path)
    good = path.read_bytes()
    for before, after in ((b"epochs", b"epoch5"), (b"0.02", b"0.03"), (b"41.5", b"49.5"), (b"MIT", b"GPL")):
        assert good.count(before) == 1
        path.write_bytes(good.replace(before, after))
        _refused(path, "checksum")


def test_a_checkpoint_without_a_checksum_loads(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    state = {"a": torch.ones(2, 3)}
    safetensors.torch.save_file(state, path, {"smarthdr": _description(record=RECORD)})
    assert load_checkpoint(path).record == RECORD


def _checkpoint(state: dict[str, torch.Tensor]) -> Checkpoint:
    return Checkpoint(Path("w.safetensors"), config_to_dict(CONFIG), state, {}, None, "", {}, "")


def test_weights_of_another_shape_or_name_are_refused() -> None:
    model = GFHDRBackbone(CONFIG)
    state = model.state_dict()
    wide = GFHDRBackbone(GFHDRConfig(dim=8, blocks=1, depth=1, heads=2, window=2, squeeze=2)).state_dict()
    with pytest.raises(ModelError, match=r"w.safetensors: .* is \(8, .*; its gfhdr config makes it \(6, "):
        load_state(model, _checkpoint(wide))
    with pytest.raises(ModelError, match=r"lacks fuse\.bias$"):
        load_state(model, _checkpoint({name: tensor for name, tensor in state.items() if name != "fuse.bias"}))
    with pytest.raises(ModelError, match="has the unexpected extra and 1 more"):
        load_state(model, _checkpoint(state | {"extra": torch.zeros(1), "more": torch.zeros(1)}))


def test_a_listed_file_must_have_the_listed_sha256(tmp_path: Path) -> None:
    path = tmp_path / "saf-base.safetensors"
    _save(path)
    (tmp_path / "manifest.toml").write_text(ManifestEntry.of(path, "saf-base", "MIT").to_toml())
    load_checkpoint(path)
    _save(path, licence="changed")
    _refused(path, "not the saf-base that manifest.toml lists")
    path.rename(tmp_path / "mine.safetensors")
    load_checkpoint(tmp_path / "mine.safetensors")  # not listed: the user's own


def _saved_state(folder: Path) -> Path:
    path = folder / "some.safetensors"
    save_checkpoint(path, STATE, {"name": "saf"}, {"steps": 7}, licence="CC0-1.0", metrics={"psnr": 1.5})
    return path


def _packed(path: Path, table: Any, *, length: int | None = None) -> Path:
    data = table if isinstance(table, bytes) else json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(data) if length is None else length) + data)
    return path


def test_the_header_agrees_with_the_whole_file(tmp_path: Path) -> None:
    path = _saved_state(tmp_path)
    header, whole = read_header(path), load_checkpoint(path)
    assert header.shapes == {name: tuple(value.shape) for name, value in whole.state.items()}
    assert header.parameters == sum(value.numel() for value in STATE.values()) == 154
    assert (header.network, header.description["config"]) == ("saf", whole.config)
    for key in ("record", "metrics", "licence", "calibration"):
        assert header.description[key] == getattr(whole, key)


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
def test_what_is_not_the_header_of_a_checkpoint(tmp_path: Path, table: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_header(_packed(tmp_path / "x.safetensors", table))


def test_a_wrong_header_length(tmp_path: Path) -> None:
    for length in (2**63, 10**8, 50):  # beyond anything, beyond the file, beyond by a little
        with pytest.raises(ModelError, match="not a safetensors file"):
            read_header(_packed(tmp_path / "x.safetensors", {"a": {"shape": [2]}}, length=length))
    with pytest.raises(ModelError, match="cannot be read"):
        read_header(tmp_path / "absent.safetensors")


@settings(max_examples=100)
@given(at=st.integers(0, 400), value=st.integers(0, 255))
def test_a_header_with_a_changed_byte_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int
) -> None:
    path = _saved_state(tmp_path_factory.mktemp("header"))
    data = bytearray(path.read_bytes())
    data[at] = value
    path.write_bytes(data)
    with contextlib.suppress(ModelError):  # and nothing else
        assert read_header(path).parameters >= 0


def _save_network(path: Path, config: dict[str, Any]) -> Path:
    save_checkpoint(path, build_model(SMALL).state_dict(), config)
    return path


def test_a_loaded_network_predicts_what_the_saved_one_did(tmp_path: Path) -> None:
    model = build_model(SMALL).eval()
    save_checkpoint(tmp_path / "best.safetensors", model.state_dict(), SMALL, metrics={"psnr_mu": 40.0})
    loaded, checkpoint = load_model(tmp_path)
    assert not loaded.training
    assert checkpoint.metrics == {"psnr_mu": 40.0}
    frames = torch.rand(1, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    burst = (frames, torch.tensor([[0.0, -2.0, 2.0]]), torch.ones(1, 3, 1, 32, 32))
    with torch.inference_mode():
        assert torch.equal(loaded(*burst).radiance, model(*burst).radiance)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SMALL | {"name": "ghfdr"}, "unknown model 'ghfdr'"),
        (SMALL | {"depht": 2}, "'depht'.*'depth'"),
        (SMALL | {"dim": "6"}, "gfhdr setting 'dim' must be int, not '6'"),
        (SMALL | {"dim": 7}, "7 is not a multiple"),
        ({"name": "saf", "encoder": 32.5}, "saf setting 'encoder' must be int, not 32.5"),
        ({"name": "saf", "refine": -4}, "the saf config does not fit together: saf's widths must be from 1 to 512"),
        ({"name": "saf", "encoder": 60_000}, "saf's widths must be from 1 to 512"),  # 130 GB of weights
        ({"name": "saf", "motion": 1 << 63}, "saf's widths must be from 1 to 512"),
        ({"name": "saf", "radius": 20_000}, "radius must be from 0 to 8"),
        ({"name": "saf", "limit": 10**400}, "saf setting 'limit' must be float"),
        (SMALL | {"dim": 600_000}, "gfhdr's dim may be 256"),
        (SMALL | {"depth": 10**9}, "its layers 64"),
        (SMALL | {"window": 10_000}, "its window and mlp_ratio 16 at most"),
        (SMALL | {"mlp_ratio": 10**9}, "its window and mlp_ratio 16 at most"),
        (SMALL | {"dim": 8}, "its gfhdr config makes it"),
        (SMALL | {"depth": 3}, "not the weights of its gfhdr config: lacks"),
        (SMALL | {"depth": 1}, "not the weights of its gfhdr config: has"),
    ],
)
def test_a_config_that_does_not_fit_is_one_line(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    path = _save_network(tmp_path / "x.safetensors", config)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path)
    assert caught.value.exit_code == 4
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_no_such_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such weights file"):
        load_model(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("config", [SMALL, {"name": "saf"}], ids=["gfhdr", "saf"])
@pytest.mark.parametrize("factor", [1e8, 1e30])
def test_weights_with_outputs_out_of_range_are_not_usable(
    tmp_path: Path, config: dict[str, Any], factor: float
) -> None:
    path = tmp_path / "wild.safetensors"
    state = {name: factor * torch.ones_like(tensor) for name, tensor in build_model(config).state_dict().items()}
    save_checkpoint(path, state, config)
    with pytest.raises(ModelError, match="not usable weights") as caught:
        load_model(path)
    assert caught.value.exit_code == 4
    assert str(caught.value).startswith(f"{path}: ")


def test_the_check_of_loaded_weights_draws_no_random_numbers(tmp_path: Path) -> None:
    path = _save_network(tmp_path / "x.safetensors", SMALL)
    torch.manual_seed(5)
    build_model(SMALL)  # as loading it does
    expected = torch.rand(1)
    torch.manual_seed(5)
    load_model(path)
    assert torch.equal(torch.rand(1), expected)
