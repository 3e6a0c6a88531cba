"""A whole run on folders of scenes: which are labelled, prepare them, train, and leave student and teacher."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from smarthdr_cli.data.cache import cache_home
from smarthdr_cli.data.crops import CropSampler
from smarthdr_cli.data.datasets import SceneFiles, burst_files, find_bursts, find_scenes
from smarthdr_cli.data.prepared import PreparedScene, prepare
from smarthdr_cli.data.splits import SceneBand, Split, draw_split
from smarthdr_cli.data.synth.export import cached_benchmark
from smarthdr_cli.errors import InputError, UsageError
from smarthdr_cli.fusion.device import resolve_device
from smarthdr_cli.grouping.group import find_pictures, group_files
from smarthdr_cli.models.base import FusionModel
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.models.uncertainty_calibration import Calibration
from smarthdr_cli.train import distributed
from smarthdr_cli.train.clock import ENDLESS, Clock
from smarthdr_cli.train.config import TrainConfig, scene_values, train_config
from smarthdr_cli.train.export import as_fused, curve, licence, write_weights
from smarthdr_cli.train.loop import Told, train
from smarthdr_cli.train.perceptual_losses import VGGFeatures, load_vgg
from smarthdr_cli.train.pseudo_labels import predict_scene
from smarthdr_cli.train.request import Request
from smarthdr_cli.train.run import begin
from smarthdr_cli.train.scene_session import PSEUDO, SceneData, SceneSession, large_enough, whole
from smarthdr_cli.train.score import decibels
from smarthdr_cli.train.state import TrainState

OWN_LICENCE, PICTURES_LICENCE = "CC0-1.0", "that of the pictures it was trained on"
Heard = Callable[[str, float], None]
Looked = Callable[[SceneSession, TrainState], None]


@dataclass(frozen=True)
class Plan:
    """A run before it starts: its config as it will be, its split and the prepared scenes."""

    config: TrainConfig
    split: Split
    data: SceneData
    vgg: VGGFeatures | None
    notes: tuple[str, ...]
    record: dict[str, Any]
    request: Request = field(default_factory=Request)
    tests: int = 0  # scenes of the test split, which are never opened


def plan(request: Request, values: dict[str, Any], on_stage: Heard = lambda _stage, _share: None) -> Plan:
    """Find, split and prepare the data of a run. The truth of unlabelled scenes is not opened.

    Raises UsageError for options that do not fit the data, InputError for data that cannot be read, ModelError for VGG
    weights, OutputError when the cache cannot be written.
    """
    config = train_config(scene_values(values))
    notes = []
    root = None if request.data is None else Path(request.data)
    if root is None:
        source = None if request.panoramas is None else Path(request.panoramas)
        root = cached_benchmark(source, 0, on_scene=lambda n, total: on_stage("make scenes", n / total))
        notes.append(f"no --data: trained on synthetic scenes, kept in {root}")
    scenes = find_scenes(root)
    able = sum(scene.split == "train" and scene.truth is not None for scene in scenes)
    labeled = able if request.labeled is None else request.labeled
    split = draw_split(scenes, labeled, config.seed)
    own = [SceneBand(scene) for folder in request.unlabeled for scene in bursts_below(Path(folder), notes.append)]
    split = replace(split, unlabeled=(*split.unlabeled, *own))
    if not split.labeled and config.method != "selfhdr":
        raise UsageError(f"--method {config.method} needs labelled scenes; selfhdr does without")
    if not split.unlabeled and config.method not in ("supervised",):
        if "method" in values:
            raise UsageError(f"--method {config.method} needs unlabelled bursts; every scene is labelled")
        config = replace(config, method="supervised")
    vgg = load_vgg(config.vgg) if config.vgg else None
    if vgg is None:
        config = replace(config, weight_vgg=0.0)
        notes.append("no --vgg: the perceptual term of the published loss is left out")
    parts = (*split.labeled, *split.unlabeled, *split.held_out)
    if config.method == "supervised":  # no look at what is not used
        parts = (*split.labeled, *split.held_out)
    done = {id(p): made for p, made in zip(parts, _prepared(parts, on_stage), strict=True)}
    data = SceneData(*(tuple(done[id(p)] for p in role if id(p) in done)
                       for role in (split.labeled, split.unlabeled, split.held_out)))  # fmt: skip
    _check_fit(config, data)
    small = [scene.band.scene.name for scene in data.held_out if not large_enough(scene)]
    if small:
        notes.append(f"too small to be watched while training: what is held out of {', '.join(small)}")
    config = _epochs(config, request, data)
    record = {
        "method": config.method, "data": "own synthetic scenes" if request.data is None else root.resolve().name,
        "split": split.to_dict(), "vgg": None if vgg is None else vgg.source._asdict(),
    }  # fmt: skip
    tests = sum(scene.split == "test" for scene in scenes)
    return Plan(config, split, data, vgg, tuple(notes), record, request, tests)


def _check_fit(config: TrainConfig, data: SceneData) -> None:
    """gfhdr takes three frames: say so before the training, not during it."""
    if config.model.get("name", "saf") != "gfhdr":
        return
    for scene in (*data.labeled, *data.unlabeled, *data.held_out):
        if len(scene.evs) != 3:
            name = scene.band.scene.name
            raise UsageError(f"gfhdr takes three frames; scene {name} has {len(scene.evs)} (saf takes 2 to 9)")


def _prepared(parts: tuple[SceneBand, ...], on_stage: Heard) -> list[PreparedScene]:
    return prepare(parts, cache_home() / "prepared", on_scene=lambda n, _: on_stage("prepare", n / len(parts)))


def bursts_below(folder: Path, say: Callable[[str], None] = lambda _: None) -> list[SceneFiles]:
    """A user's bursts: each subfolder one, or, in a folder of pictures, the brackets that they group into.

    ``say`` is told how many of those are too uncertain to be trained on. Raises InputError where there are none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder of bursts")
    pictures = find_pictures(folder, recursive=False)
    if not pictures:
        return find_bursts(folder)
    sets = group_files(pictures).sets
    found = [burst_files(f"{folder.name}/{s.name}", s.frames) for s in sets if not s.ambiguous]
    if not found:
        raise InputError(f"{folder}: no brackets found among its {len(pictures)} pictures (see smarthdr group)")
    if len(found) < len(sets):
        left = f"{len(sets) - len(found)} of {len(sets)} brackets are uncertain and left out"
        say(f"{folder}: {left} (see smarthdr group)")
    return found


def _epochs(config: TrainConfig, request: Request, data: SceneData) -> TrainConfig:
    """Passes over the crops as iterations."""
    if request.epochs is None:
        return config
    first, then = (passes * count for passes, count in zip(request.epochs, steps_of_a_pass(config, data), strict=True))
    return replace(config, iterations=max(1, first + then), labelled_first=first / max(1, first + then))


def steps_of_a_pass(config: TrainConfig, data: SceneData) -> tuple[int, int]:
    """Updates until the labelled crops, and the unlabelled ones, have been seen once, at half-crop stride."""
    steps = []
    for scenes, batch in ((data.labeled, config.batch), (data.unlabeled or data.labeled, config.batch_unlabeled)):
        crops = len(CropSampler(scenes, config.crop, 1, 0).grid(config.crop // 2)) if scenes else 0
        steps.append(max(1, crops // batch) if crops else 0)
    return steps[0], steps[1]


def run_scenes(
    folder: Path, plan: Plan, *, device: str = "auto", resume: bool = False, init: str | None = None,
    clock: Clock = ENDLESS, on_log: Told = lambda _: None, on_step: Told = lambda _: None,
    on_validation: Looked = lambda _session, _state: None,
) -> dict[str, Any]:  # fmt: skip
    """Train as planned and leave model.safetensors (what fuse takes) and teacher.safetensors in ``folder``.

    ``on_validation`` may look at session and state before each ``on_log``. Pseudo-labels go when the run is finished.

    Raises InputError for a state that cannot be taken up, ModelError for ``init``.
    """
    config = plan.config
    where = distributed.join(resolve_device(device))
    if any(size % distributed.count() for size in (config.batch, config.batch_unlabeled, config.batch_made)):
        raise UsageError(
            f"batch, batch_unlabeled and batch_made must be multiples of the {distributed.count()} processes"
        )
    state = begin(folder, config, where, resume=resume, init=init)
    vgg = None if plan.vgg is None else plan.vgg.to(where)
    if distributed.rank() == 0:
        plan.request.save(folder, plan.split)
    session = SceneSession(plan.data, config, state, folder, vgg)

    def told(record: dict[str, Any]) -> None:
        on_validation(session, state)
        on_log(record)

    train(config, session, folder, state, told, on_step=on_step, clock=clock)
    if distributed.rank() > 0:
        return {}
    written = export_scenes(state, plan, folder)
    if state.step >= config.iterations:
        shutil.rmtree(folder / PSEUDO, ignore_errors=True)
    return written


def export_scenes(state: TrainState, plan: Plan, folder: Path) -> dict[str, Any]:
    """Student and teacher as weights; returns the record of the one that fuse runs."""
    config = plan.config
    record = plan.record | {
        "steps": state.step, "hours": round(state.seconds / 3600, 2), "device": state.device.type,
        "config": config.to_dict(), "init": state.init,
    }  # fmt: skip
    own = plan.request.data is None and plan.request.panoramas is None and not plan.request.unlabeled
    terms = licence(OWN_LICENCE if own else PICTURES_LICENCE, state)
    written = {}
    for name, network in (("student", state.student), ("teacher", state.teacher)):
        as_fused(network.eval())
        metrics, calibration = held_out_verdict(network, plan.data.held_out, state.device)
        file = "model" if name == config.export else name
        written[name] = write_weights(
            folder / f"{file}.safetensors", network, config, record | {"weights": name},
            calibration, terms, metrics,
        )  # fmt: skip
    return written[config.export]


@torch.no_grad()
def held_out_verdict(
    network: FusionModel, scenes: Sequence[PreparedScene], device: torch.device
) -> tuple[dict[str, float], Calibration | None]:
    """Mean PSNR-mu of what is held out, and the judge's curve on it; each scene seen whole, window by window."""
    sigmas, errors = [], []
    scores: dict[str, list[float]] = {}
    for scene in scenes:
        found, batch = predict_scene(network, scene, device, "fp32"), whole(scene)
        assert batch.target is not None
        scale = batch.scale_short.view(-1, 1, 1, 1)
        truth = mu_law(batch.target * scale)
        for name, image in (("psnr_mu", found.radiance), ("reference", batch.frames[:, 0])):
            scores.setdefault(name, []).extend(decibels(mu_law(image * scale) - truth).tolist())
        sigmas.append(found.sigma)
        errors.append((mu_law(found.radiance * scale) - truth).abs().mean(dim=1))
    return {name: round(sum(v) / len(v), 3) for name, v in scores.items()}, curve(sigmas, errors)
