"""What training time bought: checkpoints of one network, from early to late, on every fourth scene of the frozen set.

    python benchmarks/growth.py --set FOLDER WEIGHTS...

Each file says itself how many updates and hours it has behind it. Every checkpoint is measured twice: with the motion
levels that it learned on (cells of 4 pixels) and with those down to single pixels that fuse adds. Writes the section
"growth" of RESULTS.md; what more data brings is in the section "ablation", over the number of labelled scenes.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import quality_methods
import recalibrate

from smarthdr_cli.evaluate import frozen, protocol, report
from smarthdr_cli.models.checkpoint import Checkpoint, load_checkpoint

HERE = Path(__file__).parent
STEP = 4
LEVELS = (4, 1)  # finest cells, px


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


def row(found: Checkpoint, finest: int, root: Path) -> list[str | float]:
    """One line of the table."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "weights.safetensors"
        recalibrate.save(path, replace(found, config=found.config | {"finest": finest}), found.calibration)
        figures = [value for kind in quality_methods.KINDS for value in measured(root / kind, kind, path)]
    record = found.record
    return [f"{record.get('steps', 0):,}", f"{record.get('hours', 0.0):.1f}", f"{finest} px", *figures]


def main() -> None:
    parser = argparse.ArgumentParser(description="quality against training time")
    parser.add_argument("weights", nargs="+", type=Path, help="checkpoints of one network")
    parser.add_argument("--set", type=Path, required=True, help="folder of the frozen set, as quality.py makes it")
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args()
    checkpoints = sorted((load_checkpoint(path) for path in options.weights), key=lambda c: c.record.get("steps", 0))
    alone = [value for kind in quality_methods.KINDS for value in measured(options.set / kind, kind, None)]
    rows: list[list[str | float]] = [["0", "0.0", "reference alone", *alone]]
    for found in checkpoints:
        for finest in LEVELS:
            rows.append(row(found, finest, options.set))
            print(*rows[-1], flush=True)
    figures = [f"{name}{part}" for name in quality_methods.KINDS for part in ("", " moving")]
    section = "\n\n".join([
        "## Quality against training time",
        report.circumstances(),
        f"Every {STEP}th scene of the frozen set, mean PSNR-μ in dB. Updates and hours of training as the checkpoint's "
        "record has them ([log](../weights/TRAINING.md)). What more labelled scenes bring is in the section on "
        "unlabelled bursts.",
        report.markdown_table(["updates", "hours", "finest motion", *figures], rows),
    ])  # fmt: skip
    print(section)
    report.write_section(options.out, "growth", section)


if __name__ == "__main__":
    main()
