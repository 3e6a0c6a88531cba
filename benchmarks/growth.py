"""What training time bought: checkpoints of one network, from early to late, on every fourth scene of the frozen set.

    python benchmarks/growth.py --set FOLDER WEIGHTS...

Each file says itself how many updates and hours it has behind it, and all are fused by the code as it is. Writes the
section "growth" of RESULTS.md; what more data brings is in the section "ablation", over the number of labelled scenes.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import quality_methods

from smarthdr_cli.evaluate import frozen, protocol, report
from smarthdr_cli.models.checkpoint import Checkpoint, load_checkpoint

HERE = Path(__file__).parent
STEP = 4


def measured(root: Path, kind: str, weights: Path | None) -> tuple[float, float]:
    """Mean PSNR-mu of fuse, or without weights of the reference alone: all pixels, and the moving ones."""
    found = []
    for folder in frozen.scene_folders(root)[::STEP]:
        scene = frozen.read_scene(folder)
        methods = quality_methods.scene_methods(scene, kind, argparse.Namespace(weights=weights, device="cpu"))
        result = methods["reference" if weights is None else "ours"]()
        view: dict[str, Any] = {"reference_time": scene.times[scene.reference], "moving": scene.moving}
        score = protocol.score(result.radiance, scene.truth, **view)
        found.append((score["psnr_mu"], score["psnr_mu_moving"]))
    everywhere, moving = np.nanmean(found, axis=0)
    return float(everywhere), float(moving)


def row(found: Checkpoint, root: Path) -> list[str | float]:
    """One line of the table."""
    figures = [value for kind in quality_methods.KINDS for value in measured(root / kind, kind, found.path)]
    record = found.record
    mean = " (mean)" if "averaged" in record else ""
    return [f"{record.get('steps', 0):,}{mean}", f"{record.get('hours', 0.0):.1f}", *figures]


def main() -> None:
    parser = argparse.ArgumentParser(description="quality against training time")
    parser.add_argument("weights", nargs="+", type=Path, help="checkpoints of one network")
    parser.add_argument("--set", type=Path, required=True, help="folder of the frozen set, as quality.py makes it")
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args()
    checkpoints = sorted((load_checkpoint(path) for path in options.weights), key=lambda c: c.record.get("steps", 0))
    alone = [value for kind in quality_methods.KINDS for value in measured(options.set / kind, kind, None)]
    rows: list[list[str | float]] = [["reference alone", "", *alone]]
    for found in checkpoints:
        rows.append(row(found, options.set))
        print(*rows[-1], flush=True)
    figures = [f"{name}{part}" for name in quality_methods.KINDS for part in ("", " moving")]
    section = "\n\n".join([
        "## Quality against training time",
        report.circumstances(),
        f"Every {STEP}th scene of the frozen set, mean PSNR-μ in dB. Updates and hours of training as the checkpoint's "
        "record has them ([log](../weights/TRAINING.md)); \"mean\": averaged with that of an earlier line. What "
        "more labelled scenes bring is in the section on unlabelled bursts.",
        report.markdown_table(["updates", "hours", *figures], rows),
    ])  # fmt: skip
    print(section)
    report.write_section(options.out, "growth", section)


if __name__ == "__main__":
    main()
