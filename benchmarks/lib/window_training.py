"""What the network sees inside ``fuse``, recorded with the truth, and the training of its last stages on that.

A training crop is not what fusion shows: there, alignment leaves a residue of its own, the noise is fitted, the test
overrules the network where frames agree, and only what is at odds comes to it. So bursts are synthesised, written,
read, aligned and merged as ``fuse`` does; from places at odds, samples of the network's inputs are kept with the truth.
On these learn the trust, the residual and the uncertainty head, by the losses of every run (train/losses.py), weighted
by the network's share of a pixel. The motion stage learns on crops (``smarthdr train``).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.errors import InputError
from smarthdr_cli.fusion.network_fusion import FusionPlan
from smarthdr_cli.fusion.network_window import WindowFrames, answer
from smarthdr_cli.fusion.pixel_kernel import CELL
from smarthdr_cli.models.base import FusionModel, Prediction
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.saf_layers import Motion
from smarthdr_cli.train.config import TrainConfig
from smarthdr_cli.train.losses import Terms, objective
from smarthdr_cli.train.state import TrainState, generator
from smarthdr_cli.train.step import update

F32 = NDArray[np.float32]

CROP = 192  # px of a sample's side, of which EDGE px on each side are context alone
EDGE = 24
LEARNS = ("verify_in", "verify_body", "verify_head", "refine_in", "refine_body", "residual_head", "judge")
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class WindowSample:
    """A crop of one burst of N frames, most of it in half precision.

    ``stack`` (N, 3, h, w) linear; ``evs`` (N,); ``place`` and ``log_variance`` (N, 1, h, w); ``trust`` (N-1, 1, h, w);
    ``sigma`` (1, h, w), see ``WindowFrames``. ``logit`` and ``hidden`` (N-1, C, h / 4, w / 4) of the motion stage.
    ``truth`` (3, h, w) radiance in reference units, capped at the shortest frame's clip; ``share`` (1, h, w) of the
    network; ``eight_bit`` () of the files.
    """

    stack: Tensor
    evs: Tensor
    place: Tensor
    log_variance: Tensor
    trust: Tensor
    sigma: Tensor
    logit: Tensor
    hidden: Tensor
    truth: Tensor
    share: Tensor
    eight_bit: Tensor

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""
        with atomic_file(path, overwrite=True) as partial:
            torch.save({field.name: getattr(self, field.name) for field in fields(self)}, partial)

    @classmethod
    def load(cls, path: Path) -> "WindowSample":
        """The sample of a file that ``save`` wrote."""
        return cls(**torch.load(path, weights_only=True))


def record_samples(plan: FusionPlan, truth: F32, count: int, rng: np.random.Generator) -> list[WindowSample]:
    """``count`` samples at most from places at odds, each place drawn once. ``truth``: (H, W, 3) in reference units.

    Raises ValueError for a burst smaller than CROP.
    """
    height, width = truth.shape[:2]
    if min(height, width) < CROP:
        raise ValueError(f"a sample needs bursts of at least {CROP} px a side")
    share, samples = plan.share.copy(), list[WindowSample]()
    while len(samples) < count and share.max() > 0.5:
        rows, columns = np.nonzero(share > 0.5)
        at = int(rng.integers(len(rows)))
        corner = (
            int(np.clip(middle * CELL - CROP // 2, 0, side - CROP)) // CELL * CELL
            for middle, side in ((rows[at], height), (columns[at], width))
        )
        window = Window(*corner, CROP, CROP)
        samples.append(sample_at(plan, window, truth))
        inner = (CROP - 2 * EDGE) // CELL
        top, left = (window.top + EDGE) // CELL, (window.left + EDGE) // CELL
        share[top : top + inner, left : left + inner] = 0
        share[rows[at], columns[at]] = 0
    return samples


def sample_at(plan: FusionPlan, window: Window, truth: F32) -> WindowSample:
    """The sample of one window of CROP px a side, at a multiple of CELL."""
    network = plan.network
    frames, states = network.frames(network.merger.window(window)), network.states(window)
    part = np.s_[window.top : window.top + CROP, window.left : window.left + CROP]
    cells = plan.share[window.top // CELL :, window.left // CELL :][: CROP // CELL, : CROP // CELL]
    share = cv2.resize(cells, (CROP, CROP), interpolation=cv2.INTER_LINEAR)
    logit, hidden = (torch.cat([getattr(s, name) for s in states]).half().clone() for name in ("logit", "hidden"))
    capped = np.minimum(truth[part], 1 / network.merger.model.exposures.min())
    return WindowSample(
        frames.stack[0].half(), frames.evs[0].clone(), frames.place[0].half(),
        frames.variance[0].clamp(min=LEAST_VARIANCE).log().half(), frames.trust[0].half(), frames.sigma[0].half(),
        logit, hidden, torch.from_numpy(np.ascontiguousarray(capped.transpose(2, 0, 1))).half(),
        torch.from_numpy(share)[None].half(), torch.tensor(network.merger.model.eight_bit[0]),
    )  # fmt: skip


def batch_of(samples: Sequence[WindowSample]) -> tuple[WindowFrames, list[Motion], Batch, Tensor]:
    """Frames and motion states of samples with as many frames each, their batch, and the weight (B, 1, H, W)."""

    def stack(name: str) -> Tensor:
        return torch.stack([getattr(sample, name) for sample in samples]).float()

    frames = WindowFrames(
        stack("stack"), stack("evs"), stack("place"), stack("trust"), stack("log_variance").exp(), stack("sigma")
    )
    logit, hidden = stack("logit"), stack("hidden")
    none = torch.zeros_like(logit[:, 0]).expand(-1, 2, -1, -1)  # the frames are warped already
    states = [Motion(none, logit[:, k], hidden[:, k]) for k in range(logit.shape[1])]
    weight = stack("share")
    inner = torch.zeros_like(weight)
    inner[..., EDGE:-EDGE, EDGE:-EDGE] = 1
    batch = Batch(frames.stack, frames.evs, (frames.place > 0).float(), stack("truth"))
    return frames, states, batch, weight * inner


def window_loss(model: FusionModel, samples: Sequence[WindowSample], config: TrainConfig) -> tuple[Tensor, Terms]:
    """The loss of samples with as many frames each, and its terms by name."""
    assert isinstance(model, SAF)
    frames, states, batch, weight = batch_of(samples)
    with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
        light, log_sigma, detail = answer(model, frames, states)
    return objective(Prediction(light.float(), log_sigma.float(), detail), batch, config, weight)


class SampleFolder:
    """Draws batches of samples with as many frames each from a folder that may grow.

    Raises InputError where there are none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.by_count: dict[int, list[Path]] = {}
        self.known: set[Path] = set()
        self.refresh()
        if not self.known:
            raise InputError(f"{folder}: no samples (.pt) there; make some first")

    def refresh(self) -> None:
        """Look at what has been added."""
        for path in sorted(set(self.folder.glob("*.pt")) - self.known):
            self.by_count.setdefault(len(WindowSample.load(path).evs), []).append(path)
            self.known.add(path)

    def draw(self, batch: int, draw: torch.Generator) -> list[WindowSample]:
        """A batch; numbers of frames as often as there are samples of them."""
        counts = sorted(self.by_count)
        sizes = torch.tensor([len(self.by_count[count]) for count in counts], dtype=torch.float)
        paths = self.by_count[counts[int(torch.multinomial(sizes, 1, generator=draw))]]
        return [WindowSample.load(paths[i]) for i in torch.randint(len(paths), (batch,), generator=draw).tolist()]


class WindowSession:
    """A run on a ``SampleFolder``, validated on held-out samples. The student's motion stage stands still."""

    def __init__(
        self, folder: SampleFolder, held_out: Sequence[Path], config: TrainConfig, student: FusionModel
    ) -> None:  # fmt: skip
        self.folder, self.held_out, self.config = folder, held_out, config
        self.patches = config.batch
        for name, weight in student.named_parameters():
            weight.requires_grad_(name.split(".")[0] in LEARNS)

    def step(self, state: TrainState) -> dict[str, float]:
        """One update."""
        samples = self.folder.draw(self.config.batch, generator(self.config.seed, 5, state.step))
        return update(state, *window_loss(state.student, samples, self.config), self.config)

    def phase(self, step: int) -> str:
        """What is learned."""
        return "windows"

    @torch.inference_mode()
    def validate(self, state: TrainState) -> dict[str, float]:
        """Means of the terms over held-out samples, and the PSNR-mu of their mean square; looks for new samples."""
        self.folder.refresh()
        return validation_scores(state.teacher, (WindowSample.load(path) for path in self.held_out), self.config)

    def before_save(self, state: TrainState) -> None:
        """The step is all a resume needs."""

    def after_save(self) -> None:
        """There is nothing to remove."""

    def close(self) -> None:
        """There are no workers."""


def validation_scores(model: FusionModel, samples: Iterable[WindowSample], config: TrainConfig) -> dict[str, float]:
    """Means of the terms of the loss over samples, one by one, and "psnr_mu" of their mean square."""
    terms = [window_loss(model, [sample], config)[1] for sample in samples]
    means = {name: float(torch.stack([term[name] for term in terms]).mean()) for name in terms[0]}
    return means | {"psnr_mu": -10 * float(np.log10(means["square"]))}
