"""A run's folder: a numbered one for a new run, run.json, and the options and data of a run that is resumed."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.data.splits import Split
from smarthdr_cli.data.synth.config import SynthConfig
from smarthdr_cli.errors import InputError, ModelError, UsageError
from smarthdr_cli.fusion.device import resolve_precision
from smarthdr_cli.models.base import build_model, network_config, network_types
from smarthdr_cli.models.checkpoint import load_checkpoint
from smarthdr_cli.models.weights import find_weights
from smarthdr_cli.train.config import TrainConfig, train_config
from smarthdr_cli.train.state import RESTORE_HINT, STATE, read_state

RUNS = Path("runs")  # where numbered folders go
RUN = "run.json"  # the data of a run on scenes, in its folder


@dataclass(frozen=True)
class DataRequest:
    """The data of a run on scenes as it was asked for; run.json holds these fields.

    ``data``: folder of scenes, None for the benchmark that training makes for itself, from ``panoramas`` or procedural
    scenes. ``labeled``: how many scenes keep their ground truth, or their names, or None for all. ``unlabeled``:
    folders of bursts without ground truth. ``epochs``: passes over the labelled and then over the unlabelled crops, in
    place of iterations.
    """

    data: str | None = None
    panoramas: str | None = None
    labeled: int | tuple[str, ...] | None = None
    unlabeled: tuple[str, ...] = ()
    epochs: tuple[int, int] | None = None

    def save(self, folder: Path, split: Split | None = None) -> None:
        """Write run.json, with the scenes that were drawn for it."""
        folder.mkdir(parents=True, exist_ok=True)
        drawn = {} if split is None else {"split": split.to_dict()}
        with atomic_file(folder / RUN, overwrite=True) as partial:
            partial.write_text(json.dumps(asdict(self) | drawn, indent=1))

    @staticmethod
    def load(folder: Path) -> "DataRequest":
        """Read run.json. Raises InputError where it is missing or damaged."""
        try:
            values = json.loads((folder / RUN).read_text())
            labeled, epochs = values["labeled"], values["epochs"]
            return DataRequest(
                values["data"], values["panoramas"], tuple(labeled) if isinstance(labeled, list) else labeled,
                tuple(values["unlabeled"]), None if epochs is None else (int(epochs[0]), int(epochs[1])),
            )  # fmt: skip
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise _not_a_record(folder, error) from error


def _not_a_record(folder: Path, error: Exception) -> InputError:
    return InputError(f"{folder / RUN}: not the record of a run on scenes ({error})")


@contextmanager
def numbered_folder(base: Path = RUNS) -> Iterator[Path]:
    """Make ``base``/001 or the first free number; an empty one is removed afterwards."""
    base.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = base / f"{number:03d}"
        try:
            folder.mkdir()
            break
        except FileExistsError:
            number += 1
    try:
        yield folder
    finally:
        with suppress(OSError):  # not empty: a run
            folder.rmdir()


@dataclass(frozen=True)
class SavedRun:
    """A run in a folder: its options by name, its data (None: streamed bursts) and its step."""

    values: dict[str, Any]
    request: DataRequest | None
    step: int


def read_saved_run(folder: Path) -> SavedRun:
    """The run in a folder. Raises InputError where there is none that can be resumed."""
    content = read_state(folder / STATE, torch.device("cpu"))
    try:
        # What was added to training since is off in this run: those are the defaults of TrainConfig and SynthConfig.
        saved = json.loads(content["config"])
        values = (
            TrainConfig().to_dict() | saved | {"synth": merge_options(asdict(SynthConfig()), saved.get("synth", {}))}
        )
        network_config(train_config(values).model)
    except (ValueError, TypeError, AttributeError, RecursionError, UsageError, ModelError) as error:
        raise InputError(f"{folder / STATE}: it holds no options of a run ({error}); {RESTORE_HINT}") from error
    request = DataRequest.load(folder) if (folder / RUN).exists() else None
    return SavedRun(values, request, int(content["step"]))


def merge_options(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``under`` with ``over`` before it. Tables are merged too, except that of a network, which is one whole."""
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        both_tables = isinstance(below, Mapping) and isinstance(value, Mapping) and key != "model"
        result[key] = merge_options(below, value) if both_tables else value  # type: ignore[arg-type]
    return result


def with_backbone(values: Mapping[str, Any], backbone: str | None) -> dict[str, Any]:
    """Options with the network ``backbone``, whose sizes a [model] table may give.

    Raises UsageError for the table of another network and for one without a name.
    """
    table = values.get("model")
    if backbone is None:
        if isinstance(table, Mapping) and "name" not in table:
            raise UsageError(f"[model] needs a name ({', '.join(network_types())}), or give --backbone")
        return dict(values)
    table = dict(table) if isinstance(table, Mapping) else {}
    if table.get("name", backbone) != backbone:
        if len(table) > 1:
            raise UsageError(f"--backbone {backbone}: the [model] table has the sizes of {table['name']}")
        table = {}
    return dict(values) | {"model": {"name": backbone} | table}


def resumed_options(saved: SavedRun, values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The options of a resumed run: its own, with ``values`` before them.

    Raises UsageError for another network, and on scenes for another seed, which would draw other labels.
    """
    result = merge_options(saved.values, values)
    if "vgg" in values and not saved.values.get("vgg") and "weight_vgg" not in values:
        del result["weight_vgg"]  # it was 0 for want of features
    if values.get("model") == {"name": saved.values["model"].get("name")}:  # named without sizes: the same
        result["model"] = saved.values["model"]
    if network_config(result["model"]) != network_config(saved.values["model"]):
        name = saved.values["model"].get("name")
        raise UsageError(f"{folder} holds a run of another network ({name}); resume it with its own, or use --init")
    if saved.request is not None and result["seed"] != saved.values["seed"]:
        raise UsageError(f"--seed {result['seed']}: the labels of {folder} were drawn from {saved.values['seed']}")
    return result


def resumed_request(saved: DataRequest, given: DataRequest, folder: Path) -> DataRequest:
    """The data of a resumed run, with the ``epochs`` that are ``given``; its own have become iterations.

    Raises UsageError where ``given`` names other data.
    """
    for name in ("data", "panoramas", "labeled", "unlabeled"):
        new, old = getattr(given, name), getattr(saved, name)
        if new not in (None, ()) and new != old:
            raise UsageError(f"--{name}: {folder} holds a run on {_described(name, old)}; a resumed run keeps its data")
    return replace(saved, epochs=given.epochs)


def _described(name: str, value: Any) -> str:
    if value is None or value == ():
        return {"data": "its own synthetic scenes", "labeled": "all labels"}.get(name, "none")
    return ", ".join(str(v) for v in value) if isinstance(value, tuple) else str(value)


def check_split(folder: Path, split: Split) -> None:
    """Raise InputError where scenes have come, gone or changed roles since the run in ``folder`` began."""
    try:
        saved = json.loads((folder / RUN).read_text()).get("split")
    except (OSError, ValueError) as error:
        raise _not_a_record(folder, error) from error
    if saved is None:
        return
    now = split.to_dict()
    old_names, new_names = ({part["name"] for parts in roles.values() for part in parts} for roles in (saved, now))
    if old_names != new_names:
        changed = ", ".join(sorted(old_names ^ new_names)[:3])
        raise InputError(f"{folder}: scenes have come or gone since it was begun ({changed}); begin a new run")
    for role in now:
        if saved[role] != now[role]:
            raise InputError(f"{folder}: its {role} scenes are no longer the same; begin a new run")


def complete_options(
    values: Mapping[str, Any], *, init: str | None, precision: str | None, device: torch.device
) -> dict[str, Any]:
    """Options with the network of ``init`` where there is none, and the arithmetic that suits the device.

    That is bf16 on CUDA and on processors that have it in hardware, unless ``precision`` or the options name another.
    Raises ModelError for weights that cannot be loaded and a network that cannot be built.
    """
    result = dict(values)
    if init is not None and "model" not in result:
        result["model"] = load_checkpoint(find_weights(init)).config
    if precision in ("fp32", "bf16"):
        result["precision"] = precision
    elif precision == "auto" or "precision" not in result:
        fast = device.type == "cuda" or resolve_precision("auto", device) == torch.bfloat16
        result["precision"] = "bf16" if fast else "fp32"
    if "model" in result:
        with torch.random.fork_rng(devices=[]):  # built only to see whether it can be
            build_model(train_config({"model": result["model"]}).model)
    return result


def to_toml(values: Mapping[str, Any]) -> str:
    """A config as TOML that ``--config`` reads again: plain values, then nested tables.

    The standard library reads the format and does not write it. Raises ValueError for what a config does not hold.
    """
    return "\n".join(_toml_lines(values, ""))


def _toml_lines(values: Mapping[str, Any], table: str) -> list[str]:
    lines = [f"{key} = {_toml_value(value)}" for key, value in values.items() if not isinstance(value, Mapping)]
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{table}{key}]", *_toml_lines(value, f"{table}{key}.")]
    return lines


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    raise ValueError(f"{value!r} has no place in a config")
