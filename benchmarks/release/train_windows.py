"""Train trust, residual and uncertainty head of saf on what it sees inside ``fuse`` (lib/window_training.py).

    python -m benchmarks.release.train_windows make WEIGHTS --panoramas hdri/ --samples samples/ --bursts 1000
    python -m benchmarks.release.train_windows make WEIGHTS --panoramas hdri/ --samples held/ --bursts 60 --held-out
    python -m benchmarks.release.train_windows train WEIGHTS --samples samples/ --held-out held/ -o runs/windows

``make`` goes on where it was ended, and may run while ``train`` does, which looks for more at every validation. Weights
without noise inputs (models/noise_inputs.py) take them with a weight of 0 to begin with. ``train`` leaves
``model.safetensors`` in its folder, and what ``--resume`` needs; ``benchmarks/release/calibrate.py`` must follow.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.lib.frozen_set import read_frozen_scene
from benchmarks.lib.window_training import SampleFolder, WindowSample, WindowSession, record_samples
from benchmarks.release.calibrate import save_half
from smarthdr_cli.aligned_burst import register
from smarthdr_cli.data.synth.burst import make_bursts
from smarthdr_cli.data.synth.config import TRAINING_VARIETY, SynthConfig
from smarthdr_cli.data.synth.export import benchmark_config, write_scene
from smarthdr_cli.data.synth.people import load_people
from smarthdr_cli.data.synth.sources import SceneBank, load_bank
from smarthdr_cli.errors import InputError
from smarthdr_cli.evaluate import protocol
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.fusion.fuser import load_network
from smarthdr_cli.fusion.memory_budget import MemoryBudget
from smarthdr_cli.fusion.network_fusion import SAFFuser
from smarthdr_cli.fusion.pipeline import StageTimer, load
from smarthdr_cli.models.checkpoint import load_checkpoint
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.loop import TimeBudget
from smarthdr_cli.train.loop import train as run
from smarthdr_cli.train.run import start_state

SIZE = (320, 448)  # of a burst
CROPS = 4  # of a burst at most
FRAME_COUNTS = (3, 3, 3, 3, 3, 3, 2, 4, 5)  # drawn with equal probability
MISSTATED_SHARE = 0.05  # of bursts, whose stated exposures are off by a third to a half
NOISY_SHARE = 0.15  # of bursts, at high ISO
HELD_OUT_SEED = 1_000_000
VALIDATION_SAMPLES = 96
RECIPE = {"weight_square": 40.0, "weight_merged": 0.2, "warmup": 60, "ema": 0.995, "validate_every": 400}


def draw_config(rng: np.random.Generator, plain: float) -> tuple[str, SynthConfig]:
    """The kind of files of a burst, and its config; a share ``plain`` is without the rarer effects of training."""
    kind = str(rng.choice(["gamma16", "camera8"]))
    config = replace(
        benchmark_config(kind, SIZE, int(rng.choice(FRAME_COUNTS))),
        reference="mixed", ev_steps=(1.0, 1.5, 2.0, 2.5, 3.0, 4.0),
    )  # fmt: skip
    if rng.random() >= plain:
        config = replace(config, variety=TRAINING_VARIETY)
    if rng.random() < NOISY_SHARE:
        config = replace(config, iso_low=6_400.0, iso_high=51_200.0)
    return kind, config


def make_samples(fuser: SAFFuser, bank: SceneBank, number: int, plain: float) -> list[WindowSample]:
    """Those of burst ``number``; none where it cannot be aligned or scored, or nothing is at odds."""
    rng = np.random.default_rng(number)
    kind, config = draw_config(rng, plain)
    burst = make_bursts(bank, config, torch.Generator().manual_seed(number), 1, oracle=True)
    with tempfile.TemporaryDirectory() as name:
        write_scene(Path(name), burst, rng)
        scene = read_frozen_scene(Path(name))
        reference = torch.argsort(burst.evs[0]).tolist().index(0)  # first in the burst; files are by exposure
        evs = np.log2(np.asarray(scene.times) / scene.times[reference])
        if rng.random() < MISSTATED_SHARE:
            evs = evs * float(rng.choice([0.5, 0.67, 1.33, 1.5]))
        response = "gamma2.2" if kind == "gamma16" else "auto"
        options = FuseOptions(reference=reference + 1, ev=evs.tolist(), response=response, exposure_check="off")
        try:
            loaded = load(list(scene.paths), options, StageTimer()).burst
            source = register(
                loaded, align="auto", response=options.response, exposure_check="off", gains=options.gains
            ).burst
        except InputError:  # frames clipped or black all over count as duplicates
            return []
        with torch.inference_mode():
            plan = fuser.plan(source, MemoryBudget(tile=0, parallel_motions=1), False, lambda _: None)
        shortest = np.float32(plan.network.merger.model.exposures.min())
        radiance = plan.merge.image.radiance * shortest
        pixels = protocol.fit_pixels(scene.truth, scene.times[reference], scene.moving)
        if not protocol.can_fit_scale(radiance, scene.truth, pixels):
            return []
        truth = scene.truth / (shortest * np.float32(protocol.fit_scale(radiance, scene.truth, pixels)))
        return record_samples(plan, truth, CROPS, rng)


def make(options: argparse.Namespace) -> None:
    """Bursts ``first`` to ``first + bursts`` that the folder does not have yet."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    fuser = load_network(options.weights, torch.device("cpu"), "auto")
    assert isinstance(fuser, SAFFuser)
    bank = load_bank(options.panoramas, held_out=options.held_out)
    if options.people is not None:
        bank = replace(bank, people=load_people(options.people))
    options.samples.mkdir(parents=True, exist_ok=True)
    base = HELD_OUT_SEED if options.held_out else 0
    for number in range(base + options.first, base + options.first + options.bursts):
        if (options.samples / f"{number:07d}-0.pt").exists():
            continue
        samples = make_samples(fuser, bank, number, options.plain)
        for k, sample in reversed(list(enumerate(samples))):  # the first says: all are there
            sample.save(options.samples / f"{number:07d}-{k}.pt")
        if number % 20 == 0:
            print(f"burst {number}: {len(list(options.samples.glob('*.pt')))} samples", file=sys.stderr, flush=True)


def train(options: argparse.Namespace) -> None:
    """``minutes`` of updates; the rate falls to 0 over the last ``cooldown`` of them."""
    torch.set_num_threads(options.threads)
    checkpoint = load_checkpoint(options.weights)
    config = train_config(RECIPE | {
        "model": {**checkpoint.config, "noise_inputs": True}, "batch": options.batch, "learning_rate": options.rate,
        "precision": options.precision,
    })  # fmt: skip
    state = start_state(options.out, config, torch.device("cpu"), resume=options.resume, init=str(options.weights))
    folder = SampleFolder(options.samples)
    session = WindowSession(folder, sorted(options.held_out.glob("*.pt"))[:VALIDATION_SAMPLES], config, state.student)
    print(json.dumps({"before": session.validate(state)}), flush=True)
    budget = TimeBudget(options.minutes, options.cooldown)
    state = run(
        config, session, options.out, state, lambda record: print(json.dumps(record), flush=True), budget=budget
    )
    learned = {"updates": state.step, "samples": len(folder.known)}
    result = replace(
        checkpoint, state=state.teacher.state_dict(), config=dict(config.model),
        record=checkpoint.record | {"windows": learned},
    )  # fmt: skip
    save_half(options.out / "model.safetensors", result, checkpoint.calibration)


def main() -> None:
    parser = argparse.ArgumentParser(description="train saf's last stages on what they see inside fuse")
    commands = parser.add_subparsers(required=True)
    maker = commands.add_parser("make", help="synthesise bursts, merge them and keep samples of what is at odds")
    maker.add_argument("weights", type=Path)
    maker.add_argument("--panoramas", type=Path, required=True)
    maker.add_argument("--people", type=Path, help="folder of sprites of benchmarks/people/make_people.py")
    maker.add_argument("--samples", type=Path, required=True)
    maker.add_argument("--bursts", type=int, default=1000)
    maker.add_argument("--first", type=int, default=0)
    maker.add_argument("--plain", type=float, default=0.3, help="share of bursts without the rarer effects of training")
    maker.add_argument("--held-out", action="store_true", help="bursts of the held-out panoramas")
    maker.set_defaults(run=make)
    trainer = commands.add_parser("train", help="train on such samples")
    trainer.add_argument("weights", type=Path)
    trainer.add_argument("--samples", type=Path, required=True)
    trainer.add_argument("--held-out", type=Path, required=True)
    trainer.add_argument("--minutes", type=float, default=60.0)
    trainer.add_argument("--cooldown", type=float, default=20.0, help="minutes over which the rate falls to 0")
    trainer.add_argument("--rate", type=float, default=1.5e-4)
    trainer.add_argument("--batch", type=int, default=6)
    trainer.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    trainer.add_argument("--threads", type=int, default=1)
    trainer.add_argument("--resume", action="store_true")
    trainer.add_argument("-o", "--out", type=Path, required=True, help="folder of the run")
    trainer.set_defaults(run=train)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
