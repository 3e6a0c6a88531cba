"""TensorBoard: scalars of every log record, and at each validation images of a held-out scene and an unlabelled crop.

Radiance is shown by the mu-law with the shortest frame's clip at 1, frames under gamma 2.2, sigma and error on the
logarithmic colours of ``output/heatmap.py``, masks as white where a pixel counts.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.crops import Crops
from smarthdr_cli.errors import UsageError
from smarthdr_cli.models.base import FusionModel
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.output.heatmap import colour_index, colour_table
from smarthdr_cli.radiometry import GAMMA
from smarthdr_cli.train.forward import forward
from smarthdr_cli.train.pseudo_labels import Pseudo
from smarthdr_cli.train.scene_session import SceneSession
from smarthdr_cli.train.state import TrainState

EVENTS = "board"  # in a run's folder
MAX_SIDE = 256  # px of the held-out image, from its middle
CONSTANT_PANELS = ("frames", "truth")  # written once


class TensorBoard:
    """Events under ``folder``/board; those after ``step``, of a run that was killed, are dropped.

    Raises UsageError where TensorBoard is not installed.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.folder, self.step = folder / EVENTS, step
        self._writer_class = require_tensorboard()
        self._writer: Any = None
        self._written: set[str] = set()

    @property
    def writer(self) -> Any:
        """Opened at the first event, so that a run that does not start leaves no folder."""
        if self._writer is None:
            self._writer = self._writer_class(str(self.folder), purge_step=self.step + 1 if self.step else None)
        return self._writer

    def log(self, record: dict[str, Any]) -> None:
        """Write the numbers of a log record, by group: loss, kept, validation, speed."""
        for name, value in record.items():
            if isinstance(value, float):
                self.writer.add_scalar(tag(name), value, record["step"])
        self.writer.flush()

    def log_panels(self, session: SceneSession, state: TrainState) -> None:
        """Write the panels of a run on scenes."""
        for name, image in panels(session, state).items():
            if name not in self._written:
                self.writer.add_image(name, image, state.step)
            if name.rpartition("/")[2] in CONSTANT_PANELS:
                self._written.add(name)

    def close(self) -> None:
        """Flush and close the file."""
        if self._writer is not None:
            self._writer.close()


def require_tensorboard() -> Callable[..., Any]:
    """The class that writes events. Raises UsageError where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("--tensorboard needs: pip install 'smarthdr[tensorboard]'") from error
    writer: Callable[..., Any] = SummaryWriter
    return writer


def tag(name: str) -> str:
    """The tag of a number of the log."""
    if name.startswith("validation_"):
        return "validation/" + name.removeprefix("validation_")
    if name.startswith("kept"):
        return f"kept/{name}"
    return ("speed/" if name in ("patches_per_second", "seconds") else "loss/") + name


@torch.no_grad()
def panels(session: SceneSession, state: TrainState) -> dict[str, Tensor]:
    """Images (3, H, W) in [0, 1] on the CPU by name: of the first held-out scene and of an unlabelled crop.

    Changes neither weights nor statistics nor random states.
    """
    images: dict[str, Tensor] = {}
    training = state.student.training
    state.student.eval()
    if session.held_out:
        batch = centre_crop(session.held_out[0])
        images |= _grouped("held_out", _scene_panels(batch, state.student, state.teacher))
    if session.unlabeled is not None:
        position = session.unlabeled.draw_positions(0)[0]  # the same at every validation
        crops = session.unlabeled.cut([position])
        images |= _grouped("unlabeled", _crop_panels(session, state, crops.to(session.device)))
    state.student.train(training)
    return images


def centre_crop(batch: Batch) -> Batch:
    """The middle ``MAX_SIDE`` pixels of the first burst, sides multiples of 32."""
    h, w = batch.frames.shape[-2:]
    height, width = min(h, MAX_SIDE), min(w, MAX_SIDE)
    top, left = (h - height) // 2, (w - width) // 2
    crop = (slice(0, 1), ..., slice(top, top + height), slice(left, left + width))
    target = None if batch.target is None else batch.target[crop]
    return Batch(batch.frames[crop], batch.evs[:1], batch.valid[crop], target)


def _grouped(group: str, images: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{group}/{name}": image.float().cpu() for name, image in images.items()}


def _scene_panels(batch: Batch, student: FusionModel, teacher: FusionModel) -> dict[str, Tensor]:
    scale = float(batch.scale_short[0])
    out = forward(student, batch)
    images = {
        "frames": _frames(batch), "prediction": to_display(out.radiance, scale),
        "teacher": to_display(forward(teacher, batch).radiance, scale), "sigma": to_heatmap(out.log_sigma.exp()),
    }  # fmt: skip
    if batch.target is not None:
        error = (mu_law(out.radiance * scale) - mu_law(batch.target * scale)).abs().mean(dim=1, keepdim=True)
        images |= {"truth": to_display(batch.target, scale), "error": to_heatmap(error)}
    return images


def _crop_panels(session: SceneSession, state: TrainState, crops: Crops) -> dict[str, Tensor]:
    batch, method = crops.batch, session.method
    scale = float(batch.scale_short[0])
    images = {"frames": _frames(batch), "prediction": to_display(forward(state.student, batch).radiance, scale)}
    if not method.uses_teacher:
        target = method.targets(crops, None, None)
        if target is not None and target.batch.target is not None:
            images["pseudo_truth"] = to_display(target.batch.target, scale)
        if target is not None and target.weight is not None:
            images["weight"] = to_grey(target.weight)
        return images
    if session.store.current is not None:
        pseudo = session.store.cut(crops).to(session.device)
    else:
        out = forward(state.teacher, batch)
        pseudo = Pseudo(out.radiance, out.log_sigma.exp())
    images |= {"pseudo_truth": to_display(pseudo.radiance, scale), "sigma": to_heatmap(pseudo.sigma)}
    return images | {name: to_grey(weight) for name, weight in method.masks(pseudo, crops).items()}


def _frames(batch: Batch) -> Tensor:
    """All frames of the first burst side by side, darkest first."""
    order = batch.evs[0].argsort()
    return torch.cat(list(batch.frames[0, order].clamp(0, 1) ** (1 / GAMMA)), dim=-1)


def to_display(radiance: Tensor, scale: float) -> Tensor:
    """(1, 3, H, W) in reference units to display codes (3, H, W)."""
    return mu_law(radiance[0].float() * scale).clamp(0, 1)


def to_heatmap(sigma: Tensor) -> Tensor:
    """(1, 1, H, W) to colours (3, H, W)."""
    colours = colour_table()[colour_index(sigma[0, 0].float().cpu().numpy())]
    return torch.from_numpy(colours.astype(np.float32) / 255).permute(2, 0, 1)


def to_grey(weight: Tensor) -> Tensor:
    """(1, 1, H, W) in [0, 1] to grey (3, H, W)."""
    return weight[0].float().expand(3, -1, -1)
