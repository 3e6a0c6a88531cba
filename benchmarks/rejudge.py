"""Teach the judge anew through the whole of fuse, on good bursts and on spoilt ones.

    python benchmarks/rejudge.py run/model.safetensors --panoramas hdri/ -o new.safetensors [--lessons 600]

Bursts are made as for training, by hand and with everything that moves; half of them is spoilt: exposures stated
wrong, a frame of something else, a bracket stops too dark or too bright, far more noise. The network fuses each, its
judge learns from the features it was shown and the error that was made, and nothing else changes. Prints, on held-out
places and by kind of burst, how well sigma ranks errors before and after, and leaves the calibration to
benchmarks/recalibrate.py, which must follow.
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
from recalibrate import save
from torch import Tensor

from smarthdr_cli.data.synth.burst import make_bursts
from smarthdr_cli.data.synth.config import TRAINING_VARIETY, SynthConfig
from smarthdr_cli.data.synth.export import benchmark_config, write_scene
from smarthdr_cli.data.synth.sources import SceneBank, load_bank
from smarthdr_cli.errors import InputError
from smarthdr_cli.evaluate import comparison, frozen, protocol, report, uncertainty_metrics
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.fusion.fuser import load_network
from smarthdr_cli.fusion.pipeline import StageTimer, fuse_loaded, load
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.models.checkpoint import load_model
from smarthdr_cli.models.uncertainty_head import UncertaintyHead
from smarthdr_cli.system import usable_cores
from smarthdr_cli.train.judging import Lesson, judged, teach

SIDE = 256  # pixels of a burst: one tile
FRAMES = (3, 3, 3, 3, 3, 3, 2, 4, 5)
SPOILT = ("misstated", "stranger", "dark", "bright", "noise")
SHARE = 0.5  # of bursts that are spoilt
HELD_OUT_SEED = 1_000_000


def drawn(rng: np.random.Generator) -> tuple[str, str, SynthConfig]:
    """What is wrong with a burst ("good": nothing), its kind of files, and how it is made."""
    spoilt = str(rng.choice(SPOILT)) if rng.random() < SHARE else "good"
    kind = str(rng.choice(["gamma16", "camera8"]))
    config = replace(benchmark_config(kind, (SIDE, SIDE), int(rng.choice(FRAMES))),
                     variety=TRAINING_VARIETY, reference="mixed",
                     ev_steps=(1.0, 1.5, 2.0, 2.5, 3.0, 4.0), shake_px=8.0)  # fmt: skip
    if spoilt == "dark":
        config = replace(config, bias=-float(rng.uniform(2, 6)))
    if spoilt == "bright":
        config = replace(config, bias=float(rng.uniform(1.5, 4)))
    if spoilt == "noise":
        config = replace(config, iso_low=12_800.0, iso_high=102_400.0)
    return spoilt, kind, config


class Class:
    """A network that fuses bursts in memory, and what its judge is shown meanwhile."""

    def __init__(self, weights: Path) -> None:
        self.network = load_network(weights, torch.device("cpu"), "fp32")
        self.judge = self.network.model.judge
        self.shown: list[Tensor] = []
        self.judge.register_forward_pre_hook(lambda _judge, inputs: self.shown.append(inputs[0].detach().clone()))

    def fuse(self, paths: Sequence[Path], **options: Any) -> FusionResult:
        chosen, clock = FuseOptions(tile="0", exposure_check="off", **options), StageTimer()
        self.shown.clear()
        return fuse_loaded(load(list(paths), chosen, clock).burst, chosen, clock, open_network=lambda *_: self.network)

    def lesson(self, bank: SceneBank, number: int) -> Lesson | None:
        """Burst ``number`` made, spoilt, written, fused and measured; None where it cannot be measured, being clipped
        or black all over.
        """
        rng = np.random.default_rng(number)
        wrong, kind, config = drawn(rng)
        burst = make_bursts(bank, config, torch.Generator().manual_seed(number), 1, oracle=True)
        if wrong == "stranger":  # a mirror is no motion of a camera
            codes = burst.codes.clone()
            which = 1 + int(rng.integers(codes.shape[1] - 1))
            codes[:, which] = codes[:, which].flip(-1)
            burst = replace(burst, codes=codes)
        with tempfile.TemporaryDirectory() as name:
            write_scene(Path(name), burst, rng)
            scene = frozen.read_scene(Path(name))
            at = torch.argsort(burst.evs[0]).tolist().index(0)  # a burst's reference comes first, its files by exposure
            evs = np.log2(np.asarray(scene.times) / scene.times[at])
            if wrong == "misstated":
                evs = evs * float(rng.choice([0.5, 0.67, 1.33, 1.5]))
            response = "gamma2.2" if kind == "gamma16" else "auto"
            try:
                fused = self.fuse(scene.paths, reference=at + 1, evs=evs.tolist(), response=response)
            except InputError:  # two frames clipped or black all over are one picture given twice
                return None
        light = fused.radiance * np.float32(fused.scale_short)
        pixels = protocol.fit_pixels(scene.truth, scene.times[at], scene.moving)
        if not protocol.fits(light, scene.truth, pixels):
            return None
        (features,) = self.shown
        error = comparison.error_map(protocol.fitted(light, scene.truth, pixels), np.clip(scene.truth, 0, 1))
        known = torch.from_numpy(scene.truth.max(axis=2) < 1)
        return Lesson(features[0].half(), torch.from_numpy(error), known, wrong)


class Pupil:
    """A process that makes lessons: its network and its sources, found once."""

    here: "Pupil"

    def __init__(self, weights: Path, panoramas: Path) -> None:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        self.school = Class(weights)
        self.banks = {held: load_bank(panoramas, held_out=held) for held in (False, True)}

    @staticmethod
    def begin(weights: Path, panoramas: Path) -> None:
        Pupil.here = Pupil(weights, panoramas)

    @staticmethod
    def lesson(held_out: bool, number: int) -> bytes:
        """A lesson as torch saves it: tensors handed from process to process would hold a file open each."""
        found = Pupil.here.school.lesson(Pupil.here.banks[held_out], number)
        buffer = io.BytesIO()
        torch.save(None if found is None else vars(found), buffer)
        return buffer.getvalue()


def lessons(pool: ProcessPoolExecutor, held_out: bool, count: int) -> list[Lesson]:
    """``count`` lessons, or a few less."""
    first, found = HELD_OUT_SEED if held_out else 0, []
    for number, data in enumerate(pool.map(Pupil.lesson, [held_out] * count, range(first, first + count)), start=1):
        values = torch.load(io.BytesIO(data), weights_only=True)
        found += [] if values is None else [Lesson(**values)]
        if number % 20 == 0:
            print(f"{number} of {count} bursts", file=sys.stderr, flush=True)
    return found


def verdicts(judges: dict[str, UncertaintyHead], held: Sequence[Lesson]) -> str:
    """AUSE of every judge on held-out lessons, by kind of burst, beside the mean error; and of whole bursts, how far
    their mean sigmas stand in the order of their mean errors.
    """
    rows: list[list[Any]] = []
    sigmas = {name: [_sigma(one, lesson) for lesson in held] for name, one in judges.items()}
    for kind in ("good", *SPOILT):
        at = [i for i, lesson in enumerate(held) if lesson.kind == kind and bool(lesson.known.any())]
        if at:
            error = np.concatenate([_of(held[i].error, held[i]) for i in at])
            areas = [
                uncertainty_metrics.sparsification(error, np.concatenate([sigmas[name][i] for i in at])).ause
                for name in judges
            ]
            rows.append([kind, str(len(at)), f"{error.mean():.4f}", *areas])
    means = [float(_of(lesson.error, lesson).mean()) for lesson in held]
    ranks: list[Any] = ["order of whole bursts (Spearman)", str(len(held)), None]
    ranks += [_spearman(means, [float(sigma.mean()) for sigma in sigmas[name]]) for name in judges]
    header = ["bursts", "count", "mean error", *(f"AUSE {name}" for name in judges)]
    return report.markdown_table(header, [*rows, ranks])


def _of(plane: Tensor, lesson: Lesson) -> np.ndarray:
    return np.asarray(plane[::3, ::3][lesson.known[::3, ::3]].numpy(), np.float64)


@torch.inference_mode()
def _sigma(one: UncertaintyHead, lesson: Lesson) -> np.ndarray:
    h, w = lesson.error.shape
    return _of(judged(one, lesson.features[None].float())[0, 0, :h, :w].exp(), lesson)


def _spearman(a: Sequence[float], b: Sequence[float]) -> float:
    first, second = (np.argsort(np.argsort(values)) for values in (a, b))
    return float(np.corrcoef(first, second)[0, 1])


def told(step: int, loss: float) -> None:
    if step % 250 == 0:
        print(f"step {step}: {loss:.3f}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="teach the judge through the whole of fuse")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--panoramas", type=Path, required=True, help="folder of HDR sources; the held-out ones test")
    parser.add_argument("--lessons", type=int, default=600, help="bursts to learn from")
    parser.add_argument("--held-out", type=int, default=60, help="bursts to test on")
    parser.add_argument("--processes", type=int, default=usable_cores())
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    began = (options.weights, options.panoramas)
    with ProcessPoolExecutor(options.processes, get_context("spawn"), Pupil.begin, began) as pool:
        held, learned = (
            lessons(pool, out, count) for out, count in ((True, options.held_out), (False, options.lessons))
        )
    model, found = load_model(options.weights)
    taught = copy.deepcopy(model.judge).requires_grad_(True)
    known = [one for one in learned if bool(one.known.any())]
    teach(taught, known, steps=options.steps, on_step=told)
    print(verdicts({"before": model.judge, "after": taught}, held))
    state = found.state | {f"judge.{name}": value for name, value in taught.state_dict().items()}
    record = found.record | {"judge": {"lessons": len(learned), "steps": options.steps}}
    print(save(options.out, replace(found, state=state, record=record), None))


if __name__ == "__main__":
    main()
