"""What every network has in common: a config by name, one call and one output.

    model(frames, evs, valid) -> Prediction(radiance, log_sigma)

``FusionModel`` is the interface, ``network_types`` the table of networks. ``build_model`` makes one from the config in
a checkpoint: a flat JSON object with the network's name and its settings.
"""

import dataclasses
import difflib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from torch import Tensor, nn

from smarthdr_cli.errors import ModelError, UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class MergeDetail:
    """How a network that merges frames by trust arrived at its radiance.

    ``merged``: (B, 3, H, W) the merge before the residual, in reference units. ``trust``: (B, N-1, 1, H, W) in [0, 1]
    of the other frames, 0 where invalid; ``trust_logit`` its logit, without validity. ``gate``: (B, 1, H, W) in [0, 1],
    where the residual may act. ``flows``: (B * (N-1), 2, h, w) displacements (x, y) of every pyramid level in its own
    pixels, coarse to fine.
    """

    merged: Tensor
    trust: Tensor
    trust_logit: Tensor
    gate: Tensor
    flows: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """What a network makes of a burst.

    ``radiance``: (B, 3, H, W) float32 in reference units (reference clip = 1). ``log_sigma``: (B, 1, H, W) float32,
    natural logarithm of sigma in the mu-law domain, not calibrated. ``detail``: None for a network that does not merge.
    """

    radiance: Tensor
    log_sigma: Tensor
    detail: MergeDetail | None = None


class FusionModel(nn.Module, ABC):
    """A network that fuses a burst. Its uncertainty head is called ``judge``: its gradient is clipped separately."""

    config: Any  # a frozen dataclass with a field ``name``
    __call__: Callable[..., Prediction]

    @abstractmethod
    def forward(self, frames: Tensor, evs: Tensor, valid: Tensor) -> Prediction:
        """Fuse a batch of bursts.

        ``frames``: (B, N, 3, H, W) linear in frame units (1 = clip), the reference first; sides are multiples of 32.
        ``evs``: (B, N) relative to the reference. ``valid``: (B, N, 1, H, W), 0 where a frame has no data.
        Raises UsageError for a number of frames that the network does not take.
        """

    def flows(self, frames: Tensor, evs: Tensor) -> tuple[Tensor, ...]:
        """The motion stage alone, as ``MergeDetail.flows``. Raises UsageError for a network without one."""
        raise UsageError(f"{self.config.name} has no motion stage to train by itself; leave motion_steps at 0")

    def set_finest_cell(self, side: int) -> None:
        """End the motion stage at cells of ``side`` pixels or at ``config.finest``, whichever is coarser."""

    def extend_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``state``, extended where it comes from a smaller network of this kind that can grow into this one."""
        return dict(state)


def network_types() -> dict[str, tuple[type[Any], Callable[[Any], FusionModel]]]:
    """Config and class of every network by name. A new network is a row here."""
    # The networks import this module.
    from smarthdr_cli.models.gfhdr import GFHDR, GFHDRConfig
    from smarthdr_cli.models.saf import SAF, SAFConfig

    return {"saf": (SAFConfig, SAF), "gfhdr": (GFHDRConfig, GFHDR)}


def build_model(config: Mapping[str, Any]) -> FusionModel:
    """An untrained network from ``{"name": ..., settings...}``; settings left out take the network's defaults.

    Raises ModelError where ``parse_config`` does.
    """
    parsed = network_config(config)
    return network_types()[parsed.name][1](parsed)


def network_config(values: Mapping[str, Any]) -> Any:
    """The config dataclass of the network that ``values`` names. Raises ModelError where ``parse_config`` does."""
    return parse_config(values, [config_type for config_type, _ in network_types().values()])


def config_to_dict(config: Any) -> dict[str, Any]:
    """A frozen config dataclass with a ``name`` as the JSON object that ``parse_config`` reads."""
    return {"name": config.name, **dataclasses.asdict(config)}


def parse_config(values: Mapping[str, Any], config_types: Iterable[type[T]]) -> T:
    """The config that ``values`` describes: one of ``config_types``, selected by its ``name``.

    Raises ModelError for an unknown name or setting (the nearest known one is suggested), for a value of the wrong type
    and for sizes that the dataclass rejects.
    """
    types = {str(config_type.name): config_type for config_type in config_types}  # type: ignore[attr-defined]
    name = values.get("name")
    if not isinstance(name, str) or name not in types:
        raise ModelError(f"unknown model {name!r}; known are {', '.join(sorted(types))}")
    config_type = types[name]
    hints = get_type_hints(config_type)
    fields = {field.name for field in dataclasses.fields(config_type)}  # type: ignore[arg-type]
    settings = {}
    for key, value in values.items():
        if key in fields:
            settings[key] = _check_type(f"{name} setting {key!r}", value, hints[key])
        elif key != "name":  # a class constant in some configs
            nearest = difflib.get_close_matches(key, sorted(fields), n=1, cutoff=0.0)
            raise ModelError(f"unknown {name} setting {key!r}; did you mean {nearest[0]!r}?")
    try:
        return config_type(**settings)
    except ValueError as error:
        raise ModelError(f"the {name} config does not fit together: {error}") from error


def _check_type(label: str, value: Any, expected: Any) -> Any:
    """``value`` as ``expected``: integers serve as floats, JSON arrays as tuples."""
    if expected is float and type(value) is int and abs(value) <= sys.float_info.max:
        return float(value)
    if expected in (int, float, str, bool) and type(value) is not expected:
        raise ModelError(f"{label} must be {expected.__name__}, not {value!r}")
    return tuple(value) if isinstance(value, list) else value
