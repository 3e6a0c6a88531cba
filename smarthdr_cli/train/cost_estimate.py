"""What a run would cost, from a few real updates whose result is thrown away."""

import math
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from smarthdr_cli.data.synth.sources import load_bank
from smarthdr_cli.train.burst_stream import StreamSession
from smarthdr_cli.train.config import TrainConfig, train_config
from smarthdr_cli.train.loop import Session
from smarthdr_cli.train.run import VALIDATION_SEED, held_out_batches
from smarthdr_cli.train.scene_run import Plan
from smarthdr_cli.train.scene_session import SceneSession
from smarthdr_cli.train.state import TrainState, new_state

UPDATES = 4  # of each phase, the first to warm up
LONG = 20.0  # seconds after which fewer must do
FEW = 2  # unlabelled scenes that pseudo-labels are made of


def rehearse_scenes(plan: Plan, device: torch.device) -> dict[str, Any]:
    """Cost of a planned run, by JSON names.

    ``phases``: name, steps and seconds an update of each. ``pseudo_labels`` and ``validation``: how often and how long
    each time. ``seconds``: in all. ``refresh``: updates between two makings of pseudo-labels, 0 where none are made.
    """
    config = plan.config
    first = min(config.first_unlabeled, config.iterations)
    with TemporaryDirectory(prefix="smarthdr-") as scratch:
        state = new_state(config, device)
        vgg = None if plan.vgg is None else plan.vgg.to(device)
        session = SceneSession(plan.data, config, state, Path(scratch), vgg)
        try:
            phases = [_phase(session, state, first)] if first else []
            epoch = session.epoch
            validation = _validation(session, state, config)
        finally:
            session.close()
        labels: dict[str, Any] = {"times": 0, "seconds": 0.0}
        if first < config.iterations:
            some = replace(plan.data, unlabeled=plan.data.unlabeled[:FEW])
            fixed = replace(config, refresh=epoch if config.method != "fshdr" else config.refresh)
            state.step = first
            session = SceneSession(some, fixed, state, Path(scratch), vgg)
            try:
                start = time.perf_counter()
                session.step(state)
                opening = time.perf_counter() - start
                state.step += 1
                phases.append(_phase(session, state, config.iterations - first))
                if session.store.made is not None:
                    pixels = [math.prod(scene.size) for scene in plan.data.unlabeled]
                    share = sum(pixels) / sum(pixels[:FEW])
                    labels["times"] = math.ceil((config.iterations - first) / epoch)
                    labels["seconds"] = max(0.0, opening - phases[-1]["seconds_per_update"]) * share
            finally:
                session.close()
    return _total(phases, labels, validation) | {"refresh": epoch if labels["times"] else 0}


def rehearse_stream(values: dict[str, Any], panoramas: Path | None, device: torch.device) -> dict[str, Any]:
    """Cost of a run on streamed bursts, as ``rehearse_scenes`` gives it. Raises what ``run_training`` does."""
    config = train_config(values)
    bank = load_bank(panoramas, seed=config.seed).to(device)
    held = load_bank(panoramas, held_out=True, seed=config.seed)
    state = new_state(config, device)
    session = StreamSession(bank, held_out_batches(held, 2, VALIDATION_SEED, device), config, state)
    phases = []
    try:
        for begin, end in ((0, min(config.motion_steps, config.iterations)), (config.motion_steps, config.iterations)):
            if end > begin:
                state.step = begin
                phases.append(_phase(session, state, end - begin))
        validation = _validation(session, state, config)
    finally:
        session.close()
    validation["seconds"] *= max(1, config.validation_bursts // 2)
    return _total(phases, {"times": 0, "seconds": 0.0}, validation) | {"refresh": 0}


def _phase(session: Session, state: TrainState, steps: int) -> dict[str, Any]:
    """Time updates from ``state.step`` on, of a phase that has ``steps``."""
    phase, times = session.phase(state.step), list[float]()
    while len(times) < UPDATES and sum(times) < LONG:
        start = time.perf_counter()
        session.step(state)
        times.append(time.perf_counter() - start)
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
