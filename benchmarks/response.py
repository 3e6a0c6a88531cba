"""Real static stacks: how far a curve estimated from three frames carries a plain merge.

    python benchmarks/response.py FOLDER [--stacks NAME ...] [--out FILE]

FOLDER holds one folder of JPEGs with EXIF times per stack. The truth of a stack is the exposure-weighted merge of all
its frames behind a curve calibrated on all of them, once with this package's calibration and once with OpenCV's
(Debevec and Malik 1997, tied at code 128), so that neither side is judged only by its own curve. From three frames (the
best exposed and about 2.5 EV to either side) come ours (estimated curve, exposure-weighted merge) and the rivals.
PSNR-mu: mu = 5000, the shortest of the three frames clips at 1, one global scale fitted as the median log ratio over
pixels the reference exposes well, capped at 50 dB.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.burst.frame import Frame
from smarthdr_cli.burst.load import load_burst
from smarthdr_cli.evaluate import report
from smarthdr_cli.linear import Alignment
from smarthdr_cli.response import calibrate, estimate_response, named_response

STACKS = ("kimT_4", "mpi_exposures", "drake_desktop02", "matlab_office", "mercury_tree", "becky_desks_windows")
MU = 5000.0
CAP = 50.0
STEP_EV = 2.5
ABOUT = (
    "Real static stacks, three frames in; truth merged from all frames of the stack behind a curve calibrated on all. "
    "The prior widths of the estimator were chosen on these stacks: read the last dB with that in mind."
)
MAX_PIXELS = 1_500_000  # larger pictures are scored on every n-th pixel

Curves = NDArray[np.float64]  # (3, 256) linear value of each code
Image = NDArray[np.float32]


def read_stack(folder: Path) -> list[Frame]:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg"))
    return list(load_burst(paths).frames)


def choose_three(frames: list[Frame]) -> tuple[list[Frame], int]:
    """The best exposed frame that has neighbours, and the frames nearest to -STEP_EV and +STEP_EV of it."""
    means = [abs(float(frame.codes[::8, ::8].mean()) / 255 - 0.42) for frame in frames]
    middle = 1 + int(np.argmin(means[1:-1]))
    centre = frames[middle].exposure.ev
    dark = min(range(middle), key=lambda i: abs(centre - frames[i].exposure.ev - STEP_EV))
    bright = min(range(middle + 1, len(frames)), key=lambda i: abs(frames[i].exposure.ev - centre - STEP_EV))
    return [frames[dark], frames[middle], frames[bright]], 1


def thin(codes: NDArray[Any]) -> NDArray[Any]:
    step = int(np.ceil(np.sqrt(codes.shape[0] * codes.shape[1] / MAX_PIXELS)))
    return np.ascontiguousarray(codes[::step, ::step])


def decode(codes: NDArray[Any], curves: Curves) -> Image:
    return np.asarray(cv2.LUT(codes, np.ascontiguousarray(curves.T[None].astype(np.float32))))


def merge(codes: list[NDArray[Any]], evs: Iterable[float], curves: Curves) -> Image:
    """Static merge: weight = exposure, falling to 0 towards clipping and, but for the longest frame, towards black."""
    total, weights = 0.0, 0.0
    evs = list(evs)
    for index, (image, ev) in enumerate(zip(codes, evs, strict=True)):
        code = image.astype(np.float32) / 255
        weight = np.full(code.shape, 2.0**ev, np.float32)
        if index > 0:
            weight *= np.clip((0.985 - code.max(-1, keepdims=True)) / 0.1, 1e-6, 1.0)
        if index < len(codes) - 1:
            weight *= np.clip((code - 0.01) / 0.05, 1e-4, 1.0)
        total = total + weight * decode(image, curves) / np.float32(2.0**ev)
        weights = weights + weight
    return np.asarray(total / weights)


def debevec_curves(codes: list[NDArray[Any]], evs: Iterable[float], samples: int = 70) -> Curves:
    times = np.exp2(np.array(list(evs), np.float32))
    curves = cv2.createCalibrateDebevec(samples).process(codes, times)
    return np.asarray(curves[:, 0, :].T, np.float64)


def debevec_merge(codes: list[NDArray[Any]], evs: Iterable[float], curves: Curves) -> Image:
    times = np.exp2(np.array(list(evs), np.float32))
    response = np.ascontiguousarray(curves.T[:, None, :].astype(np.float32))
    return np.asarray(cv2.createMergeDebevec().process(codes, times, response))


def psnr_mu(result: Image, truth: Image, well: NDArray[np.bool_]) -> float:
    """``truth`` has the shortest frame's clip at 1; ``well`` (H, W) marks the pixels the one scale is fitted on."""
    usable = well & (result > 0).all(-1) & (truth > 0).all(-1)
    scale = float(np.exp(np.median(np.log(truth[usable]) - np.log(result[usable]))))
    curve = [np.log1p(MU * np.clip(x, 0, 1)) / np.log1p(MU) for x in (result * scale, truth)]
    error = float(np.mean((curve[0] - curve[1]) ** 2))
    return float(min(CAP, -10 * np.log10(max(error, 1e-12))))


def score(folder: Path) -> dict[str, dict[str, float]]:
    """PSNR-mu of every method of one stack under each truth."""
    frames = read_stack(folder)
    three, reference = choose_three(frames)
    everything = Burst(tuple(frames), frames.index(three[reference]))
    burst = Burst(tuple(three), reference)
    evs, all_evs = list(burst.evs), list(everything.evs)
    small, all_small = [thin(f.codes) for f in three], [thin(f.codes) for f in frames]

    found = estimate_response(burst, Alignment.identity(3))
    ours = found.response.table.astype(np.float64) if found.response else named_response("srgb").table.astype(float)
    calibrated = debevec_curves(small, evs)
    srgb = named_response("srgb").table.astype(np.float64)
    gamma = named_response("gamma2.2").table.astype(np.float64)
    results = {
        "ours": merge(small, evs, ours),
        "Debevec calibrated": debevec_merge(small, evs, calibrated),
        "Debevec calibrated, 300 samples": debevec_merge(small, evs, debevec_curves(small, evs, 300)),
        "Debevec curve, our merge": merge(small, evs, calibrated),
        "our curve, Debevec merge": debevec_merge(small, evs, np.maximum(ours, 1e-5)),
        "Debevec gamma 2.2": debevec_merge(small, evs, np.maximum(gamma, 1e-5)),
        "Debevec sRGB": debevec_merge(small, evs, np.maximum(srgb, 1e-5)),
        "reference sRGB": decode(small[1], srgb),
        "reference, our curve": decode(small[1], ours),
    }
    whole = calibrate(everything, Alignment.identity(len(frames))).table.astype(np.float64)
    tables = {"own": whole, "Debevec": debevec_curves(all_small, all_evs, 300)}
    code = small[1].astype(np.float32) / 255
    well = ((code > 0.1) & (code < 0.9)).all(-1)
    out: dict[str, dict[str, float]] = {}
    for name, table in tables.items():
        level = table[:, -1].mean() / 2.0 ** evs[0]
        truth = merge(all_small, all_evs, table) / np.float32(level)
        out[name] = {method: psnr_mu(result, truth, well) for method, result in results.items()}
    return out


def tables(scores: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = []
    for truth in ("own", "Debevec"):
        stacks = list(scores)
        methods = list(scores[stacks[0]][truth])
        lines += [f"PSNR-mu (dB), truth behind the {truth} curve of all frames", ""]
        lines += ["| method | " + " | ".join(stacks) + " | mean |", "|---|" + "---:|" * (len(stacks) + 1)]
        for method in methods:
            row = [scores[stack][truth][method] for stack in stacks]
            lines.append(f"| {method} | " + " | ".join(f"{v:.1f}" for v in [*row, float(np.mean(row))]) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="three-frame response estimation on real static stacks")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stacks", nargs="+", default=list(STACKS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "RESULTS.md")
    options = parser.parse_args()
    text = tables({name: score(options.folder / name) for name in options.stacks})
    print(text)
    head = f"## Camera response\n\n{report.circumstances()}\n\n{ABOUT}\n\n"
    report.write_section(options.out, "response", head + text)


if __name__ == "__main__":
    main()
