"""Checkpoints: safetensors files whose metadata says which network the tensors belong to.

The metadata has one key, "smarthdr", with one JSON object:

    format        version of this layout
    config        name and settings of the network (models/base.py)
    record        how it was trained
    calibration   of its uncertainty, or null
    licence, metrics
    checksum      sha256 over everything else; files written before it existed have none

Tensors are float32, float16 or bfloat16 and are read as float32. Nothing in such a file can run code. Importing this
module and reading headers load no torch.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.errors import ModelError
from smarthdr_cli.models.weights import SUFFIX, find_weights, read_manifest

if TYPE_CHECKING:
    from torch import Tensor, nn

    from smarthdr_cli.models.base import FusionModel
    from smarthdr_cli.models.uncertainty_calibration import Calibration

FORMAT_VERSION = 1
METADATA_KEY = "smarthdr"
MAX_BYTES = 2**31  # a larger file is not a checkpoint and is not read into memory
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors format
# Radiance, pixels of displacement and logits of trained and of untrained networks stay below 10.
MAX_OUTPUT = 1e4
RETRY_HINT = "copy or download it again, or use other --weights"
NOT_SAFETENSORS = f"not a safetensors file, or a damaged one; {RETRY_HINT}"
_FLOAT_TYPES = {"torch.float32", "torch.float16", "torch.bfloat16"}
_PART_TYPES = {"config": (dict, "an object"), "record": (dict, "an object"), "metrics": (dict, "an object"),
               "licence": (str, "text")}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """``description``: the metadata's JSON object, checked. ``shapes``: of all tensors, by name."""

    description: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]

    @property
    def network(self) -> str:
        """The name of the network."""
        return str(self.description["config"]["name"])

    @property
    def parameters(self) -> int:
        """The number of values in all tensors."""
        return sum(math.prod(shape) for shape in self.shapes.values())


@dataclass(frozen=True)
class Checkpoint:
    """A whole file: ``state`` in float32 on the CPU, ``sha256`` of the file, the rest as in the metadata."""

    path: Path
    config: dict[str, Any]
    state: "dict[str, Tensor]"
    record: dict[str, Any]
    calibration: "Calibration | None"
    licence: str
    metrics: dict[str, Any]
    sha256: str


def save_checkpoint(
    path: Path,
    model_state: "Mapping[str, Tensor]",
    config: Mapping[str, Any],
    record: Mapping[str, Any] | None = None,
    calibration: "Calibration | None" = None,
    licence: str = "",
    metrics: Mapping[str, Any] | None = None,
) -> str:
    """Write a checkpoint atomically, replacing an older one; returns its sha256.

    Raises ValueError where ``config`` has no "name", where it, ``record`` or ``metrics`` is not JSON and where a tensor
    is not a float; OutputError where the file cannot be written.
    """
    import safetensors.torch

    if not isinstance(config.get("name"), str):
        raise ValueError("a checkpoint's config needs the model's name")
    description = {
        "format": FORMAT_VERSION,
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
    for name, tensor in model_state.items():
        if str(tensor.dtype) not in _FLOAT_TYPES:
            raise ValueError(f"a checkpoint stores floats only; {name} is {tensor.dtype}")
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model_state.items()}
    checksum = _checksum(json.loads(text), safetensors.torch.save(tensors))
    metadata = {METADATA_KEY: json.dumps(description | {"checksum": checksum}, sort_keys=True)}
    data = safetensors.torch.save(tensors, metadata)
    with atomic_file(path, overwrite=True) as partial:
        partial.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def read_header(path: Path) -> Header:
    """Network, shapes and metadata, without the tensors; the checksum is not verified.

    Raises ModelError for a file that does not begin as a checkpoint.
    """
    try:
        with path.open("rb") as file:
            count = int.from_bytes(file.read(8), "little")
            data = file.read(count) if count <= MAX_HEADER_BYTES else b""
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    if not data or len(data) < count:
        raise ModelError(f"{path}: {NOT_SAFETENSORS}")
    try:
        table = json.loads(data)
        tensors = {name: tensor for name, tensor in table.items() if name != "__metadata__"}
        shapes = {name: tuple(int(side) for side in tensor["shape"]) for name, tensor in tensors.items()}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelError(f"{path}: {NOT_SAFETENSORS}") from error
    if any(side < 0 for shape in shapes.values() for side in shape):
        raise ModelError(f"{path}: {NOT_SAFETENSORS}")
    return Header(_parse_description(path, table), shapes)


def load_checkpoint(path: Path, *, max_bytes: int = MAX_BYTES) -> Checkpoint:
    """Read and verify a checkpoint.

    Raises ModelError for a file that is no whole checkpoint of a known format, that is larger than ``max_bytes``, whose
    sha256 is not the one in the ``manifest.toml`` beside it, or whose weights are not finite floats.
    """
    import safetensors.torch

    from smarthdr_cli.models.uncertainty_calibration import Calibration

    data = _read(path, max_bytes)
    sha256 = hashlib.sha256(data).hexdigest()
    for entry in read_manifest(path.parent):
        if entry.file == path.name:
            entry.check_digest(path, len(data), sha256)
    try:
        state = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: {NOT_SAFETENSORS}") from error
    description = _parse_description(path, _header_table(data))
    checksum = description.pop("checksum", None)
    if checksum is not None and checksum != _checksum(description, data):
        raise ModelError(f"{path}: damaged: its contents do not match the checksum in it; {RETRY_HINT}")
    stored = description["calibration"]
    try:
        calibration = None if stored is None else Calibration.from_dict(stored)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path}: damaged metadata: {error}") from error
    for name, tensor in state.items():
        if str(tensor.dtype) not in _FLOAT_TYPES:
            raise ModelError(f"{path}: {name} is {tensor.dtype}; weights are floats")
        if not tensor.isfinite().all():
            raise ModelError(f"{path}: not usable weights: {name} holds values that are not finite; {RETRY_HINT}")
    return Checkpoint(
        path=path,
        config=description["config"],
        state={name: tensor.float() for name, tensor in state.items()},
        record=description["record"],
        calibration=calibration,
        licence=description["licence"],
        metrics=description["metrics"],
        sha256=sha256,
    )


def load_model(spec: str | Path | None = None) -> "tuple[FusionModel, Checkpoint]":
    """The network that ``spec`` means (see ``find_weights``), and its checkpoint.

    The network is on the CPU, in float32 and in eval mode. Raises ModelError for everything that prevents this.
    """
    from smarthdr_cli.models.base import build_model

    path = find_weights(spec)
    checkpoint = load_checkpoint(path)
    try:
        model = build_model(checkpoint.config)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    load_state(model, checkpoint)
    check_usable(model.eval(), path)
    return model, checkpoint


def load_state(model: "nn.Module", checkpoint: Checkpoint) -> None:
    """Copy the weights into a network that was built from their config.

    Raises ModelError where names or shapes differ.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    stored = {name: tuple(tensor.shape) for name, tensor in checkpoint.state.items()}
    network = checkpoint.config["name"]
    missing, surplus = expected.keys() - stored.keys(), stored.keys() - expected.keys()
    for names, problem in ((missing, "lacks"), (surplus, "has the unexpected")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ModelError(
                f"{checkpoint.path}: not the weights of its {network} config: {problem} {min(names)}{more}"
            )
    for name, shape in expected.items():
        if stored[name] != shape:
            raise ModelError(f"{checkpoint.path}: {name} is {stored[name]}; its {network} config makes it {shape}")
    model.load_state_dict(checkpoint.state)


def check_usable(model: "FusionModel", path: Path) -> None:
    """Run ``model``, in eval mode, on three frames of noise.

    Raises ModelError, naming ``path``, where an output is not finite or above MAX_OUTPUT.
    """
    import torch

    side = 32
    light = 4 * torch.rand((1, 1, 3, side, side), generator=torch.Generator().manual_seed(0))
    evs = torch.tensor([[0.0, -2.0, 2.0]])
    frames = (light * torch.exp2(evs).view(1, 3, 1, 1, 1)).clamp(0, 1)
    device = next(model.parameters()).device
    with torch.no_grad():
        prediction = model(frames.to(device), evs.to(device), torch.ones_like(frames[:, :, :1]).to(device))
    outputs = [prediction.radiance, prediction.log_sigma]
    if prediction.detail is not None:
        outputs += [prediction.detail.trust_logit, *prediction.detail.flows]
    if not all(bool((output.abs() <= MAX_OUTPUT).all()) for output in outputs):
        raise ModelError(
            f"{path}: not usable weights: the network's output is not finite or above {MAX_OUTPUT:g}; "
            "use other --weights"
        )


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        if path.is_dir():
            raise ModelError(f"{path}: a folder, not a {SUFFIX} file")
        if path.stat().st_size > max_bytes:
            raise ModelError(f"{path}: too large to be a checkpoint")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such weights file") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error


def _header_table(data: bytes) -> dict[str, Any]:
    """The JSON object at the beginning of a safetensors file."""
    return dict(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]))


def _parse_description(path: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    """The "smarthdr" object of a safetensors header, its parts checked; the calibration stays JSON.

    Raises ModelError where it is missing or damaged, and for a newer format.
    """
    metadata = table.get("__metadata__")
    text = metadata.get(METADATA_KEY) if isinstance(metadata, Mapping) else None
    if text is None:
        raise ModelError(f"{path}: no smarthdr metadata; not a checkpoint of smarthdr")
    try:
        description = json.loads(text)
        json.dumps(description, allow_nan=False)  # Python reads 1e999 as infinity, which JSON does not have
        version = description["format"]
        if not isinstance(version, int) or version < 1:
            raise ValueError(f"format is {version!r}")
        if version > FORMAT_VERSION:
            raise ModelError(f"{path}: written by a newer smarthdr (format {version}, this one reads {FORMAT_VERSION})")
        for key, (expected, word) in _PART_TYPES.items():
            if not isinstance(description[key], expected):
                raise ValueError(f"{key} is not {word}")
        if not isinstance(description["config"].get("name"), str):
            raise ValueError("config names no model")
        return {**description, "calibration": description["calibration"]}
    except KeyError as error:
        raise ModelError(f"{path}: damaged metadata: {error.args[0]} is missing; {RETRY_HINT}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{path}: damaged metadata: {error}; {RETRY_HINT}") from error


def _checksum(description: Mapping[str, Any], data: bytes) -> str:
    """Of a ``description`` as JSON returns it, and of names, offsets and bytes of the tensors in the file ``data``."""
    table = _header_table(data)
    table.pop("__metadata__", None)
    digest = hashlib.sha256(json.dumps([description, table], allow_nan=False, sort_keys=True).encode())
    digest.update(memoryview(data)[8 + int.from_bytes(data[:8], "little") :])
    return digest.hexdigest()
