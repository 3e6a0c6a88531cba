"""Train the uncertainty head ("judge" in the paper) through the whole of ``fuse``, on good and degraded bursts.

    python -m benchmarks.release.train_uncertainty run/model.safetensors --panoramas hdri/ -o new.safetensors

Bursts are synthesised as for training, handheld with all kinds of motion. Half of them are degraded: misstated
exposures, a frame of another scene, a bracket stops too dark or too bright, or far more noise. The network fuses each;
its head trains on the features it got and the error of the result; no other weight changes. Prints, on held-out
panoramas and by kind of burst, the AUSE before and after. ``benchmarks/release/calibrate.py`` must follow.
"""

import argparse
import copy
import io
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.lib.frozen_set import read_frozen_scene
from benchmarks.lib.uncertainty_training import UncertaintySample, predict_log_sigma, train_uncertainty_head
from benchmarks.release.calibrate import save_half
from smarthdr_cli.data.synth.burst import make_bursts
from smarthdr_cli.data.synth.config import TRAINING_VARIETY, SynthConfig
from smarthdr_cli.data.synth.export import benchmark_config, write_scene
from smarthdr_cli.data.synth.sources import SceneBank, load_bank
from smarthdr_cli.errors import InputError
from smarthdr_cli.evaluate import protocol
from smarthdr_cli.evaluate.comparison import error_map
from smarthdr_cli.evaluate.tables import markdown_table
from smarthdr_cli.evaluate.uncertainty_metrics import sparsification
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.fusion.fuser import load_network
from smarthdr_cli.fusion.pipeline import StageTimer, fuse_loaded, load
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.models.checkpoint import load_model
from smarthdr_cli.models.uncertainty_head import UncertaintyHead
from smarthdr_cli.system import usable_cores

SIDE_PX = 256  # of a burst: one tile
FRAME_COUNTS = (3, 3, 3, 3, 3, 3, 2, 4, 5)  # drawn with equal probability
DEGRADATIONS = ("misstated", "stranger", "dark", "bright", "noise")
DEGRADED_SHARE = 0.5  # of bursts
LOG_STEPS = 250
HELD_OUT_SEED = 1_000_000


def draw_burst(rng: np.random.Generator) -> tuple[str, str, SynthConfig]:
    """The degradation of a burst ("good": none), its kind of files, and its config."""
    degradation = str(rng.choice(DEGRADATIONS)) if rng.random() < DEGRADED_SHARE else "good"
    kind = str(rng.choice(["gamma16", "camera8"]))
    config = replace(
        benchmark_config(kind, (SIDE_PX, SIDE_PX), int(rng.choice(FRAME_COUNTS))),
        variety=TRAINING_VARIETY, reference="mixed",
        ev_steps=(1.0, 1.5, 2.0, 2.5, 3.0, 4.0), shake_px=8.0,
    )  # fmt: skip
    if degradation == "dark":
        config = replace(config, bias=-float(rng.uniform(2, 6)))
    if degradation == "bright":
        config = replace(config, bias=float(rng.uniform(1.5, 4)))
    if degradation == "noise":
        config = replace(config, iso_low=12_800.0, iso_high=102_400.0)
    return degradation, kind, config


class SampleMaker:
    """A network that fuses synthetic bursts, with the inputs of its uncertainty head recorded."""

    def __init__(self, weights: Path) -> None:
        self.network = load_network(weights, torch.device("cpu"), "fp32")
        self.features: list[Tensor] = []
        self.network.model.judge.register_forward_pre_hook(
            lambda _head, inputs: self.features.append(inputs[0].detach().clone())
        )

    def fuse(self, paths: Sequence[Path], **options: Any) -> FusionResult:
        fuse_options = FuseOptions(tile="0", exposure_check="off", **options)
        timer = StageTimer()
        self.features.clear()
        return fuse_loaded(
            load(list(paths), fuse_options, timer).burst, fuse_options, timer, open_network=lambda *_: self.network
        )

    def make(self, bank: SceneBank, number: int) -> UncertaintySample | None:
        """Burst ``number`` synthesised, degraded, written, fused and scored; None where it is all clipped or black."""
        rng = np.random.default_rng(number)
        degradation, kind, config = draw_burst(rng)
        burst = make_bursts(bank, config, torch.Generator().manual_seed(number), 1, oracle=True)
        if degradation == "stranger":  # a mirror image, which no camera motion explains
            codes = burst.codes.clone()
            frame = 1 + int(rng.integers(codes.shape[1] - 1))
            codes[:, frame] = codes[:, frame].flip(-1)
            burst = replace(burst, codes=codes)
        with tempfile.TemporaryDirectory() as name:
            write_scene(Path(name), burst, rng)
            scene = read_frozen_scene(Path(name))
            reference = torch.argsort(burst.evs[0]).tolist().index(0)  # first in the burst; files are by exposure
            evs = np.log2(np.asarray(scene.times) / scene.times[reference])
            if degradation == "misstated":
                evs = evs * float(rng.choice([0.5, 0.67, 1.33, 1.5]))
            response = "gamma2.2" if kind == "gamma16" else "auto"
            try:
                result = self.fuse(scene.paths, reference=reference + 1, ev=evs.tolist(), response=response)
            except InputError:  # frames clipped or black all over count as duplicates
                return None
        radiance = result.radiance * np.float32(result.scale_short)
        pixels = protocol.fit_pixels(scene.truth, scene.times[reference], scene.moving)
        if not protocol.can_fit_scale(radiance, scene.truth, pixels):
            return None
        (features,) = self.features
        error = error_map(protocol.scale_and_limit(radiance, scene.truth, pixels), np.clip(scene.truth, 0, 1))
        known = torch.from_numpy(scene.truth.max(axis=2) < 1)
        return UncertaintySample(features[0].half(), torch.from_numpy(error), known, degradation)


class Worker:
    """A process that makes samples: its network and its panoramas, loaded once."""

    instance: "Worker"

    def __init__(self, weights: Path, panoramas: Path) -> None:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        self.maker = SampleMaker(weights)
        self.banks = {held: load_bank(panoramas, held_out=held) for held in (False, True)}

    @staticmethod
    def start(weights: Path, panoramas: Path) -> None:
        Worker.instance = Worker(weights, panoramas)

    @staticmethod
    def make(held_out: bool, number: int) -> bytes:
        """A sample as torch saves it: tensors passed between processes would hold a file open each."""
        worker = Worker.instance
        sample = worker.maker.make(worker.banks[held_out], number)
        buffer = io.BytesIO()
        torch.save(None if sample is None else vars(sample), buffer)
        return buffer.getvalue()


def make_samples(pool: ProcessPoolExecutor, held_out: bool, count: int) -> list[UncertaintySample]:
    """The samples of ``count`` bursts, without those that cannot be scored."""
    first, samples = HELD_OUT_SEED if held_out else 0, []
    for number, data in enumerate(pool.map(Worker.make, [held_out] * count, range(first, first + count)), start=1):
        values = torch.load(io.BytesIO(data), weights_only=True)
        samples += [] if values is None else [UncertaintySample(**values)]
        if number % 20 == 0:
            print(f"{number} of {count} bursts", file=sys.stderr, flush=True)
    return samples


def ranking_table(heads: dict[str, UncertaintyHead], samples: Sequence[UncertaintySample]) -> str:
    """AUSE of every head on held-out samples and their mean error, by kind of burst.

    Last row: Spearman's rank correlation of mean sigma and mean error over whole bursts.
    """
    rows: list[list[Any]] = []
    sigmas = {name: [_sigma(head, sample) for sample in samples] for name, head in heads.items()}
    for kind in ("good", *DEGRADATIONS):
        indices = [i for i, sample in enumerate(samples) if sample.kind == kind and bool(sample.known.any())]
        if indices:
            error = np.concatenate([_known_pixels(samples[i].error, samples[i]) for i in indices])
            areas = [sparsification(error, np.concatenate([sigmas[name][i] for i in indices])).ause for name in heads]
            rows.append([kind, str(len(indices)), f"{error.mean():.4f}", *areas])
    means = [float(_known_pixels(sample.error, sample).mean()) for sample in samples]
    ranks: list[Any] = ["order of whole bursts (Spearman)", str(len(samples)), None]
    ranks += [_spearman(means, [float(sigma.mean()) for sigma in sigmas[name]]) for name in heads]
    header = ["bursts", "count", "mean error", *(f"AUSE {name}" for name in heads)]
    return markdown_table(header, [*rows, ranks])


def _known_pixels(plane: Tensor, sample: UncertaintySample) -> np.ndarray:
    """The known pixels of every third row and column."""
    return np.asarray(plane[::3, ::3][sample.known[::3, ::3]].numpy(), np.float64)


@torch.inference_mode()
def _sigma(head: UncertaintyHead, sample: UncertaintySample) -> np.ndarray:
    h, w = sample.error.shape
    return _known_pixels(predict_log_sigma(head, sample.features[None].float())[0, 0, :h, :w].exp(), sample)


def _spearman(a: Sequence[float], b: Sequence[float]) -> float:
    first, second = (np.argsort(np.argsort(values)) for values in (a, b))
    return float(np.corrcoef(first, second)[0, 1])


def log_step(step: int, loss: float) -> None:
    if step % LOG_STEPS == 0:
        print(f"step {step}: {loss:.3f}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="train the uncertainty head through the whole of fuse")
    parser.add_argument("weights", type=Path)
    parser.add_argument(
        "--panoramas", type=Path, required=True, help="folder of HDR sources; held-out ones for testing"
    )
    parser.add_argument("--bursts", type=int, default=600, help="bursts to train on")
    parser.add_argument("--held-out", type=int, default=60, help="bursts to test on")
    parser.add_argument("--processes", type=int, default=usable_cores())
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    arguments = (options.weights, options.panoramas)
    with ProcessPoolExecutor(options.processes, get_context("spawn"), Worker.start, arguments) as pool:
        held_out = make_samples(pool, True, options.held_out)
        samples = make_samples(pool, False, options.bursts)
    model, checkpoint = load_model(options.weights)
    head = copy.deepcopy(model.judge).requires_grad_(True)
    train_uncertainty_head(
        head, [sample for sample in samples if bool(sample.known.any())], steps=options.steps, on_step=log_step
    )
    print(ranking_table({"before": model.judge, "after": head}, held_out))
    state = checkpoint.state | {f"judge.{name}": value for name, value in head.state_dict().items()}
    record = checkpoint.record | {"judge": {"lessons": len(samples), "steps": options.steps}}
    print(save_half(options.out, replace(checkpoint, state=state, record=record), None))


if __name__ == "__main__":
    main()
