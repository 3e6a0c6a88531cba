"""Calibrate sigma as ``fuse`` states it: new weights with one curve for 16-bit and one for 8-bit files.

    python -m benchmarks.release.calibrate SAF --samples held/ -o NEW
    python -m benchmarks.release.calibrate GFHDR --panoramas DIR --work FOLDER -o NEW [--scenes 40]

Training calibrates the network on its own crops; a photographer's burst also has alignment, an estimated curve and
tiles. A network answers in windows at odds. saf's curves are fitted on what was recorded there
(benchmarks/release/train_windows.py), of held-out panoramas; gfhdr's on bursts made as the frozen set is (same kinds
and held-out sources, other seeds and crops), read from files and fused, where sigma follows the calibration. Left out:
pixels whose truth no frame measures (``fuse`` flags them).
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.lib.frozen_set import KINDS, SCENES, SIZE, read_frozen_scene, scene_folders
from benchmarks.lib.frozen_set import SEED as FROZEN_SET_SEED
from benchmarks.lib.methods import frozen_scene_methods
from benchmarks.lib.window_training import WindowSample, batch_of
from smarthdr_cli.data.synth.export import benchmark_config, write_benchmark
from smarthdr_cli.data.synth.sources import load_bank
from smarthdr_cli.evaluate import protocol
from smarthdr_cli.evaluate.comparison import error_map
from smarthdr_cli.fusion.network_window import SHOWS, answer
from smarthdr_cli.fusion.residual_bounds import limit_residual
from smarthdr_cli.models.checkpoint import Checkpoint, load_checkpoint, load_model, save_checkpoint
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.models.uncertainty_calibration import Calibration, fit_calibration
from smarthdr_cli.models.uncertainty_head import SIGMA_MAX

SEED = FROZEN_SET_SEED + 1
PIXEL_STEP = 3  # every third pixel each way
PROBE = Calibration((1e-3,), (2e-3,))  # doubles sigma where it is the network's


def save_half(path: Path, checkpoint: Checkpoint, calibration: Calibration | None) -> str:
    """Write the checkpoint with another calibration in half precision; returns its SHA-256."""
    state = {name: value.half() for name, value in checkpoint.state.items()}
    return save_checkpoint(
        path, state, checkpoint.config, checkpoint.record, calibration, checkpoint.licence, checkpoint.metrics
    )


@torch.inference_mode()
def sample_errors(model: SAF, sample: WindowSample) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sigma as the network states it and error, in the mu-law domain, of a sample's pixels that count."""
    frames, states, batch, weight = batch_of([sample])
    light, log_sigma, detail = answer(model, frames, states)
    shown = (detail.trust * SHOWS).clamp(max=1)
    light, _ = limit_residual(light, detail.merged, frames.blank(), shown, frames.evs)
    assert batch.target is not None
    result, truth = (mu_law((x * batch.scale_short).clamp(max=1)) for x in (light, batch.target))
    counts = (weight[:, 0] > 0.5) & (truth.amax(1) < 1)
    return log_sigma[:, 0].exp()[counts].numpy(), (result - truth).abs().mean(1)[counts].numpy()


def fit_samples(model: SAF, samples: Sequence[WindowSample]) -> Calibration:
    """One curve for samples of one kind of files."""
    sigmas, errors = zip(*(sample_errors(model, sample) for sample in samples), strict=True)
    return fit_calibration(np.concatenate(sigmas), np.concatenate(errors))


def fit_curve(root: Path, kind: str, weights: Path, probe: Path) -> Calibration:
    """The curve for one kind of files, from weights without a calibration and the same under PROBE."""
    sigmas, errors = [], []
    for folder in scene_folders(root):
        scene = read_frozen_scene(folder)
        result, probed = (frozen_scene_methods(scene, kind, file)["ours"]() for file in (weights, probe))
        pixels = protocol.fit_pixels(scene.truth, **scene.scoring_context)
        scaled = protocol.scale_and_limit(result.radiance, scene.truth, pixels)
        assert result.sigma is not None
        assert probed.sigma is not None
        follows = probed.sigma > 1.9 * result.sigma
        known_mask = follows & (scene.truth.max(axis=2) < 1) & (result.sigma < SIGMA_MAX)
        known_mask[np.arange(known_mask.shape[0]) % PIXEL_STEP > 0] = False
        known_mask[:, np.arange(known_mask.shape[1]) % PIXEL_STEP > 0] = False
        error = error_map(scaled, np.clip(scene.truth, 0, 1))
        sigmas.append(result.sigma[known_mask])
        errors.append(error[known_mask])
    return fit_calibration(np.concatenate(sigmas), np.concatenate(errors))


def main() -> None:
    parser = argparse.ArgumentParser(description="calibrate sigma through the whole of fuse")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--samples", type=Path, help="saf: folder of held-out samples")
    parser.add_argument("--panoramas", type=Path, help="gfhdr: folder of HDR sources; uses the held-out ones")
    parser.add_argument("--work", type=Path, help="gfhdr: folder of the bursts, made where it does not exist")
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    if options.samples is None and None in (options.panoramas, options.work):
        parser.error("give --samples for saf, --panoramas and --work for gfhdr")
    checkpoint = load_checkpoint(options.weights)
    if options.samples is None:
        curves = fit_bursts(checkpoint, options.panoramas, options.work, options.scenes)
    else:
        model, _ = load_model(options.weights)
        assert isinstance(model, SAF)
        samples = [WindowSample.load(path) for path in sorted(options.samples.glob("*.pt"))]
        curves = {
            kind: fit_samples(model, [sample for sample in samples if bool(sample.eight_bit) == (kind == "camera8")])
            for kind in KINDS
        }
    for kind, curve in curves.items():
        print(f"{kind}: {curve.samples:,} pixels, {len(curve.raw)} knots", flush=True)
    print(save_half(options.out, checkpoint, replace(curves["gamma16"], eight_bit=curves["camera8"])))


def fit_bursts(checkpoint: Checkpoint, panoramas: Path, work: Path, scenes: int) -> dict[str, Calibration]:
    """A curve for each kind of files, through the whole of ``fuse``."""
    curves = {}
    with tempfile.TemporaryDirectory() as scratch:
        bare, probe = Path(scratch) / "bare.safetensors", Path(scratch) / "probe.safetensors"
        save_half(bare, checkpoint, None)
        save_half(probe, checkpoint, PROBE)
        for kind in KINDS:
            root = work / kind
            if not root.exists():
                bank = load_bank(panoramas, held_out=True)
                write_benchmark(root, bank, scenes, SEED, benchmark_config(kind, SIZE))
            curves[kind] = fit_curve(root, kind, bare, probe)
    return curves


if __name__ == "__main__":
    main()
