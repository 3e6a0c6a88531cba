"""Where the time of a fusion goes, over megapixels and over frames.

    python -m benchmarks.performance.curves [--megapixels 6 12 24 45 100] [--frames 2 3 5 7 9]

JPEGs as ``performance/fuse.py`` synthesises them, handheld, each burst in a process of its own: three frames of growing
size, then more frames of the first size, 2 EV apart up to three and 1 EV beyond. Stages are added up: start (imports),
read, align, response, fit (noise, exposures, motion), pass (the merge by physics), network (windows at odds), write.
Writes the section "curves" of RESULTS.md and a chart beside it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.lib.results_file import RESULTS, write_section
from benchmarks.performance.fuse import measure, synthesise, warm_up
from smarthdr_cli.evaluate.tables import markdown_table, measurement_conditions

STAGES = ("start", "read", "align", "response", "fit", "pass", "network", "write")
STAGE_OF = {"load": "start", "gains": "response", "convert": "write"}  # of pipeline.py's
PHASES = {0.3: "fit", 0.6: "pass", 1.0: "network"}  # shares of the stage "fuse", see fusion/network_fusion.py
CHART = "time-by-stage.png"


def fuse_and_time(files: list[str], out: Path) -> dict[str, float]:
    """Seconds by stage of one fusion, in this process."""
    import time

    began = time.perf_counter()
    from smarthdr_cli import fuse, write_result

    seconds = dict.fromkeys(STAGES, 0.0)
    seconds["start"] = time.perf_counter() - began
    last, reached = time.perf_counter(), {"fuse": 0.0}

    def progress(stage: str, share: float) -> None:
        nonlocal last
        now = time.perf_counter()
        name = stage
        if stage == "fuse":
            name = next(phase for limit, phase in PHASES.items() if reached["fuse"] < limit or limit == 1.0)
            reached["fuse"] = share
        seconds[STAGE_OF.get(name, name)] += now - last
        last = now

    result = fuse(files, progress=progress)
    last = time.perf_counter()
    write_result(result, out)
    seconds["write"] += time.perf_counter() - last
    return seconds


def exposure_times(frames: int) -> list[str]:
    """Around 1/60 s, 2 EV apart up to three frames and 1 EV beyond."""
    step = 2 if frames <= 3 else 1
    return [f"{2 ** (step * n)}/{60 * 2 ** (step * ((frames - 1) // 2))}" for n in range(frames)]


def measure_burst(megapixels: float, frames: int) -> tuple[dict[str, float], float, float]:
    """Seconds by stage, seconds of the whole process and its peak in GB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        module = [sys.executable, "-m", "benchmarks.performance.curves", "--folder", name]
        subprocess.run([*module, "--megapixels", str(megapixels), "--frames", str(frames)], check=True)
        total, peak = measure([*module, "--time"])
        return json.loads((folder / "seconds.json").read_text()), total, peak


def write_chart(path: Path, rows: list[tuple[float, dict[str, float]]]) -> None:
    """Seconds over megapixels, the stages added up."""
    import cv2
    import numpy as np

    from smarthdr_cli.evaluate.figures import PALETTE, Curve, line_chart

    x = np.array([megapixels for megapixels, _ in rows], float)
    curves, below = [], np.zeros(len(x))
    for number, stage in enumerate(STAGES):
        below = below + np.array([seconds[stage] for _, seconds in rows])
        colour, dashed = PALETTE[number % len(PALETTE)], number >= len(PALETTE)
        curves.append(Curve(f"+ {stage}" if number else stage, x, below, colour, dashed))
    image = line_chart("Three handheld JPEGs: stages added up", "megapixels", "seconds", curves[::-1])
    cv2.imwrite(str(path), image[..., ::-1])


def main() -> None:
    parser = argparse.ArgumentParser(description="where the time of a fusion goes")
    parser.add_argument("--megapixels", type=float, nargs="+", default=[6, 12, 24, 45, 100])
    parser.add_argument("--frames", type=int, nargs="+", default=[2, 3, 5, 7, 9])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--time", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.time:
        files = sorted(str(path) for path in options.folder.glob("*.jpg"))
        seconds = fuse_and_time(files, options.folder / "out.exr")
        (options.folder / "seconds.json").write_text(json.dumps(seconds))
        return
    if options.folder:
        synthesise(options.folder, options.megapixels[0], "handheld", exposure_times(options.frames[0]))
        return
    warm_up()
    table: list[list[object]] = []
    by_size: list[tuple[float, dict[str, float]]] = []
    for megapixels, frames in [(mp, 3) for mp in options.megapixels] + [
        (options.megapixels[0], n) for n in options.frames
    ]:
        seconds, total, peak = measure_burst(megapixels, frames)
        if len(by_size) < len(options.megapixels):
            by_size.append((megapixels, seconds))
        table.append(
            [
                f"{frames} of {megapixels:g} MP",
                *(seconds[stage] for stage in STAGES),
                total,
                total / (frames * megapixels),
                peak,
            ]
        )
        print(table[-1], file=sys.stderr, flush=True)
    write_chart(options.out.parent / CHART, by_size)
    section = "\n\n".join([
        "## Where the time goes",
        measurement_conditions(),
        "Handheld JPEGs to an EXR, one run each, seconds by stage and of the whole process.",
        markdown_table(["frames", *STAGES, "in all", "s per frame and MP", "peak GB"], table),
        f"![seconds over megapixels, the stages added up]({CHART})",
    ])  # fmt: skip
    print(section)
    write_section(options.out, "curves", section)


if __name__ == "__main__":
    main()
