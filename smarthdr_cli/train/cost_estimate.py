"""What a run would cost, from a few real updates whose result is thrown away.

seconds = sum of steps * seconds per update over phases + pseudo-labels + validations
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from smarthdr_cli.data.synth.sources import load_bank
from smarthdr_cli.train.burst_stream import StreamSession, stream_bank
from smarthdr_cli.train.config import TrainConfig, train_config
from smarthdr_cli.train.loop import Session
from smarthdr_cli.train.methods import method_class
from smarthdr_cli.train.run import VALIDATION_SEED, held_out_batches
from smarthdr_cli.train.scene_data import OnStage, PreparedRun
from smarthdr_cli.train.scene_session import SceneSession
from smarthdr_cli.train.state import TrainState, new_state

TIMED_UPDATES = 3  # of each phase, the first to warm up
MAX_TIMING_SECONDS = 10.0  # of a phase; after that fewer updates have to do
TIMED_SCENES = 2  # unlabelled scenes for which pseudo-labels are made


def scene_run_cost(
    run: PreparedRun, device: torch.device, on_stage: OnStage = lambda _stage, _share: None
) -> dict[str, Any]:
    """Cost of a prepared run, by JSON names.

    ``phases``: name, steps and seconds an update of each. ``pseudo_labels`` and ``validation``: how often, and seconds
    each time. ``seconds``: in all. ``refresh``: updates between two refreshes of pseudo-labels, 0 where none are made.
    ``on_stage``: called as the timing begins.
    """
    config = run.config
    on_stage("time updates", 0.0)
    first = min(method_class(config.method)(config).first_unlabeled, config.iterations)
    with TemporaryDirectory(prefix="smarthdr-") as scratch:
        state = new_state(config, device)
        vgg = None if run.vgg is None else run.vgg.to(device)
        session = SceneSession(run.data, config, state, Path(scratch), vgg)
        try:
            phases = [time_updates(session, state, first)] if first else []
            epoch = session.epoch
            validation = _validation(session, state, config)
            validation["seconds"] *= run.data.scale[2]
        finally:
            session.close()
        labels: dict[str, Any] = {"times": 0, "seconds": 0.0}
        if first < config.iterations:
            few_scenes = replace(run.data, unlabeled=run.data.unlabeled[:TIMED_SCENES])
            state.step = first
            session = SceneSession(few_scenes, replace(config, refresh=epoch), state, Path(scratch), vgg)
            try:
                start = time.perf_counter()
                session.step(state)
                with_refresh = time.perf_counter() - start
                state.step += 1
                phases.append(time_updates(session, state, config.iterations - first))
                if session.store.current is not None:
                    pixels = [math.prod(scene.size) for scene in run.data.unlabeled]
                    scale = run.data.scale[1] * sum(pixels) / sum(pixels[:TIMED_SCENES])
                    labels["times"] = math.ceil((config.iterations - first) / epoch)
                    labels["seconds"] = max(0.0, with_refresh - phases[-1]["seconds_per_update"]) * scale
            finally:
                session.close()
    return _total(phases, labels, validation) | {"refresh": epoch if labels["times"] else 0}


def stream_run_cost(
    values: dict[str, Any],
    panoramas: Path | None,
    people: Path | None,
    device: torch.device,
    on_stage: OnStage = lambda _stage, _share: None,
) -> dict[str, Any]:
    """Cost of a run on streamed bursts, as ``scene_run_cost`` gives it. Raises what ``run_training`` does."""
    config = train_config(values)
    on_stage("load scenes", 0.0)
    bank = stream_bank(panoramas, people, config).to(device)
    held_out = load_bank(panoramas, held_out=True, seed=config.seed)
    state = new_state(config, device)
    session = StreamSession(bank, held_out_batches(held_out, 2, VALIDATION_SEED, device), config, state)
    phases = []
    on_stage("time updates", 0.0)
    try:
        for begin, end in ((0, min(config.motion_steps, config.iterations)), (config.motion_steps, config.iterations)):
            if end > begin:
                state.step = begin
                phases.append(time_updates(session, state, end - begin))
        validation = _validation(session, state, config)
    finally:
        session.close()
    validation["seconds"] *= max(1, config.validation_bursts // 2)
    return _total(phases, {"times": 0, "seconds": 0.0}, validation) | {"refresh": 0}


def time_updates(
    session: Session, state: TrainState, steps: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Any]:
    """Time updates from ``state.step`` on, of a phase that has ``steps``: their median without the first."""
    phase, times = session.phase(state.step), list[float]()
    while len(times) < TIMED_UPDATES and sum(times) < MAX_TIMING_SECONDS:
        start = clock()
        session.step(state)
        times.append(clock() - start)
        state.step += 1
    return {"phase": phase, "steps": steps, "seconds_per_update": median(times[1:] or times)}


def _validation(session: Session, state: TrainState, config: TrainConfig) -> dict[str, Any]:
    start = time.perf_counter()
    session.validate(state)
    return {"times": math.ceil(config.iterations / config.validate_every), "seconds": time.perf_counter() - start}


def _total(phases: list[dict[str, Any]], labels: dict[str, Any], validation: dict[str, Any]) -> dict[str, Any]:
    seconds = sum(phase["steps"] * phase["seconds_per_update"] for phase in phases)
    seconds += sum(part["times"] * part["seconds"] for part in (labels, validation))
    return {"phases": phases, "pseudo_labels": labels, "validation": validation, "seconds": seconds}
