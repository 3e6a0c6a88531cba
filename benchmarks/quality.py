"""How good the fused picture is: on a frozen set of synthetic bursts, and on real static stacks.

    python benchmarks/quality.py --set FOLDER [--panoramas FOLDER]   # makes the set when it is not there yet
    python benchmarks/quality.py --set FOLDER --section renders      # the second set, made by benchmarks/renders.py
    python benchmarks/quality.py --real FOLDER                       # one folder of JPEGs with EXIF times per stack

Writes the sections "quality" (or "renders") and "quality-real" of RESULTS.md, and each scene's figures as JSON there.
``--limit`` and ``--methods`` give a quick look, which is printed and not written. ``--sheets FOLDER`` writes crops to
look at. Only the methods "ours" needs weights.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import quality_second
from quality_methods import KINDS, METHODS, SCENES, SEED, SIZE, ours, scene_methods

from smarthdr_cli.evaluate import baselines, comparison, frozen, protocol, register, report, sheet, stacks
from smarthdr_cli.evaluate.comparison import Result
from smarthdr_cli.response import named_response

HERE = Path(__file__).parent
WANTED = {"gamma16": 7.0, "camera8": 8.0}  # dB over the reference frame alone, on the first set
TITLES = {"quality": "Quality on synthetic bursts", "renders": "Quality on rendered bursts"}
STACKS = ("kimT_4", "mpi_exposures", "drake_desktop02", "matlab_office", "mercury_tree")
CROP = 192
PROTOCOL = (
    "PSNR-μ: μ = 5000, shortest clip = 1, data range 1. One scale per scene and method (median of truth / result over "
    f"static pixels well exposed in the reference), results limited to [0, 1], scenes capped at {protocol.CAP_DB:.0f} "
    "dB, means over scenes. PU21-PSNR: banding + glare, radiance 1 at 1000 cd/m². SSIM-μ: 11×11 Gaussian, σ 1.5."
)


def measure_set(root: Path, kind: str, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The markdown of one set, and its figures scene by scene."""
    pool = comparison.Pool()
    rows: list[sheet.U8] = []
    shares: list[dict[str, float]] = []
    scores: dict[str, dict[str, dict[str, float]]] = {}
    seconds: dict[str, list[float]] = {}
    for folder in frozen.scene_folders(root)[: options.limit]:
        scene = frozen.read_scene(folder)
        view: dict[str, Any] = {"reference_time": scene.times[scene.reference], "moving": scene.moving}
        results = comparison.run(scene_methods(scene, kind, options), options.methods)
        one = {name: protocol.score(r.radiance, scene.truth, **view) for name, r in results.items()}
        scores[scene.name] = one
        shares.append(frozen.shares(scene))
        for name, result in results.items():
            seconds.setdefault(name, []).append(result.seconds)
        sigma = results["ours"].sigma if "ours" in results else None
        if sigma is not None:
            pixels = protocol.fit_pixels(scene.truth, view["reference_time"], scene.moving)
            shown = protocol.fitted(results["ours"].radiance, scene.truth, pixels)
            pool.add(comparison.error_map(shown, np.clip(scene.truth, 0, 1)), sigma, frozen.told(scene))
        if options.sheets:
            rows.append(comparison.pictures(results, scene.truth, one, **view, size=CROP))
        say(f"{kind} {scene.name}", one)
    if options.sheets:
        save_sheets(options.sheets, kind, rows)
    means = {name: protocol.average([one[name] for one in scores.values()]) for name in seconds}
    identity, share = frozen.identity(root), frozen.mean_shares(shares)
    text = [
        f"### {len(scores)} bursts of {KINDS[kind]}",
        f"Set sha256 `{identity}`. Share of pixels: clipped in the reference {share['clipped']:.1%}, in every frame "
        f"{share['clipped_all']:.1%}; moving {share['moving']:.1%}; noisy {share['noisy']:.1%} (unclipped, yet more "
        f"than {frozen.NOISY:.0%} off the truth in the reference frame by noise and quantisation alone).",
        comparison.table(METHODS, means, {n: float(np.median(s)) for n, s in seconds.items()}, "reference", "oracle"),
    ]
    if {"ours", "reference"} <= means.keys():
        gains = {name: means["ours"]["psnr_mu"] - means[name]["psnr_mu"] for name in means if "reference" in name}
        each = ", ".join(f"{gain:+.2f} dB ({METHODS[name]})" for name, gain in gains.items())
        wanted = f"; wanted: {WANTED[kind]:+.0f} dB" if options.section == "quality" else ""
        text.append(f"Ours in PSNR-μ over the reference alone: {each}{wanted}.")
    verdict = pool.verdict()
    if verdict is not None:
        text += ["Of the judge, on pixels that not every frame clips:", comparison.judge_text(verdict)]
    return "\n\n".join(text), {"sha256": identity, "shares": share, "mean": means, "scenes": scores}


def measure_stack(stack: stacks.Stack, options: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Scores by truth ("own" and "Debevec" curve) and method, three frames in."""
    codes, times, paths = [stacks.thin(f.codes) for f in stack.chosen], stack.times, [f.path for f in stack.chosen]
    alone = named_response("srgb")
    registered = stack.registered([f.codes for f in stack.chosen], stack.three)

    def thinned(**settings: Any) -> Result:
        result = ours(paths, options, reference=2, **settings)
        return Result(stacks.thin(result.radiance), None if result.sigma is None else stacks.thin(result.sigma))

    methods: dict[str, Callable[[], Result]] = {
        "reference": lambda: Result(baselines.reference_alone(codes[1], times[1], alone)),
        "debevec-gamma": lambda: Result(baselines.debevec(codes, times, curve="gamma2.2")),
        "debevec": lambda: Result(baselines.debevec(codes, times)),
        "mtb-debevec": lambda: Result(baselines.debevec(baselines.align_mtb(codes, 1), times)),
        "registered-debevec": lambda: Result(baselines.debevec(registered, times)),
        "static": lambda: thinned(deghost="off"),
        "ours": lambda: thinned(),
    }
    results = comparison.run(methods, options.methods)
    scores, rows = {}, []
    for name, truth in stacks.truths(stack).items():
        view: dict[str, Any] = {"reference_time": times[1], "moving": None}
        scores[name] = {key: protocol.score(r.radiance, truth, **view) for key, r in results.items()}
        if options.sheets:
            rows.append(comparison.pictures(results, truth, scores[name], **view, size=2 * CROP))
        say(f"{stack.name}, {name} truth", scores[name])
    if options.sheets:
        save_sheets(options.sheets, f"real-{stack.name}", rows)
    return scores


def measure_real(folder: Path, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The markdown of the real stacks, and their figures."""
    scores = {name: measure_stack(stacks.read_stack(folder / name), options) for name in options.stacks}
    text = [
        f"Three frames in (the best exposed, and those nearest to {stacks.STEP_EV} EV below and above), truth merged "
        "from all frames behind a curve calibrated on all: once by this package, once by OpenCV. Frames that lie more "
        f"than {register.SAME} px off the reference are registered for the truth (OpenCV's enhanced correlation, "
        "affine): tripods give. PSNR-μ in dB.",
    ]
    for truth in ("own", "Debevec"):
        rows = []
        for key in next(iter(scores.values()))[truth]:
            figures = [scores[name][truth][key]["psnr_mu"] for name in scores]
            rows.append([METHODS[key], *figures, float(np.mean(figures))])
        text.append(f"### Truth behind {'our' if truth == 'own' else 'the Debevec'} curve of all frames")
        text.append(report.markdown_table(["method", *scores, "mean"], rows))
    words = {"debevec": "calibrated Debevec", "registered-debevec": "the same on registered frames"}
    rivals = [rival for rival in words if rival in options.methods]
    for truth, rival in itertools.product(("own", "Debevec"), rivals if "ours" in options.methods else []):
        gaps = {n: s[truth]["ours"]["psnr_mu"] - s[truth][rival]["psnr_mu"] for n, s in scores.items()}
        worst = min(gaps, key=lambda name: gaps[name])
        text.append(
            f"Ours over {words[rival]}, {truth} truth: {np.mean(list(gaps.values())):+.2f} dB on average, "
            f"{gaps[worst]:+.2f} dB at worst ({worst})."
        )
    return "\n\n".join(text), {"stacks": scores}


def make_set(root: Path, kind: str, options: argparse.Namespace) -> None:
    from smarthdr_cli.data.synth.export import benchmark_config, write_benchmark
    from smarthdr_cli.data.synth.sources import load_bank

    say_line(f"making {options.scenes} {kind} scenes in {root}")
    bank = load_bank(options.panoramas, held_out=True)
    write_benchmark(root, bank, options.scenes, options.seed, benchmark_config(kind, SIZE))


def say(name: str, scores: Mapping[str, Mapping[str, float]]) -> None:
    say_line(f"{name}: " + "  ".join(f"{key} {one['psnr_mu']:.2f}" for key, one in scores.items()))


def say_line(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def save_sheets(folder: Path, name: str, rows: Sequence[sheet.U8]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(rows), 4):
        sheet.save(folder / f"{name}-{start // 4 + 1:02d}.png", rows[start : start + 4])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="quality of the fused picture")
    parser.add_argument("--set", type=Path, help="folder of the frozen set; made when absent")
    parser.add_argument("--section", choices=TITLES, default="quality", help="which set --set is")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--panoramas", type=Path, help="folder of HDR sources, to make the set; procedural without")
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--real", type=Path, help="folder of real static stacks")
    parser.add_argument("--stacks", nargs="+", default=list(STACKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--limit", type=int, help="only the first scenes")
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    parser.add_argument("--weights", help="weights file or name")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args()
    if options.set is None and options.real is None:
        parser.error("give --set, --real or both")
    rendered = options.section == "renders" and options.set is not None
    if rendered and not all((options.set / kind).exists() for kind in options.kinds):
        parser.error(f"{options.set} has not all of {', '.join(options.kinds)}: benchmarks/renders.py makes this set")
    return options


def main() -> None:
    options = parse()
    whole = options.limit is None and set(options.methods) == set(METHODS)
    sections = []
    if options.set is not None:
        texts, data = [PROTOCOL], {}
        for kind in options.kinds:
            if not (options.set / kind).exists():
                make_set(options.set / kind, kind, options)
            text, data[kind] = measure_set(options.set / kind, kind, options)
            texts.append(text)
        if options.section == "renders":
            texts = quality_second.framed(texts, data, KINDS)
        sections.append((options.section, TITLES[options.section], "\n\n".join(texts), data))
    if options.real is not None:
        text, figures = measure_real(options.real, options)
        sections.append(("quality-real", "Quality on real static stacks", f"{PROTOCOL}\n\n{text}", figures))
    for name, title, text, data in sections:
        section = f"## {title}\n\n{report.circumstances()}\n\n{text}"
        print(section)
        if whole:
            report.write_section(options.out, name, section)
            report.write_json(options.out.with_name(f"{name}.json"), data)


if __name__ == "__main__":
    main()
