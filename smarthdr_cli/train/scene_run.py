"""A whole run on folders of scenes: which are labelled, prepare them, train, and leave student and teacher."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from smarthdr_cli.burst.bracket import find_pictures, group_files
from smarthdr_cli.data.home import cache_home, own_benchmark
from smarthdr_cli.data.labels import Part, Split, draw_labels
from smarthdr_cli.data.layouts import SceneFiles, burst_files, find_bursts, find_scenes
from smarthdr_cli.data.prepare import Prepared, prepare
from smarthdr_cli.errors import InputError, UsageError
from smarthdr_cli.fusion.device import resolve_device
from smarthdr_cli.train import distributed
from smarthdr_cli.train.config import SCENES, TrainConfig, train_config
from smarthdr_cli.train.export import calibrated, write_weights
from smarthdr_cli.train.loop import Told, train
from smarthdr_cli.train.run import begin
from smarthdr_cli.train.scenes import SceneData, SceneSession, whole
from smarthdr_cli.train.score import score
from smarthdr_cli.train.state import TrainState
from smarthdr_cli.train.vgg import VGGFeatures, load_vgg

RUN = "run.json"  # what a run's folder remembers of its data
OWN_LICENCE = "CC0-1.0"
Heard = Callable[[str, float], None]


@dataclass(frozen=True)
class Request:
    """Which data a run is on. ``data`` None: the benchmark that training makes for itself.

    ``labeled``: how many scenes keep their ground truth, or their names, or None for all. ``unlabeled``: folders of
    bursts without ground truth. ``epochs``: passes over the labelled and then over the unlabelled crops, in place of
    iterations.
    """

    data: str | None = None
    panoramas: str | None = None
    labeled: int | tuple[str, ...] | None = None
    unlabeled: tuple[str, ...] = ()
    epochs: tuple[int, int] | None = None

    def save(self, folder: Path) -> None:
        """Remember it in the run's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RUN).write_text(json.dumps(asdict(self), indent=1))

    @staticmethod
    def load(folder: Path) -> "Request":
        """What a run's folder remembers. Raises InputError where that is not to be had."""
        try:
            values = json.loads((folder / RUN).read_text())
            labeled, epochs = values["labeled"], values["epochs"]
            return Request(
                values["data"], values["panoramas"], tuple(labeled) if isinstance(labeled, list) else labeled,
                tuple(values["unlabeled"]), None if epochs is None else (int(epochs[0]), int(epochs[1])),
            )  # fmt: skip
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(f"{folder / RUN}: not the record of a run on scenes ({error})") from error


@dataclass(frozen=True)
class Plan:
    """A run before it starts: its config as it will be, its split and the prepared scenes."""

    config: TrainConfig
    split: Split
    data: SceneData
    vgg: VGGFeatures | None
    notes: tuple[str, ...]
    record: dict[str, Any]


def plan(request: Request, values: dict[str, Any], on_stage: Heard = lambda _stage, _share: None) -> Plan:
    """Find, split and prepare the data of a run. The truth of unlabelled scenes is not opened.

    Raises UsageError for options that do not fit the data, InputError for data that cannot be read, ModelError for VGG
    weights, OutputError when the cache cannot be written.
    """
    config = train_config(SCENES | values)
    notes = []
    root = None if request.data is None else Path(request.data)
    if root is None:
        source = None if request.panoramas is None else Path(request.panoramas)
        root = own_benchmark(source, 0, on_scene=lambda n, total: on_stage("make scenes", n / total))
        notes.append(f"no --data: trained on synthetic scenes, kept in {root}")
    scenes = find_scenes(root)
    able = sum(scene.split == "train" and scene.truth is not None for scene in scenes)
    labeled = able if request.labeled is None else request.labeled
    split = draw_labels(scenes, labeled, config.seed)
    own = [Part(scene) for folder in request.unlabeled for scene in bursts_below(Path(folder))]
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
    config = _epochs(config, request, data)
    record = {
        "method": config.method, "data": "own synthetic scenes" if request.data is None else root.name,
        "split": split.to_dict(), "vgg": None if vgg is None else vgg.source._asdict(),
    }  # fmt: skip
    return Plan(config, split, data, vgg, tuple(notes), record)


def _prepared(parts: tuple[Part, ...], on_stage: Heard) -> list[Prepared]:
    return prepare(parts, cache_home() / "prepared", on_scene=lambda n, _: on_stage("prepare", n / len(parts)))


def bursts_below(folder: Path) -> list[SceneFiles]:
    """A user's bursts: each subfolder one, or, in a folder of pictures, the brackets that they group into.

    Raises InputError where there are none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder of bursts")
    pictures = find_pictures(folder, recursive=False)
    if not pictures:
        return find_bursts(folder)
    found = [burst_files(f"{folder.name}/{s.name}", s.frames) for s in group_files(pictures).sets if not s.ambiguous]
    if not found:
        raise InputError(f"{folder}: no brackets found among its {len(pictures)} pictures (see smarthdr group)")
    return found


def _epochs(config: TrainConfig, request: Request, data: SceneData) -> TrainConfig:
    """Passes over the crops, at half-crop stride, as iterations."""
    if request.epochs is None:
        return config
    from smarthdr_cli.data.crops import CropSampler

    steps = []
    for scenes, batch in ((data.labeled, config.batch), (data.unlabeled or data.labeled, config.batch_unlabeled)):
        crops = len(CropSampler(scenes, config.crop, 1, 0).grid(config.crop // 2)) if scenes else 0
        steps.append(max(1, crops // batch) if crops else 0)
    first, then = (passes * count for passes, count in zip(request.epochs, steps, strict=True))
    return replace(config, iterations=max(1, first + then), labelled_first=first / max(1, first + then))


def run_scenes(
    folder: Path, plan: Plan, *, device: str = "auto", resume: bool = False, init: str | None = None,
    minutes: float | None = None, on_log: Told = lambda _: None, on_step: Told = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """Train as planned and leave model.safetensors (what fuse takes) and teacher.safetensors in ``folder``.

    Raises InputError for a state that cannot be taken up, ModelError for ``init``.
    """
    config = plan.config
    where = distributed.join(resolve_device(device))
    if (config.batch % distributed.count()) or (config.batch_unlabeled % distributed.count()):
        raise UsageError(f"batch and batch_unlabeled must be multiples of the {distributed.count()} processes")
    state = begin(folder, config, where, resume=resume, init=init)
    vgg = None if plan.vgg is None else plan.vgg.to(where)
    session = SceneSession(plan.data, config, state, folder, vgg)
    state = train(config, session, folder, state, on_log, on_step=on_step, minutes=minutes)
    return export_scenes(state, plan, folder) if distributed.rank() == 0 else {}


def export_scenes(state: TrainState, plan: Plan, folder: Path) -> dict[str, Any]:
    """Student and teacher as weights; returns the record of the one that fuse runs."""
    config = plan.config
    record = plan.record | {
        "steps": state.step, "hours": round(state.seconds / 3600, 2), "device": state.device.type,
        "config": config.to_dict(),
    }  # fmt: skip
    licence = OWN_LICENCE if plan.record["data"] == "own synthetic scenes" and not any(
        part.scene.truth is None and part.scene.evs is None for part in plan.split.unlabeled
    ) else "that of the pictures it was trained on"  # fmt: skip
    held = [whole_of_32(scene) for scene in plan.data.held_out]
    batches = [batch.to(state.device) for batch in held]
    written = {}
    for name, network in (("student", state.student), ("teacher", state.teacher)):
        network.eval()
        metrics = {key: round(value, 3) for key, value in score(network, batches).items()} if batches else {}
        file = "model" if name == config.export else name
        written[name] = write_weights(
            folder / f"{file}.safetensors", network, config, record | {"weights": name},
            calibrated(network, batches), licence, metrics,
        )  # fmt: skip
    return written[config.export]


def whole_of_32(scene: Prepared) -> Any:
    """A held-out band cut to multiples of 32."""
    batch = whole(scene)
    h, w = (side // 32 * 32 for side in batch.frames.shape[-2:])
    target = None if batch.target is None else batch.target[..., :h, :w]
    return replace(batch, frames=batch.frames[..., :h, :w], valid=batch.valid[..., :h, :w], target=target)
