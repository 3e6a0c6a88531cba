"""The pictures of a model card: heatmaps beside the true errors, and the scenes it fails on. All of our own material.

    python benchmarks/card_pictures.py --set FOLDER [NAME] [--every 4]   # FOLDER as quality.py --set makes it

Writes ``NAME-uncertainty.jpg`` and ``NAME-failures.jpg`` (without NAME of the default weights) and prints the figures
in them. Scenes are chosen by rule, from the camera JPEGs of the frozen set, all or every Nth: those at the 10th, 50th
and 90th percentile of AUSE, and those that gain least, or lose most, against the reference alone on moving pixels.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import quality_methods
from numpy.typing import NDArray

from smarthdr_cli.evaluate import comparison, frozen, protocol, sheet, uncertainty_metrics
from smarthdr_cli.models.weights import read_manifest, weights_dir
from smarthdr_cli.output.heatmap import MAX_SIGMA, MIN_SIGMA, colour_index, colour_table

F32 = NDArray[np.float32]

KIND = "camera8"
PERCENTILES = (10, 50, 90)  # of AUSE, from well to badly ordered
WORST = 3
CROP = 256  # pixels of a failure's side
LARGEST = 200_000  # bytes a picture
NEAR = 9  # pixels across, over which the true error is averaged to be looked at
GREY = (128, 128, 128)
TITLES = ("true error, local mean", f"sigma, both {MIN_SIGMA:g} to {MAX_SIGMA:g}")


class Scene(NamedTuple):
    """A scene measured: (H, W, 3) ``truth``, ``ours`` and ``reference`` in one scale, limited to [0, 1]; (H, W)
    ``error`` and ``sigma`` in the mu-law domain; ``gain`` in dB of PSNR-mu over the reference on moving pixels.
    """

    name: str
    truth: F32
    ours: F32
    reference: F32
    error: F32
    sigma: F32
    moving: NDArray[np.bool_]
    judged: uncertainty_metrics.Sparsification
    gain: float


def measured(folder: Path, options: argparse.Namespace) -> Scene:
    """One scene of the frozen set by the method of benchmarks/quality.py."""
    scene = frozen.read_scene(folder)
    results = comparison.run(quality_methods.scene_methods(scene, KIND, options), ("reference", "ours"))
    view: dict[str, Any] = {"reference_time": scene.times[scene.reference], "moving": scene.moving}
    scores = {name: protocol.score(r.radiance, scene.truth, **view) for name, r in results.items()}
    shown = {name: protocol.shown(r.radiance, scene.truth, **view, scaling="fitted") for name, r in results.items()}
    truth, sigma = np.clip(scene.truth, 0, 1), results["ours"].sigma
    assert sigma is not None
    error = comparison.error_map(shown["ours"], truth)
    gain = scores["ours"]["psnr_mu_moving"] - scores["reference"]["psnr_mu_moving"]
    judged = uncertainty_metrics.sparsification(error, sigma)
    return Scene(scene.name, truth, shown["ours"], shown["reference"], error, sigma, scene.moving, judged, gain)


def at_percentiles(values: Sequence[float], percentiles: Sequence[float]) -> list[int]:
    """The index of the value at each percentile, by nearest rank: always one of the values."""
    order = np.argsort(values, kind="stable")
    ranks = [max(0, int(np.ceil(percentile / 100 * len(values))) - 1) for percentile in percentiles]
    return [int(order[rank]) for rank in ranks]


def lowest(values: Sequence[float], count: int) -> list[int]:
    """The indices of the lowest values, lowest first; NaN is none."""
    order = np.argsort(values, kind="stable")
    return [int(i) for i in order[:count] if not np.isnan(values[int(i)])]


def colours(values: F32, sigma: F32) -> sheet.U8:
    """(H, W) of the mu-law domain as ``--uncertainty FILE.png`` draws sigma, GREY where every frame is clipped."""
    picture = colour_table()[colour_index(values)]
    picture[sigma >= 1] = GREY
    return np.ascontiguousarray(picture)


def maps(scene: Scene) -> list[sheet.U8]:
    """Error and sigma in one scale; the error, of which sigma is a level and a pixel one draw, as a local mean."""
    near = np.asarray(cv2.blur(scene.error, (NEAR, NEAR)), np.float32)
    return [colours(values, scene.sigma) for values in (near, scene.sigma)]


def heatmaps(scene: Scene) -> sheet.U8:
    """Result, what is really wrong with it, and what was said to be."""
    judged = scene.judged
    title = f"{scene.name}, AUSE {judged.ause:.2f} (constant {judged.ause_random:.2f})"
    return sheet.row(list(zip((title, *TITLES), (sheet.toned(scene.ours), *maps(scene)), strict=True)))


def failure(scene: Scene) -> sheet.U8:
    """A crop where ours is worse than the reference alone, on moving pixels, in most places."""
    loss = np.where(scene.moving, scene.error - comparison.error_map(scene.reference, scene.truth), 0)
    where = sheet.busiest(loss > 0.01, CROP)
    titles = (f"{scene.name}, reference frame", f"ours, {scene.gain:+.2f} dB moving", "truth", *TITLES)
    pictures = [sheet.toned(one[where]) for one in (scene.reference, scene.ours, scene.truth)]
    return sheet.row(list(zip(titles, [*pictures, *(one[where] for one in maps(scene))], strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description="the pictures of a model card")
    entries = {entry.name: entry for entry in read_manifest(weights_dir())}
    default = next(entry.name for entry in entries.values() if entry.default)
    parser.add_argument("name", nargs="?", choices=entries, default=default, help="of shipped weights")
    parser.add_argument("--set", type=Path, required=True, help="folder of the frozen set")
    parser.add_argument("--every", type=int, default=1, help="of how many scenes one is looked at")
    parser.add_argument("--out", type=Path, default=weights_dir())
    options = parser.parse_args()
    name = options.name
    options.weights, options.device = name, "auto"
    scenes = []
    for folder in frozen.scene_folders(options.set / KIND)[:: options.every]:
        scenes.append(measured(folder, options))
        print(f"{folder.name}: AUSE {scenes[-1].judged.ause:.3f}, moving {scenes[-1].gain:+.2f} dB", file=sys.stderr)
    judged = at_percentiles([scene.judged.ause for scene in scenes], PERCENTILES)
    failed = lowest([scene.gain for scene in scenes], WORST)
    drawn = {
        "uncertainty": [heatmaps(scenes[i]) for i in judged],
        "failures": [failure(scenes[i]) for i in failed],
    }
    for what, rows in drawn.items():
        sheet.save_jpeg(options.out / f"{name}-{what}.jpg", rows, LARGEST)
    for scene in (scenes[i] for i in (*judged, *failed)):
        both = f"AUSE {scene.judged.ause:.3f} (constant sigma {scene.judged.ause_random:.3f})"
        print(f"{scene.name}: {both}, {scene.gain:+.2f} dB over the reference on moving pixels")


if __name__ == "__main__":
    main()
