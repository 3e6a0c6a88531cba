"""The one checkpoint format: a safetensors file whose metadata says what the tensors are.

The metadata holds a single key, "smarthdr", with one JSON object: format (a whole number), config (the model's name and
settings), record (how it was trained), calibration (of its judge, or null), licence, metrics, and checksum, a sha256
over all the rest of the file; older files have none. Tensors are float32, float16 or bfloat16 and come back as float32.
Nothing in such a file can run code.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.errors import ModelError
from smarthdr_cli.models.header import AGAIN, FORMAT, KEY, NOT_SAFETENSORS, parse_description
from smarthdr_cli.models.manifest import read_manifest
from smarthdr_cli.models.uncertainty_calibration import Calibration

SUFFIX = ".safetensors"
MAX_BYTES = 2**31  # a larger file is not one of ours, and is not read into memory to find out
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Checkpoint:
    """Weights as read: ``config`` with the model's name, ``state`` on the CPU in float32, ``sha256`` of the file."""

    path: Path
    config: dict[str, Any]
    state: dict[str, Tensor]
    record: dict[str, Any]
    calibration: Calibration | None
    licence: str
    metrics: dict[str, Any]
    sha256: str


def save_checkpoint(
    path: Path,
    model_state: Mapping[str, Tensor],
    config: Mapping[str, Any],
    record: Mapping[str, Any] | None = None,
    calibration: Calibration | None = None,
    licence: str = "",
    metrics: Mapping[str, Any] | None = None,
) -> str:
    """Write a checkpoint whole or not at all, over an older one if there is one; returns its sha256.

    ``config`` needs a "name"; it, ``record`` and ``metrics`` must be JSON. Raises ValueError where they are not, or
    where a tensor is no float, and OSError where the file cannot be written.
    """
    if not isinstance(config.get("name"), str):
        raise ValueError("a checkpoint's config needs the model's name")
    description = {
        "format": FORMAT,
        "config": dict(config),
        "record": dict(record or {}),
        "calibration": calibration.to_dict() if calibration else None,
        "licence": licence,
        "metrics": dict(metrics or {}),
    }
    try:
        text = json.dumps(description, allow_nan=False, sort_keys=True)
    except TypeError as error:
        raise ValueError(f"a checkpoint's metadata must be JSON: {error}") from error
    wrong = [name for name, tensor in model_state.items() if tensor.dtype not in _FLOATS]
    if wrong:
        raise ValueError(f"a checkpoint stores floats only; {wrong[0]} is {model_state[wrong[0]].dtype}")
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model_state.items()}
    checksum = _checksum(json.loads(text), safetensors.torch.save(tensors))
    data = safetensors.torch.save(tensors, {KEY: json.dumps(description | {"checksum": checksum}, sort_keys=True)})
    with atomic_file(path, overwrite=True) as partial:
        partial.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def load_checkpoint(path: Path) -> Checkpoint:
    """Read and check a checkpoint.

    A file listed in the ``manifest.toml`` beside it must have the sha256 given there. Raises ModelError for anything
    that is not a whole checkpoint of a format this version knows.
    """
    data = _read(path)
    for entry in read_manifest(path.parent):
        if entry.file == path.name:
            entry.check_bytes(path, data)
    try:
        state = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: {NOT_SAFETENSORS}") from error
    description = _description(path, data)
    for name, tensor in state.items():
        if tensor.dtype not in _FLOATS:
            raise ModelError(f"{path}: {name} is {tensor.dtype}; weights are floats")
        if not tensor.isfinite().all():
            raise ModelError(f"{path}: not usable weights: {name} holds values that are not finite; {AGAIN}")
    return Checkpoint(
        path=path,
        config=description["config"],
        state={name: tensor.float() for name, tensor in state.items()},
        record=description["record"],
        calibration=description["calibration"],
        licence=description["licence"],
        metrics=description["metrics"],
        sha256=hashlib.sha256(data).hexdigest(),
    )


def load_state(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Put the weights into a model built from their config. Raises ModelError where names or shapes differ."""
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in checkpoint.state.items()}
    kind = checkpoint.config["name"]
    for wrong, verb in ((wanted.keys() - given.keys(), "lacks"), (given.keys() - wanted.keys(), "has, unasked for,")):
        if wrong:
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise ModelError(f"{checkpoint.path}: not the weights of its {kind} config: {verb} {min(wrong)}{more}")
    for name, shape in wanted.items():
        if given[name] != shape:
            raise ModelError(f"{checkpoint.path}: {name} is {given[name]}; its {kind} config makes it {shape}")
    model.load_state_dict(checkpoint.state)


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise ModelError(f"{path}: a folder, not a {SUFFIX} file")
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{path}: too large to be a checkpoint")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such weights file") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error


def _description(path: Path, data: bytes) -> dict[str, Any]:
    """The JSON object of a file that safetensors has accepted, its parts checked."""
    description = parse_description(path, _header(data))
    checksum = description.pop("checksum", None)
    if checksum is not None and checksum != _checksum(description, data):
        raise ModelError(f"{path}: damaged: its contents do not have the checksum that it states; {AGAIN}")
    stored = description["calibration"]
    try:
        return {**description, "calibration": None if stored is None else Calibration.from_dict(stored)}
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path}: damaged metadata: {error}") from error


def _checksum(description: Mapping[str, Any], data: bytes) -> str:
    """Of a ``description`` as JSON gives it back, and of the tensors in the safetensors file ``data``: names, places,
    bytes."""
    table = _header(data)
    table.pop("__metadata__", None)
    digest = hashlib.sha256(json.dumps([description, table], allow_nan=False, sort_keys=True).encode())
    digest.update(memoryview(data)[8 + int.from_bytes(data[:8], "little") :])
    return digest.hexdigest()


def _header(data: bytes) -> dict[str, Any]:
    """The JSON object at the head of a safetensors file."""
    return dict(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]))
