"""The rebuilt fusion beside that of the package: the same registered bursts, in one process.

    python -m benchmarks.fusion_rebuild.run --set FOLDER [--kinds gamma16 camera8] [--every 4]
    python -m benchmarks.fusion_rebuild.run --burst FILES [--ev=-2,0,2] [--picture out.png]

"old" is ``fuse_loaded`` of the package, "new" is ``fuse_aligned``. Of a frozen set, FOLDER holds one folder per kind:
PSNR-mu of all, moving and clipped pixels per scene and as means, AUSE and coverage per decile of sigma, the share of
the picture that the network makes, the pixels that it convolves over the picture's, seconds. Of a burst of files:
shares and seconds, and a picture of the new result, tone-mapped, beside the network's share.

Needs numba, which is no dependency yet: ``pip install numba``. The first run on a machine compiles; its first new
seconds include that. Nothing is written to RESULTS.md.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.fusion_rebuild.fuse import AlignedFusion, fuse_aligned
from benchmarks.lib import frozen_set
from benchmarks.lib.frozen_set import KINDS, FrozenScene
from smarthdr_cli.aligned_burst import RegisteredBurst, register
from smarthdr_cli.evaluate import comparison, figures, protocol
from smarthdr_cli.evaluate.report import uncertainty_text
from smarthdr_cli.evaluate.tables import markdown_table
from smarthdr_cli.fusion.device import resolve_device
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.fusion.fuser import Fuser, load_network
from smarthdr_cli.fusion.network_fusion import SAFFuser
from smarthdr_cli.fusion.pipeline import StageTimer, fuse_loaded, load, to_result
from smarthdr_cli.fusion.result import FusionResult, TiledFusion
from smarthdr_cli.output.preview import render_srgb

PSNRS = ("psnr_mu", "psnr_mu_moving", "psnr_mu_clipped")
METHODS = ("old", "new")


@dataclass(frozen=True)
class FusionPair:
    """Results and seconds of both fusions of one burst, by METHODS, and what made the new one."""

    results: dict[str, FusionResult]
    seconds: dict[str, float]
    fusion: AlignedFusion

    @property
    def network_share(self) -> float:
        """Share of the picture that the network makes, in the new fusion."""
        return float(self.fusion.network_share.mean())


def register_files(paths: Sequence[Path], options: FuseOptions) -> RegisteredBurst:
    """Read and register the files of a burst as ``smarthdr fuse`` does."""
    return register(load(list(paths), options, StageTimer()).burst, response=options.response)


def fuse_both(fuser: SAFFuser, registered: RegisteredBurst, options: FuseOptions) -> FusionPair:
    """Fuse a registered burst by the package, then by the rebuilt fusion."""

    def open_network(*_arguments: Any) -> Fuser:
        return fuser

    burst, timer = registered.burst, StageTimer()
    old = fuse_loaded(burst.burst, options, timer, open_network=open_network, registered=registered)
    start = time.perf_counter()
    fusion = fuse_aligned(fuser, burst)
    seconds = {"old": timer.seconds["fuse"], "new": time.perf_counter() - start}
    new = to_result(TiledFusion(fusion.image), burst, fuser.record, options, StageTimer())
    return FusionPair({"old": old, "new": new}, seconds, fusion)


def measure_set(fuser: SAFFuser, root: Path, kind: str, every: int) -> str:
    """Markdown of every ``every``-th scene of one set."""
    pools = {name: comparison.UncertaintyPool() for name in METHODS}
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in METHODS}
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    network_shares, convolved_shares = [], []
    for folder in frozen_set.scene_folders(root / kind)[::every]:
        scene = frozen_set.read_frozen_scene(folder)
        options = scene_options(scene, kind)
        pair = fuse_both(fuser, register_files(scene.paths, options), options)
        for name, result in pair.results.items():
            scores[name].append(score_scene(scene, result, pools[name]))
            seconds[name].append(pair.seconds[name])
        network_shares.append(pair.network_share)
        convolved_shares.append(pair.fusion.convolved_share)
        psnrs = (f"{name} " + "/".join(f"{scores[name][-1][key]:.2f}" for key in PSNRS) for name in METHODS)
        log(f"{kind} {scene.name}: {'  '.join(psnrs)}  {shares_and_seconds(pair)}")
    rows = []
    for name in METHODS:
        mean = protocol.mean_scores(scores[name])
        rows.append([name, *(mean[key] for key in PSNRS), float(np.mean(seconds[name]))])
    parts = [
        f"### {len(network_shares)} bursts of {KINDS[kind]}",
        markdown_table(["fusion", "PSNR-μ", "moving", "clipped", "s"], rows),
        f"New: the network makes {np.mean(network_shares):.3f} of the pixels and convolves "
        f"{np.mean(convolved_shares):.3f} of the picture's, context included.",
    ]
    for name in METHODS:
        metrics = pools[name].metrics()
        if metrics is not None:
            parts += [f"#### Sigma, {name}", uncertainty_text(metrics)]
    return "\n\n".join(parts)


def scene_options(scene: FrozenScene, kind: str) -> FuseOptions:
    """The options under which ``benchmarks/quality/run.py`` fuses a scene."""
    return FuseOptions(
        ev=[float(np.log2(t / scene.times[scene.reference])) for t in scene.times],
        reference=scene.reference + 1,  # 1-based
        response="gamma2.2" if kind == "gamma16" else "auto",
    )


def score_scene(scene: FrozenScene, result: FusionResult, pool: comparison.UncertaintyPool) -> dict[str, float]:
    """Scores of one result; adds its errors and sigma to ``pool``."""
    radiance = result.radiance * np.float32(result.scale_short)
    pixels = protocol.fit_pixels(scene.truth, **scene.scoring_context)
    scaled = protocol.scale_and_limit(radiance, scene.truth, pixels)
    error = comparison.error_map(scaled, np.clip(scene.truth, 0, 1))
    pool.add(error, result.uncertainty, frozen_set.known_mask(scene))
    return protocol.score(radiance, scene.truth, **scene.scoring_context)


def measure_burst(fuser: SAFFuser, paths: Sequence[Path], evs: Sequence[float] | None, picture: Path | None) -> str:
    """A line of shares and seconds of one burst; writes ``picture``."""
    options = FuseOptions(ev=evs)
    pair = fuse_both(fuser, register_files(paths, options), options)
    if picture is not None:
        rendered = np.asarray(render_srgb(pair.results["new"], 8), np.uint8)
        height, width = rendered.shape[:2]
        share = cv2.resize(pair.fusion.network_share, (width, height), interpolation=cv2.INTER_NEAREST)
        cells = [("new", rendered), ("network's share", figures.heatmap(share, 1.0))]
        figures.save_png(picture, [figures.labelled_row(cells)])
    return f"{paths[0].parent.name}: {shares_and_seconds(pair)}"


def shares_and_seconds(pair: FusionPair) -> str:
    seconds = " ".join(f"{name} {pair.seconds[name]:.1f}" for name in METHODS)
    return f"network {pair.network_share:.3f} convolved {pair.fusion.convolved_share:.3f}  seconds {seconds}"


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="the rebuilt fusion beside that of the package")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--set", type=Path, help="folder with one folder of scenes per kind")
    what.add_argument("--burst", type=Path, nargs="+", help="files of one burst")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--every", type=int, default=4, help="every n-th scene of a set")
    parser.add_argument("--ev", help="of the files of --burst in their order, as --ev=-2,0,2; else from EXIF")
    parser.add_argument("--picture", type=Path, help="PNG of the new result of --burst and the network's share")
    parser.add_argument("--weights", help="weights file or name")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    fuser = load_network(options.weights, resolve_device(options.device), options.precision)
    if not isinstance(fuser, SAFFuser):
        raise SystemExit("the rebuilt fusion takes weights of saf alone")
    if options.burst:
        evs = None if options.ev is None else [float(ev) for ev in options.ev.split(",")]
        print(measure_burst(fuser, options.burst, evs, options.picture))
        return
    for text in map(partial(measure_set, fuser, options.set, every=options.every), options.kinds):
        print(f"{text}\n", flush=True)


if __name__ == "__main__":
    main()
