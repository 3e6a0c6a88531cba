"""From a checkpoint's own config to a network: the one table of model names."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from smarthdr_cli.models.config import parse_config
from smarthdr_cli.models.gfhdr import GFHDRConfig
from smarthdr_cli.models.judged import JudgedGFHDR
from smarthdr_cli.models.saf import SAF, SAFConfig

MODELS: dict[str, tuple[type, type[nn.Module]]] = {"saf": (SAFConfig, SAF), "gfhdr": (GFHDRConfig, JudgedGFHDR)}


def build_model(config: Mapping[str, Any]) -> nn.Module:
    """An untrained network from ``{"name": ..., fields...}``; missing fields take the model's defaults.

    Raises ModelError for an unknown name or field, naming the nearest known one, and for values that do not fit.
    """
    parsed: Any = parse_config(config, [kind for kind, _ in MODELS.values()])
    model: nn.Module = MODELS[str(config["name"])][1](parsed)
    return model
