"""Fit the judge's curves through the whole of fuse, one for 16-bit and one for 8-bit files, and write the weights anew.

    python benchmarks/recalibrate.py WEIGHTS --panoramas DIR --work FOLDER -o NEW [--scenes 40]

Training calibrates the network on its own crops. What a photographer gets has alignment, an estimated curve and tiles
in it as well; so the shipped files are calibrated on bursts made as the frozen set is (same kinds and held-out sources,
other seeds, other crops), read from files and fused. Pixels whose truth no frame holds are left out: fuse flags them.
What noise or the codes of a JPEG explain is not the judge's to say (fusion/noise.py, rounding.py): errors below that
floor count as none, so that two thirds of the errors lie below the larger of both.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import quality_methods
from numpy.typing import NDArray

from smarthdr_cli.data.synth.export import benchmark_config, write_benchmark
from smarthdr_cli.data.synth.sources import load_bank
from smarthdr_cli.evaluate import comparison, frozen, protocol
from smarthdr_cli.fusion import network_fusion
from smarthdr_cli.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from smarthdr_cli.models.uncertainty_calibration import Calibration, fit_calibration
from smarthdr_cli.models.uncertainty_head import SIGMA_MAX

SEED = quality_methods.SEED + 1
STEP = 3  # every third pixel each way


def save(path: Path, found: Checkpoint, calibration: Calibration | None) -> str:
    """The checkpoint with another calibration, in half precision; returns its sha256."""
    half = {name: value.half() for name, value in found.state.items()}
    return save_checkpoint(path, half, found.config, found.record, calibration, found.licence, found.metrics)


@contextmanager
def overheard() -> Iterator[list[NDArray[np.float32]]]:
    """Collects the floor (h, w) under sigma, of noise and codes, of every tile that is fused meanwhile; without a
    calibration it is not used.
    """
    floors: list[NDArray[np.float32]] = []
    own = network_fusion.calibrated_sigma

    def judged(log_sigma: Any, calibration: Any, *of: Any) -> Any:
        floors.append(of[-1][0, 0].cpu().numpy())
        return own(log_sigma, calibration, *of)

    network_fusion.calibrated_sigma = judged
    try:
        yield floors
    finally:
        network_fusion.calibrated_sigma = own


def fitted(root: Path, kind: str, weights: Path) -> Calibration:
    """The curve for one kind of files, from weights that have none."""
    sigmas, errors = [], []
    for folder in frozen.scene_folders(root):
        scene = frozen.read_scene(folder)
        options = argparse.Namespace(weights=weights, device="cpu")
        with overheard() as floors:
            result = quality_methods.scene_methods(scene, kind, options)["ours"]()
        time = scene.times[scene.reference]
        pixels = protocol.fit_pixels(scene.truth, time, scene.moving)
        shown = protocol.fitted(result.radiance, scene.truth, pixels)
        assert result.sigma is not None
        known = (scene.truth.max(axis=2) < 1) & (result.sigma < SIGMA_MAX)
        known[np.arange(known.shape[0]) % STEP > 0] = False
        known[:, np.arange(known.shape[1]) % STEP > 0] = False
        error = comparison.error_map(shown, np.clip(scene.truth, 0, 1))
        height, width = error.shape
        for floor in floors:  # one, pictures of this size being one tile; none of gfhdr, whose fusing has no floor
            error = np.where(error < floor[:height, :width], 0, error)
        sigmas.append(result.sigma[known])
        errors.append(error[known])
    return fit_calibration(np.concatenate(sigmas), np.concatenate(errors))


def main() -> None:
    parser = argparse.ArgumentParser(description="fit the judge's curves through the whole of fuse")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--panoramas", type=Path, required=True, help="folder of HDR sources; the held-out ones serve")
    parser.add_argument("--work", type=Path, required=True, help="folder of the bursts, made when absent")
    parser.add_argument("--scenes", type=int, default=quality_methods.SCENES)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    found = load_checkpoint(options.weights)
    curves = {}
    with tempfile.TemporaryDirectory() as scratch:
        bare = Path(scratch) / "bare.safetensors"
        save(bare, found, None)
        for kind in quality_methods.KINDS:
            root = options.work / kind
            if not root.exists():
                bank = load_bank(options.panoramas, held_out=True)
                write_benchmark(root, bank, options.scenes, SEED, benchmark_config(kind, quality_methods.SIZE))
            curves[kind] = fitted(root, kind, bare)
            print(f"{kind}: {curves[kind].samples:,} pixels, {len(curves[kind].raw)} knots", flush=True)
    print(save(options.out, found, replace(curves["gamma16"], eight_bit=curves["camera8"])))


if __name__ == "__main__":
    main()
