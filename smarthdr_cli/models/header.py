"""What a checkpoint says of itself in the head of its file. Reads no tensor and loads no torch."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smarthdr_cli.errors import ModelError

FORMAT = 1
KEY = "smarthdr"
MAX_BYTES = 100_000_000  # of a head, as the safetensors format has it
AGAIN = "copy or download it again, or use other --weights"
NOT_SAFETENSORS = f"not a safetensors file, or a damaged one; {AGAIN}"
_PARTS = (("config", dict, "an object"), ("record", dict, "an object"), ("metrics", dict, "an object"),
          ("licence", str, "text"))  # fmt: skip


@dataclass(frozen=True)
class Header:
    """``description``: the JSON object as stored, checked. ``shapes``: of every tensor, by its name."""

    description: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]

    @property
    def network(self) -> str:
        """The name of the network the tensors belong to."""
        return str(self.description["config"]["name"])

    @property
    def parameters(self) -> int:
        """How many numbers the file holds."""
        return sum(math.prod(shape) for shape in self.shapes.values())


def read_header(path: Path) -> Header:
    """The head of the file at ``path``. Raises ModelError for anything that cannot be the head of a checkpoint.

    That the rest is whole is not looked at; ``load_checkpoint`` does.
    """
    damaged = f"{path}: {NOT_SAFETENSORS}"
    try:
        with path.open("rb") as file:
            count = int.from_bytes(file.read(8), "little")
            data = file.read(count) if count <= MAX_BYTES else b""
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    if not data or len(data) < count:
        raise ModelError(damaged)
    try:
        table = json.loads(data)
        shapes = {
            name: tuple(int(side) for side in tensor["shape"])
            for name, tensor in table.items()
            if name != "__metadata__"
        }
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelError(damaged) from error
    if any(side < 0 for shape in shapes.values() for side in shape):
        raise ModelError(damaged)
    return Header(parse_description(path, table), shapes)


def parse_description(path: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    """The "smarthdr" object in a head that is JSON already, its parts checked; the calibration is as stored.

    Raises ModelError where there is none, where it is damaged, and for a format newer than ``FORMAT``.
    """
    metadata = table.get("__metadata__")
    text = metadata.get(KEY) if isinstance(metadata, Mapping) else None
    if text is None:
        raise ModelError(f"{path}: no smarthdr metadata; not a checkpoint of ours")
    try:
        description = json.loads(text)
        json.dumps(description, allow_nan=False)  # 1e999 is infinite to Python, and nothing to JSON
        version = description["format"]
        if not isinstance(version, int) or version < 1:
            raise ValueError(f"format is {version!r}")
        if version > FORMAT:
            raise ModelError(f"{path}: written by a newer smarthdr (format {version}, this one reads {FORMAT})")
        for key, kind, word in _PARTS:
            if not isinstance(description[key], kind):
                raise ValueError(f"{key} is not {word}")
        if not isinstance(description["config"].get("name"), str):
            raise ValueError("config names no model")
        return {**description, "calibration": description["calibration"]}
    except KeyError as error:
        raise ModelError(f"{path}: damaged metadata: {error.args[0]} is missing; {AGAIN}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{path}: damaged metadata: {error}; {AGAIN}") from error
