"""A whole training run on streamed bursts by its folder: start or resume, train, calibrate the judge, export."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.synth.burst import make_batch
from smarthdr_cli.data.synth.config import SynthConfig
from smarthdr_cli.data.synth.sources import SceneBank, load_bank
from smarthdr_cli.errors import UsageError
from smarthdr_cli.fusion.device import resolve_device
from smarthdr_cli.models.checkpoint import check_usable, load_checkpoint, load_state
from smarthdr_cli.models.weights import find_weights
from smarthdr_cli.train import distributed
from smarthdr_cli.train.burst_stream import StreamSession
from smarthdr_cli.train.clock import ENDLESS, Clock
from smarthdr_cli.train.config import TrainConfig, train_config
from smarthdr_cli.train.export import as_fused, calibrated, licence, write_weights
from smarthdr_cli.train.loop import Told, train
from smarthdr_cli.train.score import score
from smarthdr_cli.train.state import TrainState, load_train_state, new_state

VALIDATION_SEED, CALIBRATION_SEED = 77, 78
LICENCE = "CC0-1.0"


def held_out_batches(bank: SceneBank, count: int, seed: int, device: torch.device, side: int = 256) -> list[Batch]:
    """``count`` bursts in batches of two, the same for the same seed on every device: made on the CPU."""
    draw = torch.Generator().manual_seed(seed)
    config = SynthConfig(height=side, width=side)
    return [make_batch(bank, config, draw, 2).to(device) for _ in range(max(1, count // 2))]


def begin(folder: Path, config: TrainConfig, device: torch.device, *, resume: bool, init: str | None) -> TrainState:
    """The state to go on from: that of ``folder``, fresh, or with the weights called ``init``, gfhdr's of any depth.

    Raises InputError for a state that cannot be taken up, ModelError for weights.
    """
    if resume:
        return load_train_state(folder / "state.pt", config, device)
    state = new_state(config, device)
    if init is not None:
        checkpoint = load_checkpoint(find_weights(init))
        checkpoint = replace(checkpoint, state=state.student.extend_state(checkpoint.state))
        load_state(state.student, checkpoint)
        state.teacher.load_state_dict(state.student.state_dict())
        check_usable(state.teacher, checkpoint.path)
        state.init = {"name": checkpoint.path.name, "sha256": checkpoint.sha256, "licence": checkpoint.licence}
    return state


def run_training(
    folder: Path, values: dict[str, Any], panoramas: Path | None, *, device: str = "auto", resume: bool = False,
    init: str | None = None, clock: Clock = ENDLESS, on_log: Told = lambda _: None,
    on_step: Told = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """Train as ``values`` (fields of TrainConfig) say, and leave ``model.safetensors`` in ``folder``.

    Raises UsageError for unknown options, InputError for sources or a state that cannot be read, ModelError for
    ``init``.
    """
    config = train_config(values)
    where = distributed.join(resolve_device(device))
    if config.batch % distributed.count():
        raise UsageError(f"batch must be a multiple of the {distributed.count()} processes")
    bank = load_bank(panoramas, seed=config.seed).to(where)
    held = load_bank(panoramas, held_out=True, seed=config.seed)
    validation = held_out_batches(held, config.validation_bursts, VALIDATION_SEED, where)
    state = begin(folder, config, where, resume=resume, init=init)
    session = StreamSession(bank, validation, config, state)
    state = train(config, session, folder, state, on_log, on_step=on_step, clock=clock)
    if distributed.rank() > 0:
        return {}
    return export(state, config, held, validation, folder / "model.safetensors", sources=len(bank))


def export(
    state: TrainState, config: TrainConfig, held: SceneBank, validation: list[Batch], path: Path, *, sources: int
) -> dict[str, Any]:
    """Write the averaged weights with their record, metrics and the judge's calibration; returns record and metrics."""
    network = as_fused(state.teacher)
    metrics = {name: round(value, 3) for name, value in score(network, validation).items()}
    record = {
        "method": "supervised on synthetic bursts", "steps": state.step, "hours": round(state.seconds / 3600, 2),
        "sources": sources, "device": state.device.type, "config": config.to_dict(), "init": state.init,
    }  # fmt: skip
    batches = held_out_batches(held, config.validation_bursts, CALIBRATION_SEED, state.device)
    calibration = calibrated(network, batches)
    return write_weights(path, network, config, record, calibration, licence(LICENCE, state), metrics)
