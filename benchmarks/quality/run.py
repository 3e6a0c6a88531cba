"""Quality of the fused image: on a frozen set of synthetic bursts, and on real static stacks.

    python -m benchmarks.quality.run --set FOLDER [--panoramas FOLDER]   # makes the set where it does not exist
    python -m benchmarks.quality.run --set FOLDER --section renders      # the set of benchmarks/renderer/make_set.py
    python -m benchmarks.quality.run --real FOLDER                       # a folder of JPEGs with EXIF times per stack

Scores every method of ``benchmarks/lib/methods.py`` under the fitted protocol (``smarthdr_cli/evaluate/protocol.py``).
Writes the sections "quality" (or "renders") and "quality-real" of RESULTS.md, and each scene's scores as JSON beside
it. ``--limit`` and ``--methods`` give a partial run, which is printed and not written. ``--sheets FOLDER`` writes crops
for inspection. Only the method "ours" needs weights.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lib import frozen_set, static_stacks
from benchmarks.lib.frozen_set import KINDS, SCENES, SEED, SIZE
from benchmarks.lib.methods import METHODS, frozen_scene_methods, fuse_files
from benchmarks.lib.results_file import RESULTS, write_json, write_section
from smarthdr_cli.evaluate import comparison, figures, protocol
from smarthdr_cli.evaluate.comparison import MethodResult
from smarthdr_cli.evaluate.methods import align_mtb, debevec, linearize_reference
from smarthdr_cli.evaluate.report import uncertainty_text
from smarthdr_cli.evaluate.tables import markdown_table, measurement_conditions
from smarthdr_cli.response import named_response

MeanScores = Mapping[str, Mapping[str, float]]

WANTED_GAIN_DB = {"gamma16": 7.0, "camera8": 8.0}  # over the reference frame alone, on the first set
WANTED_GAIN_RATIO = 2 / 3  # of the gain on the rendered set to the gain on the first
TITLES = {"quality": "Quality on synthetic bursts", "renders": "Quality on rendered bursts"}
STACKS = ("kimT_4", "mpi_exposures", "drake_desktop02", "matlab_office", "mercury_tree")
COLUMNS = ("psnr_mu", "psnr_l", "psnr_mu_moving", "psnr_l_moving", "psnr_mu_clipped", "psnr_mu_noisy", "pu21")
CROP_PX = 192
ROWS_PER_SHEET = 4
PROTOCOL = (
    "PSNR-μ: μ = 5000, shortest clip = 1, data range 1. One scale per scene and method (median of truth / result over "
    f"static pixels well exposed in the reference), results limited to [0, 1], scenes capped at {protocol.CAP_DB:.0f} "
    "dB, means over scenes. PU21-PSNR: banding + glare, radiance 1 at 1000 cd/m². SSIM-μ: 11×11 Gaussian, σ 1.5."
)
RENDERED_SET = (
    "The second frozen set, from another generator (`benchmarks/renderer/make_set.py`): random scenes of real depth, "
    "rendered free of Monte-Carlo noise, through a camera held in the hand, with things, people, leaves and lamps that "
    "move. The network was trained on nothing of its kind: its bursts are made of flat layers cut from panoramas."
)


def measure_set(root: Path, kind: str, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Markdown of one set, and its scores by scene."""
    pool = comparison.UncertaintyPool()
    rows: list[figures.U8] = []
    shares: list[dict[str, float]] = []
    scores: dict[str, dict[str, dict[str, float]]] = {}
    seconds: dict[str, list[float]] = {}
    for folder in frozen_set.scene_folders(root)[: options.limit]:
        scene = frozen_set.read_frozen_scene(folder)
        context = scene.scoring_context
        methods = frozen_scene_methods(scene, kind, options.weights, options.device)
        results = comparison.run_methods(methods, options.methods)
        scores[scene.name] = {name: frozen_set.score_scene(result.radiance, scene) for name, result in results.items()}
        shares.append(frozen_set.pixel_shares(scene))
        for name, result in results.items():
            seconds.setdefault(name, []).append(result.seconds)
        sigma = results["ours"].sigma if "ours" in results else None
        if sigma is not None:
            pixels = protocol.fit_pixels(scene.truth, **context)
            scaled = protocol.scale_and_limit(results["ours"].radiance, scene.truth, pixels)
            error = comparison.error_map(scaled, np.clip(scene.truth, 0, 1))
            pool.add(error, sigma, frozen_set.known_mask(scene))
        if options.sheets:
            rows.append(comparison.comparison_row(results, scene.truth, scores[scene.name], **context, size=CROP_PX))
        log_scores(f"{kind} {scene.name}", scores[scene.name])
    if options.sheets:
        save_sheets(options.sheets, kind, rows)
    means = {name: protocol.mean_scores([scene[name] for scene in scores.values()]) for name in seconds}
    medians = {name: float(np.median(times)) for name, times in seconds.items()}
    identity, share = frozen_set.set_identity(root), frozen_set.mean_shares(shares)
    text = [
        f"### {len(scores)} bursts of {KINDS[kind]}",
        f"Set sha256 `{identity}`. Share of pixels: clipped in the reference {share['clipped']:.1%}, in every frame "
        f"{share['clipped_all']:.1%}; moving {share['moving']:.1%}; noisy {share['noisy']:.1%} (unclipped, yet more "
        f"than {frozen_set.NOISY_SHARE:.0%} off the truth in the reference frame by noise and quantisation alone).",
        quality_table(METHODS, means, medians, "reference", "oracle"),
    ]
    if {"ours", "reference"} <= means.keys():
        gains = {name: means["ours"]["psnr_mu"] - means[name]["psnr_mu"] for name in means if "reference" in name}
        listed = ", ".join(f"{gain:+.2f} dB ({METHODS[name]})" for name, gain in gains.items())
        wanted = f"; wanted: {WANTED_GAIN_DB[kind]:+.0f} dB" if options.section == "quality" else ""
        text.append(f"Ours in PSNR-μ over the reference alone: {listed}{wanted}.")
    metrics = pool.metrics()
    if metrics is not None:
        text += ["Of the judge, on pixels that not every frame clips:", uncertainty_text(metrics)]
    return "\n\n".join(text), {"sha256": identity, "shares": share, "mean": means, "scenes": scores}


def quality_table(
    names: Mapping[str, str], means: MeanScores, seconds: Mapping[str, float], lowest: str, highest: str
) -> str:
    """One row per method: its gain over ``lowest``, and the share of the gap from there to ``highest`` it closes."""
    header = ["method", "PSNR-μ", "PSNR-l", "PSNR-μ moving", "PSNR-l moving", "PSNR-μ clipped", "PSNR-μ noisy"]
    header += ["PU21-PSNR", "SSIM-μ"]
    header += ["over reference (μ)", "closed (μ)", "closed (l)", "s"]
    rows = []
    for key, mean in means.items():
        psnrs = [mean[column] for column in COLUMNS]
        gain = f"{mean['psnr_mu'] - means[lowest]['psnr_mu']:+.2f}" if lowest in means else None
        closed: list[str | None] = [None, None]
        if lowest in means and highest in means:
            bounds = means[lowest], means[highest]
            gaps = [protocol.gap_closed(mean[c], *(bound[c] for bound in bounds)) for c in ("psnr_mu", "psnr_l")]
            closed = [None if np.isnan(gap) else f"{100 * gap:.0f} %" for gap in gaps]
        rows.append([names[key], *psnrs, f"{mean['ssim_mu']:.4f}", gain, *closed, seconds[key]])
    return markdown_table(header, rows)


def gains_on_both_sets(second: Mapping[str, Any], first: Mapping[str, Any], kinds: Mapping[str, str]) -> str:
    """Markdown: gains of ours over the reference alone on both sets and their ratio, one row per kind.

    ``second``, ``first``: scores by kind as this script writes them to JSON. Leaves out a kind without ours, the
    reference or scores on the first set.
    """
    rows: list[list[object]] = []
    for kind, scores in second.items():
        if not {"ours", "reference"} <= scores["mean"].keys() or kind not in first:
            continue
        gain, first_gain = (
            data["mean"]["ours"]["psnr_mu"] - data["mean"]["reference"]["psnr_mu"] for data in (scores, first[kind])
        )
        moving = scores["mean"]["ours"]["psnr_mu_moving"] - scores["mean"]["reference"]["psnr_mu_moving"]
        gains = [scene["ours"]["psnr_mu"] - scene["reference"]["psnr_mu"] for scene in scores["scenes"].values()]
        below = f"{sum(g < 0 for g in gains)} of {len(gains)}, worst {min(gains):+.2f}"
        ratio = f"{gain / first_gain:.2f}"
        rows.append([kinds[kind], f"{gain:+.2f}", f"{first_gain:+.2f}", ratio, f"{moving:+.2f}", below])
    if not rows:
        return ""
    header = ["gain over the reference alone, PSNR-μ, dB", "here", "first set", "ratio", "moving", "scenes below it"]
    table = markdown_table(header, rows)
    return f"### Against the first set\n\n{table}\n\nWanted: a ratio of {WANTED_GAIN_RATIO:.2f} or more."


def measure_stack(stack: static_stacks.Stack, options: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Scores by truth ("own" and "Debevec" curve) and method, three frames in."""
    frames, times = stack.three_frames, stack.times
    codes, paths = [static_stacks.subsample(f.codes) for f in frames], [f.path for f in frames]
    srgb = named_response("srgb")
    registered = stack.registered([f.codes for f in frames], stack.three)

    def ours(**settings: Any) -> MethodResult:
        result = fuse_files(paths, options.weights, options.device, reference=2, **settings)
        sigma = None if result.sigma is None else static_stacks.subsample(result.sigma)
        return MethodResult(static_stacks.subsample(result.radiance), sigma)

    methods: dict[str, Callable[[], MethodResult]] = {
        "reference": lambda: MethodResult(linearize_reference(codes[1], times[1], srgb)),
        "debevec-gamma": lambda: MethodResult(debevec(codes, times, curve="gamma2.2")),
        "debevec": lambda: MethodResult(debevec(codes, times)),
        "mtb-debevec": lambda: MethodResult(debevec(align_mtb(codes, 1), times)),
        "registered-debevec": lambda: MethodResult(debevec(registered, times)),
        "static": lambda: ours(deghost="off"),
        "ours": lambda: ours(),
    }
    results = comparison.run_methods(methods, options.methods)
    scores, rows = {}, []
    for name, truth in static_stacks.stack_truths(stack).items():
        context: dict[str, Any] = {"reference_time": times[1], "moving": None}
        scores[name] = {key: protocol.score(result.radiance, truth, **context) for key, result in results.items()}
        if options.sheets:
            rows.append(comparison.comparison_row(results, truth, scores[name], **context, size=2 * CROP_PX))
        log_scores(f"{stack.name}, {name} truth", scores[name])
    if options.sheets:
        save_sheets(options.sheets, f"real-{stack.name}", rows)
    return scores


def measure_real(folder: Path, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Markdown of the real stacks, and their scores."""
    scores = {name: measure_stack(static_stacks.read_stack(folder / name), options) for name in options.stacks}
    min_shift_px = static_stacks.RegistrationConfig().min_shift_px
    text = [
        f"Three frames in (the best exposed, and those nearest to {static_stacks.STEP_EV} EV below and above), truth "
        "merged from all frames behind a curve calibrated on all: once by this package, once by OpenCV. Frames that "
        f"lie more than {min_shift_px} px off the reference are registered for the truth (OpenCV's enhanced "
        "correlation, affine): tripods give. PSNR-μ in dB.",
    ]
    for truth in ("own", "Debevec"):
        rows = []
        for key in next(iter(scores.values()))[truth]:
            psnrs = [scores[name][truth][key]["psnr_mu"] for name in scores]
            rows.append([METHODS[key], *psnrs, float(np.mean(psnrs))])
        text.append(f"### Truth behind {'our' if truth == 'own' else 'the Debevec'} curve of all frames")
        text.append(markdown_table(["method", *scores, "mean"], rows))
    titles = {"debevec": "calibrated Debevec", "registered-debevec": "the same on registered frames"}
    baselines = [name for name in titles if name in options.methods and "ours" in options.methods]
    for truth, baseline in itertools.product(("own", "Debevec"), baselines):
        gains = {n: s[truth]["ours"]["psnr_mu"] - s[truth][baseline]["psnr_mu"] for n, s in scores.items()}
        worst = min(gains, key=lambda name: gains[name])
        text.append(
            f"Ours over {titles[baseline]}, {truth} truth: {np.mean(list(gains.values())):+.2f} dB on average, "
            f"{gains[worst]:+.2f} dB at worst ({worst})."
        )
    return "\n\n".join(text), {"stacks": scores}


def make_set(root: Path, kind: str, options: argparse.Namespace) -> None:
    """Make the first set of ``kind`` in ``root``."""
    from smarthdr_cli.data.synth.export import benchmark_config, write_benchmark
    from smarthdr_cli.data.synth.sources import load_bank

    log(f"making {options.scenes} {kind} scenes in {root}")
    bank = load_bank(options.panoramas, held_out=True)
    write_benchmark(root, bank, options.scenes, options.seed, benchmark_config(kind, SIZE))


def log_scores(name: str, scores: MeanScores) -> None:
    log(f"{name}: " + "  ".join(f"{key} {score['psnr_mu']:.2f}" for key, score in scores.items()))


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def save_sheets(folder: Path, name: str, rows: Sequence[figures.U8]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(rows), ROWS_PER_SHEET):
        path = folder / f"{name}-{start // ROWS_PER_SHEET + 1:02d}.png"
        figures.save_png(path, rows[start : start + ROWS_PER_SHEET])


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="quality of the fused image")
    parser.add_argument("--set", type=Path, help="folder of the frozen set; made where it does not exist")
    parser.add_argument("--section", choices=TITLES, default="quality", help="which set --set is")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--panoramas", type=Path, help="folder of HDR sources to make the set of; else procedural ones")
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--real", type=Path, help="folder of real static stacks")
    parser.add_argument("--stacks", nargs="+", default=list(STACKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--limit", type=int, help="only the first scenes")
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    parser.add_argument("--weights", help="weights file or name")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if options.set is None and options.real is None:
        parser.error("give --set, --real or both")
    rendered = options.section == "renders" and options.set is not None
    if rendered and not all((options.set / kind).exists() for kind in options.kinds):
        missing = ", ".join(options.kinds)
        parser.error(f"{options.set} does not have all of {missing}: make it with benchmarks/renderer/make_set.py")
    return options


def main() -> None:
    options = parse()
    complete = options.limit is None and set(options.methods) == set(METHODS)
    sections = []
    if options.set is not None:
        texts, data = [PROTOCOL], {}
        for kind in options.kinds:
            if not (options.set / kind).exists():
                make_set(options.set / kind, kind, options)
            text, data[kind] = measure_set(options.set / kind, kind, options)
            texts.append(text)
        if options.section == "renders":
            first = json.loads(RESULTS.with_name("quality.json").read_text("utf-8"))
            texts = [RENDERED_SET, *texts, gains_on_both_sets(data, first, KINDS)]
        sections.append((options.section, TITLES[options.section], "\n\n".join(texts), data))
    if options.real is not None:
        text, scores = measure_real(options.real, options)
        sections.append(("quality-real", "Quality on real static stacks", f"{PROTOCOL}\n\n{text}", scores))
    for name, title, text, data in sections:
        section = f"## {title}\n\n{measurement_conditions()}\n\n{text}"
        print(section)
        if complete:
            write_section(options.out, name, section)
            write_json(options.out.with_name(f"{name}.json"), data)


if __name__ == "__main__":
    main()
