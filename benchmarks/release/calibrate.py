"""Calibrate sigma through the whole of ``fuse``: new weights with one curve for 16-bit and one for 8-bit files.

    python -m benchmarks.release.calibrate WEIGHTS --panoramas DIR --work FOLDER -o NEW [--scenes 40]

Training calibrates the network on its own crops; a photographer's burst also has alignment, an estimated curve and
tiles. So shipped weights are calibrated on bursts made as the frozen set is (same kinds and held-out sources, other
seeds and crops), read from files and fused. Left out: pixels whose truth no frame measures (``fuse`` flags them).
Errors below the floor that noise and quantisation explain (``fusion``) count as 0: then 68 % of the errors lie below
the larger of floor and calibrated sigma.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.lib.frozen_set import KINDS, SCENES, SIZE, read_frozen_scene, scene_folders
from benchmarks.lib.frozen_set import SEED as FROZEN_SET_SEED
from benchmarks.lib.methods import frozen_scene_methods
from smarthdr_cli.data.synth.export import benchmark_config, write_benchmark
from smarthdr_cli.data.synth.sources import load_bank
from smarthdr_cli.evaluate import protocol
from smarthdr_cli.evaluate.comparison import error_map
from smarthdr_cli.fusion import network_fusion
from smarthdr_cli.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from smarthdr_cli.models.uncertainty_calibration import Calibration, fit_calibration
from smarthdr_cli.models.uncertainty_head import SIGMA_MAX

SEED = FROZEN_SET_SEED + 1
PIXEL_STEP = 3  # every third pixel each way


def save_half(path: Path, checkpoint: Checkpoint, calibration: Calibration | None) -> str:
    """Write the checkpoint with another calibration in half precision; returns its SHA-256."""
    state = {name: value.half() for name, value in checkpoint.state.items()}
    return save_checkpoint(
        path, state, checkpoint.config, checkpoint.record, calibration, checkpoint.licence, checkpoint.metrics
    )


@contextmanager
def recorded_floors() -> Iterator[list[NDArray[np.float32]]]:
    """Collect the floor (h, w) of sigma of every tile that is fused meanwhile.

    Fusing without a calibration computes the floor but does not apply it.
    """
    floors: list[NDArray[np.float32]] = []
    original = network_fusion.calibrated_sigma

    def recording(log_sigma: Any, calibration: Any, *rest: Any) -> Any:
        floors.append(rest[-1][0, 0].cpu().numpy())
        return original(log_sigma, calibration, *rest)

    network_fusion.calibrated_sigma = recording
    try:
        yield floors
    finally:
        network_fusion.calibrated_sigma = original


def fit_curve(root: Path, kind: str, weights: Path) -> Calibration:
    """The curve for one kind of files, from weights without a calibration."""
    sigmas, errors = [], []
    for folder in scene_folders(root):
        scene = read_frozen_scene(folder)
        with recorded_floors() as floors:
            result = frozen_scene_methods(scene, kind, weights)["ours"]()
        pixels = protocol.fit_pixels(scene.truth, **scene.scoring_context)
        scaled = protocol.scale_and_limit(result.radiance, scene.truth, pixels)
        assert result.sigma is not None
        known_mask = (scene.truth.max(axis=2) < 1) & (result.sigma < SIGMA_MAX)
        known_mask[np.arange(known_mask.shape[0]) % PIXEL_STEP > 0] = False
        known_mask[:, np.arange(known_mask.shape[1]) % PIXEL_STEP > 0] = False
        error = error_map(scaled, np.clip(scene.truth, 0, 1))
        height, width = error.shape
        for floor in floors:  # one tile at this size; none for gfhdr, which has no floor
            error = np.where(error < floor[:height, :width], 0, error)
        sigmas.append(result.sigma[known_mask])
        errors.append(error[known_mask])
    return fit_calibration(np.concatenate(sigmas), np.concatenate(errors))


def main() -> None:
    parser = argparse.ArgumentParser(description="calibrate sigma through the whole of fuse")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--panoramas", type=Path, required=True, help="folder of HDR sources; uses the held-out ones")
    parser.add_argument("--work", type=Path, required=True, help="folder of the bursts, made where it does not exist")
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    checkpoint = load_checkpoint(options.weights)
    curves = {}
    with tempfile.TemporaryDirectory() as scratch:
        bare = Path(scratch) / "bare.safetensors"
        save_half(bare, checkpoint, None)
        for kind in KINDS:
            root = options.work / kind
            if not root.exists():
                bank = load_bank(options.panoramas, held_out=True)
                write_benchmark(root, bank, options.scenes, SEED, benchmark_config(kind, SIZE))
            curves[kind] = fit_curve(root, kind, bare)
            print(f"{kind}: {curves[kind].samples:,} pixels, {len(curves[kind].raw)} knots", flush=True)
    print(save_half(options.out, checkpoint, replace(curves["gamma16"], eight_bit=curves["camera8"])))


if __name__ == "__main__":
    main()
