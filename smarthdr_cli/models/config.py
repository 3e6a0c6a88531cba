"""A network's config as a checkpoint stores it: a flat JSON object with the model's name, and back."""

import dataclasses
import difflib
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_type_hints

from smarthdr_cli.errors import ModelError

T = TypeVar("T")


def config_to_dict(config: Any) -> dict[str, Any]:
    """A frozen config dataclass with a ``name`` to what JSON stores."""
    return {"name": config.name, **dataclasses.asdict(config)}


def parse_config(values: Mapping[str, Any], known: Iterable[type[T]]) -> T:
    """The config that ``values`` describes, one of the dataclasses ``known`` by the ``name`` each carries.

    Fields left out take their defaults. Raises ModelError for an unknown name, an unknown field (the nearest known one
    is named), a value of the wrong type, and sizes the dataclass itself refuses.
    """
    kinds = {str(kind.name): kind for kind in known}  # type: ignore[attr-defined]
    name = values.get("name")
    if not isinstance(name, str) or name not in kinds:
        raise ModelError(f"unknown model {name!r}; known are {', '.join(sorted(kinds))}")
    kind = kinds[name]
    hints = get_type_hints(kind)
    fields = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    arguments = {}
    for key, value in values.items():
        if key not in fields:
            if key == "name":  # a class constant, not a field
                continue
            near = difflib.get_close_matches(key, sorted(fields), n=1, cutoff=0.0)
            raise ModelError(f"unknown {name} setting {key!r}; did you mean {near[0]!r}?")
        arguments[key] = _checked(f"{name} setting {key!r}", value, hints[key])
    try:
        return kind(**arguments)
    except ValueError as error:
        raise ModelError(f"the {name} config does not fit together: {error}") from error


def _checked(what: str, value: Any, kind: Any) -> Any:
    if kind is float and type(value) is int and abs(value) <= sys.float_info.max:
        return float(value)
    if kind in (int, float, str, bool) and type(value) is not kind:
        raise ModelError(f"{what} must be {kind.__name__}, not {value!r}")
    return tuple(value) if isinstance(value, list) else value
