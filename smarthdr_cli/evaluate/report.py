"""The report of an evaluation: Markdown, JSON, a sheet of crops, sparsification curves."""

import contextlib
import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smarthdr_cli.atomic import atomic_file, check_targets
from smarthdr_cli.errors import OutputError, os_reason
from smarthdr_cli.evaluate import figures, protocol
from smarthdr_cli.evaluate.comparison import UncertaintyMetrics
from smarthdr_cli.evaluate.evaluate import Evaluation, summary
from smarthdr_cli.evaluate.methods import BASELINES, ORACLE
from smarthdr_cli.evaluate.metrics import BOOTSTRAP_RESAMPLES, CVVDP_CONDITIONS
from smarthdr_cli.evaluate.tables import json_value, markdown_table, measurement_conditions
from smarthdr_cli.radiometry import MU
from smarthdr_cli.version import __version__

RESULTS, TABLE, SHEET, PLOT = "results.json", "table.md", "sheet.png", "sparsification.png"
SCALING_TEXT = {
    "published": "Published protocol: radiance where the shortest frame's clip is 1, nothing rescaled",
    "fitted": "Fitted protocol: one scale per scene and method (median of truth / result over static pixels well "
    "exposed in the reference)",
}
METRICS_TEXT = (
    f"results and truths limited to [0, 1], data range 1, means over scenes. PSNR-μ, SSIM-μ: μ-law, μ = {MU:g}. SSIM: "
    "11×11 Gaussian, σ 1.5, inner pixels, mean over channels. PU21-PSNR: banding + glare, radiance 1 at 1000 cd/m², "
    "peak 256."
)
UNCERTAINTY_TEXT = (
    "Of |error| in the μ-law domain, mean over channels, all scenes pooled, where the truth is below the shortest "
    "frame's clip: above it truth and result are limited, and a σ that rightly reports missing data would count as "
    "wrong."
)


@contextlib.contextmanager
def results_folder(folder: Path, *, overwrite: bool) -> Iterator[None]:
    """Create ``folder`` and check that the files of a report can be written; removes it again after an exception.

    Raises OutputError where a file exists (without ``overwrite``) or the folder cannot be written.
    """
    try:
        created = not folder.exists()
        if not created and not folder.is_dir():
            raise OutputError(f"{folder} is a file, not a folder for the results")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {os_reason(error)}") from error
    try:
        check_targets([folder / name for name in (RESULTS, TABLE, SHEET, PLOT)], overwrite)
        yield
    except BaseException:
        if created:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def write_report(evaluation: Evaluation, folder: Path, *, overwrite: bool) -> list[Path]:
    """Write the four files and return their paths. Raises OutputError."""
    data = json.dumps(results(evaluation), indent=1, allow_nan=False) + "\n"
    for name, text in ((RESULTS, data), (TABLE, markdown(evaluation))):
        with atomic_file(folder / name, overwrite=overwrite) as partial:
            partial.write_text(text, encoding="utf-8")
    for name, rows in ((SHEET, evaluation.rows), (PLOT, [sparsification_chart(evaluation)])):
        with atomic_file(folder / name, overwrite=overwrite) as partial:
            figures.save_png(partial, rows)
    return [folder / name for name in (RESULTS, TABLE, SHEET, PLOT)]


def markdown(evaluation: Evaluation) -> str:
    """The whole report: protocol, means, moving and clipped pixels, uncertainty, every scene."""
    means = summary(evaluation)
    parts = [f"# {heading(evaluation)}", measurement_conditions(), preamble(evaluation), means_table(evaluation, means)]
    parts += ["## Pixels that move, pixels clipped in the reference", regions(evaluation)]
    parts += [regions_table(evaluation, means), "## Uncertainty", UNCERTAINTY_TEXT]
    for label, metrics in evaluation.uncertainty.items():
        parts += [f"### {label}", uncertainty_text(metrics)]
    parts += ["## PSNR-μ of each scene", scenes_table(evaluation)]
    return "\n\n".join(parts) + "\n"


def heading(evaluation: Evaluation) -> str:
    """The first checkpoint, the number of scenes, the set and the protocol."""
    count, split = len(evaluation.scores), evaluation.plan.options.split
    scenes = f"{count} {'' if split == 'all' else split + ' '}scene{'' if count == 1 else 's'}"
    name = evaluation.plan.root.resolve().name
    return f"{evaluation.first} on {scenes} of {name}, {evaluation.plan.scaling} protocol"


def preamble(evaluation: Evaluation) -> str:
    """The set's SHA-256, the protocol, and what the intervals are."""
    scaling, options = evaluation.plan.scaling, evaluation.plan.options
    cap = f" PSNRs are capped at {protocol.CAP_DB:.0f} dB a scene." if scaling == "fitted" else ""
    jod = f" JOD: ColorVideoVDP, {CVVDP_CONDITIONS}." if options.cvvdp else ""
    gamma_known = {about["encoding"] for about in evaluation.about.values()} == {"gamma2.2"}
    curve = "CalibrateDebevec behind a camera's curve, gamma 2.2 where that is known"
    curve = "gamma 2.2 as given" if gamma_known else curve
    has_debevec = {"debevec", "mtb-debevec"} & set(options.baselines)
    debevec = f" OpenCV's Debevec merges under {curve}." if has_debevec else ""
    return (
        f"Set sha256 `{evaluation.set_sha256}` (the scenes measured). {SCALING_TEXT[scaling]}; {METRICS_TEXT}{cap}"
        f"{jod} In brackets: 95 % of {BOOTSTRAP_RESAMPLES} bootstrap resamples of the scenes, of the mean and of the "
        f"paired difference in PSNR-μ to {evaluation.first}. s: median seconds, without the alignment, which a scene's "
        f"fusions share.{debevec}"
    )


def means_table(evaluation: Evaluation, means: Mapping[str, Any]) -> str:
    """One row per method, with PSNR-μ under the other scaling too: neither is fair to all methods."""
    scaling, has_jod = evaluation.plan.scaling, evaluation.plan.options.cvvdp
    other = "fitted" if scaling == "published" else "published"
    header = ["method", "PSNR-μ", "95 %", "PSNR-l", "SSIM-μ", "SSIM-l", "PU21-PSNR"]
    header += ["JOD"] * has_jod
    header += [f"PSNR-μ {other}", "over the first", "95 %", "s"]
    rows: list[list[object]] = []
    for name, figure in means.items():
        mean, over = figure[scaling], figure.get("over_first")
        row: list[object] = [title(name), mean["psnr_mu"], interval(figure["psnr_mu_interval"]), mean["psnr_l"]]
        row += [f"{mean['ssim_mu']:.4f}", f"{mean['ssim_l']:.4f}", mean["pu21"]]
        row += [figure["jod"]] if has_jod else []
        row += [figure[other]["psnr_mu"], None if over is None or np.isnan(over) else f"{over:+.2f}"]
        row += [None if over is None else interval(figure["over_first_interval"], "+"), figure["seconds_median"]]
        rows.append(row)
    return markdown_table(header, rows)


def regions(evaluation: Evaluation) -> str:
    """Shares of moving and clipped pixels, and where the moving ones come from."""
    abouts = evaluation.about.values()
    share = {key: float(np.mean([about[key] for about in abouts])) for key in ("moving", "clipped")}
    given = sum(about["moving_from"] == "moving.png" for about in abouts)
    if given == len(abouts):
        source = "Moving pixels as the set's moving.png has them"
    else:
        source = "Moving pixels where an aligned frame contradicts the truth beyond noise"
        source += f" ({given} of {len(abouts)} scenes: moving.png)" if given else ""
    return (
        f"{source}: {share['moving']:.1%} of all; pixels whose truth is at the reference's clip or above in any "
        f"channel: {share['clipped']:.1%}. dB, capped at {protocol.CAP_DB:.0f} a scene; scenes without such pixels do "
        "not count."
    )


def regions_table(evaluation: Evaluation, means: Mapping[str, Any]) -> str:
    """PSNRs over moving and over clipped pixels."""
    keys = ("psnr_mu_moving", "psnr_l_moving", "psnr_mu_clipped", "psnr_l_clipped")
    header = ["method", "PSNR-μ moving", "PSNR-l moving", "PSNR-μ clipped", "PSNR-l clipped"]
    scaling = evaluation.plan.scaling
    rows = [[title(name), *(figure[scaling][key] for key in keys)] for name, figure in means.items()]
    return markdown_table(header, rows)


def scenes_table(evaluation: Evaluation) -> str:
    """PSNR-μ of every method on every scene."""
    names = evaluation.names()
    columns = [evaluation.column(name, "psnr_mu") for name in names]
    rows = [[scene, *values] for scene, *values in zip(evaluation.scores, *columns, strict=True)]
    return markdown_table(["scene", *map(title, names)], rows)


def uncertainty_text(metrics: UncertaintyMetrics) -> str:
    """AUSE in a sentence and the coverage of each decile in a table."""
    curve, deciles = metrics
    rows: list[list[object]] = [["mean σ", *[f"{sigma:.4f}" for sigma in deciles.sigma]]]
    rows += [["share of errors < σ", *map(float, deciles.within_one)]]
    rows += [["share of errors < 2σ", *map(float, deciles.within_two)]]
    table = markdown_table(["decile of σ", *map(str, range(1, deciles.sigma.size + 1))], rows)
    return (
        f"Uncertainty: AUSE {curve.ause:.3f} (a random order or a constant σ: {curve.ause_random:.3f}). "
        f"Coverage per decile of σ; a calibrated σ has 0.68 below σ in each.\n\n{table}"
    )


def title(name: str) -> str:
    """A method's name in a table."""
    return BASELINES.get(name, name)


def interval(bounds: Sequence[float], sign: str = "") -> str | None:
    """[low, high], or None where there is no interval."""
    low, high = bounds
    return None if np.isnan(low) else f"[{low:{sign}.2f}, {high:{sign}.2f}]"


def results(evaluation: Evaluation) -> dict[str, Any]:
    """The content of ``results.json``: set, protocol, all means and intervals, uncertainty, every scene."""
    plan = evaluation.plan
    settings = plan.options.fusion
    return {
        "smarthdr": __version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "set": {"name": plan.root.resolve().name, "split": plan.options.split, "scenes": len(evaluation.scores),
                "sha256": evaluation.set_sha256},
        "protocol": plan.scaling,
        "computation": {"device": plan.device, "precision": settings.precision, "align": settings.align},
        "checkpoints": {checkpoint.label: checkpoint.record for checkpoint in plan.checkpoints},
        "methods": json_value(summary(evaluation)),
        "judge": {label: json_value(uncertainty_record(metrics)) for label, metrics in evaluation.uncertainty.items()},
        "scenes": {name: json_value({**about, "methods": evaluation.scores[name]})
                   for name, about in evaluation.about.items()},
    }  # fmt: skip


def uncertainty_record(metrics: UncertaintyMetrics) -> dict[str, Any]:
    """Sparsification and coverage. ``ause_constant``: of a constant sigma, or a random order."""
    curve, deciles = metrics
    return {
        "ause": curve.ause, "ause_constant": curve.ause_random, "fractions": curve.fractions, "curve": curve.curve,
        "oracle": curve.oracle, "decile_sigma": deciles.sigma, "within_sigma": deciles.within_one,
        "within_2_sigma": deciles.within_two,
    }  # fmt: skip


def sparsification_curves(evaluation: Evaluation) -> list[figures.Curve]:
    """Per checkpoint the curve of its sigma and, dashed, of its own errors; last that of a constant sigma."""
    curves: list[figures.Curve] = []
    for index, (label, (curve, _)) in enumerate(evaluation.uncertainty.items()):
        colour = figures.PALETTE[index % len(figures.PALETTE)]
        curves.append(figures.Curve(f"{label}: AUSE {curve.ause:.3f}", curve.fractions, curve.curve, colour))
        curves.append(figures.Curve(f"{label}: its {ORACLE}", curve.fractions, curve.oracle, colour, dashed=True))
    ends = np.array([0.0, 1.0])
    chance = ", ".join(f"{curve.ause_random:.3f}" for curve, _ in evaluation.uncertainty.values())
    label = f"constant or random: AUSE {chance}"
    return [*curves, figures.Curve(label, ends, np.ones(2), figures.INK, dashed=True)]


def sparsification_chart(evaluation: Evaluation) -> figures.U8:
    """Relative error left against the share of pixels removed."""
    x_label, y_label = "share of pixels removed, most uncertain first", "mean error left / mean error"
    return figures.line_chart("Sparsification", x_label, y_label, sparsification_curves(evaluation))
