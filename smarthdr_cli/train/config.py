"""What a training run is, as one frozen value that the checkpoint carries."""

from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any

from smarthdr_cli.data.synth.config import TRAINING_VARIETY, SynthConfig
from smarthdr_cli.errors import UsageError

FRAMES = (3,) * 12 + (2,) * 4 + (4,) * 2 + (5, 9)  # of a streamed burst, each as likely
METHODS = ("supervised", "smarthdr", "smae", "fshdr", "selfhdr")
_WORDS = {
    "method": METHODS, "precision": ("fp32", "bf16"), "pseudo": ("epoch", "step"), "teacher": ("ema", "copy"),
    "fill": ("none", "selfhdr", "selfhdr-first"), "export": ("student", "teacher"),
    "synth.kind": ("gamma16", "camera8", "mixed"), "synth.shake": ("aligned", "handheld", "tripod"),
    "synth.reference": ("mixed", "middle"),
}  # fmt: skip
# Options of earlier versions and their defaults, which older states and configs hold: read and ignored.
REMOVED = {"weight_gradient": 0.0, "weight_ms_ssim": 0.0, "noise_iso": 0.0, "masks.scale": "linear"}


@dataclass(frozen=True)
class MaskConfig:
    """Bi-level masking (train/uncertainty_masks.py). ``patch``, ``pixel``: whether either level is used.

    ``tau_patch``, ``tau_pixel``: on sigma normalised to the range of all unlabelled bursts, whose top is the quantile
    ``top``. ``adaptive``: instead, what the judge says of labelled crops, at ``quantile``. ``side``: of a patch.
    """

    patch: bool = True
    pixel: bool = True
    tau_patch: float = 0.4
    tau_pixel: float = 0.4
    adaptive: bool = False
    quantile: float = 0.9
    side: int = 64
    top: float = 0.99


@dataclass(frozen=True)
class TrainConfig:
    """Options of a run, on streamed synthetic bursts or on folders of scenes.

    ``iterations`` is the end of the schedule: ``warmup`` steps up, then constant, then linearly to zero over the last
    ``decay`` steps (a share of the iterations where it is below 1). ``ema``: decay of the teacher's weights, warmed up;
    ``teacher`` copy takes the student's as they are. ``weight_*``: of the terms of the loss (train/objective.py).
    ``detach``: the judge's loss gives the prediction no gradient; ``sigma_floor``: under its sigma.
    ``weight_judge_unlabeled``: share of the judge's loss on pseudo-labels, to which the student comes so close that a
    judge who learns from them says sigma = 0.

    Streams: ``replay``: how often a made burst is seen, each time under another flip, turn and channel order; bursts
    wait in a pool of ``pool`` batches. ``makers``: processes that make them on the CPU; 0 is a thread, on the device,
    -1 leaves it to ``makers.processes_for``. In the first ``motion_steps`` only the motion stage learns, from the true
    displacement: it lives on cells, so that such a step costs a small part of a whole one.

    Scenes: ``method`` after a share ``labelled_first`` of the iterations on labels alone; ``batch`` labelled and
    ``batch_unlabeled`` unlabelled crops of ``crop`` pixels a step. ``pseudo``: labels made once an epoch and kept on
    disk, or at every step. ``views``: augmentations under which the teacher sees a burst for its label. ``refresh``:
    steps of an epoch, 0 for a pass over the unlabelled crops at half-crop stride. ``weight_cells``: of
    ``rerender.cell_consistency`` on unlabelled crops. ``fill``: what the masks removed is learned from SelfHDR's colour
    target ("selfhdr"), or that comes first and labels fill what it leaves out ("selfhdr-first"). ``batch_made``: bursts
    a step made from labels and pseudo-labels (train/made.py). ``finest``: side of the cells, px, at which saf's motion
    stops while it learns (4, 2 or 1); fusing goes on to single pixels. ``export``: whose weights fuse runs.
    """

    iterations: int = 1_000_000
    motion_steps: int = 0
    batch: int = 4
    learning_rate: float = 6e-4
    warmup: int = 200
    decay: float = 0.0
    ema: float = 0.999
    clip: float = 0.15
    precision: str = "bf16"
    replay: int = 4
    pool: int = 200
    makers: int = -1
    seed: int = 0
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
    save_minutes: float = 3.0
    validate_every: int = 500
    validation_bursts: int = 16
    method: str = "supervised"
    labelled_first: float = 0.15
    batch_unlabeled: int = 4
    crop: int = 128
    pseudo: str = "epoch"
    views: int = 1
    batch_made: int = 0
    finest: int = 4
    refresh: int = 0
    teacher: str = "ema"
    strong: bool = True
    fill: str = "none"
    smae_stage1: bool = False
    export: str = "student"
    masks: MaskConfig = field(default_factory=MaskConfig)
    model: dict[str, Any] = field(default_factory=lambda: {"name": "saf"})
    synth: SynthConfig = field(
        default_factory=lambda: SynthConfig(
            height=192, width=192, frames=FRAMES, ev_steps=(1.0, 1.5, 2.0, 2.0, 2.5, 3.0, 4.0), variety=TRAINING_VARIETY
        )
    )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the checkpoint and the log."""
        return asdict(self)

    @property
    def first_unlabeled(self) -> int:
        """The update from which unlabelled bursts count; SelfHDR has no labels to begin with."""
        if self.method == "selfhdr":
            return 0
        return self.iterations if self.method == "supervised" else round(self.labelled_first * self.iterations)

    def learning_rate_at(self, step: int) -> float:
        """The rate of update number ``step`` (0-based)."""
        up = min(1.0, (step + 1) / max(self.warmup, 1))
        decay = self.decay * self.iterations if self.decay < 1 else self.decay
        down = min(1.0, (self.iterations - step) / decay) if decay else 1.0
        return self.learning_rate * up * max(down, 0.0)


# What a run on scenes does where nothing else is said, and SmartHDR beyond its paper: see benchmarks/ablation.py.
SCENES = {
    "method": "smarthdr", "iterations": 12_000, "decay": 0.3, "learning_rate": 4e-4, "batch": 4, "validate_every": 250,
}  # fmt: skip
BEYOND = {"views": 4, "weight_cells": 1.0, "fill": "selfhdr-first"}
PUBLISHED = {"views": 1, "weight_cells": 0.0, "fill": "none"}


def scene_values(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` before the defaults of runs on scenes; rivals are as they were published."""
    ours = values.get("method", SCENES["method"]) == "smarthdr"
    return SCENES | (BEYOND if ours else PUBLISHED) | values


def train_config(values: dict[str, Any]) -> TrainConfig:
    """A config from plain values.

    Raises UsageError for an unknown key, naming the nearest known one, and for a value of the wrong type or out of
    range.
    """
    config: TrainConfig = _checked(TrainConfig(), values, "")
    for name, known in _WORDS.items():
        value: Any = config
        for part in name.split("."):
            value = getattr(value, part)
        if value not in known:
            raise UsageError(f"training option {name} = {value!r}: use {', '.join(known)}")
    counts = (config.batch, config.iterations, config.replay, config.pool, config.validate_every, config.masks.side)
    if min(*counts, config.batch_unlabeled) < 1:
        raise UsageError(
            "batch, iterations, replay, pool, validate_every, batch_unlabeled, masks.side: at least 1 each"
        )
    shares = {
        "labelled_first": config.labelled_first, "ema": config.ema, "masks.quantile": config.masks.quantile,
        "masks.top": config.masks.top, "masks.tau_patch": config.masks.tau_patch,
        "masks.tau_pixel": config.masks.tau_pixel,
    } | {f"synth.variety.{name}": share for name, share in asdict(config.synth.variety).items()}  # fmt: skip
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise UsageError(f"training option {name} = {share}: use a number from 0 to 1")
    if min(config.decay, config.refresh, config.motion_steps, config.warmup, config.seed) < 0:
        raise UsageError("decay, refresh, motion_steps, warmup and seed must not be below 0")
    if config.makers < -1:
        raise UsageError(f"training option makers = {config.makers}: use a number from 0, or -1")
    if config.batch_made < 0 or (config.batch_made and config.pseudo != "epoch"):
        raise UsageError("batch_made must not be below 0, and needs pseudo = 'epoch': bursts are made from kept labels")
    if config.finest not in (4, 2, 1):
        raise UsageError(f"training option finest = {config.finest}: use 4, 2 or 1")
    if not 1 <= config.views <= 48:
        raise UsageError(f"training option views = {config.views}: use a number from 1 to 48")
    if not config.synth.frames or not all(2 <= n <= 9 for n in config.synth.frames):
        raise UsageError("frames must be numbers from 2 to 9")
    for name, side in (("synth", config.synth.height), ("synth", config.synth.width), ("scenes", config.crop)):
        if side < 32 or side % 32:
            raise UsageError(f"sides of training crops must be multiples of 32; those of {name} are {side}")
    return config


def _checked(default: Any, values: Any, table: str) -> Any:
    """``default`` with ``values``, of the types it has; whole numbers will do for fractions, tables for dataclasses."""
    if not isinstance(values, dict):
        raise UsageError(f"training options must be a table, not {values!r}")
    known = {f.name: getattr(default, f.name) for f in fields(default)}
    found = {}
    for key, value in values.items():
        if (name := f"{table}{key}") in REMOVED:
            if value != REMOVED[name]:
                raise UsageError(f"training option {name} = {value!r}: this version has no such option; leave it out")
            continue
        if key not in known:
            near = get_close_matches(key, list(known), n=1)
            raise UsageError(
                f"unknown training option {table + key!r}" + (f"; did you mean {near[0]!r}?" if near else "")
            )
        kind = type(known[key])
        if is_dataclass(known[key]):
            value = value if isinstance(value, kind) else _checked(known[key], value, f"{table}{key}.")
        if kind is float and type(value) is int:
            value = float(value)
        if kind is tuple and isinstance(value, list | tuple):
            each = type(known[key][0])
            if not all(type(v) is each or (each is float and type(v) is int) for v in value):
                raise UsageError(f"training option {table}{key} must be a list of {each.__name__}, not {value!r}")
            value = tuple(each(v) for v in value)
        if type(value) is not kind:
            raise UsageError(f"training option {table}{key} must be {kind.__name__}, not {value!r}")
        found[key] = value
    return replace(default, **found)
