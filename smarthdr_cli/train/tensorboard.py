"""TensorBoard: the scalars of every log record, and at each validation what a held-out and an unlabelled crop become.

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
from smarthdr_cli.train import uncertainty_masks
from smarthdr_cli.train.estimate import estimate
from smarthdr_cli.train.methods import base
from smarthdr_cli.train.pseudo_labels import Pseudo
from smarthdr_cli.train.scene_session import SceneSession
from smarthdr_cli.train.state import TrainState

BOARD = "board"  # in a run's folder
SIDE = 256  # pixels of the held-out picture shown, from its middle
FIXED = ("frames", "truth")  # panels that never change: written once


class Board:
    """Events under ``folder``/board; those after ``step``, of a run that was killed, are dropped.

    Raises UsageError where TensorBoard is not installed.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.folder, self.step = folder / BOARD, step
        self._open = require_tensorboard()
        self._made: Any = None
        self._written: set[str] = set()

    @property
    def writer(self) -> Any:
        """Opened when there is something to write, so that a run that does not start leaves no folder."""
        if self._made is None:
            self._made = self._open(str(self.folder), purge_step=self.step + 1 if self.step else None)
        return self._made

    def log(self, record: dict[str, Any]) -> None:
        """The numbers of a record of the log, by group: loss, kept, validation, speed."""
        for name, value in record.items():
            if isinstance(value, float):
                self.writer.add_scalar(tag(name), value, record["step"])
        self.writer.flush()

    def show(self, session: SceneSession, state: TrainState) -> None:
        """The panels of a run on scenes."""
        for name, picture in panels(session, state).items():
            if name not in self._written:
                self.writer.add_image(name, picture, state.step)
            if name.rpartition("/")[2] in FIXED:
                self._written.add(name)

    def close(self) -> None:
        """Write what waits."""
        if self._made is not None:
            self._made.close()


def require_tensorboard() -> Callable[..., Any]:
    """The class that writes events. Raises UsageError where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("--tensorboard needs: pip install 'smarthdr[tensorboard]'") from error
    writer: Callable[..., Any] = SummaryWriter
    return writer


def tag(name: str) -> str:
    """Where TensorBoard lists a number of the log."""
    if name.startswith("validation_"):
        return "validation/" + name.removeprefix("validation_")
    if name.startswith("kept"):
        return f"kept/{name}"
    return ("speed/" if name in ("patches_per_second", "seconds") else "loss/") + name


@torch.no_grad()
def panels(session: SceneSession, state: TrainState) -> dict[str, Tensor]:
    """Pictures (3, H, W) in [0, 1] on the CPU by name: of the first held-out scene and of an unlabelled crop.

    Neither weights, ranges nor random states change. Masks are there once the ranges they need are.
    """
    found: dict[str, Tensor] = {}
    training = state.student.training
    state.student.eval()
    if session.held_out:
        batch = centre(session.held_out[0])
        found |= _named("held_out", _scene(batch, state.student, state.teacher))
    if session.unlabeled is not None:
        drawn = session.unlabeled(0)  # the same at every validation
        crops = session.unlabeled.cut([(drawn.scenes[0], drawn.tops[0], drawn.lefts[0])])
        found |= _named("unlabeled", _crop(session, state, crops.to(session.device)))
    state.student.train(training)
    return found


def centre(batch: Batch) -> Batch:
    """The middle ``SIDE`` pixels of the first burst, sides multiples of 32."""
    h, w = batch.frames.shape[-2:]
    height, width = min(h, SIDE), min(w, SIDE)
    top, left = (h - height) // 2, (w - width) // 2
    at = (slice(0, 1), ..., slice(top, top + height), slice(left, left + width))
    return Batch(batch.frames[at], batch.evs[:1], batch.valid[at], None if batch.target is None else batch.target[at])


def _named(group: str, pictures: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{group}/{name}": picture.float().cpu() for name, picture in pictures.items()}


def _scene(batch: Batch, student: FusionModel, teacher: FusionModel) -> dict[str, Tensor]:
    scale = float(batch.scale_short[0])
    ours = estimate(student, batch)
    found = {
        "frames": _frames(batch), "prediction": toned(ours.radiance, scale),
        "teacher": toned(estimate(teacher, batch).radiance, scale), "sigma": heat(ours.log_sigma.exp()),
    }  # fmt: skip
    if batch.target is not None:
        error = (mu_law(ours.radiance * scale) - mu_law(batch.target * scale)).abs().mean(dim=1, keepdim=True)
        found |= {"truth": toned(batch.target, scale), "error": heat(error)}
    return found


def _crop(session: SceneSession, state: TrainState, crops: Crops) -> dict[str, Tensor]:
    batch, config = crops.batch, session.config
    scale = float(batch.scale_short[0])
    found = {"frames": _frames(batch), "prediction": toned(estimate(state.student, batch).radiance, scale)}
    if config.method == "selfhdr":
        aim = base.self_supervised(crops)
        assert aim.batch.target is not None
        assert aim.weight is not None
        return found | {"pseudo_truth": toned(aim.batch.target, scale), "weight": mask(aim.weight)}
    if session.store.made is not None:
        pseudo = session.store.cut(crops).to(session.device)
    else:
        out = estimate(state.teacher, batch)
        pseudo = Pseudo(out.radiance, out.log_sigma.exp())
    found |= {"pseudo_truth": toned(pseudo.radiance, scale), "sigma": heat(pseudo.sigma)}
    if config.method == "smarthdr" and not session.limits.empty:
        m = config.masks
        adaptive = m.adaptive and not session.trusted.empty
        limits = None if adaptive else session.limits
        tau = (
            session.trusted.quantile(m.quantile) if adaptive else uncertainty_masks.Thresholds(m.tau_patch, m.tau_pixel)
        )
        origin = (crops.tops[0], crops.lefts[0])
        found["patch_mask"] = mask(
            uncertainty_masks.bilevel_mask(
                pseudo.sigma, limits, tau, m.side, origin, use_pixel=False, means=pseudo.means
            )
        )
        found["pixel_mask"] = mask(uncertainty_masks.pixel_mask(pseudo.sigma, limits, tau.pixel))
    if config.method == "smae" and not session.threshold.labelled.empty:
        aim = base.weighted(pseudo, crops, session.threshold)
        assert aim.weight is not None
        found["weight"] = mask(aim.weight)
    return found


def _frames(batch: Batch) -> Tensor:
    """All frames of the first burst side by side, darkest first."""
    order = batch.evs[0].argsort()
    return torch.cat(list(batch.frames[0, order].clamp(0, 1) ** (1 / 2.2)), dim=-1)


def toned(radiance: Tensor, scale: float) -> Tensor:
    """(1, 3, H, W) in reference units to display codes (3, H, W)."""
    return mu_law(radiance[0].float() * scale).clamp(0, 1)


def heat(sigma: Tensor) -> Tensor:
    """(1, 1, H, W) to colours (3, H, W)."""
    colours = colour_table()[colour_index(sigma[0, 0].float().cpu().numpy())]
    return torch.from_numpy(colours.astype(np.float32) / 255).permute(2, 0, 1)


def mask(weight: Tensor) -> Tensor:
    """(1, 1, H, W) in [0, 1] to grey (3, H, W)."""
    return weight[0].float().expand(3, -1, -1)
