"""Train the decoder of saf's finer motion alone (``finer`` of models/saf.py), on synthetic bursts of true displacement.

    python -m benchmarks.release.train_finer_motion make WEIGHTS --panoramas hdri/ --bursts crops/
    python -m benchmarks.release.train_finer_motion make WEIGHTS --panoramas hdri/ --bursts held/ --count 48 --held-out
    python -m benchmarks.release.train_finer_motion train WEIGHTS --bursts crops/ --held-out held/ -o new.safetensors

``make`` keeps bursts with the coarse motion that WEIGHTS find in them; it goes on where it was ended. ``train`` learns
on crops in which the coarse motion is furthest from the truth, as ``fuse`` asks finer levels only where frames still
differ, by the distance of every level's displacement from the truth. All other weights stand still.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.release.calibrate import save_half
from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.synth.burst import make_batch
from smarthdr_cli.data.synth.config import TRAINING_VARIETY, SynthConfig, Variety
from smarthdr_cli.data.synth.people import load_people
from smarthdr_cli.data.synth.sources import load_bank
from smarthdr_cli.errors import InputError
from smarthdr_cli.models.checkpoint import load_checkpoint, load_model
from smarthdr_cli.models.pairwise import warp
from smarthdr_cli.models.saf import SAF, SAFConfig
from smarthdr_cli.models.saf_layers import CELL, Motion, pyramid, upsample
from smarthdr_cli.models.saf_motion import finer_cells
from smarthdr_cli.models.tensor_ops import enlarge
from smarthdr_cli.train.losses import end_point_error

VARIETY = replace(TRAINING_VARIETY, whitened=0.3)
OBJECTS_ALONE = Variety(people=0.35, large=0.08, fast=0.15, lamps=0.08, across=0.15)
SIZE = (320, 448)  # of a burst
CROP = 96  # px of a side
CANDIDATES = 3  # places of a frame pair, of which the one with the most to correct is taken
PER_BURST = 3  # crops of one burst in an update
AVERAGE = 0.997  # decay of the averaged weights that are kept
VALIDATE_EVERY = 500  # updates
HELD_OUT_SEED = 1_000_000


@dataclass(frozen=True)
class FramePairs:
    """P frame pairs with their coarse motion and their truth, in half precision.

    ``ref``, ``other`` (P, 3, H, W) linear; ``evs`` (P,) of the other; ``flow`` (P, 2, H, W) and ``visible``
    (P, 1, H, W) as in ``Batch``; ``coarse``, ``logit``, ``hidden`` (P, C, H / 4, W / 4) of the coarse motion, in its
    cells.
    """

    ref: Tensor
    other: Tensor
    evs: Tensor
    flow: Tensor
    visible: Tensor
    coarse: Tensor
    logit: Tensor
    hidden: Tensor

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""
        with atomic_file(path, overwrite=True) as partial:
            torch.save({field.name: getattr(self, field.name).half().clone() for field in fields(self)}, partial)

    @classmethod
    def load(cls, path: Path) -> "FramePairs":
        """The pairs of a file that ``save`` wrote."""
        return cls(**torch.load(path, weights_only=True))

    def crop(self, pair: int, top: int, left: int) -> "FramePairs":
        """CROP px a side of one pair, in single precision; the corner at a multiple of CELL."""

        def part(name: str) -> Tensor:
            x: Tensor = getattr(self, name)[pair : pair + 1].float()
            if x.ndim == 1:
                return x
            cell = self.ref.shape[-1] // x.shape[-1]
            return x[..., top // cell : (top + CROP) // cell, left // cell : (left + CROP) // cell]

        return FramePairs(**{field.name: part(field.name) for field in fields(self)})

    def missed(self) -> float:
        """Mean distance of the coarse motion from the truth, at most 2 cells, where it is known."""
        true, known = F.avg_pool2d(self.flow, CELL) / CELL, F.avg_pool2d(self.visible, CELL)
        return float(((true - self.coarse).square().sum(dim=1, keepdim=True).sqrt().clamp(max=2) * known).mean())

    def batch(self) -> Batch:
        """The pairs as bursts of two frames."""
        frames, evs = torch.stack([self.ref, self.other], dim=1), torch.stack([self.evs * 0, self.evs], dim=1)
        valid = torch.ones_like(frames[:, :, :1])
        return Batch(frames, evs, valid, flow=self.flow[:, None], visible=self.visible[:, None])


def make_pairs(model: SAF, batch: Batch) -> FramePairs:
    """The pairs of a burst with the reference, and the coarse motion of ``model``."""
    assert batch.flow is not None
    assert batch.visible is not None
    other = batch.frames[:, 1:].flatten(0, 1)
    ref, evs = batch.frames[:, 0].repeat_interleave(len(other), dim=0), batch.evs[0, 1:]
    state = model.motion(pyramid(ref), pyramid(other), evs)[-1]
    return FramePairs(
        ref, other, evs, batch.flow.flatten(0, 1), batch.visible.flatten(0, 1), state.flow, state.logit, state.hidden
    )


def draw_crops(pairs: FramePairs, count: int, draw: torch.Generator) -> list[FramePairs]:
    """Of CANDIDATES places each the crop with the most to correct."""

    def crop() -> FramePairs:
        height, width = ((side - CROP) // CELL + 1 for side in pairs.ref.shape[-2:])
        pair, top, left = (int(torch.randint(n, (), generator=draw)) for n in (len(pairs.ref), height, width))
        return pairs.crop(pair, top * CELL, left * CELL)

    return [max((crop() for _ in range(CANDIDATES)), key=FramePairs.missed) for _ in range(count)]


def collate(crops: Sequence[FramePairs]) -> FramePairs:
    """One batch of them."""
    return FramePairs(**{f.name: torch.cat([getattr(crop, f.name) for crop in crops]) for f in fields(FramePairs)})


def finer_flows(model: SAF, pairs: FramePairs) -> list[Tensor]:
    """Displacements of the finer levels, as ``SAF.motion`` computes them after the coarse ones."""
    state, flows = Motion(pairs.coarse, pairs.logit, pairs.hidden), list[Tensor]()
    for side in finer_cells(1):
        state = upsample(state, 2)
        ref, other = (F.avg_pool2d(image, side) for image in (pairs.ref, pairs.other))
        state = model.finer_decoder.motion_level(ref, warp(other, state.flow.detach()), pairs.evs, state)
        flows.append(state.flow)
    return flows


def finer_error(model: SAF, pairs: FramePairs) -> Tensor:
    """The loss."""
    with torch.autocast("cpu", torch.bfloat16):
        flows = finer_flows(model, pairs)
    return end_point_error(flows, pairs.batch())


@torch.inference_mode()
def validation(model: SAF, crops: Sequence[FramePairs]) -> dict[str, float]:
    """Mean loss of crops with the finer levels, and without them."""
    means = {"finer": 0.0, "coarse": 0.0}
    for crop in crops:
        means["finer"] += float(finer_error(model, crop)) / len(crops)
        without = [enlarge(crop.coarse, CELL // side) * (CELL // side) for side in finer_cells(1)]
        means["coarse"] += float(end_point_error(without, crop.batch())) / len(crops)
    return means


def with_finer(model: SAF, width: int) -> SAF:
    """A network with these weights and a decoder of ``width`` for finer motion, untrained unless it has it already."""
    config: SAFConfig = model.config
    grown = SAF(replace(config, finer=width))
    state = grown.state_dict()
    known = {k: v for k, v in model.state_dict().items() if k in state and v.shape == state[k].shape}
    grown.load_state_dict(state | known)
    for name, weight in grown.named_parameters():
        weight.requires_grad_(name.startswith("finer."))
    return grown


def make(options: argparse.Namespace) -> None:
    """``count`` bursts from number ``first`` that the folder does not have yet."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    model, _ = load_model(options.weights)
    if not isinstance(model, SAF):
        raise InputError(f"{options.weights}: not the weights of saf")
    bank = load_bank(options.panoramas, held_out=options.held_out)
    if options.people is not None:
        bank = replace(bank, people=load_people(options.people))
    options.bursts.mkdir(parents=True, exist_ok=True)
    for number in range(options.first, options.first + options.count):
        path = options.bursts / f"{number:06d}.pt"
        if path.exists():
            continue
        seed = number + (HELD_OUT_SEED if options.held_out else 0)
        rng = np.random.default_rng(seed)
        config = SynthConfig(
            *SIZE, kind=str(rng.choice(["gamma16", "camera8", "camera8"])), shake_px=8.0,
            shake=str(rng.choice(["aligned", "aligned", "aligned", "handheld"])),
            ev_steps=(1.0, 1.5, 2.0, 2.5, 3.0, 4.0), variety=VARIETY if rng.random() < 0.7 else OBJECTS_ALONE,
        )  # fmt: skip
        with torch.inference_mode():
            make_pairs(model, make_batch(bank, config, torch.Generator().manual_seed(seed), 1)).save(path)


def learning_rate(peak: float, done: float, step: int) -> float:
    """Rising over 100 updates, falling to 0 over the last 60 % of the time; ``done``: its share so far."""
    fall = 0.5 * (1 + math.cos(math.pi * (min(done, 1.0) - 0.4) / 0.6)) if done > 0.4 else 1.0
    return peak * min(1.0, (step + 1) / 100) * fall


def train(options: argparse.Namespace) -> None:
    """``minutes`` of updates of the finer decoder."""
    torch.set_num_threads(options.threads)
    network, checkpoint = load_model(options.weights)
    assert isinstance(network, SAF)
    torch.manual_seed(0)
    draw = torch.Generator().manual_seed(0)
    model = with_finer(network, options.finer)
    paths, held_out = (sorted(folder.glob("*.pt")) for folder in (options.bursts, options.held_out))
    if not paths or not held_out:
        raise InputError("no bursts (.pt) there; make some first")
    crops = [crop for path in held_out for crop in draw_crops(FramePairs.load(path), 1, draw)]
    print(json.dumps({"before": validation(network, crops)}), flush=True)
    average = with_finer(model, options.finer)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], betas=(0.9, 0.99))
    start, step, losses = time.monotonic(), 0, list[float]()
    while (done := (time.monotonic() - start) / 60 / options.minutes) < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(options.rate, done, step)
        picks = torch.randint(len(paths), (options.batch // PER_BURST,), generator=draw).tolist()
        batch = collate([crop for k in picks for crop in draw_crops(FramePairs.load(paths[k]), PER_BURST, draw)])
        loss = finer_error(model, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        keep = min(AVERAGE, step / (step + 9))  # of the average: the first updates are soon forgotten
        for kept, new in zip(average.parameters(), model.parameters(), strict=True):
            kept.data.lerp_(new.data, 1 - keep)
        losses.append(float(loss.detach()))
        if step % VALIDATE_EVERY == 0:
            recent = sum(losses[-VALIDATE_EVERY:]) / VALIDATE_EVERY
            print(json.dumps({"updates": step, "loss": recent} | validation(average, crops)), flush=True)
    result = replace(
        load_checkpoint(checkpoint.path), state=average.state_dict(),
        config=dict(checkpoint.config) | {"finer": options.finer},
        record=checkpoint.record | {"finer_motion": {"updates": step, "bursts": len(paths)}},
    )  # fmt: skip
    save_half(options.out, result, checkpoint.calibration)
    print(json.dumps({"updates": step} | validation(average, crops)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="train the decoder of saf's finer motion")
    commands = parser.add_subparsers(required=True)
    maker = commands.add_parser("make", help="synthesise bursts and keep them with their coarse motion")
    maker.add_argument("weights", type=Path)
    maker.add_argument("--panoramas", type=Path, required=True)
    maker.add_argument("--people", type=Path, help="folder of sprites of benchmarks/people/make_people.py")
    maker.add_argument("--bursts", type=Path, required=True, help="folder")
    maker.add_argument("--count", type=int, default=1000)
    maker.add_argument("--first", type=int, default=0)
    maker.add_argument("--held-out", action="store_true", help="bursts of the held-out panoramas")
    maker.set_defaults(run=make)
    trainer = commands.add_parser("train", help="train on such bursts")
    trainer.add_argument("weights", type=Path)
    trainer.add_argument("--bursts", type=Path, required=True)
    trainer.add_argument("--held-out", type=Path, required=True)
    trainer.add_argument("--finer", type=int, default=32, help="width of the decoder")
    trainer.add_argument("--minutes", type=float, default=30.0)
    trainer.add_argument("--rate", type=float, default=1.5e-3)
    trainer.add_argument("--batch", type=int, default=6)
    trainer.add_argument("--threads", type=int, default=1)
    trainer.add_argument("-o", "--out", type=Path, required=True)
    trainer.set_defaults(run=train)
    options = parser.parse_args()
    try:
        options.run(options)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
