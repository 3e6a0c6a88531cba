"""The state of a run and its file, from which the run resumes bit for bit; and seeded random generators.

Random numbers depend on what they are for and on no earlier draw (``generator``), which is what makes resuming exact.
"""

import copy
import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.errors import InputError, os_reason, out_of_memory
from smarthdr_cli.models.base import FusionModel, build_model
from smarthdr_cli.train.config import TrainConfig

STATE = "state.pt"  # in a run's folder
RESTORE_HINT = (
    "restore the file from a copy, or begin another run, perhaps with --init and this run's model.safetensors"
)


@dataclass
class TrainState:
    """``teacher``: the averaged student, in eval mode, without gradients. ``extra``: tensors of the session.

    ``init``: "name", "sha256" and "licence" of the weights it began with; empty where it began with none.
    ``lr_scale``: the time budget's factor of the rate, not saved.
    """

    student: FusionModel
    teacher: FusionModel
    optimizer: torch.optim.Optimizer
    step: int
    seconds: float
    extra: dict[str, Any] = field(default_factory=dict)
    init: dict[str, str] = field(default_factory=dict)
    lr_scale: float = 1.0

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.student.parameters()).device


def generator(*numbers: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one purpose at one step: the same for the same non-negative ``numbers``."""
    word = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator(device=device).manual_seed(int(word >> np.uint64(1)))


def new_state(config: TrainConfig, device: torch.device) -> TrainState:
    """A fresh student from ``config.seed``; its average starts as a copy."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        student = build_model(config.model)
    student.set_finest_cell(config.finest)
    student = student.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(student.parameters(), lr=config.learning_rate)
    return TrainState(student, teacher_of(student), optimizer, 0, 0.0)


def teacher_of(student: FusionModel) -> FusionModel:
    """A teacher with the student's weights."""
    return copy.deepcopy(student).eval().requires_grad_(False)


def save_state(path: Path, state: TrainState, config: TrainConfig) -> None:
    """Write the state atomically; loadable with ``weights_only=True``.

    The file is a zip archive, as torch writes it, whose comment is the sha256 of all bytes before the comment.
    Raises OutputError where it cannot be written; an older file stays.
    """
    content = {
        "student": state.student.state_dict(),
        "teacher": state.teacher.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "seconds": state.seconds,
        "extra": state.extra,
        "init": state.init,
        "config": json.dumps(config.to_dict()),
    }
    archive = io.BytesIO()
    torch.save(content, archive)
    data = archive.getvalue()[:-2] + (2 * hashlib.sha256().digest_size).to_bytes(2, "little")  # length of the comment
    with atomic_file(path, overwrite=True) as partial:
        partial.write_bytes(data + hashlib.sha256(data).hexdigest().encode())


def read_state(path: Path, device: torch.device) -> dict[str, Any]:
    """The content of a state file. Raises InputError where it is missing or damaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no training state there to resume") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {os_reason(error)}") from error
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        checksum = archive.comment  # none in older states, whose parts have their own checksums
        if checksum:
            intact = hashlib.sha256(data[: -len(checksum)]).hexdigest().encode() == checksum
        else:
            intact = not archive.testzip()
        if not intact:
            raise ValueError("its content does not have its checksum")
        content = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
        step, seconds = content["step"], content["seconds"]
        parts = [content[name] for name in ("student", "teacher", "optimizer")]
        parts += [content.get(name, {}) for name in ("extra", "init")]
        valid_numbers = type(step) is int and step >= 0 and type(seconds) is float
        if not valid_numbers or not all(isinstance(part, dict) for part in parts):
            raise ValueError("its parts are of other types")
    except Exception as error:  # what zipfile and torch's unpickler raise for a damaged file is not documented
        if out_of_memory(error):
            raise
        raise InputError(f"{path}: not a training state, or a damaged one; {RESTORE_HINT}") from error
    return dict(content)


def load_train_state(path: Path, config: TrainConfig, device: torch.device) -> TrainState:
    """Resume a saved run. Raises InputError where the file is missing, damaged or of another model."""
    content = read_state(path, device)
    try:
        state = new_state(config, device)
        state.student.load_state_dict(content["student"])
        state.teacher.load_state_dict(content["teacher"])
        state.optimizer.load_state_dict(content["optimizer"])
        state.step, state.seconds = int(content["step"]), float(content["seconds"])
        state.extra, state.init = dict(content.get("extra", {})), dict(content.get("init", {}))
    except (RuntimeError, LookupError, AttributeError, TypeError, ValueError) as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path}: not a training state of this model ({line}); {RESTORE_HINT}") from error
    return state
