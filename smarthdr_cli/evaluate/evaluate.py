"""A whole evaluation: every method on every scene of a set, scored under both scalings, judged and compared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from smarthdr_cli.data.datasets import SceneFiles
from smarthdr_cli.errors import UsageError
from smarthdr_cli.evaluate import bootstrap, comparison, cvvdp, frozen, protocol, sheet, uncertainty_metrics
from smarthdr_cli.evaluate.methods import RIVALS, Computation, Contestant, Networks, contestants, methods
from smarthdr_cli.evaluate.scene import Case, files_of, read_case, select

SHEET_ROWS = 8  # scenes on the sheet, spread over the set
CROP = 192  # pixels, side of a crop on it
SCALINGS: tuple[protocol.Scaling, ...] = ("published", "fitted")

Verdict = tuple[uncertainty_metrics.Sparsification, uncertainty_metrics.Coverage]
Scores = dict[
    str, Any
]  # "published" and "fitted" as protocol.score gives them, "seconds", "jod" where it was asked for


@dataclass(frozen=True)
class EvaluateOptions:
    """What is measured on what. ``protocol``: auto is published where every scene's curve is known."""

    split: Literal["train", "test", "all"] = "test"
    scenes: int | None = None
    rivals: tuple[str, ...] = tuple(RIVALS)
    protocol: Literal["auto", "published", "fitted"] = "auto"
    cvvdp: bool = False
    how: Computation = field(default_factory=Computation)


@dataclass(frozen=True)
class Plan:
    """All that can be wrong has been looked at: weights, scenes and truths are there."""

    root: Path
    entrants: tuple[Contestant, ...]
    scenes: tuple[SceneFiles, ...]
    options: EvaluateOptions
    scaling: protocol.Scaling
    device: str


@dataclass
class Evaluation:
    """Figures by scene and method, and what they add up to.

    ``scores[scene][method]``: ``Scores``. ``about[scene]``: size, exposures, shares of moving and clipped pixels.
    ``verdicts``: sparsification and coverage per checkpoint, pooled over scenes, where the truth is below the shortest
    frame's clip: above it both are limited, and no error is left to judge. ``rows``: of the sheet.
    """

    plan: Plan
    identity: str
    scores: dict[str, dict[str, Scores]] = field(default_factory=dict)
    about: dict[str, dict[str, Any]] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    rows: list[sheet.U8] = field(default_factory=list)

    @property
    def first(self) -> str:
        """The method others are compared with: the first checkpoint."""
        return self.plan.entrants[0].label

    def names(self) -> list[str]:
        """The methods in order, with those that only some scenes have (the oracle)."""
        return list(dict.fromkeys(name for one in self.scores.values() for name in one))

    def column(self, method: str, key: str, scaling: protocol.Scaling | None = None) -> list[float]:
        """A figure of one method scene by scene, NaN where it has none; ``scaling``: the plan's unless given."""
        parts = [one.get(method) for one in self.scores.values()]
        if key in ("seconds", "jod"):
            return [float("nan") if part is None else part[key] for part in parts]
        return [float("nan") if part is None else part[scaling or self.plan.scaling][key] for part in parts]

    def mean(self, method: str, key: str, scaling: protocol.Scaling | None = None) -> float:
        """The mean of ``column`` over the scenes that have it."""
        return protocol.average([{key: value} for value in self.column(method, key, scaling)])[key]

    def over_first(self, method: str, key: str = "psnr_mu") -> list[float]:
        """Scene by scene, the figure less the first checkpoint's."""
        return [a - b for a, b in zip(self.column(method, key), self.column(self.first, key), strict=True)]


def plan(specs: Sequence[str], root: Path, options: EvaluateOptions) -> Plan:
    """Find weights, scenes and device before anything is computed.

    Raises ModelError for weights, InputError for scenes and truths, UsageError for a device, precision or package.
    """
    from smarthdr_cli.fusion.device import resolve_device, resolve_precision

    device = resolve_device(options.how.device)
    resolve_precision(options.how.precision, device)
    unknown = [name for name in options.rivals if name not in RIVALS]
    if unknown:
        raise UsageError(f"unknown rival {unknown[0]!r}; use {', '.join(RIVALS)} or none")
    if options.cvvdp:
        cvvdp.check_installed()
    entrants = tuple(contestants(specs))
    scenes = tuple(select(root, options.split, options.scenes))
    known = all(scene.encoding == "gamma2.2" for scene in scenes)
    scaling = options.protocol if options.protocol != "auto" else "published" if known else "fitted"
    return Plan(root, entrants, scenes, options, scaling, str(device))


def evaluate(plan: Plan, on_progress: Callable[[float], None] = lambda _: None) -> Evaluation:
    """Run everything. ``on_progress`` is told the share that is done. Raises what reading and ``fuse`` raise."""
    found = Evaluation(plan, frozen.identity_of(plan.root, files_of(plan.scenes)))
    quality = cvvdp.load(plan.device) if plan.options.cvvdp else None
    networks = Networks()
    pools = {entrant.label: comparison.Pool() for entrant in plan.entrants}
    drawn = set(np.linspace(0, len(plan.scenes) - 1, min(SHEET_ROWS, len(plan.scenes))).round().astype(int).tolist())
    for number, files in enumerate(plan.scenes):
        case = read_case(files, plan.options.how.align)
        todo = methods(case, plan.entrants, plan.options.rivals, plan.options.how, networks)
        results: dict[str, comparison.Result] = {}
        for name in todo:
            on_progress((number + len(results) / len(todo)) / len(plan.scenes))
            results |= comparison.run(todo, [name])
        found.scores[files.name] = {name: scored(case, one, plan.scaling, quality) for name, one in results.items()}
        found.about[files.name] = described(case)
        for label, pool in pools.items():
            sigma = results[label].sigma
            assert sigma is not None
            shown = protocol.shown(results[label].radiance, case.truth, **view(case), scaling=plan.scaling)
            pool.add(
                comparison.error_map(shown, protocol.limited(case.truth)), sigma, ~protocol.clipped(case.truth, 1.0)
            )
        if number in drawn:
            plain = {name: one[plan.scaling] for name, one in found.scores[files.name].items()}
            found.rows.append(
                comparison.pictures(results, case.truth, plain, **view(case), size=CROP, scaling=plan.scaling)
            )
        on_progress((number + 1) / len(plan.scenes))
    verdicts = {label: pool.verdict() for label, pool in pools.items()}
    found.verdicts = {label: verdict for label, verdict in verdicts.items() if verdict is not None}
    return found


def view(case: Case) -> dict[str, Any]:
    """What the protocol asks of a scene."""
    return {"reference_time": case.reference_time, "moving": case.moving}


def scored(case: Case, result: comparison.Result, scaling: protocol.Scaling, quality: cvvdp.Quality | None) -> Scores:
    """One method's figures on one scene; NaNs in the fitted scaling for a picture that no scale can be fitted to."""
    light, truth = result.radiance, case.truth
    scores: Scores = {"seconds": result.seconds}
    scores["published"] = protocol.score(light, truth, **view(case), scaling="published")
    if protocol.fits(light, truth, protocol.fit_pixels(truth, **view(case))):
        scores["fitted"] = protocol.score(light, truth, **view(case), scaling="fitted")
    else:
        scores["fitted"] = dict.fromkeys(scores["published"], float("nan"))
    if quality is not None:
        shown = protocol.shown(light, truth, **view(case), scaling=scaling)
        scores["jod"] = quality(shown, protocol.limited(truth))
    return scores


def described(case: Case) -> dict[str, Any]:
    """What a scene is made of, for the record."""
    return {
        "split": case.files.split, "encoding": case.files.encoding, "size": list(case.burst.size[::-1]),
        "evs": [round(float(ev), 4) for ev in case.burst.evs], "moving": float(case.moving.mean()),
        "moving_from": "moving.png" if case.told else "the burst",
        "clipped": float(protocol.clipped(case.truth, case.reference_time).mean()),
    }  # fmt: skip


def summary(found: Evaluation) -> dict[str, Any]:
    """Per method: means under both scalings, 95 % intervals of PSNR-mu and of its difference to the first checkpoint's.

    Of differences to itself there are none; the mean difference is over the scenes that both have.
    """
    out: dict[str, Any] = {}
    for name in found.names():
        one: dict[str, Any] = {}
        for scaling in SCALINGS:
            keys: Mapping[str, float] = next(s[name][scaling] for s in found.scores.values() if name in s)
            one[scaling] = {key: found.mean(name, key, scaling) for key in keys}
        if found.plan.options.cvvdp:
            one["jod"] = found.mean(name, "jod")
        one["seconds_median"] = float(np.nanmedian(found.column(name, "seconds")))
        one["psnr_mu_interval"] = bootstrap.interval(found.column(name, "psnr_mu"))
        if name != found.first:
            over = found.over_first(name)
            one["over_first"] = protocol.average([{"psnr_mu": value} for value in over])["psnr_mu"]
            one["over_first_interval"] = bootstrap.interval(over)
        out[name] = one
    return out
