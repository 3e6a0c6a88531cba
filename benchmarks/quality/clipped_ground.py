"""People who walk over ground that is clipped in the reference: no pale silhouettes, no ghosts.

    python -m benchmarks.quality.clipped_ground [--runs 4] [--weights NAME|PATH] [--picture FILE]

Bursts composed of procedural parts: a wall in the shade, ground in the sun at 1.2 to 6 times the reference's clip, and
walkers of dark and of bright cloth who stand elsewhere in every frame; camera JPEGs of three frames 3 EV apart and of
five frames 2 EV apart, from a tripod. The truth has the reference's walkers. A silhouette is a pixel of the sunlit
ground, seen by some other frame, that the result shows darker than 0.8 of the truth. Scores ours, ``--deghost off`` and
OpenCV's MergeDebevec; writes the section "clipped-ground" of RESULTS.md and a picture of the first burst of five.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.lib.methods import fuse_files
from benchmarks.lib.results_file import RESULTS, write_section
from smarthdr_cli.data.synth.sources import fractal_noise
from smarthdr_cli.evaluate import figures
from smarthdr_cli.evaluate.methods import debevec
from smarthdr_cli.evaluate.tables import markdown_table, measurement_conditions
from smarthdr_cli.radiometry import mu_law

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

HEIGHT, WIDTH = 480, 720
HORIZON = 150  # rows; above it the wall
KINDS = {"three frames": (-3.0, 0.0, 3.0), "five frames": (-4.0, -2.0, 0.0, 2.0, 4.0)}
WALKERS = 7
FULL_WELL = 8000.0  # electrons at clip
SILHOUETTE = 0.8  # of the true light
PICTURE = Path(__file__).parents[1] / "clipped-ground.png"


def background(rng: np.random.Generator) -> F32:
    """(H, W, 3) wall and sunlit ground without walkers, reference clip = 1."""
    grain = np.exp(0.25 * fractal_noise(rng, HEIGHT, WIDTH, 1.0))[..., None]
    sun = np.linspace(1.2, 6.0, WIDTH)[None, :, None] * np.array([1.0, 0.93, 0.8])
    light = np.where(np.arange(HEIGHT)[:, None, None] < HORIZON, 0.25 * grain, sun * grain)
    return np.asarray(light, np.float32)


def add_walkers(light: F32, rng: np.random.Generator) -> tuple[F32, Mask]:
    """``light`` with walkers at random places, and where they stand."""
    picture, standing = light.copy(), np.zeros((HEIGHT, WIDTH), np.uint8)
    for number in range(WALKERS):
        cloth = rng.uniform(0.03, 0.4, 3) if number % 3 else rng.uniform(1.0, 2.5, 3)
        x, y = int(rng.uniform(30, WIDTH - 30)), int(rng.uniform(HORIZON + 60, HEIGHT - 20))
        size = 30 + 60 * (y - HORIZON) / (HEIGHT - HORIZON)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.ellipse(mask, (x, int(y - size)), (int(size * 0.28), int(size * 0.62)), 0, 0, 360, 255, -1, cv2.LINE_AA)
        cv2.circle(mask, (x, int(y - size * 1.75)), int(size * 0.17), 255, -1, cv2.LINE_AA)
        share = mask[..., None].astype(np.float32) / 255
        weave = 1 + 0.15 * fractal_noise(rng, HEIGHT, WIDTH, 0.8)[..., None]
        picture = picture * (1 - share) + np.asarray(cloth * weave, np.float32) * share
        standing = np.maximum(standing, mask)
    return np.asarray(picture, np.float32), standing > 0


def compose(folder: Path, evs: Sequence[float], seed: int) -> tuple[list[Path], F32, Mask]:
    """JPEG files of a burst, its truth, and the sunlit ground that some other frame shows below its clip."""
    rng = np.random.default_rng(seed)
    ground = background(rng)
    paths, truth = [], ground
    standing: dict[float, Mask] = {}
    seen = np.zeros((HEIGHT, WIDTH), bool)
    for number, ev in enumerate(evs):
        light, standing[ev] = add_walkers(ground, rng)
        if ev == 0:
            truth = light
        elif ev < 0:
            seen |= ~standing[ev] & (light.max(-1) * 2**ev < 0.9)
        exposed = light * np.float32(2**ev)
        exposed += np.sqrt(np.maximum(exposed, 0) / FULL_WELL + 1e-6) * rng.standard_normal(light.shape, np.float32)
        codes = np.round(np.clip(exposed, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)
        paths.append(folder / f"{number}.jpg")
        cv2.imwrite(str(paths[-1]), codes[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    sunlit = (ground.max(-1) > 1) & (np.arange(HEIGHT)[:, None] > HORIZON + 4)
    return paths, truth, sunlit & seen & ~standing[0.0]


def measure(evs: Sequence[float], seed: int, weights: str | None) -> tuple[dict[str, tuple[float, float]], Any]:
    """PSNR-mu on the sunlit ground and the share of silhouettes of each method; truth and results for the picture."""
    with tempfile.TemporaryDirectory() as name:
        paths, truth, sunlit = compose(Path(name), evs, seed)
        options = {"ev": list(evs), "reference": list(evs).index(0.0) + 1, "response": "gamma2.2", "weights": weights}
        codes = [cv2.imread(str(path))[..., ::-1] for path in paths]
        times = [2.0**ev for ev in evs]
        results = {
            "ours": fuse_files(paths, **options).radiance,
            "`--deghost off`": fuse_files(paths, deghost="off", **options).radiance,
            "OpenCV Debevec": debevec(codes, times, curve="gamma2.2"),
        }
    truth = truth * np.float32(2.0 ** min(evs))
    scores = {}
    for method, radiance in results.items():
        scale = np.median(truth[:HORIZON] / np.maximum(radiance[:HORIZON], 1e-9))
        radiance = np.clip(radiance * scale, 0, 1)
        results[method] = radiance
        error = mu_law(radiance) - mu_law(np.clip(truth, 0, 1))
        psnr = -10 * np.log10(float(np.square(error[sunlit]).mean()))
        dark = radiance[sunlit].mean(-1) < SILHOUETTE * truth[sunlit].mean(-1)
        scores[method] = (psnr, float(dark.mean()))
    return scores, (truth, results)


def main() -> None:
    parser = argparse.ArgumentParser(description="walkers over ground that is clipped in the reference")
    parser.add_argument("--runs", type=int, default=4, help="bursts of each kind")
    parser.add_argument("--weights")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows: list[list[object]] = []
    for kind, evs in KINDS.items():
        runs = [measure(evs, seed, options.weights) for seed in range(options.runs)]
        for method in runs[0][0]:
            psnr, dark = np.mean([scores[method] for scores, _ in runs], axis=0)
            rows.append([kind, method, float(psnr), f"{dark:.2%}"])
        truth, results = runs[0][1]
    cells = [("truth", truth), *results.items()]
    figures.save_png(options.picture, [figures.labelled_row([(n, figures.mu_law_codes(x)) for n, x in cells])])
    text = "\n\n".join([
        "## Walkers over clipped ground",
        measurement_conditions(),
        f"`python -m benchmarks.quality.clipped_ground`: {options.runs} bursts of each kind. PSNR-μ on sunlit ground "
        "that is clipped in the reference and shown by some shorter frame; silhouettes: share of it that is darker "
        f"than {SILHOUETTE:g} of the truth.",
        markdown_table(["bursts of", "method", "PSNR-μ, dB", "silhouettes"], rows),
        f"![walkers over clipped ground]({options.picture.name})",
    ])  # fmt: skip
    print(text)
    write_section(options.out, "clipped-ground", text)


if __name__ == "__main__":
    main()
