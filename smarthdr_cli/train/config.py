"""What a training run is, as one frozen value that the checkpoint carries."""

from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any

from smarthdr_cli.data.synth import SynthConfig
from smarthdr_cli.errors import UsageError


@dataclass(frozen=True)
class TrainConfig:
    """Options of a supervised run on streamed synthetic bursts.

    ``replay``: how often a made burst is seen, each time under another flip, turn and channel order; bursts wait in a
    pool of ``pool`` batches. In the first ``motion_steps`` only the motion stage learns, from the true displacement:
    it lives on cells, so that such a step costs a small part of a whole one. ``iterations`` is the end of the schedule:
    ``warmup`` steps up, then constant, then linearly to zero over the last ``decay`` steps. ``ema``: decay of the
    averaged weights, warmed up.
    """

    iterations: int = 1_000_000
    motion_steps: int = 0
    batch: int = 4
    learning_rate: float = 6e-4
    warmup: int = 200
    decay: int = 0
    ema: float = 0.999
    clip: float = 0.5
    precision: str = "bf16"
    replay: int = 4
    pool: int = 200
    seed: int = 0
    weight_uncertainty: float = 0.01
    weight_motion: float = 0.02
    weight_trust: float = 0.05
    weight_merged: float = 0.5
    save_minutes: float = 3.0
    validate_every: int = 500
    validation_bursts: int = 16
    model: dict[str, Any] = field(default_factory=lambda: {"name": "saf"})
    synth: SynthConfig = field(default_factory=lambda: SynthConfig(height=192, width=192, frames=(3, 3, 3, 2, 4)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the checkpoint and the log."""
        return asdict(self)

    def learning_rate_at(self, step: int) -> float:
        """The rate of update number ``step`` (0-based)."""
        up = min(1.0, (step + 1) / max(self.warmup, 1))
        down = min(1.0, (self.iterations - step) / self.decay) if self.decay else 1.0
        return self.learning_rate * up * max(down, 0.0)


def train_config(values: dict[str, Any]) -> TrainConfig:
    """A config from plain values.

    Raises UsageError for an unknown key, naming the nearest known one, and for a value of the wrong type or out of
    range.
    """
    nested = dict(values)
    synth = nested.pop("synth", None)
    if synth is not None:
        bursts = TrainConfig().synth
        nested["synth"] = replace(bursts, **_checked(bursts, synth))
    config = replace(TrainConfig(), **_checked(TrainConfig(), nested))
    for name, value, known in (
        ("precision", config.precision, ("fp32", "bf16")),
        ("kind", config.synth.kind, ("gamma16", "camera8", "mixed")),
        ("shake", config.synth.shake, ("aligned", "handheld")),
        ("reference", config.synth.reference, ("mixed", "middle")),
    ):
        if value not in known:
            raise UsageError(f"training option {name} = {value!r}: use {', '.join(known)}")
    if min(config.batch, config.iterations, config.replay, config.pool, config.validate_every) < 1:
        raise UsageError("batch, iterations, replay, pool and validate_every must be at least 1")
    if not config.synth.frames or not all(2 <= n <= 9 for n in config.synth.frames):
        raise UsageError("frames must be numbers from 2 to 9")
    if min(config.synth.height, config.synth.width) < 32 or config.synth.height % 32 or config.synth.width % 32:
        raise UsageError("height and width of training crops must be multiples of 32")
    return config


def _checked(default: Any, values: Any) -> dict[str, Any]:
    """``values`` for the fields of ``default``, of the types it has; whole numbers will do for fractions."""
    if not isinstance(values, dict):
        raise UsageError(f"training options must be a table, not {values!r}")
    known = {f.name: getattr(default, f.name) for f in fields(default)}
    found = {}
    for key, value in values.items():
        if key not in known:
            near = get_close_matches(key, list(known), n=1)
            raise UsageError(f"unknown training option {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        kind = type(known[key])
        if kind is float and type(value) is int:
            value = float(value)
        if kind is tuple and isinstance(value, list | tuple):
            each = type(known[key][0])
            if not all(type(v) is each or (each is float and type(v) is int) for v in value):
                raise UsageError(f"training option {key} must be a list of {each.__name__}, not {value!r}")
            value = tuple(each(v) for v in value)
        if type(value) is not kind and not (kind is SynthConfig and isinstance(value, SynthConfig)):
            raise UsageError(f"training option {key} must be {kind.__name__}, not {value!r}")
        found[key] = value
    return found
