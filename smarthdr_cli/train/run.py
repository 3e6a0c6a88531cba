"""Whole training runs by their folder: start or resume, train, calibrate the uncertainty, export.

``run_training`` is on streamed bursts, ``run_scenes`` on folders of scenes.
"""

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.prepared import PreparedScene
from smarthdr_cli.data.synth.burst import make_batch
from smarthdr_cli.data.synth.config import SynthConfig
from smarthdr_cli.data.synth.sources import SceneBank, load_bank
from smarthdr_cli.errors import UsageError
from smarthdr_cli.fusion.device import resolve_device
from smarthdr_cli.models.base import FusionModel
from smarthdr_cli.models.checkpoint import check_usable, load_checkpoint, load_state, save_checkpoint
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.models.uncertainty_calibration import BIN_SAMPLES, Calibration, fit_calibration
from smarthdr_cli.models.weights import find_weights
from smarthdr_cli.train import distributed
from smarthdr_cli.train.burst_stream import StreamSession, stream_bank
from smarthdr_cli.train.config import TrainConfig, train_config
from smarthdr_cli.train.forward import forward, psnr, score
from smarthdr_cli.train.loop import UNLIMITED, OnLog, TimeBudget, train
from smarthdr_cli.train.pseudo_labels import OnScene, predict_scene
from smarthdr_cli.train.scene_data import PreparedRun, whole
from smarthdr_cli.train.scene_session import PSEUDO, SceneSession
from smarthdr_cli.train.state import STATE, TrainState, load_train_state, new_state

VALIDATION_SEED, CALIBRATION_SEED = 77, 78  # of held-out bursts: for the log, and for the uncertainty
VALIDATION_SIDE = 256  # px of those bursts
OWN_LICENCE, PICTURES_LICENCE = "CC0-1.0", "that of the pictures it was trained on"
OnValidation = Callable[[SceneSession, TrainState], None]


def held_out_batches(
    bank: SceneBank, count: int, seed: int, device: torch.device, side: int = VALIDATION_SIDE
) -> list[Batch]:
    """``count`` bursts in batches of two, the same for the same seed on every device: made on the CPU."""
    draw = torch.Generator().manual_seed(seed)
    config = SynthConfig(height=side, width=side)
    return [make_batch(bank, config, draw, 2).to(device) for _ in range(max(1, count // 2))]


def start_state(
    folder: Path, config: TrainConfig, device: torch.device, *, resume: bool, init: str | None
) -> TrainState:
    """The state of ``folder``, or a fresh one, with the weights ``init`` where given; gfhdr's may be of any depth.

    Raises InputError for a state that cannot be resumed, ModelError for weights.
    """
    if resume:
        return load_train_state(folder / STATE, config, device)
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
    folder: Path, values: dict[str, Any], panoramas: Path | None, people: Path | None = None, *, device: str = "auto",
    resume: bool = False, init: str | None = None, budget: TimeBudget = UNLIMITED, on_log: OnLog = lambda _: None,
    on_step: OnLog = lambda _: None, validation_side: int = VALIDATION_SIDE,
) -> dict[str, Any]:  # fmt: skip
    """Train on streamed bursts with the options ``values`` and leave ``model.safetensors`` in ``folder``.

    ``people``: folder of sprites of people who move through the bursts, but not through those of the validation.
    Raises UsageError for unknown options, InputError for sources or a state that cannot be read, ModelError for
    ``init``.
    """
    config = train_config(values)
    where = distributed.join_group(resolve_device(device))
    if config.batch % distributed.world_size():
        raise UsageError(f"batch must be a multiple of the {distributed.world_size()} processes")
    bank = stream_bank(panoramas, people, config).to(where)
    held_out = load_bank(panoramas, held_out=True, seed=config.seed)
    validation = held_out_batches(held_out, config.validation_bursts, VALIDATION_SEED, where, validation_side)
    state = start_state(folder, config, where, resume=resume, init=init)
    session = StreamSession(bank, validation, config, state)
    state = train(config, session, folder, state, on_log, on_step=on_step, budget=budget)
    if distributed.rank() > 0:
        return {}
    network = state.teacher
    network.set_finest_cell(1)  # single pixels, as in fusion; training may have stopped at coarser cells
    metrics = {name: round(value, 3) for name, value in score(network, validation).items()}
    record = _record(state, config) | {
        "method": "supervised on synthetic bursts",
        "sources": len(bank),
        "people": len(bank.people),
    }
    batches = held_out_batches(held_out, config.validation_bursts, CALIBRATION_SEED, where, validation_side)
    return write_weights(
        folder / "model.safetensors", network, config, record, calibrated(network, batches),
        licence(OWN_LICENCE, state), metrics,
    )  # fmt: skip


def run_scenes(
    folder: Path, run: PreparedRun, *, device: str = "auto", resume: bool = False, init: str | None = None,
    budget: TimeBudget = UNLIMITED, on_log: OnLog = lambda _: None, on_step: OnLog = lambda _: None,
    on_validation: OnValidation = lambda _session, _state: None, on_labels: OnScene = lambda _done, _total: None,
) -> dict[str, Any]:  # fmt: skip
    """Train on prepared scenes and leave model.safetensors (for fuse) and teacher.safetensors in ``folder``.

    ``on_validation`` gets session and state before each ``on_log``, ``on_labels`` (scenes done, scenes in all) while
    pseudo-labels are predicted. They are removed when the run is finished.
    Raises UsageError for batches that do not divide among the processes, InputError for a state that cannot be resumed,
    ModelError for ``init``.
    """
    config = run.config
    where = distributed.join_group(resolve_device(device))
    if any(size % distributed.world_size() for size in (config.batch, config.batch_unlabeled, config.batch_made)):
        raise UsageError(
            f"batch, batch_unlabeled and batch_made must be multiples of the {distributed.world_size()} processes"
        )
    state = start_state(folder, config, where, resume=resume, init=init)
    vgg = None if run.vgg is None else run.vgg.to(where)
    if distributed.rank() == 0:
        run.request.save(folder, run.split)
    session = SceneSession(run.data, config, state, folder, vgg, on_labels)

    def on_record(record: dict[str, Any]) -> None:
        on_validation(session, state)
        on_log(record)

    train(config, session, folder, state, on_record, on_step=on_step, budget=budget)
    if distributed.rank() > 0:
        return {}
    summary = export_scenes(state, run, folder)
    if state.step >= config.iterations:
        shutil.rmtree(folder / PSEUDO, ignore_errors=True)
    return summary


def export_scenes(state: TrainState, run: PreparedRun, folder: Path) -> dict[str, Any]:
    """Write student and teacher as weights; returns the summary of the one that fuse runs."""
    config = run.config
    record = run.record | _record(state, config)
    own_data = run.request.data is None and run.request.panoramas is None and not run.request.unlabeled
    terms = licence(OWN_LICENCE if own_data else PICTURES_LICENCE, state)
    summaries = {}
    for name, network in (("student", state.student), ("teacher", state.teacher)):
        network.eval().set_finest_cell(1)  # single pixels, as in fusion; training may have stopped at coarser cells
        metrics, calibration = evaluate_held_out(network, run.data.held_out, state.device)
        file = "model" if name == config.export else name
        summaries[name] = write_weights(
            folder / f"{file}.safetensors", network, config, record | {"weights": name}, calibration, terms, metrics
        )
    return summaries[config.export]


def _record(state: TrainState, config: TrainConfig) -> dict[str, Any]:
    return {
        "steps": state.step, "hours": round(state.seconds / 3600, 2), "device": state.device.type,
        "config": config.to_dict(), "init": state.init,
    }  # fmt: skip


@torch.no_grad()
def evaluate_held_out(
    network: FusionModel, scenes: Sequence[PreparedScene], device: torch.device
) -> tuple[dict[str, float], Calibration | None]:
    """Mean PSNR-mu on held-out scenes and the calibration of sigma there; scenes are predicted whole, by windows."""
    sigmas, errors = [], []
    scores: dict[str, list[float]] = {}
    for scene in scenes:
        pseudo, batch = predict_scene(network, scene, device, "fp32"), whole(scene)
        assert batch.target is not None
        scale = batch.scale_short.view(-1, 1, 1, 1)
        truth = mu_law(batch.target * scale)
        for name, image in (("psnr_mu", pseudo.radiance), ("reference", batch.frames[:, 0])):
            scores.setdefault(name, []).extend(psnr(mu_law(image * scale) - truth).tolist())
        sigmas.append(pseudo.sigma)
        errors.append((mu_law(pseudo.radiance * scale) - truth).abs().mean(dim=1))
    return {name: round(sum(v) / len(v), 3) for name, v in scores.items()}, fitted(sigmas, errors)


@torch.no_grad()
def calibrated(model: FusionModel, batches: Iterable[Batch]) -> Calibration | None:
    """The calibration of sigma on bursts used for neither training nor validation; None for too few pixels."""
    sigmas, errors = [], []
    for batch in batches:
        assert batch.target is not None
        out = forward(model, batch)
        scale = batch.scale_short.view(-1, 1, 1, 1)
        error = (mu_law(out.radiance * scale) - mu_law(batch.target * scale)).abs().mean(dim=1)
        sigmas.append(out.log_sigma.exp().flatten().cpu())
        errors.append(error.flatten().cpu())
    return fitted(sigmas, errors)


def fitted(sigmas: Sequence[Tensor], errors: Sequence[Tensor]) -> Calibration | None:
    """The calibration from raw sigmas and errors in the mu-law domain; values that are not finite are left out."""
    sigma, error = (torch.cat([part.flatten() for part in parts]) if parts else torch.zeros(0)
                    for parts in (sigmas, errors))  # fmt: skip
    finite = torch.isfinite(sigma) & torch.isfinite(error)
    if int(finite.sum()) < BIN_SAMPLES:
        return None
    return fit_calibration(sigma[finite].numpy(), error[finite].numpy())


def licence(data_licence: str, state: TrainState) -> str:
    """The licence of the training data, and that of the initial weights where it is another one."""
    initial = state.init.get("licence", data_licence)
    if initial == data_licence:
        return data_licence
    return f"{data_licence}; and, of the weights it began with: {initial or 'unknown'}"


def write_weights(
    path: Path, network: FusionModel, config: TrainConfig, record: dict[str, Any], calibration: Calibration | None,
    licence: str, metrics: dict[str, float],
) -> dict[str, Any]:  # fmt: skip
    """Write a network in half precision; returns its path, sha256, record and metrics."""
    model = dict(config.model) | {"name": config.model.get("name", "saf")}
    weights = {
        name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()
    }
    sha256 = save_checkpoint(path, weights, model, record, calibration, licence, metrics)
    return {"weights": str(path), "sha256": sha256, "record": record, "metrics": metrics}
