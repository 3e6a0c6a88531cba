"""From a checkpoint's own config to a network: the one table of model names."""

from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from torch import nn

from smarthdr_cli.errors import ModelError
from smarthdr_cli.models.gfhdr import GFHDR, GFHDRConfig
from smarthdr_cli.models.saf import SAF, SAFConfig

MODELS: dict[str, tuple[type, type[nn.Module]]] = {"saf": (SAFConfig, SAF), "gfhdr": (GFHDRConfig, GFHDR)}


def build_model(config: dict[str, Any]) -> nn.Module:
    """An untrained network from ``{"name": ..., fields...}``; missing fields take the model's defaults.

    Raises ModelError for an unknown name or field, naming the nearest known one.
    """
    name = str(config.get("name", ""))
    if name not in MODELS:
        raise ModelError(f"unknown model {name!r}; known: {', '.join(sorted(MODELS))}")
    kind, network = MODELS[name]
    known = [f.name for f in fields(kind)]
    for key in config:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            raise ModelError(f"model {name} has no setting {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    model: nn.Module = network(kind(**config))
    return model
