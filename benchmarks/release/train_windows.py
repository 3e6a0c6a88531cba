"""Train trust, residual and uncertainty head of saf on what it sees inside ``fuse`` (benchmarks/lib/window_lessons.py).

    python -m benchmarks.release.train_windows make WEIGHTS --panoramas hdri/ --lessons lessons/ --bursts 1000
    python -m benchmarks.release.train_windows make WEIGHTS --panoramas hdri/ --lessons held/ --bursts 60 --held-out
    python -m benchmarks.release.train_windows train WEIGHTS --lessons lessons/ --held-out held/ -o new.safetensors

``make`` adds to a folder and may run while ``train`` does, which reads what is there. Weights without the evidence of
the noise model (models/evidence.py) take it with a weight of 0 to begin with. The state of a run is kept beside the
output and resumed with ``--resume``. ``benchmarks/release/calibrate.py`` must follow.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.lib.frozen_set import read_frozen_scene
from benchmarks.lib.window_lessons import LEARNS, Lesson, lesson_loss, record_lessons
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
from smarthdr_cli.models.base import build_model
from smarthdr_cli.models.checkpoint import load_checkpoint
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.train.loop import update_ema

SIZE = (320, 448)  # of a burst
CROPS = 4  # of a burst at most
FRAME_COUNTS = (3, 3, 3, 3, 3, 3, 2, 4, 5)  # drawn with equal probability
PLAIN_SHARE = 0.3  # of bursts: without the rarer effects of training's variety
MISSTATED_SHARE = 0.05  # of bursts, whose stated exposures are off by a third to a half
NOISY_SHARE = 0.15  # of bursts, at high ISO
HELD_OUT_SEED = 1_000_000
VALIDATION_LESSONS = 96
WARM_UP = 60  # updates
LOG_UPDATES = 20


def draw_config(rng: np.random.Generator) -> tuple[str, SynthConfig]:
    """The kind of files of a burst, and its config."""
    kind = str(rng.choice(["gamma16", "camera8"]))
    config = replace(
        benchmark_config(kind, SIZE, int(rng.choice(FRAME_COUNTS))),
        reference="mixed", ev_steps=(1.0, 1.5, 2.0, 2.5, 3.0, 4.0),
    )  # fmt: skip
    if rng.random() >= PLAIN_SHARE:
        config = replace(config, variety=TRAINING_VARIETY)
    if rng.random() < NOISY_SHARE:
        config = replace(config, iso_low=6_400.0, iso_high=51_200.0)
    return kind, config


def make_lessons(fuser: SAFFuser, bank: SceneBank, number: int) -> list[Lesson]:
    """Those of burst ``number``; none where it cannot be aligned or scored, or nothing is at odds."""
    rng = np.random.default_rng(number)
    kind, config = draw_config(rng)
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
        shortest = np.float32(plan.merger.model.exposures.min())
        radiance = plan.merge.image.radiance * shortest
        pixels = protocol.fit_pixels(scene.truth, scene.times[reference], scene.moving)
        if not protocol.can_fit_scale(radiance, scene.truth, pixels):
            return []
        truth = scene.truth / (shortest * np.float32(protocol.fit_scale(radiance, scene.truth, pixels)))
        return record_lessons(plan, truth, CROPS, rng)


def make(options: argparse.Namespace) -> None:
    """Bursts ``first`` to ``first + bursts`` that the folder does not have yet."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    fuser = load_network(options.weights, torch.device("cpu"), "auto")
    assert isinstance(fuser, SAFFuser)
    bank = load_bank(options.panoramas, held_out=options.held_out)
    if options.people is not None:
        bank = replace(bank, people=load_people(options.people))
    options.lessons.mkdir(parents=True, exist_ok=True)
    base = HELD_OUT_SEED if options.held_out else 0
    for number in range(base + options.first, base + options.first + options.bursts):
        lessons = make_lessons(fuser, bank, number)
        for k, lesson in enumerate(lessons):
            partial = options.lessons / f"{number:07d}-{k}.partial"
            lesson.save(partial)
            partial.rename(partial.with_suffix(".pt"))
        if number % 20 == 0:
            print(f"burst {number}: {len(list(options.lessons.glob('*.pt')))} lessons", file=sys.stderr, flush=True)


class LessonFolder:
    """Draws batches of lessons with as many frames each from a folder that may grow."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.rng = folder, np.random.default_rng(seed)
        self.by_count: dict[int, list[Path]] = {}
        self.known: set[Path] = set()
        self.refresh()

    def refresh(self) -> None:
        """Look at what has been added."""
        for path in sorted(set(self.folder.glob("*.pt")) - self.known):
            self.by_count.setdefault(len(Lesson.load(path).evs), []).append(path)
            self.known.add(path)

    def draw(self, batch: int) -> list[Lesson]:
        """A batch; numbers of frames as often as there are lessons of them."""
        counts = sorted(self.by_count)
        sizes = np.array([len(self.by_count[count]) for count in counts], float)
        paths = self.by_count[counts[self.rng.choice(len(counts), p=sizes / sizes.sum())]]
        return [Lesson.load(paths[i]) for i in self.rng.integers(len(paths), size=batch)]


@torch.inference_mode()
def validate(model: SAF, lessons: Sequence[Lesson], precision: str) -> dict[str, float]:
    """The means of the terms over lessons, one by one, and the PSNR of their squared error in dB."""
    terms = [lesson_loss(model, [lesson], precision)[1] for lesson in lessons]
    means = {name: float(np.mean([term[name] for term in terms])) for name in terms[0]}
    return means | {"psnr": -10 * float(np.log10(means["square"]))}


def train(options: argparse.Namespace) -> None:
    """Adam, the rate rising over WARM_UP updates and falling to 0 over the last ``cooldown`` minutes; an average."""
    torch.set_num_threads(options.threads)
    checkpoint = load_checkpoint(options.weights)
    model = build_model(checkpoint.config | {"evidence": True})
    assert isinstance(model, SAF)
    average: dict[str, Tensor] = model.extend_state(checkpoint.state)
    model.load_state_dict(average)
    model.requires_grad_(False)
    learns = [getattr(model, name).requires_grad_(True) for name in LEARNS]
    heads = list(learns[-1].parameters())
    others = [p for module in learns[:-1] for p in module.parameters()]
    optimizer = torch.optim.Adam([*others, *heads], lr=options.rate)
    state_path, step = options.out.with_suffix(".state.pt"), 0
    if options.resume:
        saved = torch.load(state_path, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        average, step = saved["average"], saved["step"]
    average = {name: value.clone() for name, value in average.items()}
    folder = LessonFolder(options.lessons, step)
    held = [Lesson.load(path) for path in sorted(options.held_out.glob("*.pt"))[:: options.validate_every_nth]]
    held = held[:VALIDATION_LESSONS]
    print(json.dumps({"step": step, "lessons": len(folder.known), "before": validate(model, held, options.precision)}),
          flush=True)  # fmt: skip
    sums: list[dict[str, float]] = []
    started = saved_at = validated = time.monotonic()
    shadow = build_model(checkpoint.config | {"evidence": True})
    assert isinstance(shadow, SAF)

    def save() -> None:
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average, "step": step},
                   state_path)  # fmt: skip
        learned = {"updates": step, "lessons": len(folder.known)}
        record = checkpoint.record | {"windows": learned}
        result = replace(checkpoint, state=average, config=checkpoint.config | {"evidence": True}, record=record)
        save_half(options.out, result, checkpoint.calibration)

    while (minutes := (time.monotonic() - started) / 60) < options.minutes:
        scale = min(1.0, (step + 1) / WARM_UP, (options.minutes - minutes) / max(options.cooldown, 1e-3))
        for group in optimizer.param_groups:
            group["lr"] = options.rate * scale
        loss, terms = lesson_loss(model, folder.draw(options.batch), options.precision)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norms = [torch.nn.utils.clip_grad_norm_(part, options.clip) for part in (others, heads)]
        if all(bool(torch.isfinite(norm)) for norm in norms):
            optimizer.step()
        update_ema(average, model, min(options.ema, (1 + step) / (10 + step)))
        step += 1
        sums.append(terms | {"gradient": float(norms[0])})
        if step % LOG_UPDATES == 0:
            means = {name: round(float(np.mean([term[name] for term in sums])), 5) for name in sums[0]}
            print(json.dumps({"step": step, "minutes": round(minutes, 1), "lessons": len(folder.known)} | means),
                  flush=True)  # fmt: skip
            sums.clear()
            folder.refresh()
        if time.monotonic() - validated > options.validate_minutes * 60:
            shadow.load_state_dict(average)
            print(json.dumps({"step": step, "validation": validate(shadow, held, options.precision)}), flush=True)
            validated = time.monotonic()
        if time.monotonic() - saved_at > 180:
            save()
            saved_at = time.monotonic()
    save()
    shadow.load_state_dict(average)
    print(json.dumps({"step": step, "validation": validate(shadow, held, options.precision)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="train saf's last stages on what they see inside fuse")
    commands = parser.add_subparsers(required=True)
    maker = commands.add_parser("make", help="synthesise bursts, merge them and keep crops of what is at odds")
    maker.add_argument("weights", type=Path)
    maker.add_argument("--panoramas", type=Path, required=True)
    maker.add_argument("--people", type=Path, help="folder of sprites of benchmarks/people/make_people.py")
    maker.add_argument("--lessons", type=Path, required=True)
    maker.add_argument("--bursts", type=int, default=1000)
    maker.add_argument("--first", type=int, default=0)
    maker.add_argument("--held-out", action="store_true", help="bursts of the held-out panoramas")
    maker.set_defaults(run=make)
    trainer = commands.add_parser("train", help="train on such crops")
    trainer.add_argument("weights", type=Path)
    trainer.add_argument("--lessons", type=Path, required=True)
    trainer.add_argument("--held-out", type=Path, required=True)
    trainer.add_argument("--minutes", type=float, default=60.0)
    trainer.add_argument("--cooldown", type=float, default=20.0, help="minutes over which the rate falls to 0")
    trainer.add_argument("--rate", type=float, default=4e-4)
    trainer.add_argument("--batch", type=int, default=6)
    trainer.add_argument("--clip", type=float, default=0.15)
    trainer.add_argument("--ema", type=float, default=0.99)
    trainer.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    trainer.add_argument("--threads", type=int, default=1)
    trainer.add_argument("--validate-minutes", type=float, default=6.0)
    trainer.add_argument("--validate-every-nth", type=int, default=1)
    trainer.add_argument("--resume", action="store_true")
    trainer.add_argument("-o", "--out", type=Path, required=True)
    trainer.set_defaults(run=train)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
