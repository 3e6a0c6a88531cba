"""A whole evaluation: every method on every scene of a set, scored under both scalings, with uncertainty metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from smarthdr_cli.data.datasets import SceneFiles
from smarthdr_cli.errors import UsageError
from smarthdr_cli.evaluate import comparison, metrics, protocol
from smarthdr_cli.evaluate.figures import U8
from smarthdr_cli.evaluate.methods import (
    BASELINES,
    EvaluatedCheckpoint,
    FusionSettings,
    NetworkCache,
    find_checkpoints,
    scene_methods,
)
from smarthdr_cli.evaluate.scene import Scene, read_scene, scene_paths, select_scenes, set_sha256

SHEET_ROWS = 8  # scenes on the sheet, spread over the set
CROP_PX = 192  # side of a crop on the sheet
SCALINGS: tuple[protocol.Scaling, ...] = ("published", "fitted")

Scores = dict[str, Any]  # "published" and "fitted" as protocol.score returns them, "seconds", "jod" where asked for


@dataclass(frozen=True)
class EvaluateOptions:
    """What is measured on what. ``protocol``: auto is published where every scene's curve is known."""

    split: Literal["train", "test", "all"] = "test"
    scenes: int | None = None
    baselines: tuple[str, ...] = tuple(BASELINES)
    protocol: Literal["auto", "published", "fitted"] = "auto"
    cvvdp: bool = False
    fusion: FusionSettings = field(default_factory=FusionSettings)


@dataclass(frozen=True)
class EvaluationPlan:
    """A checked evaluation: weights, scenes and truths exist."""

    root: Path
    checkpoints: tuple[EvaluatedCheckpoint, ...]
    scenes: tuple[SceneFiles, ...]
    options: EvaluateOptions
    scaling: protocol.Scaling
    device: str


@dataclass
class Evaluation:
    """Scores by scene and method.

    ``scores[scene][method]``: ``Scores``. ``about[scene]``: size, exposures, shares of moving and clipped pixels.
    ``uncertainty``: metrics per checkpoint, pooled over the scenes' pixels whose truth is below the shortest frame's
    clip (above it truth and result are limited, so that no error is left). ``rows``: of the sheet.
    """

    plan: EvaluationPlan
    set_sha256: str
    scores: dict[str, dict[str, Scores]] = field(default_factory=dict)
    about: dict[str, dict[str, Any]] = field(default_factory=dict)
    uncertainty: dict[str, comparison.UncertaintyMetrics] = field(default_factory=dict)
    rows: list[U8] = field(default_factory=list)

    @property
    def first(self) -> str:
        """The first checkpoint: the method that others are compared with."""
        return self.plan.checkpoints[0].label

    def names(self) -> list[str]:
        """The methods in order, with those that only some scenes have (the oracle)."""
        return list(dict.fromkeys(name for scene in self.scores.values() for name in scene))

    def column(self, method: str, key: str, scaling: protocol.Scaling | None = None) -> list[float]:
        """One score of one method by scene, NaN where the scene lacks the method; ``scaling``: default the plan's."""
        scores = [scene.get(method) for scene in self.scores.values()]
        if key in ("seconds", "jod"):
            return [float("nan") if entry is None else entry[key] for entry in scores]
        return [float("nan") if entry is None else entry[scaling or self.plan.scaling][key] for entry in scores]

    def mean(self, method: str, key: str, scaling: protocol.Scaling | None = None) -> float:
        """The mean of ``column`` over the scenes that have it."""
        return protocol.mean_scores([{key: value} for value in self.column(method, key, scaling)])[key]

    def over_first(self, method: str, key: str = "psnr_mu") -> list[float]:
        """By scene, the score less the first checkpoint's."""
        return [a - b for a, b in zip(self.column(method, key), self.column(self.first, key), strict=True)]


def plan_evaluation(specs: Sequence[str], root: Path, options: EvaluateOptions) -> EvaluationPlan:
    """Find weights, scenes and device before anything is computed.

    Raises ModelError for weights, InputError for scenes and truths, UsageError for a device, precision or package.
    """
    from smarthdr_cli.fusion.device import resolve_device, resolve_precision

    device = resolve_device(options.fusion.device)
    resolve_precision(options.fusion.precision, device)
    unknown = [name for name in options.baselines if name not in BASELINES]
    if unknown:
        raise UsageError(f"unknown rival {unknown[0]!r}; use {', '.join(BASELINES)} or none")
    if options.cvvdp:
        metrics.require_cvvdp()
    checkpoints = tuple(find_checkpoints(specs))
    scenes = tuple(select_scenes(root, options.split, options.scenes))
    curves_known = all(scene.encoding == "gamma2.2" for scene in scenes)
    scaling = options.protocol if options.protocol != "auto" else "published" if curves_known else "fitted"
    return EvaluationPlan(root, checkpoints, scenes, options, scaling, str(device))


def evaluate(plan: EvaluationPlan, on_progress: Callable[[float], None] = lambda _: None) -> Evaluation:
    """Run all methods on all scenes; ``on_progress`` gets the share done. Raises what reading and ``fuse`` raise."""
    evaluation = Evaluation(plan, set_sha256(plan.root, scene_paths(plan.scenes)))
    perceptual = metrics.load_cvvdp(plan.device) if plan.options.cvvdp else None
    networks = NetworkCache()
    pools = {checkpoint.label: comparison.UncertaintyPool() for checkpoint in plan.checkpoints}
    count = len(plan.scenes)
    sheet_scenes = set(np.linspace(0, count - 1, min(SHEET_ROWS, count)).round().astype(int).tolist())
    for number, files in enumerate(plan.scenes):
        scene = read_scene(files, plan.options.fusion.align)
        methods = scene_methods(scene, plan.checkpoints, plan.options.baselines, plan.options.fusion, networks)
        results: dict[str, comparison.MethodResult] = {}
        for name in methods:
            on_progress((number + len(results) / len(methods)) / count)
            results |= comparison.run_methods(methods, [name])
        scores = {name: score_method(scene, result, plan.scaling, perceptual) for name, result in results.items()}
        evaluation.scores[files.name] = scores
        evaluation.about[files.name] = scene_record(scene)
        context = scoring_context(scene)
        for label, pool in pools.items():
            sigma = results[label].sigma
            assert sigma is not None
            scaled = protocol.apply_scaling(results[label].radiance, scene.truth, **context, scaling=plan.scaling)
            error = comparison.error_map(scaled, protocol.limit(scene.truth))
            pool.add(error, sigma, ~protocol.clipped_mask(scene.truth, 1.0))
        if number in sheet_scenes:
            own_scaling = {name: score[plan.scaling] for name, score in scores.items()}
            row = comparison.comparison_row(
                results, scene.truth, own_scaling, **context, size=CROP_PX, scaling=plan.scaling
            )
            evaluation.rows.append(row)
        on_progress((number + 1) / count)
    pooled = {label: pool.metrics() for label, pool in pools.items()}
    evaluation.uncertainty = {label: figures for label, figures in pooled.items() if figures is not None}
    return evaluation


def scoring_context(scene: Scene) -> dict[str, Any]:
    """The arguments of ``protocol.score`` that a scene determines."""
    return {"reference_time": scene.reference_time, "moving": scene.moving}


def score_method(
    scene: Scene,
    result: comparison.MethodResult,
    scaling: protocol.Scaling,
    perceptual: metrics.PerceptualMetric | None,
) -> Scores:
    """Scores of one method on one scene; NaNs under "fitted" where no scale can be fitted."""
    radiance, truth, context = result.radiance, scene.truth, scoring_context(scene)
    scores: Scores = {"seconds": result.seconds}
    scores["published"] = protocol.score(radiance, truth, **context, scaling="published")
    if protocol.can_fit_scale(radiance, truth, protocol.fit_pixels(truth, **context)):
        scores["fitted"] = protocol.score(radiance, truth, **context, scaling="fitted")
    else:
        scores["fitted"] = dict.fromkeys(scores["published"], float("nan"))
    if perceptual is not None:
        scaled = protocol.apply_scaling(radiance, truth, **context, scaling=scaling)
        scores["jod"] = perceptual(scaled, protocol.limit(truth))
    return scores


def scene_record(scene: Scene) -> dict[str, Any]:
    """Size, exposures and shares of a scene, as ``results.json`` has them."""
    return {
        "split": scene.files.split, "encoding": scene.files.encoding, "size": list(scene.burst.size[::-1]),
        "evs": [round(float(ev), 4) for ev in scene.burst.evs], "moving": float(scene.moving.mean()),
        "moving_from": "moving.png" if scene.moving_is_given else "the burst",
        "clipped": float(protocol.clipped_mask(scene.truth, scene.reference_time).mean()),
    }  # fmt: skip


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """Per method: means under both scalings, 95 % intervals of PSNR-mu and of its difference to the first checkpoint's.

    The mean difference is over the scenes that have both methods; the first checkpoint has no difference.
    """
    methods: dict[str, Any] = {}
    for name in evaluation.names():
        figures: dict[str, Any] = {}
        for scaling in SCALINGS:
            keys: Mapping[str, float] = next(s[name][scaling] for s in evaluation.scores.values() if name in s)
            figures[scaling] = {key: evaluation.mean(name, key, scaling) for key in keys}
        if evaluation.plan.options.cvvdp:
            figures["jod"] = evaluation.mean(name, "jod")
        figures["seconds_median"] = float(np.nanmedian(evaluation.column(name, "seconds")))
        figures["psnr_mu_interval"] = metrics.bootstrap_interval(evaluation.column(name, "psnr_mu"))
        if name != evaluation.first:
            over = evaluation.over_first(name)
            figures["over_first"] = protocol.mean_scores([{"psnr_mu": value} for value in over])["psnr_mu"]
            figures["over_first_interval"] = metrics.bootstrap_interval(over)
        methods[name] = figures
    return methods
