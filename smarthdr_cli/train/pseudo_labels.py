"""Pseudo-labels: the teacher's predictions for unlabelled bursts, at every step, or once an epoch and kept on disk.

With K views of a burst (flips, quarter turns, orders of channels), averaged in T, the mu-law domain,

    sigma^2 = mean of sigma_k^2 + variance of T over the views,

the law of total variance as for ensembles (Lakshminarayanan et al. 2017): a network that was trained on little
contradicts itself where it errs, which its uncertainty head, trained on as little, does not know.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.data.augment import Augmentation, augment
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.crops import Crops, CropSampler
from smarthdr_cli.data.prepared import PreparedScene
from smarthdr_cli.models.base import FusionModel
from smarthdr_cli.models.tensor_ops import inverse_mu_law, mu_law
from smarthdr_cli.train import distributed
from smarthdr_cli.train.config import TrainConfig
from smarthdr_cli.train.forward import forward
from smarthdr_cli.train.scene_data import whole
from smarthdr_cli.train.uncertainty_masks import Origin, patch_means

WINDOW, BORDER = 512, 48  # px: of a scene predicted at once, and of it what is dropped at inner edges
RECORD = "record.json"  # of a refresh: the scenes it is of

OnScene = Callable[[int, int], None]  # scenes done, scenes in all
_WHITE = 65535  # code of mu-law 1


class Pseudo(NamedTuple):
    """``radiance`` (B, 3, H, W) in reference units, ``sigma`` (B, 1, H, W), not calibrated.

    ``sigma`` is NaN where the radiance is not finite, so that no mask keeps such a pixel. ``means`` (B, 1, H, W):
    sigma's mean over each pixel's patch of the scene, where the whole scene was predicted.
    """

    radiance: Tensor
    sigma: Tensor
    means: Tensor | None = None

    def to(self, device: torch.device) -> "Pseudo":
        """The same on another device."""
        means = None if self.means is None else self.means.to(device)
        return Pseudo(self.radiance.to(device), self.sigma.to(device), means)


def _pseudo(radiance: Tensor, log_sigma: Tensor) -> Pseudo:
    finite = torch.isfinite(radiance).all(dim=1, keepdim=True)
    return Pseudo(radiance.float(), torch.where(finite, log_sigma.float().exp(), torch.nan))


@torch.no_grad()
def predict(model: FusionModel, batch: Batch, precision: str, views: int = 1) -> Pseudo:
    """The prediction for a batch, averaged over ``views``. A pixel that is not finite in one view has no sigma."""
    if views == 1:
        out = forward(model, batch, precision)
        return _pseudo(out.radiance, out.log_sigma)
    scale = batch.scale_short.view(-1, 1, 1, 1)
    tones, variances = [], []
    for view in Augmentation.spread(views):
        out = forward(model, augment(batch, view), precision)
        tones.append(view.undo_colour(mu_law(out.radiance.float() * scale)))
        variances.append(view.undo_geometry((2 * out.log_sigma.float()).exp()))
    tone, variance = torch.stack(tones), torch.stack(variances)
    spread = tone.var(0, correction=0).mean(dim=1, keepdim=True)
    return _pseudo(inverse_mu_law(tone.mean(0)) / scale, (variance.mean(0) + spread).log() / 2)


def predict_augmented(
    teacher: FusionModel, batch: Batch, draw: torch.Generator, precision: str, views: int = 1
) -> Pseudo:
    """The prediction for a batch under a weak augmentation, which is undone in the result."""
    augmentation = Augmentation.draw_weak(draw)
    pseudo = predict(teacher, augment(batch, augmentation), precision, views)
    return Pseudo(augmentation.undo_geometry(pseudo.radiance), augmentation.undo_geometry(pseudo.sigma))


def predict_scene(
    model: FusionModel, scene: PreparedScene, device: torch.device, precision: str, views: int = 1, *,
    window: int = WINDOW, border: int = BORDER,
) -> Pseudo:  # fmt: skip
    """The prediction for the whole band of a scene, (1, 3, H, W) and (1, 1, H, W) on the CPU, window by window."""
    first, last = scene.rows
    height, width = last - first, scene.size[1]
    light, sigma = torch.empty(1, 3, height, width), torch.empty(1, 1, height, width)
    for top, bottom, y0, y1 in windows(height, window, border):
        for left, right, x0, x1 in windows(width, window, border):
            frames, valid, _ = scene.crop(first + y0, x0, y1 - y0, x1 - x0)
            batch = Batch(_padded(frames)[None], torch.tensor([scene.evs]), _padded(valid)[None]).to(device)
            pseudo = predict(model, batch, precision, views)
            inner = (..., slice(top - y0, bottom - y0), slice(left - x0, right - x0))
            light[..., top:bottom, left:right] = pseudo.radiance[inner].cpu()
            sigma[..., top:bottom, left:right] = pseudo.sigma[inner].cpu()
    return Pseudo(light, sigma)


def windows(length: int, window: int = WINDOW, border: int = BORDER) -> Iterator[tuple[int, int, int, int]]:
    """(from, to) that each window keeps and (from, to) that it covers, along one axis."""
    step = window - 2 * border
    for start in range(0, length, step):
        end = min(start + step, length)
        yield start, end, max(0, start - border), min(length, end + border)


def _padded(image: Tensor) -> Tensor:
    """(N, C, h, w) with edges repeated until the sides are multiples of 32."""
    h, w = image.shape[-2:]
    return F.pad(image, (0, -w % 32, 0, -h % 32), mode="replicate")


class PseudoStore:
    """The pseudo-labels of one epoch in a folder of the run: mu-law codes of 16 bits (off by at most 8e-6 there),
    sigma in half precision (off by at most 5e-4 of itself), and its means over patches of ``side``.

    A refresh appears whole or not at all. ``current``: the folder of the one in use. An older one is kept until a state
    is saved that belongs to the newer one, so that a run killed in between has the one of its last state. ``on_scene``
    gets (scenes done, scenes in all) during a refresh.
    """

    def __init__(
        self, folder: Path, scenes: Sequence[PreparedScene], side: int, on_scene: OnScene = lambda _done, _total: None
    ) -> None:
        self.folder, self.scenes, self.side, self.on_scene = folder, scenes, side, on_scene
        self.current: Path | None = None

    def path_of(self, step: int) -> Path:
        """The folder of the refresh made before update ``step``."""
        return self.folder / f"{step:09d}"

    def reuse(self, step: int) -> bool:
        """Use an earlier refresh; returns whether it exists and is of these scenes."""
        try:
            usable = bool(json.loads((self.path_of(step) / RECORD).read_text()) == self._record)
        except (OSError, ValueError):
            usable = False
        if usable:
            self.current = self.path_of(step)
        return usable

    @property
    def _record(self) -> dict[str, Any]:
        return {"side": self.side, "scenes": [[scene.folder.name, *scene.rows] for scene in self.scenes]}

    def refresh(self, teacher: FusionModel, step: int, device: torch.device, precision: str, views: int = 1) -> None:
        """Predict every scene; several processes share the work and the folder."""
        partial = self.folder / f"{step:09d}.partial"
        partial.mkdir(parents=True, exist_ok=True)
        for number in range(len(self.scenes))[distributed.share()]:
            self.on_scene(number, len(self.scenes))
            scene = self.scenes[number]
            pseudo = predict_scene(teacher, scene, device, precision, views)
            scale = 2.0 ** min(scene.evs)
            tone = mu_law(pseudo.radiance[0].nan_to_num(0.0) * scale).clamp(0, 1)
            codes = (tone * _WHITE).round().permute(1, 2, 0).numpy()
            means = patch_means(pseudo.sigma, self.side, (scene.rows[0], 0))[0]
            np.save(partial / f"{number}.light.npy", codes.astype(np.uint16))
            np.save(partial / f"{number}.sigma.npy", pseudo.sigma[0, 0].numpy().astype(np.float16))
            np.save(partial / f"{number}.means.npy", means[0, 0].numpy())
        distributed.barrier()
        if distributed.rank() == 0:
            (partial / RECORD).write_text(json.dumps(self._record))
            shutil.rmtree(self.path_of(step), ignore_errors=True)
            partial.replace(self.path_of(step))
        distributed.barrier()
        self.current = self.path_of(step)

    def sigma(self, number: int) -> Tensor:
        """(1, 1, H, W) of a scene."""
        return torch.from_numpy(self._open(number, "sigma").astype(np.float32))[None, None]

    def light(self, number: int) -> Tensor:
        """(3, H, W) radiance of a scene's label, short clip = 1; 0 where the teacher's was not finite."""
        codes = self._open(number, "light").astype(np.float32) / _WHITE
        return inverse_mu_law(torch.from_numpy(codes).permute(2, 0, 1))

    def cut(self, crops: Crops) -> Pseudo:
        """The pseudo-labels of crops of these scenes."""
        size = crops.batch.frames.shape[-1]
        light, sigma, means = [], [], []
        for number, top, left in zip(crops.scenes, crops.tops, crops.lefts, strict=True):
            scene = self.scenes[number]
            y = top - scene.rows[0]
            crop = (slice(y, y + size), slice(left, left + size))
            codes = self._open(number, "light")[crop].astype(np.float32) / _WHITE
            light.append(inverse_mu_law(torch.from_numpy(codes).permute(2, 0, 1)) / 2.0 ** min(scene.evs))
            sigma.append(torch.from_numpy(self._open(number, "sigma")[crop].astype(np.float32))[None])
            row, column = (np.arange(start, start + size) // self.side for start in (top, left))
            patches = self._open(number, "means")[np.ix_(row - scene.rows[0] // self.side, column)]
            means.append(torch.from_numpy(patches)[None])
        sigmas = torch.stack(sigma)
        return Pseudo(torch.where(sigmas.isnan(), torch.nan, torch.stack(light)), sigmas, torch.stack(means))

    def remove_older(self) -> None:
        """Remove every refresh but the one in use."""
        if distributed.rank() == 0 and self.current is not None:
            for other in self.folder.iterdir():
                if other != self.current:
                    shutil.rmtree(other, ignore_errors=True)

    def _open(self, number: int, what: str) -> NDArray[np.generic]:
        assert self.current is not None, "refresh before use"
        array: NDArray[np.generic] = np.load(self.current / f"{number}.{what}.npy", mmap_mode="r")
        return array


@dataclass(frozen=True)
class EpochLabels:
    """A teacher's predictions at a refresh, for a method's statistics: this process's share, one at a time.

    ``store`` has those of the unlabelled scenes already; ``sampler`` cuts crops of the same scenes.
    """

    teacher: FusionModel
    store: PseudoStore
    labeled_scenes: Sequence[PreparedScene]
    sampler: CropSampler
    config: TrainConfig
    device: torch.device

    def sigma_maps(self) -> Iterator[tuple[Tensor, Origin]]:
        """(1, 1, H, W) sigma of every unlabelled scene, and where its band begins."""
        for number in range(len(self.store.scenes))[distributed.share()]:
            yield self.store.sigma(number), (self.store.scenes[number].rows[0], 0)

    def labeled(self) -> Iterator[tuple[Pseudo, Batch]]:
        """Every labelled scene, predicted now, and its frames."""
        for scene in self.labeled_scenes[distributed.share()]:
            yield (
                predict_scene(self.teacher, scene, self.device, self.config.precision, self.config.views),
                whole(scene),
            )

    def crops(self) -> Iterator[tuple[Pseudo, Crops]]:
        """Every crop of a grid over the unlabelled scenes."""
        for place in self.sampler.grid(self.config.crop)[distributed.share()]:
            crops = self.sampler.cut([place])
            yield self.store.cut(crops), crops
