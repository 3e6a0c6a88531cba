"""A run's folder: a free one for a new run, and what an earlier run in it asks of one that goes on with it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from smarthdr_cli.data.splits import Split
from smarthdr_cli.data.synth.config import SynthConfig
from smarthdr_cli.errors import InputError, ModelError, UsageError
from smarthdr_cli.fusion.device import resolve_precision
from smarthdr_cli.models.base import build_model, network_config, network_types
from smarthdr_cli.models.checkpoint import load_checkpoint
from smarthdr_cli.models.weights import find_weights
from smarthdr_cli.train.config import TrainConfig, train_config
from smarthdr_cli.train.request import RUN, Request
from smarthdr_cli.train.state import RESTORE, read_state

RUNS = Path("runs")
STATE = "state.pt"


@contextmanager
def free_folder(base: Path = RUNS) -> Iterator[Path]:
    """Make ``base``/001 or the first number that is free; it goes again where nothing came of it."""
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
class Earlier:
    """What a saved run was: its options by name, its data (None: streamed bursts) and how far it came."""

    values: dict[str, Any]
    request: Request | None
    step: int


def earlier(folder: Path) -> Earlier:
    """The run in a folder. Raises InputError where there is none that can be taken up."""
    content = read_state(folder / STATE, torch.device("cpu"))
    try:
        # What training has learned to do since then, this run has not done: TrainConfig and SynthConfig have it off.
        saved = json.loads(content["config"])
        values = TrainConfig().to_dict() | saved | {"synth": merged(asdict(SynthConfig()), saved.get("synth", {}))}
        network_config(train_config(values).model)
    except (ValueError, TypeError, AttributeError, RecursionError, UsageError, ModelError) as error:
        raise InputError(f"{folder / STATE}: it holds no options of a run ({error}); {RESTORE}") from error
    request = Request.load(folder) if (folder / RUN).exists() else None
    return Earlier(values, request, int(content["step"]))


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Options with others before them. Tables are merged too, but a network is described as a whole."""
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping) and key != "model"
        result[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def with_backbone(values: Mapping[str, Any], backbone: str | None) -> dict[str, Any]:
    """Options with the network ``backbone``, whose sizes a [model] table may give.

    Raises UsageError where that table is of another network, and for a table that does not say of which it is.
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


def going_on(before: Earlier, values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The options of a resumed run: its own, under those that are given.

    Raises UsageError for another network, and on scenes for another seed, which would label others.
    """
    result = merged(before.values, values)
    if "vgg" in values and not before.values.get("vgg") and "weight_vgg" not in values:
        del result["weight_vgg"]  # it was 0 for want of features
    if values.get("model") == {"name": before.values["model"].get("name")}:  # by its name alone: the one it is
        result["model"] = before.values["model"]
    if network_config(result["model"]) != network_config(before.values["model"]):
        was = before.values["model"].get("name")
        raise UsageError(f"{folder} holds a run of another network ({was}); resume it with its own, or use --init")
    if before.request is not None and result["seed"] != before.values["seed"]:
        raise UsageError(f"--seed {result['seed']}: the labels of {folder} were drawn from {before.values['seed']}")
    return result


def same_data(saved: Request, given: Request, folder: Path) -> Request:
    """The data of a resumed run; what is given must agree with it. Its ``epochs`` have become iterations long since.

    Raises UsageError where it does not agree.
    """
    for name in ("data", "panoramas", "labeled", "unlabeled"):
        asked, was = getattr(given, name), getattr(saved, name)
        if asked not in (None, ()) and asked != was:
            raise UsageError(f"--{name}: {folder} holds a run on {_words(name, was)}; a resumed run keeps its data")
    return replace(saved, epochs=given.epochs)


def _words(name: str, value: Any) -> str:
    if value is None or value == ():
        return {"data": "its own synthetic scenes", "labeled": "all labels"}.get(name, "none")
    return ", ".join(str(v) for v in value) if isinstance(value, tuple) else str(value)


def same_split(folder: Path, split: Split) -> None:
    """Raise InputError where scenes have come, gone or changed roles since the run in ``folder`` was begun."""
    try:
        saved = json.loads((folder / RUN).read_text()).get("split")
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / RUN}: not the record of a run on scenes ({error})") from error
    if saved is None:
        return
    now = split.to_dict()
    was, found = ({part["name"] for parts in roles.values() for part in parts} for roles in (saved, now))
    if was != found:
        changed = ", ".join(sorted(was ^ found)[:3])
        raise InputError(f"{folder}: scenes have come or gone since it was begun ({changed}); begin a new run")
    for role in now:
        if saved[role] != now[role]:
            raise InputError(f"{folder}: its {role} scenes are no longer the same; begin a new run")


def completed(
    values: Mapping[str, Any], *, init: str | None, precision: str | None, device: torch.device
) -> dict[str, Any]:
    """Options with what is found out: the network of ``init`` where none is described, the arithmetic where none is
    asked for, which is bf16 on CUDA and on processors that have it in hardware.

    Raises ModelError for weights that cannot be had and a network that cannot be built.
    """
    result = dict(values)
    if init is not None and "model" not in result:
        result["model"] = load_checkpoint(find_weights(init)).config
    if precision in ("fp32", "bf16"):
        result["precision"] = precision
    elif precision == "auto" or "precision" not in result:
        pays = device.type == "cuda" or resolve_precision("auto", device) == torch.bfloat16
        result["precision"] = "bf16" if pays else "fp32"
    if "model" in result:
        with torch.random.fork_rng(devices=[]):  # only to see whether it can be
            build_model(train_config({"model": result["model"]}).model)
    return result
