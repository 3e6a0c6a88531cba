"""Real static stacks: how far a curve estimated from three frames carries a plain merge.

    python benchmarks/response.py FOLDER [--stacks NAME ...] [--out FILE]

FOLDER holds one folder of JPEGs with EXIF times per stack. ``smarthdr_cli/evaluate/stacks.py`` says what the truth of a
stack is, and which three frames of it every method gets: ours (estimated curve, exposure-weighted merge) and the
rivals, all on frames registered as the truth's are, so that only curves and weights differ.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.evaluate import baselines, protocol, report, stacks
from smarthdr_cli.radiometry import Response, linearize
from smarthdr_cli.response import estimate_response, named_response, sample_blocks

STACKS = ("kimT_4", "mpi_exposures", "drake_desktop02", "matlab_office", "mercury_tree", "becky_desks_windows")
FEW = 70  # samples, OpenCV's own choice
ABOUT = (
    "Real static stacks, three frames in; truth merged from all frames of the stack behind a curve calibrated on all, "
    "every frame registered. The prior widths of the estimator were chosen on these stacks: read the last dB with that "
    "in mind."
)
DARKEST = 1e-5  # MergeDebevec works in logarithms

Codes = NDArray[Any]
Image = NDArray[np.float32]


def merge(codes: Sequence[Codes], times: Sequence[float], curve: Response) -> Image:
    return baselines.static_merge([linearize(image, 255.0, curve) for image in codes], times)


def debevec_merge(codes: Sequence[Codes], times: Sequence[float], curve: Response) -> Image:
    table = np.ascontiguousarray(np.maximum(curve.table, DARKEST).T[:, None])
    merged = cv2.createMergeDebevec().process(list(codes), times=np.asarray(times, np.float32), response=table)
    return np.asarray(merged, np.float32)


def debevec_curve(codes: Sequence[Codes], times: Sequence[float], samples: int) -> Response:
    table = baselines.calibrated_curve(codes, times, samples)[:, 0].T
    return Response("Debevec", np.ascontiguousarray(table / table[:, -1].mean()), {})


def score(folder: Path) -> dict[str, dict[str, float]]:
    """PSNR-mu of every method of one stack under each truth."""
    stack = stacks.read_stack(folder)
    times = stack.times
    codes = stack.registered([f.codes for f in stack.chosen], stack.three)

    burst = Burst(stack.chosen, 1)
    found = estimate_response(burst, sample_blocks(burst, stack.alignment(stack.three)))
    srgb, gamma = named_response("srgb"), named_response("gamma2.2")
    ours = found.response or srgb
    calibrated, more = (debevec_curve(codes, times, samples) for samples in (FEW, baselines.SAMPLES))
    results = {
        "ours": merge(codes, times, ours),
        "Debevec calibrated": debevec_merge(codes, times, calibrated),
        f"Debevec calibrated, {baselines.SAMPLES} samples": debevec_merge(codes, times, more),
        "Debevec curve, our merge": merge(codes, times, calibrated),
        "our curve, Debevec merge": debevec_merge(codes, times, ours),
        "Debevec gamma 2.2": debevec_merge(codes, times, gamma),
        "Debevec sRGB": debevec_merge(codes, times, srgb),
        "reference sRGB": baselines.reference_alone(codes[1], times[1], srgb),
        "reference, our curve": baselines.reference_alone(codes[1], times[1], ours),
    }
    return {
        name: {
            method: protocol.score(result, truth, reference_time=times[1], moving=None)["psnr_mu"]
            for method, result in results.items()
        }
        for name, truth in stacks.truths(stack).items()
    }


def tables(scores: dict[str, dict[str, dict[str, float]]]) -> str:
    parts = []
    for truth in ("own", "Debevec"):
        rows = []
        for method in next(iter(scores.values()))[truth]:
            figures = [scores[stack][truth][method] for stack in scores]
            rows.append([method, *figures, float(np.mean(figures))])
        parts.append(f"PSNR-mu (dB), truth behind the {truth} curve of all frames")
        parts.append(report.markdown_table(["method", *scores, "mean"], rows))
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description="three-frame response estimation on real static stacks")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stacks", nargs="+", default=list(STACKS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "RESULTS.md")
    options = parser.parse_args()
    text = tables({name: score(options.folder / name) for name in options.stacks})
    print(text)
    report.write_section(
        options.out, "response", f"## Camera response\n\n{report.circumstances()}\n\n{ABOUT}\n\n{text}"
    )


if __name__ == "__main__":
    main()
