"""``smarthdr train`` once its options are known: plan, say what was drawn, train, watch, and say what came of it."""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import typer

from smarthdr_cli.cli.console import print_json, progress, say, writing
from smarthdr_cli.cli.training_display import watching
from smarthdr_cli.data.splits import SceneBand
from smarthdr_cli.fusion.device import resolve_device
from smarthdr_cli.train import distributed, run_folder
from smarthdr_cli.train.clock import Clock
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.cost_estimate import rehearse_scenes, rehearse_stream
from smarthdr_cli.train.request import Request
from smarthdr_cli.train.run import run_training
from smarthdr_cli.train.scene_run import Plan, plan, run_scenes, steps_of_a_pass
from smarthdr_cli.train.tensorboard import Board
from smarthdr_cli.train.toml import as_toml

SAID = 3  # notes on single scenes


@dataclass(frozen=True)
class How:
    """The options that do not change what is learned."""

    output: Path | None
    device: str
    init: str | None
    clock: Clock
    dry_run: bool
    tensorboard: bool
    as_json: bool
    quiet: bool
    before: run_folder.Earlier | None


def run_on_stream(how: How, values: dict[str, Any], panoramas: Path | None) -> None:
    """A run on streamed bursts, or what it would cost."""
    config = train_config(values)
    if how.dry_run:
        cost = rehearse_stream(values, panoramas, resolve_device(how.device))
        found = {"config": config.to_dict(), "data": {"streamed": str(panoramas or "procedural scenes")}}
        _print_plan(found, cost, as_json=how.as_json)
        return
    assert how.output is not None
    with _told(how, how.output, config.iterations) as (on_step, on_log, _), writing(how.output):
        summary = run_training(
            how.output, values, panoramas, device=how.device, resume=how.before is not None, init=how.init,
            clock=how.clock, on_log=on_log, on_step=on_step,
        )  # fmt: skip
    _finish(how, how.output, summary, config.iterations)


def run_on_scenes(how: How, values: dict[str, Any], request: Request) -> None:
    """A run on scenes, or what it would cost."""
    before = how.before
    if before is not None and before.request is not None and how.output is not None:
        request = run_folder.same_data(before.request, request, how.output)
    with progress(quiet=how.quiet) as tell, distributed.first_then_others():
        planned = plan(request, values, tell)
    if before is not None and how.output is not None:
        run_folder.same_split(how.output, planned.split)
    say([*planned.notes, *_noted(planned)], quiet=how.quiet)
    say(_drawn(planned), quiet=how.quiet, mark="")
    if how.dry_run:
        _dry_run(how, planned)
        return
    with contextlib.ExitStack() as stack:
        with writing(how.output or run_folder.RUNS):
            run = how.output or stack.enter_context(run_folder.free_folder())
        if how.output is None:
            say([f"run: {run}"], quiet=how.quiet, mark="")
        iterations = planned.config.iterations
        with _told(how, run, iterations) as (on_step, on_log, on_validation), writing(run):
            summary = run_scenes(
                run, planned, device=how.device, resume=before is not None, init=how.init,
                clock=how.clock, on_log=on_log, on_step=on_step, on_validation=on_validation,
            )  # fmt: skip
    _finish(how, run, summary, iterations)


@contextlib.contextmanager
def _told(how: How, run: Path, iterations: int) -> Iterator[tuple[Any, Any, Callable[..., None]]]:
    """What a run calls at each update, record and validation."""
    with contextlib.ExitStack() as stack:
        board = None
        if how.tensorboard and distributed.rank() == 0:
            board = Board(run, 0 if how.before is None else how.before.step)
            stack.callback(board.close)
        on_step, show = stack.enter_context(watching(iterations, quiet=how.quiet))

        def on_log(record: dict[str, Any]) -> None:
            show(record)
            if board is not None:
                board.log(record)

        yield on_step, on_log, (lambda *_: None) if board is None else board.show


def _finish(how: How, run: Path, summary: dict[str, Any], iterations: int) -> None:
    if distributed.rank() > 0:
        return
    steps = summary["record"]["steps"]
    if steps < iterations:
        say([f"stopped at step {steps} of {iterations}; go on with -o {run} --resume"], quiet=how.quiet)
    if how.as_json:
        print_json(summary)


def _noted(planned: Plan) -> list[str]:
    """What preparing the scenes gave cause to say, the first of it."""
    data = planned.data
    scenes = (*data.labeled, *data.held_out, *data.unlabeled)
    notes = list(dict.fromkeys(f"scene {s.band.scene.name}: {note}" for s in scenes for note in s.notes))
    more = len(notes) - SAID
    return notes[:SAID] + ([f"and {more} more of that kind"] if more > 0 else [])


def _drawn(planned: Plan) -> list[str]:
    """Which scenes have which part, in words."""
    split = planned.split
    return [
        f"labelled: {_names(split.labeled)}; held out: {_names(split.held_out)}",
        f"unlabelled: {len(split.unlabeled)} scenes; test, never opened: {planned.tests}",
    ]


def _names(parts: tuple[SceneBand, ...]) -> str:
    whole = [p.scene.name if p.bottom - p.top == 1 else f"{p.scene.name} ({p.bottom - p.top:.0%})" for p in parts]
    return ", ".join(whole) or "none"


def _dry_run(how: How, planned: Plan) -> None:
    split = planned.split.to_dict()
    first, then = steps_of_a_pass(planned.config, planned.data)
    found = {
        "config": planned.config.to_dict(),
        "data": {
            "labeled": split["labeled"], "held_out": split["held_out"], "unlabeled": len(split["unlabeled"]),
            "test": planned.tests,
        },
        "steps_of_a_pass": {"labeled": first, "unlabeled": then},
    }  # fmt: skip
    _print_plan(found, rehearse_scenes(planned, resolve_device(how.device)), as_json=how.as_json)


def _print_plan(found: dict[str, Any], cost: dict[str, Any], *, as_json: bool) -> None:
    """As JSON, or as TOML that --config takes, with the rest in comments."""
    if as_json:
        print_json(found | {"cost": cost})
        return
    data = found["data"]
    for name, value in data.items():
        words = ", ".join(part["name"] for part in value) or "none" if isinstance(value, list) else value
        typer.echo(f"# {name}: {words}")
    if "steps_of_a_pass" in found:
        passes = found["steps_of_a_pass"]
        typer.echo(f"# steps of a pass: {passes['labeled']} labelled, {passes['unlabeled']} unlabelled")
    for phase in cost["phases"]:
        typer.echo(f"# {phase['phase']}: {phase['steps']} updates of {phase['seconds_per_update']:.3g} s")
    for name in ("pseudo_labels", "validation"):
        if cost[name]["times"]:
            typer.echo(f"# {name.replace('_', ' ')}: {cost[name]['times']} times {cost[name]['seconds']:.3g} s")
    typer.echo(f"# in all about {timedelta(seconds=math.ceil(cost['seconds']))}")
    without = () if found["config"]["vgg"] else ("weight_vgg",)  # 0 for want of features, not for good
    typer.echo(as_toml({name: value for name, value in found["config"].items() if name not in without}))
