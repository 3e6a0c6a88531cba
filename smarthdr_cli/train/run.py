"""A whole training run by its folder: start or resume, train, calibrate the judge, export the weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.scenes import SceneBank, load_bank
from smarthdr_cli.data.synth import SynthConfig, make_batch
from smarthdr_cli.fusion.device import resolve_device
from smarthdr_cli.models.build import build_model
from smarthdr_cli.models.calibration import Calibration, fit_calibration
from smarthdr_cli.models.checkpoint import load_checkpoint, load_state, save_checkpoint
from smarthdr_cli.models.find import find_weights
from smarthdr_cli.models.saf import mu_law
from smarthdr_cli.train.config import TrainConfig, train_config
from smarthdr_cli.train.loop import TrainState, load_train_state, new_state, train, validate

VALIDATION_SEED, CALIBRATION_SEED = 77, 78
LICENCE = "CC0-1.0"


def held_out_batches(bank: SceneBank, count: int, seed: int, device: torch.device, side: int = 256) -> list[Batch]:
    """``count`` bursts in batches of two, the same for the same seed."""
    generator = torch.Generator(device=device).manual_seed(seed)
    config = SynthConfig(height=side, width=side)
    return [make_batch(bank, config, generator, 2) for _ in range(max(1, count // 2))]


def run_training(
    folder: Path, values: dict[str, Any], panoramas: Path | None, *, device: str = "auto", resume: bool = False,
    init: str | None = None, minutes: float | None = None, on_log: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """Train as ``values`` (fields of TrainConfig) say, and leave ``model.safetensors`` in ``folder``.

    Raises UsageError for unknown options, InputError for sources or a state that cannot be read, ModelError for
    ``init``.
    """
    config = train_config(values)
    where = resolve_device(device)
    bank = load_bank(panoramas, seed=config.seed).to(where)
    held = load_bank(panoramas, held_out=True, seed=config.seed).to(where)
    validation = held_out_batches(held, config.validation_bursts, VALIDATION_SEED, where)
    if resume:
        state = load_train_state(folder / "state.pt", config, where)
    else:
        state = new_state(config, where)
        if init is not None:
            start = load_checkpoint(find_weights(init))
            load_state(state.student, start)
            state.teacher = {name: value.detach().clone() for name, value in state.student.state_dict().items()}
    state = train(config, bank, validation, folder, state, on_log, minutes=minutes)
    return export(state, config, held, validation, folder / "model.safetensors", sources=len(bank))


def export(
    state: TrainState, config: TrainConfig, held: SceneBank, validation: list[Batch], path: Path, *, sources: int
) -> dict[str, Any]:
    """Write the averaged weights with their record, metrics and the judge's calibration; returns record and metrics."""
    device = next(state.student.parameters()).device
    metrics = {name: round(value, 3) for name, value in validate(state, validation, config).items()}
    record = {
        "method": "supervised on synthetic bursts", "steps": state.step, "hours": round(state.seconds / 3600, 2),
        "sources": sources, "device": device.type, "config": config.to_dict(),
    }  # fmt: skip
    calibration = calibrate_judge(
        state, config, held_out_batches(held, config.validation_bursts, CALIBRATION_SEED, device)
    )
    model = dict(config.model) | {"name": config.model.get("name", "saf")}
    weights = {name: value.half() for name, value in state.teacher.items()}
    sha256 = save_checkpoint(path, weights, model, record, calibration, LICENCE, metrics)
    return {"weights": str(path), "sha256": sha256, "record": record, "metrics": metrics}


@torch.no_grad()
def calibrate_judge(state: TrainState, config: TrainConfig, batches: list[Batch]) -> Calibration:
    """The judge's curve on bursts neither trained nor validated on."""
    model = build_model(config.model).to(next(state.student.parameters()).device)
    model.load_state_dict(state.teacher)
    model.eval()
    sigmas, errors = [], []
    for batch in batches:
        assert batch.target is not None
        out = model(batch.frames, batch.evs, batch.valid)
        scale = batch.scale_short.view(-1, 1, 1, 1)
        error = (mu_law(out.radiance * scale) - mu_law(batch.target * scale)).abs().mean(dim=1)
        sigmas.append(out.log_sigma.exp().flatten().cpu())
        errors.append(error.flatten().cpu())
    return fit_calibration(torch.cat(sigmas).numpy(), torch.cat(errors).numpy())
