"""``smarthdr train`` once its options are checked: plan the run, print the split, train with a display, report."""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import typer

from smarthdr_cli.cli.console import output_errors, print_json, print_notes, progress
from smarthdr_cli.cli.training_display import OnRecord, TrainingDisplay, training_display
from smarthdr_cli.data.splits import SceneBand
from smarthdr_cli.fusion.device import resolve_device
from smarthdr_cli.train import distributed, run_folder
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.cost_estimate import scene_run_cost, stream_run_cost
from smarthdr_cli.train.loop import TimeBudget
from smarthdr_cli.train.run import run_scenes, run_training
from smarthdr_cli.train.scene_data import PreparedRun, prepare_run, steps_of_a_pass
from smarthdr_cli.train.tensorboard import TensorBoard

DRY_RUN_SCENES = 2  # of each role that a dry run prepares; the others are taken to be like them
MAX_SCENE_NOTES = 3  # printed, of all notes on single scenes


@dataclass(frozen=True)
class RunOptions:
    """The options that do not change what is learned. ``earlier``: the run that --resume continues."""

    output: Path | None
    device: str
    init: str | None
    budget: TimeBudget
    dry_run: bool
    tensorboard: bool
    as_json: bool
    quiet: bool
    earlier: run_folder.SavedRun | None


def run_on_stream(options: RunOptions, values: dict[str, Any], panoramas: Path | None, people: Path | None) -> None:
    """Train on streamed bursts or, under --dry-run, print the options and the cost."""
    config = train_config(values)
    if options.dry_run:
        with progress(quiet=options.quiet) as report_progress:
            device = resolve_device(options.device)
            cost = stream_run_cost(values, panoramas, people, device, report_progress)
        plan_values = {"config": config.to_dict(), "data": {"streamed": str(panoramas or "procedural scenes")}}
        if people is not None:
            plan_values["data"]["people"] = str(people)
        _print_plan(plan_values, cost, as_json=options.as_json)
        return
    folder = options.output
    assert folder is not None
    with progress(quiet=options.quiet) as report_progress:
        report_progress("load scenes", 0.0)
    with _callbacks(options, folder, config.iterations) as (display, on_log, _), output_errors(folder):
        summary = run_training(
            folder, values, panoramas, people, device=options.device, resume=options.earlier is not None,
            init=options.init, budget=options.budget, on_log=on_log, on_step=display.on_step,
        )  # fmt: skip
    _print_summary(options, folder, summary, config.iterations)


def run_on_scenes(options: RunOptions, values: dict[str, Any], request: run_folder.DataRequest) -> None:
    """Train on scenes or, under --dry-run, print the options, the split and the cost."""
    earlier = options.earlier
    if earlier is not None and earlier.request is not None and options.output is not None:
        request = run_folder.resumed_request(earlier.request, request, options.output)
    with progress(quiet=options.quiet) as report_progress, distributed.main_process_first():
        planned = prepare_run(request, values, report_progress, at_most=DRY_RUN_SCENES if options.dry_run else None)
    if earlier is not None and options.output is not None:
        run_folder.check_split(options.output, planned.split)
    print_notes([*planned.notes, *_scene_notes(planned)], quiet=options.quiet)
    print_notes(_split_lines(planned), quiet=options.quiet, prefix="")
    if options.dry_run:
        _dry_run(options, planned)
        return
    with contextlib.ExitStack() as stack:
        with output_errors(options.output or run_folder.RUNS):
            folder = options.output or stack.enter_context(run_folder.numbered_folder())
        if options.output is None:
            print_notes([f"run: {folder}"], quiet=options.quiet, prefix="")
        iterations = planned.config.iterations
        with (
            _callbacks(options, folder, iterations) as (display, on_log, on_validation),
            output_errors(folder),
        ):
            summary = run_scenes(
                folder, planned, device=options.device, resume=earlier is not None, init=options.init,
                budget=options.budget, on_log=on_log, on_step=display.on_step, on_validation=on_validation,
                on_labels=display.on_labels,
            )  # fmt: skip
    _print_summary(options, folder, summary, iterations)


@contextlib.contextmanager
def _callbacks(
    options: RunOptions, folder: Path, iterations: int
) -> Iterator[tuple[TrainingDisplay, OnRecord, Callable[..., None]]]:
    """The display of a run, and (on_log, on_validation) for it and for TensorBoard."""
    with contextlib.ExitStack() as stack:
        board = None
        if options.tensorboard and distributed.rank() == 0:
            board = TensorBoard(folder, 0 if options.earlier is None else options.earlier.step)
            stack.callback(board.close)
        display = stack.enter_context(training_display(iterations, options.budget.minutes, quiet=options.quiet))

        def on_log(record: dict[str, Any]) -> None:
            display.on_log(record)
            if board is not None:
                board.log(record)

        yield display, on_log, (lambda *_: None) if board is None else board.log_panels


def _print_summary(options: RunOptions, folder: Path, summary: dict[str, Any], iterations: int) -> None:
    if distributed.rank() > 0:
        return
    steps = summary["record"]["steps"]
    if steps < iterations:
        note = f"stopped at step {steps} of {iterations}; continue with -o {folder} --resume"
        print_notes([note], quiet=options.quiet)
    if options.as_json:
        print_json(summary)


def _scene_notes(planned: PreparedRun) -> list[str]:
    """The first notes from preparing the scenes, and how many there are more."""
    data = planned.data
    scenes = (*data.labeled, *data.held_out, *data.unlabeled)
    notes = list(dict.fromkeys(f"scene {s.band.scene.name}: {note}" for s in scenes for note in s.notes))
    more = len(notes) - MAX_SCENE_NOTES
    return notes[:MAX_SCENE_NOTES] + ([f"and {more} more of that kind"] if more > 0 else [])


def _split_lines(planned: PreparedRun) -> list[str]:
    """The split: which scenes are labelled, held out, unlabelled and for testing."""
    split = planned.split
    return [
        f"labelled: {_names(split.labeled)}; held out: {_names(split.held_out)}",
        f"unlabelled: {len(split.unlabeled)} scenes; test, never opened: {planned.tests}",
    ]


def _names(bands: tuple[SceneBand, ...]) -> str:
    names = [p.scene.name if p.bottom - p.top == 1 else f"{p.scene.name} ({p.bottom - p.top:.0%})" for p in bands]
    return ", ".join(names) or "none"


def _dry_run(options: RunOptions, planned: PreparedRun) -> None:
    split = planned.split.to_dict()
    labeled_steps, unlabeled_steps = steps_of_a_pass(planned.config, planned.data)
    plan_values = {
        "config": planned.config.to_dict(),
        "data": {
            "labeled": split["labeled"], "held_out": split["held_out"], "unlabeled": len(split["unlabeled"]),
            "test": planned.tests,
        },
        "steps_of_a_pass": {"labeled": labeled_steps, "unlabeled": unlabeled_steps},
    }  # fmt: skip
    with progress(quiet=options.quiet) as report_progress:
        cost = scene_run_cost(planned, resolve_device(options.device), report_progress)
    _print_plan(plan_values, cost, as_json=options.as_json)


def _print_plan(plan_values: dict[str, Any], cost: dict[str, Any], *, as_json: bool) -> None:
    """Print as JSON, or as TOML that --config takes, with data and cost in comments."""
    if as_json:
        print_json(plan_values | {"cost": cost})
        return
    for name, value in plan_values["data"].items():
        text = ", ".join(part["name"] for part in value) or "none" if isinstance(value, list) else value
        typer.echo(f"# {name}: {text}")
    if "steps_of_a_pass" in plan_values:
        steps = plan_values["steps_of_a_pass"]
        typer.echo(f"# steps of a pass: {steps['labeled']} labelled, {steps['unlabeled']} unlabelled")
    for phase in cost["phases"]:
        typer.echo(f"# {phase['phase']}: {phase['steps']} updates of {phase['seconds_per_update']:.3g} s")
    for name in ("pseudo_labels", "validation"):
        if cost[name]["times"]:
            typer.echo(f"# {name.replace('_', ' ')}: {cost[name]['times']} times {cost[name]['seconds']:.3g} s")
    typer.echo(f"# in all about {timedelta(seconds=math.ceil(cost['seconds']))}")
    config = plan_values["config"]
    omitted = () if config["vgg"] else ("weight_vgg",)  # 0 only because no features are given
    typer.echo(run_folder.to_toml({name: value for name, value in config.items() if name not in omitted}))
