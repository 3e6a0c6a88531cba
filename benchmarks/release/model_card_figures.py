"""The figures of a model card: uncertainty beside the true error, and the scenes with the lowest quality.

    python -m benchmarks.release.model_card_figures --set FOLDER [NAME] [--every 4]

FOLDER is the set of ``benchmarks/quality/run.py``, NAME of shipped weights (default: the default weights). Writes
``NAME-uncertainty.jpg`` and ``NAME-failures.jpg`` and prints their AUSE and gains. Scenes are chosen by rule among the
camera JPEGs, all or every Nth: those at the 10th, 50th and 90th percentile of AUSE, and those with the lowest gain over
the reference alone on moving pixels.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.lib.frozen_set import read_frozen_scene, scene_folders
from benchmarks.lib.methods import frozen_scene_methods
from smarthdr_cli.evaluate import comparison, figures, protocol
from smarthdr_cli.evaluate.uncertainty_metrics import Sparsification, sparsification
from smarthdr_cli.models.weights import read_manifest, weights_dir
from smarthdr_cli.output.heatmap import MAX_SIGMA, MIN_SIGMA, colour_index, colour_table

F32 = NDArray[np.float32]

KIND = "camera8"
PERCENTILES = (10, 50, 90)  # of AUSE, from well to badly ordered
FAILURES = 3
CROP_PX = 256  # side of a failure's crop
MAX_BYTES = 200_000  # of a figure
ERROR_WINDOW_PX = 9  # side of the window over which the true error is averaged
GREY = (128, 128, 128)
TITLES = ("true error, local mean", f"sigma, both {MIN_SIGMA:g} to {MAX_SIGMA:g}")


class MeasuredScene(NamedTuple):
    """``truth``, ``ours``, ``reference``: (H, W, 3), scaled, limited to [0, 1]. ``error``, ``sigma``: (H, W), mu-law.

    ``gain``: dB of PSNR-mu over the reference alone on moving pixels.
    """

    name: str
    truth: F32
    ours: F32
    reference: F32
    error: F32
    sigma: F32
    moving: NDArray[np.bool_]
    curve: Sparsification
    gain: float


def measure(folder: Path, weights: str) -> MeasuredScene:
    """One scene of the frozen set, scored as by ``benchmarks/quality/run.py``."""
    scene = read_frozen_scene(folder)
    methods = frozen_scene_methods(scene, KIND, weights, "auto")
    results = comparison.run_methods(methods, ("reference", "ours"))
    context = scene.scoring_context
    scores = {name: protocol.score(r.radiance, scene.truth, **context) for name, r in results.items()}
    scaled = {
        name: protocol.apply_scaling(r.radiance, scene.truth, **context, scaling="fitted")
        for name, r in results.items()
    }
    truth, sigma = np.clip(scene.truth, 0, 1), results["ours"].sigma
    assert sigma is not None
    error = comparison.error_map(scaled["ours"], truth)
    gain = scores["ours"]["psnr_mu_moving"] - scores["reference"]["psnr_mu_moving"]
    curve = sparsification(error, sigma)
    return MeasuredScene(
        scene.name, truth, scaled["ours"], scaled["reference"], error, sigma, scene.moving, curve, gain
    )


def indices_at_percentiles(values: Sequence[float], percentiles: Sequence[float]) -> list[int]:
    """The index of the value at each percentile, by nearest rank."""
    order = np.argsort(values, kind="stable")
    ranks = [max(0, int(np.ceil(percentile / 100 * len(values))) - 1) for percentile in percentiles]
    return [int(order[rank]) for rank in ranks]


def lowest_indices(values: Sequence[float], count: int) -> list[int]:
    """The indices of the lowest values, lowest first, without NaNs."""
    order = np.argsort(values, kind="stable")
    return [int(i) for i in order[:count] if not np.isnan(values[int(i)])]


def sigma_colours(values: F32, sigma: F32) -> figures.U8:
    """(H, W) mu-law values in the colours of ``--uncertainty FILE.png``, GREY where every frame is clipped."""
    image = colour_table()[colour_index(values)]
    image[sigma >= 1] = GREY
    return np.ascontiguousarray(image)


def error_and_sigma(scene: MeasuredScene) -> list[figures.U8]:
    """Error and sigma on one scale; the error as a local mean, since sigma is the scale of a random error."""
    local_mean = np.asarray(cv2.blur(scene.error, (ERROR_WINDOW_PX, ERROR_WINDOW_PX)), np.float32)
    return [sigma_colours(values, scene.sigma) for values in (local_mean, scene.sigma)]


def uncertainty_row(scene: MeasuredScene) -> figures.U8:
    """Result, true error and sigma."""
    curve = scene.curve
    title = f"{scene.name}, AUSE {curve.ause:.2f} (constant {curve.ause_random:.2f})"
    return figures.labelled_row(
        list(zip((title, *TITLES), (figures.mu_law_codes(scene.ours), *error_and_sigma(scene)), strict=True))
    )


def failure_row(scene: MeasuredScene) -> figures.U8:
    """The crop with the most moving pixels at which ours is worse than the reference alone."""
    loss = np.where(scene.moving, scene.error - comparison.error_map(scene.reference, scene.truth), 0)
    crop = figures.densest_square(loss > 0.01, CROP_PX)
    titles = (f"{scene.name}, reference frame", f"ours, {scene.gain:+.2f} dB moving", "truth", *TITLES)
    images = [figures.mu_law_codes(image[crop]) for image in (scene.reference, scene.ours, scene.truth)]
    return figures.labelled_row(
        list(zip(titles, [*images, *(image[crop] for image in error_and_sigma(scene))], strict=True))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="the figures of a model card")
    entries = {entry.name: entry for entry in read_manifest(weights_dir())}
    default = next(entry.name for entry in entries.values() if entry.default)
    parser.add_argument("name", nargs="?", choices=entries, default=default, help="of shipped weights")
    parser.add_argument("--set", type=Path, required=True, help="folder of the frozen set")
    parser.add_argument("--every", type=int, default=1, help="use every Nth scene")
    parser.add_argument("--out", type=Path, default=weights_dir())
    options = parser.parse_args()
    name = options.name
    scenes = []
    for folder in scene_folders(options.set / KIND)[:: options.every]:
        scenes.append(measure(folder, name))
        print(f"{folder.name}: AUSE {scenes[-1].curve.ause:.3f}, moving {scenes[-1].gain:+.2f} dB", file=sys.stderr)
    shown = indices_at_percentiles([scene.curve.ause for scene in scenes], PERCENTILES)
    failures = lowest_indices([scene.gain for scene in scenes], FAILURES)
    rows_of_figure = {
        "uncertainty": [uncertainty_row(scenes[i]) for i in shown],
        "failures": [failure_row(scenes[i]) for i in failures],
    }
    for figure, rows in rows_of_figure.items():
        figures.save_jpeg(options.out / f"{name}-{figure}.jpg", rows, MAX_BYTES)
    for scene in (scenes[i] for i in (*shown, *failures)):
        ause = f"AUSE {scene.curve.ause:.3f} (constant sigma {scene.curve.ause_random:.3f})"
        print(f"{scene.name}: {ause}, {scene.gain:+.2f} dB over the reference on moving pixels")


if __name__ == "__main__":
    main()
