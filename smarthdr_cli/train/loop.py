"""The supervised loop: streamed bursts, updates, averaged weights, validation, and a state that can be taken up again.

The state is written whole to a temporary file and then moved into place, so that a run killed at any moment leaves the
last good one. Signals end the run cleanly after the step in progress.
"""

import json
import signal
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from pickle import PickleError
from typing import Any

import torch
from torch import Tensor, nn

from smarthdr_cli.data.augment import Augmentation, augment
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.scenes import SceneBank
from smarthdr_cli.data.synth import make_batch
from smarthdr_cli.errors import InputError
from smarthdr_cli.models.build import build_model
from smarthdr_cli.models.saf import mu_law
from smarthdr_cli.train.config import TrainConfig
from smarthdr_cli.train.ema import update_ema, warm_decay
from smarthdr_cli.train.step import update


@dataclass
class TrainState:
    """Everything a run is at one moment."""

    student: nn.Module
    teacher: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    step: int
    seconds: float


def new_state(config: TrainConfig, device: torch.device) -> TrainState:
    """A fresh student from ``config.seed``; its average starts as a copy."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        student = build_model(config.model)
    student = student.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(student.parameters(), lr=config.learning_rate)
    teacher = {name: value.detach().clone() for name, value in student.state_dict().items()}
    return TrainState(student, teacher, optimizer, 0, 0.0)


def save_state(path: Path, state: TrainState, config: TrainConfig, *, compact: bool = False) -> None:
    """Write the state atomically; loadable with ``weights_only=True``.

    ``compact`` keeps 16 bits of each number, a half of the size: good enough to go on from, not to go on bit for bit.
    """
    content = {
        "student": state.student.state_dict(),
        "teacher": state.teacher,
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "seconds": state.seconds,
        "config": json.dumps(config.to_dict()),
    }
    partial = path.with_suffix(".partial")
    torch.save(_halved(content) if compact else content, partial)
    partial.replace(path)


def _halved(content: Any) -> Any:
    """Every float tensor of a nested state as bfloat16, but for scalars (step counters)."""
    if isinstance(content, Tensor):
        return content.bfloat16() if content.is_floating_point() and content.ndim else content
    if isinstance(content, dict):
        return {key: _halved(value) for key, value in content.items()}
    return content


def load_train_state(path: Path, config: TrainConfig, device: torch.device) -> TrainState:
    """Take up a saved run. Raises InputError when the file is missing, damaged or of another model."""
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        state = new_state(config, device)
        state.student.load_state_dict(content["student"])
        state.teacher = {name: value.to(device).float() for name, value in content["teacher"].items()}
        state.optimizer.load_state_dict(content["optimizer"])
        state.step, state.seconds = int(content["step"]), float(content["seconds"])
    except FileNotFoundError as error:
        raise InputError(f"{path}: no training state there to resume") from error
    # What a damaged file makes the unpickler stumble over is not documented; these are what it was seen to raise.
    except (RuntimeError, LookupError, AttributeError, TypeError, ValueError, OSError, EOFError, PickleError) as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path}: not a training state of this model ({line})") from error
    return state


class BurstStream:
    """Batches for the trainer: freshly made ones and earlier ones seen again under another augmentation.

    The next fresh batch is made on a thread while the trainer works; what comes when depends on the seed alone.
    """

    def __init__(self, bank: SceneBank, config: TrainConfig, device: torch.device, seed: int) -> None:
        self.bank, self.config = bank, config
        self.maker = torch.Generator(device=device).manual_seed(seed)
        self.chooser = torch.Generator().manual_seed(seed + 1)
        self.pool: deque[Batch] = deque(maxlen=max(config.pool, 1))
        self.count = 0
        self.worker = ThreadPoolExecutor(1)
        self.coming = self.worker.submit(self._make)

    def _make(self) -> Batch:
        return make_batch(self.bank, self.config.synth, self.maker, self.config.batch)

    def __iter__(self) -> "BurstStream":
        return self

    def __next__(self) -> Batch:
        if self.count % max(self.config.replay, 1) == 0:
            chosen = self.coming.result()
            self.pool.append(chosen)
            self.coming = self.worker.submit(self._make)
        else:
            chosen = self.pool[int(torch.randint(len(self.pool), (1,), generator=self.chooser))]
        self.count += 1
        return augment(chosen, Augmentation.draw(self.chooser))

    def close(self) -> None:
        """Let the thread finish what it is making."""
        self.worker.shutdown(wait=True, cancel_futures=True)


@torch.no_grad()
def validate(state: TrainState, batches: list[Batch], config: TrainConfig) -> dict[str, float]:
    """Mean PSNR-mu over validation bursts: of the averaged weights, the reference alone, and the merge."""
    model = build_model(config.model).to(next(state.student.parameters()).device)
    model.load_state_dict(state.teacher)
    model = model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    scores: dict[str, list[float]] = {"psnr_mu": [], "reference": [], "merged": []}
    for batch in batches:
        assert batch.target is not None
        out = model(batch.frames, batch.evs, batch.valid)
        scale = batch.scale_short.view(-1, 1, 1, 1)
        truth = mu_law(batch.target * scale)
        for name, image in (("psnr_mu", out.radiance), ("reference", batch.frames[:, 0]), ("merged", out.merged)):
            error = (mu_law(image * scale) - truth).square().flatten(1).mean(dim=1)
            scores[name] += (-10 * torch.log10(error.clamp(min=1e-5))).tolist()
    return {name: sum(values) / len(values) for name, values in scores.items()}


def train(
    config: TrainConfig, bank: SceneBank, validation: list[Batch], folder: Path, state: TrainState,
    on_log: Callable[[dict[str, Any]], None], *, minutes: float | None = None,
) -> TrainState:  # fmt: skip
    """Run until ``config.iterations``, ``minutes`` or a signal; state.pt and metrics.jsonl are kept in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    device = next(state.student.parameters()).device
    stream = BurstStream(bank, config, device, config.seed * 1_000_003 + state.step)
    stopping: list[int] = []
    previous = {
        s: signal.signal(s, lambda number, _frame: stopping.append(number)) for s in (signal.SIGTERM, signal.SIGINT)
    }
    started = saved = window = time.monotonic()
    before = state.seconds
    sums: dict[str, float] = {}
    counted = 0
    try:
        while state.step < config.iterations and not stopping:
            terms = update(state.student, state.optimizer, next(stream), config, state.step)
            update_ema(state.teacher, state.student, warm_decay(config.ema, state.step))
            state.step += 1
            state.seconds = before + time.monotonic() - started
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value
            counted += 1
            if state.step % config.validate_every == 0 or state.step == config.iterations:
                record: dict[str, Any] = {"step": state.step, "seconds": round(state.seconds, 1)}
                record |= {name: value / counted for name, value in sums.items()}
                record["patches_per_second"] = counted * config.batch / max(time.monotonic() - window, 1e-9)
                record |= {f"validation_{k}": v for k, v in validate(state, validation, config).items()}
                with (folder / "metrics.jsonl").open("a") as log:
                    log.write(json.dumps(record) + "\n")
                on_log(record)
                sums, counted, window = {}, 0, time.monotonic()
            if time.monotonic() - saved > config.save_minutes * 60:
                save_state(folder / "state.pt", state, config)
                saved = time.monotonic()
            if minutes is not None and time.monotonic() - started > minutes * 60:
                break
    finally:
        stream.close()
        for number, handler in previous.items():
            signal.signal(number, handler)
        save_state(folder / "state.pt", state, config)
    return state
