"""Networks on every fourth scene of the frozen sets: the shipped ones side by side, or one over its training time.

    python -m benchmarks.quality.networks --set FOLDER [--second FOLDER] [WEIGHTS...]   # section "networks"
    python -m benchmarks.quality.networks --set FOLDER --section growth WEIGHTS...      # section "growth"

"networks": quality, AUSE and time of WEIGHTS (names or files; without them all that ship); ``--second`` is the rendered
set of ``benchmarks/renderer/make_set.py``. The time is that of fuse on scenes of 512x384, the first one left out as
warm-up. "growth": checkpoints of one network from early to late, by the updates and hours in their records.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lib import frozen_set
from benchmarks.lib.frozen_set import KINDS
from benchmarks.lib.methods import frozen_scene_methods
from benchmarks.lib.results_file import RESULTS, write_section
from smarthdr_cli.evaluate import comparison, protocol
from smarthdr_cli.evaluate.tables import markdown_table, measurement_conditions
from smarthdr_cli.models.checkpoint import load_checkpoint
from smarthdr_cli.models.weights import read_manifest, weights_dir

SCENE_STEP = 4
HEADER = ["network", "PSNR-μ", "over the reference alone", "worst scene", "moving", "moving, over it", "AUSE", "s"]


def networks_rows(root: Path, kind: str, names: list[str]) -> list[list[Any]]:
    """A row for the reference alone and for each network."""
    scores: dict[str, list[tuple[float, float]]] = {}
    seconds: dict[str, list[float]] = {}
    pools = {name: comparison.UncertaintyPool() for name in names}
    for folder in frozen_set.scene_folders(root)[::SCENE_STEP]:
        scene = frozen_set.read_frozen_scene(folder)
        results = comparison.run_methods(frozen_scene_methods(scene, kind), ["reference"])
        for name in names:
            result = comparison.run_methods(frozen_scene_methods(scene, kind, name), ["ours"])["ours"]
            results[name] = result
            pixels = protocol.fit_pixels(scene.truth, **scene.scoring_context)
            scaled = protocol.scale_and_limit(result.radiance, scene.truth, pixels)
            assert result.sigma is not None
            error = comparison.error_map(scaled, scene.truth.clip(0, 1))
            pools[name].add(error, result.sigma, scene.truth.max(axis=2) < 1)
        for name, result in results.items():
            score = protocol.score(result.radiance, scene.truth, **scene.scoring_context)
            scores.setdefault(name, []).append((score["psnr_mu"], score["psnr_mu_moving"]))
            seconds.setdefault(name, []).append(result.seconds)
        psnrs = {name: round(values[-1][0], 2) for name, values in scores.items()}
        print(folder, psnrs, file=sys.stderr, flush=True)
    reference = np.array(scores["reference"], float)
    mean, moving = np.nanmean(reference, axis=0)
    rows: list[list[Any]] = [["reference frame alone", float(mean), None, None, float(moving), None, None, None]]
    for name in names:
        psnrs_of_network = np.array(scores[name], float)
        mean, moving = np.nanmean(psnrs_of_network, axis=0)
        gain = psnrs_of_network - reference
        over = [f"{value:+.2f}" for value in (*np.nanmean(gain, axis=0), gain[:, 0].min())]
        metrics = pools[name].metrics()
        ause = None if metrics is None else float(metrics[0].ause)
        time = float(np.median(seconds[name][1:]))
        rows.append([f"`{Path(name).stem}`", float(mean), over[0], over[2], float(moving), over[1], ause, time])
    return rows


def networks_section(options: argparse.Namespace) -> str:
    """Markdown of the section "networks"."""
    names = options.weights or [entry.name for entry in read_manifest(weights_dir())]
    text = [
        "## Networks",
        measurement_conditions(),
        f"Every {SCENE_STEP}th scene, in dB; s: median seconds of one fusion of three frames of 512x384. A random "
        "order or a constant σ has an AUSE of about 0.67.",
    ]
    for root, source in ((options.set, "panoramas"), (options.second, "renders")):
        for kind, title in KINDS.items() if root is not None else ():
            text += [f"### {title}, {source}", markdown_table(HEADER, networks_rows(root / kind, kind, names))]
    return "\n\n".join(text)


def mean_psnr(root: Path, kind: str, weights: Path | None) -> tuple[float, float]:
    """Mean PSNR-mu of all and of moving pixels, by fuse or, without weights, by the reference alone."""
    scores = []
    for folder in frozen_set.scene_folders(root)[::SCENE_STEP]:
        scene = frozen_set.read_frozen_scene(folder)
        result = frozen_scene_methods(scene, kind, weights)["reference" if weights is None else "ours"]()
        score = protocol.score(result.radiance, scene.truth, **scene.scoring_context)
        scores.append((score["psnr_mu"], score["psnr_mu_moving"]))
    everywhere, moving = np.nanmean(scores, axis=0)
    return float(everywhere), float(moving)


def growth_section(options: argparse.Namespace) -> str:
    """Markdown of the section "growth"."""
    checkpoints = sorted((load_checkpoint(path) for path in options.weights), key=lambda c: c.record.get("steps", 0))
    rows: list[list[str | float]] = [
        ["reference alone", "", *(psnr for kind in KINDS for psnr in mean_psnr(options.set / kind, kind, None))]
    ]
    for checkpoint in checkpoints:
        record = checkpoint.record
        averaged = " (mean)" if "averaged" in record else ""
        psnrs = [psnr for kind in KINDS for psnr in mean_psnr(options.set / kind, kind, checkpoint.path)]
        rows.append([f"{record.get('steps', 0):,}{averaged}", f"{record.get('hours', 0.0):.1f}", *psnrs])
        print(*rows[-1], file=sys.stderr, flush=True)
    columns = [f"{name}{suffix}" for name in KINDS for suffix in ("", " moving")]
    return "\n\n".join([
        "## Quality against training time",
        measurement_conditions(),
        f"Every {SCENE_STEP}th scene of the frozen set, mean PSNR-μ in dB. Updates and hours of training as the "
        "checkpoint's record has them ([log](../weights/TRAINING.md)); \"mean\": averaged with that of an earlier "
        "line. What more labelled scenes bring is in the section on unlabelled bursts.",
        markdown_table(["updates", "hours", *columns], rows),
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="networks on every fourth scene of the frozen sets")
    parser.add_argument("weights", nargs="*", help="names or files; without them all that ship")
    parser.add_argument("--set", type=Path, required=True, help="folder of the frozen set of benchmarks/quality/run.py")
    parser.add_argument("--second", type=Path, help="folder of the rendered set")
    parser.add_argument("--section", choices=("networks", "growth"), default="networks")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.section == "growth":
        if not options.weights:
            parser.error("--section growth needs WEIGHTS, checkpoints of one network")
        options.weights = [Path(weights) for weights in options.weights]
    section = growth_section(options) if options.section == "growth" else networks_section(options)
    print(section)
    write_section(options.out, options.section, section)


if __name__ == "__main__":
    main()
