"""The shipped networks beside each other: quality, judge and time on every fourth scene of the frozen sets.

    python benchmarks/networks.py --set FOLDER [--second FOLDER] [WEIGHTS...]

WEIGHTS: names or files; without them all that ship. ``--second``: the rendered set, as benchmarks/renders.py makes it.
The time is that of fuse alone on scenes of 512x384, after a first one to warm up. Writes the section "networks" of
RESULTS.md.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from quality_methods import KINDS, scene_methods

from smarthdr_cli.evaluate import comparison, frozen, protocol, report
from smarthdr_cli.models.weights import read_manifest, weights_dir

HERE = Path(__file__).parent
STEP = 4
HEADER = ["network", "PSNR-μ", "over the reference alone", "worst scene", "moving", "moving, over it", "AUSE", "s"]


def measured(root: Path, kind: str, names: list[str]) -> list[list[str | float]]:
    """A line for the reference and for each network."""
    score: dict[str, list[tuple[float, float]]] = {}
    seconds: dict[str, list[float]] = {}
    pools = {name: comparison.Pool() for name in names}
    for folder in frozen.scene_folders(root)[::STEP]:
        scene = frozen.read_scene(folder)
        view: dict[str, Any] = {"reference_time": scene.times[scene.reference], "moving": scene.moving}
        results = comparison.run(
            scene_methods(scene, kind, argparse.Namespace(weights=None, device="cpu")), ["reference"]
        )
        for name in names:
            options = argparse.Namespace(weights=name, device="cpu")
            results[name] = comparison.run(scene_methods(scene, kind, options), ["ours"])["ours"]
            pixels = protocol.fit_pixels(scene.truth, scene.times[scene.reference], scene.moving)
            shown = protocol.fitted(results[name].radiance, scene.truth, pixels)
            sigma = results[name].sigma
            assert sigma is not None
            pools[name].add(comparison.error_map(shown, scene.truth.clip(0, 1)), sigma, scene.truth.max(axis=2) < 1)
        for name, result in results.items():
            one = protocol.score(result.radiance, scene.truth, **view)
            score.setdefault(name, []).append((one["psnr_mu"], one["psnr_mu_moving"]))
            seconds.setdefault(name, []).append(result.seconds)
        print(folder, {name: round(found[-1][0], 2) for name, found in score.items()}, file=sys.stderr, flush=True)
    alone = np.array(score["reference"], float)
    mean, moving = np.nanmean(alone, axis=0)
    rows: list[list[Any]] = [["reference frame alone", float(mean), None, None, float(moving), None, None, None]]
    for name in names:
        own = np.array(score[name], float)
        mean, moving = np.nanmean(own, axis=0)
        gain = own - alone
        over = [f"{value:+.2f}" for value in (*np.nanmean(gain, axis=0), gain[:, 0].min())]
        verdict = pools[name].verdict()
        ause = None if verdict is None else float(verdict[0].ause)
        time = float(np.median(seconds[name][1:]))
        rows.append([f"`{Path(name).stem}`", float(mean), over[0], over[2], float(moving), over[1], ause, time])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="the shipped networks beside each other")
    parser.add_argument("weights", nargs="*", help="names or files; without them all that ship")
    parser.add_argument("--set", type=Path, required=True, help="folder of the frozen set, as quality.py makes it")
    parser.add_argument("--second", type=Path, help="folder of the rendered set")
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args()
    names = options.weights or [entry.name for entry in read_manifest(weights_dir())]
    text = [
        "## Networks",
        report.circumstances(),
        f"Every {STEP}th scene, in dB; s: median seconds of one fusion of three frames of 512x384. A random order or a "
        "constant σ has an AUSE of about 0.67.",
    ]
    for root, what in ((options.set, "panoramas"), (options.second, "renders")):
        for kind, title in KINDS.items() if root is not None else ():
            text += [f"### {title}, {what}", report.markdown_table(HEADER, measured(root / kind, kind, names))]
    section = "\n\n".join(text)
    print(section)
    report.write_section(options.out, "networks", section)


if __name__ == "__main__":
    main()
