"""Alignment error and time on synthetic bursts of known motion, ours and OpenCV's AlignMTB.

    python -m benchmarks.components.align [--width 6000 --height 4000] [--seeds 1] [--out FILE]

    error = max over the two frames and a 9x9 grid with the corners of |H_estimated x - H_true x|, px

Each burst has three 8-bit frames through an S-shaped camera curve; a quarter of each shows other content with a motion
of its own. AlignMTB estimates shifts only. Writes the section "align" of RESULTS.md.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.lib.results_file import RESULTS, write_section
from smarthdr_cli.align import align_burst
from smarthdr_cli.burst.burst import Burst, CaptureMetadata, Exposure, Frame
from smarthdr_cli.colorspace import SRGB
from smarthdr_cli.evaluate.tables import measurement_conditions
from smarthdr_cli.system import peak_memory

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """Shift in px of a 6000 px wide frame, rotation in degrees, exposure step in EV, photon noise at the clip."""

    name: str
    shift: float
    degrees: float
    step: float
    noise: float = 0.01


CASES = (
    Case("tripod, 3 EV", 0, 0, 3),
    Case("shift 100 px, 1 EV", 100, 0, 1),
    Case("shift 100 px, 3 EV", 100, 0, 3),
    Case("rotation 3°, 2 EV", 0, 3, 2),
    Case("shift 100 px, rotation 3°, 3 EV", 100, 3, 3),
    Case("the same, noisy", 100, 3, 3, 0.05),
)


def texture(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """log2 radiance: noise of every scale down to two pixels, and boxes."""
    out = np.full((height, width), -2.5, np.float32)
    side, amplitude = max(height, width) / 2, 1.2
    while side >= 2:
        grid = rng.standard_normal((int(height / side) + 2, int(width / side) + 2)).astype(np.float32)
        out += amplitude * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        side, amplitude = side / 2, amplitude * 0.72
    for _ in range(80):
        x, y, radius = int(rng.integers(width)), int(rng.integers(height)), int(rng.integers(8, width // 10))
        box = out[max(0, y - radius // 2) : y + radius // 2, max(0, x - radius) : x + radius]
        box += np.float32(rng.normal(0, 1.0))
    return out


def homography(height: int, width: int, case: Case, rng: np.random.Generator) -> F64:
    angle, direction = np.deg2rad(case.degrees) * rng.choice([-1, 1]), rng.uniform(0, 2 * np.pi)
    shift = case.shift * width / 6000
    rotate = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    shifted = np.array(
        [[1, 0, width / 2 + shift * np.cos(direction)], [0, 1, height / 2 + shift * np.sin(direction)], [0, 0, 1]]
    )
    centred = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
    return np.asarray(shifted @ rotate @ centred)


def expose(log: NDArray[np.float32], ev: float, noise: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    out = np.empty((*log.shape, 3), np.uint8)
    for channel, gain in enumerate((1.1, 1.0, 0.8)):
        light = np.exp2(log + np.float32(ev)) * np.float32(gain)
        light += rng.standard_normal(light.shape, dtype=np.float32) * noise * np.sqrt(light + np.float32(0.01))
        code = np.clip(light, 0, 1) ** np.float32(1 / 2.2)
        out[..., channel] = np.rint((code - 0.05 * np.sin(2 * np.pi * code)) * 255)
    return out


def make_burst(height: int, width: int, case: Case, seed: int) -> tuple[Burst, list[F64]]:
    rng = np.random.default_rng(seed)
    pad = int(case.shift * width / 6000 + np.deg2rad(case.degrees) * width * 0.6 + 16)
    world = texture(height + 2 * pad, width + 2 * pad, rng)
    frames, truth = [], []
    for index, ev in enumerate((-case.step, 0.0, case.step)):
        true = np.eye(3) if index == 1 else homography(height, width, case, rng)
        centre = np.array([[1, 0, pad], [0, 1, pad], [0, 0, 1.0]])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        log = cv2.warpPerspective(world, centre @ np.linalg.inv(true), (width, height), flags=flags)
        dy, dx = (int(k) for k in rng.integers(0, min(height, width) // 8, 2))
        moving = world[::-1, ::-1][dy : dy + height // 2, dx : dx + width // 2]
        log[height // 3 : height // 3 + moving.shape[0], width // 4 : width // 4 + moving.shape[1]] = moving
        codes = expose(np.asarray(log, np.float32), ev, case.noise, rng)
        name, exposure = Path(f"{ev:+g}.png"), Exposure(ev, source="ev")
        frames.append(Frame(name, codes, 255.0, "display", exposure, SRGB, CaptureMetadata(), "", "array"))
        truth.append(true)
    return Burst(tuple(frames), 1), truth


def align_mtb(burst: Burst) -> list[F64]:
    """Shifts by AlignMTB on grey images, as homographies from the reference to each frame."""
    grey = [cv2.cvtColor(frame.codes, cv2.COLOR_RGB2GRAY) for frame in burst.frames]
    aligner = cv2.createAlignMTB(max_bits=8)
    out = []
    for image in grey:
        dx, dy = aligner.calculateShift(grey[burst.reference], image)
        out.append(np.array([[1.0, 0.0, -dx], [0.0, 1.0, -dy], [0.0, 0.0, 1.0]]))
    return out


def homography_error(estimate: F64, true: F64, size: tuple[int, int]) -> float:
    xs, ys = np.meshgrid(np.linspace(0, size[1] - 1, 9), np.linspace(0, size[0] - 1, 9))
    grid = np.stack([xs.ravel(), ys.ravel(), np.ones(81)])
    estimated, expected = estimate @ grid, true @ grid
    return float(np.linalg.norm(estimated[:2] / estimated[2] - expected[:2] / expected[2], axis=0).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=6000)
    parser.add_argument("--height", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=1, help="bursts a case; errors are the worst, times the mean")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    lines = [
        "## Alignment",
        "",
        measurement_conditions(),
        "",
        f"Three 8-bit frames of {options.width}x{options.height} through an S-shaped camera curve, a quarter of each "
        f"showing other content on its own way; {options.seeds} burst(s) a case. The error is the largest distance "
        "to the true homography on a 9x9 grid with the corners, the worse of two frames. Wanted: under a pixel.",
        "",
        "| case | unaligned, px | ours, px | AlignMTB, px | ours, s (CPU s) | AlignMTB, s (CPU s) | extra memory, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for case in CASES:
        worst, seconds, memory = np.zeros(3), np.zeros(4), 0.0
        for seed in range(options.seeds):
            burst, truth = make_burst(options.height, options.width, case, 1000 + seed)
            before = peak_memory()
            wall, cpu = time.perf_counter(), time.process_time()
            ours = list(align_burst(burst).homographies)
            seconds[:2] += time.perf_counter() - wall, time.process_time() - cpu
            memory = max(memory, (peak_memory() - before) / 2**20)
            wall, cpu = time.perf_counter(), time.process_time()
            theirs = align_mtb(burst)
            seconds[2:] += time.perf_counter() - wall, time.process_time() - cpu
            for column, estimates in enumerate(([np.eye(3)] * 3, ours, theirs)):
                pairs = zip(estimates, truth, strict=True)
                worst[column] = max(
                    worst[column], *(homography_error(estimate, true, burst.size) for estimate, true in pairs)
                )
        seconds /= options.seeds
        row = (
            f"| {case.name} | {worst[0]:.1f} | {worst[1]:.2f} | {worst[2]:.1f} "
            f"| {seconds[0]:.2f} ({seconds[1]:.2f}) | {seconds[2]:.2f} ({seconds[3]:.2f}) | {memory:.0f} |"
        )
        lines.append(row)
        print(row, flush=True)
    write_section(options.out, "align", "\n".join(lines))


if __name__ == "__main__":
    main()
