"""The data of a run on folders of scenes: find, split and prepare them.

The truth of unlabelled scenes is never opened.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.cache import cache_home
from smarthdr_cli.data.crops import CropSampler
from smarthdr_cli.data.datasets import SceneFiles, burst_files, find_bursts, find_scenes
from smarthdr_cli.data.prepared import PreparedScene, prepare
from smarthdr_cli.data.splits import SceneBand, Split, draw_split
from smarthdr_cli.data.synth.export import cached_benchmark
from smarthdr_cli.errors import InputError, UsageError
from smarthdr_cli.grouping.group import find_pictures, group_files
from smarthdr_cli.grouping.header import read_header
from smarthdr_cli.train.config import TrainConfig, scene_values, train_config
from smarthdr_cli.train.methods import METHODS, method_class
from smarthdr_cli.train.perceptual_losses import VGGFeatures, load_vgg
from smarthdr_cli.train.run_folder import DataRequest

MIN_SIDE = 32  # px; the least that a network is given
MAX_UNLABELED_PIXELS = 1_000_000  # of a user's burst; the teacher takes 20 to 40 s of a core for a million of them
MIN_BAND = 256  # rows
MAX_VALIDATION_SIDE = 640  # px of a held-out image used for validation, from its middle
OnStage = Callable[[str, float], None]  # name of the stage, share of it that is done


@dataclass(frozen=True)
class SceneData:
    """Prepared scenes by their role.

    ``scale``: for each role, the scenes of the split over those that are prepared; 1 but for an estimate.
    """

    labeled: tuple[PreparedScene, ...]
    unlabeled: tuple[PreparedScene, ...]
    held_out: tuple[PreparedScene, ...]
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def validation(self, device: torch.device) -> list[Batch]:
        """The middle of every held-out image, one a batch, sides multiples of 32; smaller images are left out."""
        return [middle(scene).to(device) for scene in self.held_out if large_enough(scene)]


def large_enough(scene: PreparedScene) -> bool:
    """Whether a scene's band has ``MIN_SIDE`` pixels each way."""
    return min(scene.rows[1] - scene.rows[0], scene.size[1]) >= MIN_SIDE


def middle(scene: PreparedScene) -> Batch:
    """The middle of a scene's band as a batch of one, sides multiples of 32 and at most ``MAX_VALIDATION_SIDE``."""
    first, last = scene.rows
    h, w = (min(length, MAX_VALIDATION_SIDE) // 32 * 32 for length in (last - first, scene.size[1]))
    return _batch(scene, first + (last - first - h) // 2, (scene.size[1] - w) // 2, h, w)


def whole(scene: PreparedScene) -> Batch:
    """A scene's band as a batch of one."""
    first, last = scene.rows
    return _batch(scene, first, 0, last - first, scene.size[1])


def _batch(scene: PreparedScene, top: int, left: int, height: int, width: int) -> Batch:
    frames, valid, target = scene.crop(top, left, height, width)
    return Batch(frames[None], torch.tensor([scene.evs]), valid[None], None if target is None else target[None])


@dataclass(frozen=True)
class PreparedRun:
    """A run on scenes before it starts: its config as it will be, its split and the prepared scenes.

    ``record``: what its weights state of it. ``tests``: number of scenes in the test split, which are never opened.
    """

    config: TrainConfig
    split: Split
    data: SceneData
    vgg: VGGFeatures | None
    notes: tuple[str, ...]
    record: dict[str, Any]
    request: DataRequest = field(default_factory=DataRequest)
    tests: int = 0


def prepare_run(
    request: DataRequest,
    values: dict[str, Any],
    on_stage: OnStage = lambda _stage, _share: None,
    *,
    at_most: int | None = None,
) -> PreparedRun:
    """Find, split and prepare the data of a run with the options ``values``.

    ``at_most``: prepare only so many scenes of each role, for an estimate of the cost.

    Raises UsageError for options that do not fit the data, InputError for data that cannot be read, ModelError for VGG
    weights, OutputError where the cache cannot be written.
    """
    config = train_config(scene_values(values))
    notes = []
    root = None if request.data is None else Path(request.data)
    if root is None:
        panoramas = None if request.panoramas is None else Path(request.panoramas)
        root = cached_benchmark(panoramas, 0, on_scene=lambda n, total: on_stage("make scenes", n / total))
        notes.append(f"no --data: trained on synthetic scenes, kept in {root}")
    scenes = find_scenes(root)
    with_truth = sum(scene.split == "train" and scene.truth is not None for scene in scenes)
    split = draw_split(scenes, with_truth if request.labeled is None else request.labeled, config.seed)
    found = [scene for folder in request.unlabeled for scene in bursts_below(Path(folder), notes.append)]
    bursts = [band_of_burst(scene, config.seed) for scene in found]
    cut = sum(band != SceneBand(band.scene) for band in bursts)
    if cut:
        notes.append(f"{cut} bursts have large pictures: a band of each, of {MAX_UNLABELED_PIXELS / 1e6:g} MP, is used")
    split = replace(split, unlabeled=(*split.unlabeled, *bursts))
    if not split.labeled and method_class(config.method).needs_labels:
        label_free = " or ".join(name for name in METHODS if not method_class(name).needs_labels)
        raise UsageError(f"--method {config.method} needs labelled scenes; {label_free} does without")
    if not split.unlabeled and method_class(config.method).uses_unlabeled:
        if "method" in values:
            raise UsageError(f"--method {config.method} needs unlabelled bursts; every scene is labelled")
        config = replace(config, method="supervised")
    vgg = load_vgg(config.vgg) if config.vgg else None
    if vgg is None:
        config = replace(config, weight_vgg=0.0)
        notes.append("no --vgg: the perceptual term of the published loss is left out")
    data = _prepare(split, method_class(config.method).uses_unlabeled, on_stage, at_most)
    _check_frame_counts(config, data)
    small = [scene.band.scene.name for scene in data.held_out if not large_enough(scene)]
    if small:
        notes.append(f"too small to be watched while training: what is held out of {', '.join(small)}")
    config = _with_epochs(config, request, data)
    record = {
        "method": config.method, "data": "own synthetic scenes" if request.data is None else root.resolve().name,
        "split": split.to_dict(), "vgg": None if vgg is None else vgg.file._asdict(),
    }  # fmt: skip
    tests = sum(scene.split == "test" for scene in scenes)
    return PreparedRun(config, split, data, vgg, tuple(notes), record, request, tests)


def _prepare(split: Split, uses_unlabeled: bool, on_stage: OnStage, at_most: int | None) -> SceneData:
    all_roles = (split.labeled, split.unlabeled if uses_unlabeled else (), split.held_out)
    roles = tuple(role[:at_most] for role in all_roles)
    parts = [part for role in roles for part in role]
    scenes = iter(prepare(parts, cache_home() / "prepared", on_scene=lambda n, _: on_stage("prepare", n / len(parts))))
    labeled, unlabeled, held_out = (tuple(next(scenes) for _ in role) for role in roles)
    first, second, third = (len(a) / len(role) if role else 1.0 for a, role in zip(all_roles, roles, strict=True))
    return SceneData(labeled, unlabeled, held_out, (first, second, third))


def _check_frame_counts(config: TrainConfig, data: SceneData) -> None:
    """Raise UsageError before the training where gfhdr would get other than three frames."""
    if config.model.get("name", "saf") != "gfhdr":
        return
    for scene in (*data.labeled, *data.unlabeled, *data.held_out):
        if len(scene.evs) != 3:
            name = scene.band.scene.name
            raise UsageError(f"gfhdr takes three frames; scene {name} has {len(scene.evs)} (saf takes 2 to 9)")


def band_of_burst(scene: SceneFiles, seed: int) -> SceneBand:
    """The whole of a burst or, of a large one, a random band of rows with MAX_UNLABELED_PIXELS, at least MIN_BAND rows.

    Every pixel of it is predicted anew for each epoch. A file whose size its header does not state is used whole.
    """
    try:
        size = read_header(scene.frames[0]).size
    except InputError:  # said when the burst is read
        size = None
    if size is None or size[0] * size[1] <= MAX_UNLABELED_PIXELS:
        return SceneBand(scene)
    width, height = size
    share = min(1.0, max(MAX_UNLABELED_PIXELS / width, MIN_BAND) / height)
    draw = np.random.default_rng([seed, zlib.crc32(scene.name.encode())])
    top = float(draw.uniform(0, 1 - share))
    return SceneBand(scene, top, top + share)


def bursts_below(folder: Path, on_note: Callable[[str], None] = lambda _: None) -> list[SceneFiles]:
    """A user's bursts: each subfolder is one, or, in a folder of images, each bracket they group into.

    ``on_note`` gets how many brackets are too uncertain to be trained on. Raises InputError where there are none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder of bursts")
    pictures = find_pictures(folder, recursive=False)
    if not pictures:
        return find_bursts(folder)
    sets = group_files(pictures).sets
    bursts = [burst_files(f"{folder.name}/{s.name}", s.frames) for s in sets if not s.ambiguous]
    if not bursts:
        raise InputError(f"{folder}: no brackets found among its {len(pictures)} pictures (see smarthdr group)")
    if len(bursts) < len(sets):
        left_out = f"{len(sets) - len(bursts)} of {len(sets)} brackets are uncertain and left out"
        on_note(f"{folder}: {left_out} (see smarthdr group)")
    return bursts


def _with_epochs(config: TrainConfig, request: DataRequest, data: SceneData) -> TrainConfig:
    """The config with iterations from passes over the crops."""
    if request.epochs is None:
        return config
    first, then = (passes * steps for passes, steps in zip(request.epochs, steps_of_a_pass(config, data), strict=True))
    return replace(config, iterations=max(1, first + then), labelled_first=first / max(1, first + then))


def steps_of_a_pass(config: TrainConfig, data: SceneData) -> tuple[int, int]:
    """Updates that use the labelled crops, and the unlabelled ones, once, at half-crop stride."""
    steps = []
    labeled = (data.labeled, data.scale[0])
    unlabeled = (data.unlabeled, data.scale[1]) if data.unlabeled else labeled
    for (scenes, scale), batch in ((labeled, config.batch), (unlabeled, config.batch_unlabeled)):
        crops = round(scale * len(CropSampler(scenes, config.crop, 1, 0).grid(config.crop // 2))) if scenes else 0
        steps.append(max(1, crops // batch) if crops else 0)
    return steps[0], steps[1]
