"""The options of a training run: one frozen record, which checkpoints carry and ``--config`` files set.

The keys are flat and are a file format: state.pt, run records and TOML files hold them. The classes below only group
them. A field states its bounds or words beside its default; ``train_config`` checks them.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any

from smarthdr_cli.data.synth.config import TRAINING_VARIETY, SynthConfig
from smarthdr_cli.errors import UsageError
from smarthdr_cli.train.methods import METHODS, method_class

FRAMES = (3,) * 12 + (2,) * 4 + (4,) * 2 + (5, 9)  # frame counts of streamed bursts, each entry equally likely
# Options of earlier versions and the defaults with which older states and configs hold them: read and ignored.
REMOVED = {"weight_gradient": 0.0, "weight_ms_ssim": 0.0, "noise_iso": 0.0, "masks.scale": "linear"}
# Options whose class belongs to another package, and their words.
_SYNTH_WORDS = {
    "kind": ("gamma16", "camera8", "mixed"),
    "shake": ("aligned", "handheld", "tripod"),
    "reference": ("mixed", "middle"),
}


def _number(default: float, low: float | None = None, high: float | None = None) -> Any:
    """A field whose value lies in [low, high]."""
    return field(default=default, metadata={"low": low, "high": high})


def _word(default: Any, *words: Any) -> Any:
    """A field whose value is one of ``words``."""
    return field(default=default, metadata={"words": words})


@dataclass(frozen=True)
class MaskConfig:
    """Bi-level masking (train/uncertainty_masks.py).

    ``patch``, ``pixel``: whether either level is used. ``tau_patch``, ``tau_pixel``: thresholds on sigma, normalised to
    its range over all unlabelled bursts; ``top`` is the quantile that ends the range. ``adaptive``: thresholds are the
    ``quantile`` of sigma on labelled crops instead. ``side``: of a patch, px.
    """

    patch: bool = True
    pixel: bool = True
    tau_patch: float = _number(0.4, 0, 1)
    tau_pixel: float = _number(0.4, 0, 1)
    adaptive: bool = False
    quantile: float = _number(0.9, 0, 1)
    side: int = _number(64, 1)
    top: float = _number(0.99, 0, 1)


@dataclass(frozen=True)
class OptimizerOptions:
    """Schedule and optimiser.

    ``iterations``: where the schedule ends. The rate rises over ``warmup`` updates, stays constant, and falls linearly
    to 0 over the last ``decay`` updates (below 1: share of the iterations). ``batch``: labelled or streamed bursts an
    update. ``ema``: decay of the teacher's average, warmed up; ``teacher`` "copy" takes the student's weights as they
    are. ``clip``: largest norm of the gradient, for the uncertainty head and for the rest separately. ``finest``: side
    of the finest cells of saf's motion while it trains, px; fusion goes on to single pixels.
    """

    iterations: int = _number(1_000_000, 1)
    batch: int = _number(4, 1)
    learning_rate: float = 6e-4
    warmup: int = _number(200, 0)
    decay: float = _number(0.0, 0)
    ema: float = _number(0.999, 0, 1)
    teacher: str = _word("ema", "ema", "copy")
    clip: float = 0.15
    precision: str = _word("bf16", "fp32", "bf16")
    seed: int = _number(0, 0)
    finest: int = _word(4, 4, 2, 1)


@dataclass(frozen=True)
class LossOptions:
    """Weights of the terms of ``losses.objective``, and of the parts of an update's loss.

    ``detach``: the uncertainty term gives the prediction no gradient. ``sigma_floor``: added to sigma in that term.
    ``weight_judge_unlabeled``: share of the uncertainty term on pseudo-labels. The student comes so close to those that
    a head trained on them predicts sigma = 0. ``weight_rerender``: of FSHDR's first stage. ``weight_cells``: of
    ``rerendering.cell_consistency`` on unlabelled crops. ``vgg``: file of VGG16 weights, "" for none.
    """

    weight_uncertainty: float = 0.01
    weight_judge_unlabeled: float = 0.0
    sigma_floor: float = 1e-3
    weight_motion: float = 0.02
    weight_trust: float = 0.05
    weight_merged: float = 0.5
    weight_square: float = 0.0
    weight_vgg: float = 0.01
    weight_unlabeled: float = 1.0
    weight_rerender: float = 0.5
    weight_cells: float = 0.0
    detach: bool = True
    vgg: str = ""


@dataclass(frozen=True)
class StreamOptions:
    """Streamed synthetic bursts.

    ``synth``: what they are. ``replay``: how often a batch is used, each time under another augmentation, drawn from
    the latest ``pool`` batches. ``makers``: worker processes on the CPU; 0 is a thread on the training device, -1
    leaves the number to ``burst_stream.worker_processes``. ``motion_steps``: updates at the start that train only the
    motion stage, on the true displacement; such an update costs a small part of a whole one.
    """

    motion_steps: int = _number(0, 0)
    replay: int = _number(4, 1)
    pool: int = _number(200, 1)
    makers: int = _number(-1, -1)
    synth: SynthConfig = field(
        default_factory=lambda: SynthConfig(
            height=192, width=192, frames=FRAMES, ev_steps=(1.0, 1.5, 2.0, 2.0, 2.5, 3.0, 4.0), variety=TRAINING_VARIETY
        )
    )


@dataclass(frozen=True)
class SceneOptions:
    """Training on folders of scenes, of which some have labels.

    ``method``: what unlabelled crops teach, after a share ``labelled_first`` of the iterations on labels alone.
    ``batch_unlabeled``: unlabelled crops an update, of ``crop`` pixels a side. ``strong``: whether the student sees
    them with permuted channels.

    ``pseudo``: pseudo-labels are predicted once an "epoch" and kept on disk, or at every "step". ``refresh``: updates
    in an epoch; 0 is one pass over the unlabelled crops at half-crop stride. ``views``: augmentations averaged for a
    pseudo-label. ``fill``: masked pixels learn SelfHDR's colour target ("selfhdr"), or that target comes first and
    pseudo-labels fill its gaps ("selfhdr-first"). ``smae_stage1``: SMAE's masked first stage. ``batch_made``: bursts
    an update synthesised from labels and pseudo-labels. ``export``: whose weights become model.safetensors.
    """

    method: str = _word("supervised", *METHODS)
    labelled_first: float = _number(0.15, 0, 1)
    batch_unlabeled: int = _number(4, 1)
    crop: int = 128
    strong: bool = True
    pseudo: str = _word("epoch", "epoch", "step")
    refresh: int = _number(0, 0)
    views: int = _number(1, 1, 48)
    fill: str = _word("none", "none", "selfhdr", "selfhdr-first")
    smae_stage1: bool = False
    batch_made: int = _number(0, 0)
    export: str = _word("student", "student", "teacher")
    masks: MaskConfig = field(default_factory=MaskConfig)


@dataclass(frozen=True)
class TrainConfig(SceneOptions, StreamOptions, LossOptions, OptimizerOptions):
    """All options of a run. ``model``: name and sizes of the network. Minutes between saved states, updates between
    validations, and bursts of a validation set.
    """

    save_minutes: float = 3.0
    validate_every: int = _number(500, 1)
    validation_bursts: int = 16
    model: dict[str, Any] = field(default_factory=lambda: {"name": "saf"})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the checkpoint and the log."""
        return asdict(self)

    def learning_rate_at(self, step: int) -> float:
        """The rate of update number ``step`` (0-based)."""
        up = min(1.0, (step + 1) / max(self.warmup, 1))
        decay = self.decay * self.iterations if self.decay < 1 else self.decay
        down = min(1.0, (self.iterations - step) / decay) if decay else 1.0
        return self.learning_rate * up * max(down, 0.0)


# Defaults of a run on scenes; a method adds its own (``Method.defaults``). See benchmarks/training/ablation.py.
SCENE_DEFAULTS = {
    "method": "smarthdr",
    "iterations": 12_000,
    "decay": 0.3,
    "learning_rate": 4e-4,
    "batch": 4,
    "validate_every": 250,
}


def scene_values(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` over the defaults of runs on scenes and of the method they name."""
    method = values.get("method", SCENE_DEFAULTS["method"])
    defaults = method_class(method).defaults if isinstance(method, str) and method in METHODS else {}
    return SCENE_DEFAULTS | dict(defaults) | values


def train_config(values: dict[str, Any]) -> TrainConfig:
    """A config from plain values.

    Raises UsageError for an unknown key, naming the nearest known one, and for a value of the wrong type or out of
    range.
    """
    config: TrainConfig = _parsed(TrainConfig(), values, "")
    for name, value, bounds in _checked_fields(config):
        if value not in bounds.get("words", (value,)):
            raise UsageError(f"training option {name} = {value!r}: use {', '.join(map(str, bounds['words']))}")
        low, high = bounds.get("low"), bounds.get("high")
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            to = "" if high is None else f" to {high}"
            raise UsageError(f"training option {name} = {value}: use a number from {low}{to}")
    if config.batch_made and config.pseudo != "epoch":
        raise UsageError("batch_made needs pseudo = 'epoch': its bursts are synthesised from stored labels")
    if not config.synth.frames or not all(2 <= n <= 9 for n in config.synth.frames):
        raise UsageError("frames must be numbers from 2 to 9")
    for name, side in (("synth", config.synth.height), ("synth", config.synth.width), ("scenes", config.crop)):
        if side < 32 or side % 32:
            raise UsageError(f"sides of training crops must be multiples of 32; those of {name} are {side}")
    return config


def _checked_fields(config: TrainConfig) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Name, value and bounds of every option that has bounds or words."""
    for table, prefix in ((config, ""), (config.masks, "masks.")):
        for option in fields(table):
            yield prefix + option.name, getattr(table, option.name), dict(option.metadata)
    for name, words in _SYNTH_WORDS.items():
        yield f"synth.{name}", getattr(config.synth, name), {"words": words}
    for name, share in asdict(config.synth.variety).items():
        yield f"synth.variety.{name}", share, {"low": 0, "high": 1}


def _parsed(default: Any, values: Any, table: str) -> Any:
    """``default`` with ``values``, of the types it has; whole numbers pass for fractions, tables for dataclasses."""
    if not isinstance(values, dict):
        raise UsageError(f"training options must be a table, not {values!r}")
    defaults = {f.name: getattr(default, f.name) for f in fields(default)}
    parsed = {}
    for key, value in values.items():
        name = f"{table}{key}"
        if name in REMOVED:
            if value != REMOVED[name]:
                raise UsageError(f"training option {name} = {value!r}: this version has no such option; leave it out")
            continue
        if key not in defaults:
            near = get_close_matches(key, list(defaults), n=1)
            raise UsageError(f"unknown training option {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        kind = type(defaults[key])
        if is_dataclass(defaults[key]):
            value = value if isinstance(value, kind) else _parsed(defaults[key], value, f"{name}.")
        if kind is float and type(value) is int:
            value = float(value)
        if kind is tuple and isinstance(value, list | tuple):
            item = type(defaults[key][0])
            if not all(type(v) is item or (item is float and type(v) is int) for v in value):
                raise UsageError(f"training option {name} must be a list of {item.__name__}, not {value!r}")
            value = tuple(item(v) for v in value)
        if type(value) is not kind:
            raise UsageError(f"training option {name} must be {kind.__name__}, not {value!r}")
        parsed[key] = value
    return replace(default, **parsed)
