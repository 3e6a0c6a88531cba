"""Response curves estimated from three frames of real static stacks, by the PSNR-mu of a plain merge behind them.

    python -m benchmarks.components.response FOLDER [--stacks NAME ...] [--out FILE]

FOLDER holds one folder of JPEGs with EXIF times per stack. ``benchmarks/lib/static_stacks.py`` defines the truth of a
stack and the three frames of every method: ours (estimated curve, exposure-weighted merge) and the baselines, all on
frames registered as the truth's are, so that only curves and weights differ. Writes the section "response" of
RESULTS.md.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.lib.results_file import RESULTS, write_section
from benchmarks.lib.static_stacks import read_stack, stack_truths
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.evaluate import protocol
from smarthdr_cli.evaluate.methods import CALIBRATION_SAMPLES, calibrate_debevec, linearize_reference, merge_registered
from smarthdr_cli.evaluate.tables import markdown_table, measurement_conditions
from smarthdr_cli.radiometry import Response, linearize
from smarthdr_cli.response import estimate_response, named_response

STACKS = ("kimT_4", "mpi_exposures", "drake_desktop02", "matlab_office", "mercury_tree", "becky_desks_windows")
OPENCV_SAMPLES = 70  # CalibrateDebevec's default
INTRODUCTION = (
    "Real static stacks, three frames in; truth merged from all frames of the stack behind a curve calibrated on all, "
    "every frame registered. The prior widths of the estimator were chosen on these stacks: read the last dB with that "
    "in mind."
)
MIN_RADIANCE = 1e-5  # MergeDebevec works in logarithms

Codes = NDArray[Any]
Image = NDArray[np.float32]


def merge(codes: Sequence[Codes], times: Sequence[float], curve: Response) -> Image:
    return merge_registered([linearize(image, 255.0, curve) for image in codes], times)


def debevec_merge(codes: Sequence[Codes], times: Sequence[float], curve: Response) -> Image:
    table = np.ascontiguousarray(np.maximum(curve.table, MIN_RADIANCE).T[:, None])
    merged = cv2.createMergeDebevec().process(list(codes), times=np.asarray(times, np.float32), response=table)
    return np.asarray(merged, np.float32)


def debevec_curve(codes: Sequence[Codes], times: Sequence[float], samples: int) -> Response:
    table = calibrate_debevec(codes, times, samples)[:, 0].T
    return Response("Debevec", np.ascontiguousarray(table / table[:, -1].mean()), {})


def score(folder: Path) -> dict[str, dict[str, float]]:
    """PSNR-mu of every method of one stack under each truth."""
    stack = read_stack(folder)
    times = stack.times
    codes = stack.registered([f.codes for f in stack.three_frames], stack.three)

    estimate = estimate_response(Burst(stack.three_frames, 1), stack.alignment(stack.three))
    srgb, gamma = named_response("srgb"), named_response("gamma2.2")
    ours = estimate.response or srgb
    calibrated, calibrated_300 = (
        debevec_curve(codes, times, samples) for samples in (OPENCV_SAMPLES, CALIBRATION_SAMPLES)
    )
    results = {
        "ours": merge(codes, times, ours),
        "Debevec calibrated": debevec_merge(codes, times, calibrated),
        f"Debevec calibrated, {CALIBRATION_SAMPLES} samples": debevec_merge(codes, times, calibrated_300),
        "Debevec curve, our merge": merge(codes, times, calibrated),
        "our curve, Debevec merge": debevec_merge(codes, times, ours),
        "Debevec gamma 2.2": debevec_merge(codes, times, gamma),
        "Debevec sRGB": debevec_merge(codes, times, srgb),
        "reference sRGB": linearize_reference(codes[1], times[1], srgb),
        "reference, our curve": linearize_reference(codes[1], times[1], ours),
    }
    return {
        name: {
            method: protocol.score(result, truth, reference_time=times[1], moving=None)["psnr_mu"]
            for method, result in results.items()
        }
        for name, truth in stack_truths(stack).items()
    }


def tables(scores: dict[str, dict[str, dict[str, float]]]) -> str:
    parts = []
    for truth in ("own", "Debevec"):
        rows = []
        for method in next(iter(scores.values()))[truth]:
            psnrs = [scores[stack][truth][method] for stack in scores]
            rows.append([method, *psnrs, float(np.mean(psnrs))])
        parts.append(f"PSNR-mu (dB), truth behind the {truth} curve of all frames")
        parts.append(markdown_table(["method", *scores, "mean"], rows))
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description="three-frame response estimation on real static stacks")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stacks", nargs="+", default=list(STACKS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    text = tables({name: score(options.folder / name) for name in options.stacks})
    print(text)
    write_section(
        options.out, "response", f"## Camera response\n\n{measurement_conditions()}\n\n{INTRODUCTION}\n\n{text}"
    )


if __name__ == "__main__":
    main()
