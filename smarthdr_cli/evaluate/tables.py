"""An evaluation as text for people and as one object for programs, and the plot of its judges."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from smarthdr_cli.evaluate import comparison, cvvdp, plot, protocol, report, sheet
from smarthdr_cli.evaluate.bootstrap import RESAMPLES
from smarthdr_cli.evaluate.evaluate import Evaluation, summary
from smarthdr_cli.evaluate.methods import ORACLE, RIVALS
from smarthdr_cli.radiometry import MU
from smarthdr_cli.version import __version__

SCALING = {
    "published": "Published protocol: radiance where the shortest frame's clip is 1, nothing rescaled",
    "fitted": "Fitted protocol: one scale per scene and method (median of truth / result over static pixels well "
    "exposed in the reference)",
}
VARIANTS = (
    f"results and truths limited to [0, 1], data range 1, means over scenes. PSNR-μ, SSIM-μ: μ-law, μ = {MU:g}. SSIM: "
    "11×11 Gaussian, σ 1.5, inner pixels, mean over channels. PU21-PSNR: banding + glare, radiance 1 at 1000 cd/m², "
    "peak 256."
)

JUDGED = (
    "Of |error| in the μ-law domain, mean over channels, over all scenes together, where the truth is below the "
    "shortest frame's clip: above it truth and result are limited, and a σ that rightly says nobody knows "
    "would count as wrong."
)


def markdown(found: Evaluation) -> str:
    """The whole report: what was measured and how, the means, the regions, the judges, every scene."""
    figures = summary(found)
    parts = [f"# {heading(found)}", report.circumstances(), preamble(found), means_table(found, figures)]
    parts += ["## Pixels that move, pixels clipped in the reference", regions(found), regions_table(found, figures)]
    parts += ["## Uncertainty", JUDGED]
    for label, verdict in found.verdicts.items():
        parts += [f"### {label}", comparison.judge_text(verdict)]
    parts += ["## PSNR-μ of each scene", scenes_table(found)]
    return "\n\n".join(parts) + "\n"


def heading(found: Evaluation) -> str:
    """What was measured on how many scenes, and under which protocol."""
    count, split = len(found.scores), found.plan.options.split
    scenes = f"{count} {'' if split == 'all' else split + ' '}scene{'' if count == 1 else 's'}"
    return f"{found.first} on {scenes} of {found.plan.root.resolve().name}, {found.plan.scaling} protocol"


def preamble(found: Evaluation) -> str:
    """The protocol in words, the set's identity, and what the intervals are."""
    scaling, options = found.plan.scaling, found.plan.options
    capped = f" PSNRs are capped at {protocol.CAP_DB:.0f} dB a scene." if scaling == "fitted" else ""
    jod = f" JOD: ColorVideoVDP, {cvvdp.VARIANT}." if options.cvvdp else ""
    known = {about["encoding"] for about in found.about.values()} == {"gamma2.2"}
    told = "gamma 2.2 as given" if known else "CalibrateDebevec behind a camera's curve, gamma 2.2 where that is known"
    debevec = f" OpenCV's Debevec merges under {told}." if {"debevec", "mtb-debevec"} & set(options.rivals) else ""
    return (
        f"Set sha256 `{found.identity}` (the scenes measured). {SCALING[scaling]}; {VARIANTS}{capped}{jod} In "
        f"brackets: 95 % of {RESAMPLES} bootstrap resamples of the scenes, of the mean and of the paired difference in "
        f"PSNR-μ to {found.first}. s: median seconds, without the alignment, which a scene's fusions share.{debevec}"
    )


def means_table(found: Evaluation, figures: Mapping[str, Any]) -> str:
    """A row a method; PSNR-μ under the other scaling too, since neither alone is fair to all."""
    scaling = found.plan.scaling
    other = "fitted" if scaling == "published" else "published"
    header = ["method", "PSNR-μ", "95 %", "PSNR-l", "SSIM-μ", "SSIM-l", "PU21-PSNR"]
    header += ["JOD"] * found.plan.options.cvvdp
    header += [f"PSNR-μ {other}", "over the first", "95 %", "s"]
    rows: list[list[object]] = []
    for name, one in figures.items():
        mean = one[scaling]
        row: list[object] = [titled(name), mean["psnr_mu"], between(one["psnr_mu_interval"]), mean["psnr_l"]]
        row += [f"{mean['ssim_mu']:.4f}", f"{mean['ssim_l']:.4f}", mean["pu21"]]
        row += [one["jod"]] if found.plan.options.cvvdp else []
        over = one.get("over_first")
        row += [one[other]["psnr_mu"], None if over is None or np.isnan(over) else f"{over:+.2f}"]
        row += [None if over is None else between(one["over_first_interval"], "+"), one["seconds_median"]]
        rows.append(row)
    return report.markdown_table(header, rows)


def regions(found: Evaluation) -> str:
    """How much of the set the regions are, and how they were found."""
    share = {key: float(np.mean([one[key] for one in found.about.values()])) for key in ("moving", "clipped")}
    told = sum(one["moving_from"] == "moving.png" for one in found.about.values())
    count = len(found.about)
    if told == count:
        source = "moving pixels as the set's moving.png has them"
    else:
        source = "moving pixels where an aligned frame contradicts the truth beyond noise"
        source += f" ({told} of {count} scenes: moving.png)" if told else ""
    return (
        f"{source[0].upper()}{source[1:]}: {share['moving']:.1%} of all; pixels whose truth is at the reference's clip "
        f"or above in any channel: {share['clipped']:.1%}. dB, capped at {protocol.CAP_DB:.0f} a scene; scenes without "
        "such pixels do not count."
    )


def regions_table(found: Evaluation, figures: Mapping[str, Any]) -> str:
    """PSNRs over moving and over clipped pixels."""
    keys = ("psnr_mu_moving", "psnr_l_moving", "psnr_mu_clipped", "psnr_l_clipped")
    header = ["method", "PSNR-μ moving", "PSNR-l moving", "PSNR-μ clipped", "PSNR-l clipped"]
    rows = [[titled(name), *(one[found.plan.scaling][key] for key in keys)] for name, one in figures.items()]
    return report.markdown_table(header, rows)


def scenes_table(found: Evaluation) -> str:
    """PSNR-μ of every method on every scene."""
    names = found.names()
    columns = [found.column(name, "psnr_mu") for name in names]
    rows = [[scene, *values] for scene, *values in zip(found.scores, *columns, strict=True)]
    return report.markdown_table(["scene", *map(titled, names)], rows)


def titled(name: str) -> str:
    """A method's name in a table."""
    return RIVALS.get(name, name)


def between(bounds: Sequence[float], sign: str = "") -> str | None:
    """[low, high], or None where there is no interval."""
    low, high = bounds
    return None if np.isnan(low) else f"[{low:{sign}.2f}, {high:{sign}.2f}]"


def results(found: Evaluation) -> dict[str, Any]:
    """Everything as JSON has it: what was measured, how, all means and intervals, the judges, every scene."""
    options = found.plan.options
    how = {"device": found.plan.device, "precision": options.how.precision, "align": options.how.align}
    return {
        "smarthdr": __version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "set": {"name": found.plan.root.resolve().name, "split": options.split, "scenes": len(found.scores),
                "sha256": found.identity},
        "protocol": found.plan.scaling,
        "computation": how,
        "checkpoints": {entrant.label: entrant.record for entrant in found.plan.entrants},
        "methods": report.plain(summary(found)),
        "judge": {label: report.plain(judged(found, label)) for label in found.verdicts},
        "scenes": {name: report.plain({**about, "methods": found.scores[name]}) for name, about in found.about.items()},
    }  # fmt: skip


def judged(found: Evaluation, label: str) -> dict[str, Any]:
    """A checkpoint's sparsification and coverage. ``ause_constant``: of a constant sigma, or a random order."""
    curve, deciles = found.verdicts[label]
    return {
        "ause": curve.ause, "ause_constant": curve.ause_random, "fractions": curve.fractions, "curve": curve.curve,
        "oracle": curve.oracle, "decile_sigma": deciles.sigma, "within_sigma": deciles.within_one,
        "within_2_sigma": deciles.within_two,
    }  # fmt: skip


def sparsification_plot(found: Evaluation) -> sheet.U8:
    """Error left against the share removed: each sigma, the order of its own errors (dashed), a constant sigma."""
    curves: list[plot.Curve] = []
    for place, (label, (curve, _)) in enumerate(found.verdicts.items()):
        colour = plot.PALETTE[place % len(plot.PALETTE)]
        curves.append(plot.Curve(f"{label}: AUSE {curve.ause:.3f}", curve.fractions, curve.curve, colour))
        curves.append(plot.Curve(f"{label}: its {ORACLE}", curve.fractions, curve.oracle, colour, dashed=True))
    flat = np.array([0.0, 1.0])
    chance = ", ".join(f"{curve.ause_random:.3f}" for curve, _ in found.verdicts.values())
    curves.append(plot.Curve(f"constant or random: AUSE {chance}", flat, np.ones(2), plot.INK, dashed=True))
    return plot.lines(
        "Sparsification", "share of pixels removed, most uncertain first", "mean error left / mean error", curves
    )
