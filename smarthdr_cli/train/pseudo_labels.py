"""Pseudo-labels: what the teacher makes of unlabelled bursts, at every step or once an epoch, kept on disk."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.data.augment import Augmentation, augment
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.crops import Crops
from smarthdr_cli.data.prepared import PreparedScene
from smarthdr_cli.models.base import FusionModel
from smarthdr_cli.models.tensor_ops import inverse_mu_law, mu_law
from smarthdr_cli.train import distributed
from smarthdr_cli.train.estimate import estimate
from smarthdr_cli.train.uncertainty_masks import patch_means

WINDOW, BORDER = 512, 48  # pixels of a scene seen at once, and of those what is not kept at inner edges
RECORD = "record.json"  # of a refresh: which scenes it is of
_WHITE = 65535


class Pseudo(NamedTuple):
    """``radiance`` (B, 3, H, W) in reference units, ``sigma`` (B, 1, H, W) the judge's raw one.

    ``sigma`` is NaN where the radiance is not finite: no mask keeps such a pixel. ``means`` (B, 1, H, W): sigma's mean
    over the scene's patch that each pixel lies in, where the whole scene has been seen.
    """

    radiance: Tensor
    sigma: Tensor
    means: Tensor | None = None

    def to(self, device: torch.device) -> "Pseudo":
        """The same on another device."""
        means = None if self.means is None else self.means.to(device)
        return Pseudo(self.radiance.to(device), self.sigma.to(device), means)


def _judged(radiance: Tensor, log_sigma: Tensor) -> Pseudo:
    finite = torch.isfinite(radiance).all(dim=1, keepdim=True)
    return Pseudo(radiance.float(), torch.where(finite, log_sigma.float().exp(), torch.nan))


@torch.no_grad()
def views_of(model: FusionModel, batch: Batch, precision: str, views: int = 1) -> Pseudo:
    """The model's result for a batch seen ``views`` ways (flips, quarter turns, orders of channels), averaged in T(.).

    sigma^2 = mean of sigma_k^2 + variance of the views, the law of total variance as for ensembles (Lakshminarayanan
    et al. 2017): a network that was shown little contradicts itself where it errs, which its judge, shown as little,
    does not know. A pixel that is not finite in one view has no sigma.
    """
    if views == 1:
        out = estimate(model, batch, precision)
        return _judged(out.radiance, out.log_sigma)
    scale = batch.scale_short.view(-1, 1, 1, 1)
    tones, variances = [], []
    for how in Augmentation.spread(views):
        out = estimate(model, augment(batch, how), precision)
        tones.append(how.undo_colour(mu_law(out.radiance.float() * scale)))
        variances.append(how.undo_geometry((2 * out.log_sigma.float()).exp()))
    tone, seen = torch.stack(tones), torch.stack(variances)
    spread = tone.var(0, correction=0).mean(dim=1, keepdim=True)
    return _judged(inverse_mu_law(tone.mean(0)) / scale, (seen.mean(0) + spread).log() / 2)


def pseudo_of(teacher: FusionModel, batch: Batch, draw: torch.Generator, precision: str, views: int = 1) -> Pseudo:
    """The teacher's result for a batch seen under a weak augmentation, brought back to where the batch is."""
    how = Augmentation.draw_weak(draw)
    found = views_of(teacher, augment(batch, how), precision, views)
    return Pseudo(how.undo_geometry(found.radiance), how.undo_geometry(found.sigma))


def predict_scene(
    model: FusionModel, scene: PreparedScene, device: torch.device, precision: str, views: int = 1
) -> Pseudo:  # fmt: skip
    """The result for the whole band of a scene, (1, 3, H, W) and (1, 1, H, W) on the CPU, window by window."""
    first, last = scene.rows
    height, width = last - first, scene.size[1]
    light, sigma = torch.empty(1, 3, height, width), torch.empty(1, 1, height, width)
    for top, bottom, y0, y1 in _windows(height):
        for left, right, x0, x1 in _windows(width):
            frames, valid, _ = scene.crop(first + y0, x0, y1 - y0, x1 - x0)
            batch = Batch(_padded(frames)[None], torch.tensor([scene.evs]), _padded(valid)[None]).to(device)
            found = views_of(model, batch, precision, views)
            inner = (..., slice(top - y0, bottom - y0), slice(left - x0, right - x0))
            light[..., top:bottom, left:right] = found.radiance[inner].cpu()
            sigma[..., top:bottom, left:right] = found.sigma[inner].cpu()
    return Pseudo(light, sigma)


def _windows(length: int) -> Iterator[tuple[int, int, int, int]]:
    """What each window keeps (from, to) and what it sees (from, to) along one axis."""
    step = WINDOW - 2 * BORDER
    for start in range(0, length, step):
        end = min(start + step, length)
        yield start, end, max(0, start - BORDER), min(length, end + BORDER)


def _padded(image: Tensor) -> Tensor:
    """(N, C, h, w) with edges repeated until the sides are multiples of 32."""
    h, w = image.shape[-2:]
    return F.pad(image, (0, -w % 32, 0, -h % 32), mode="replicate")


class PseudoStore:
    """The pseudo-labels of one epoch in a folder of the run: mu-law codes of 16 bits (off by at most 8e-6 there),
    sigma in half precision (off by at most 5e-4 of itself), and its means over patches of ``side``.

    A refresh appears whole or not at all. An older one is kept until a state that has the newer one behind it is saved:
    a run killed in between goes on with what it had.
    """

    def __init__(self, folder: Path, scenes: Sequence[PreparedScene], side: int) -> None:
        self.folder, self.scenes, self.side = folder, scenes, side
        self.made: Path | None = None

    def at(self, step: int) -> Path:
        """Where the refresh made before update ``step`` lies."""
        return self.folder / f"{step:09d}"

    def take(self, step: int) -> bool:
        """Go on with an earlier refresh; whether it is there, and of these scenes."""
        try:
            known = bool(json.loads((self.at(step) / RECORD).read_text()) == self._record)
        except (OSError, ValueError):
            known = False
        if known:
            self.made = self.at(step)
        return known

    @property
    def _record(self) -> dict[str, Any]:
        return {"side": self.side, "scenes": [[scene.folder.name, *scene.rows] for scene in self.scenes]}

    def refresh(self, teacher: FusionModel, step: int, device: torch.device, precision: str, views: int = 1) -> None:
        """Predict every scene; several processes share the work and the folder."""
        partial = self.folder / f"{step:09d}.partial"
        partial.mkdir(parents=True, exist_ok=True)
        for number in range(distributed.rank(), len(self.scenes), distributed.count()):
            scene = self.scenes[number]
            found = predict_scene(teacher, scene, device, precision, views)
            scale = 2.0 ** min(scene.evs)
            light = mu_law(found.radiance[0].nan_to_num(0.0) * scale).clamp(0, 1)
            codes = (light * _WHITE).round().permute(1, 2, 0).numpy()
            means = patch_means(found.sigma, self.side, (scene.rows[0], 0))[0]
            np.save(partial / f"{number}.light.npy", codes.astype(np.uint16))
            np.save(partial / f"{number}.sigma.npy", found.sigma[0, 0].numpy().astype(np.float16))
            np.save(partial / f"{number}.means.npy", means[0, 0].numpy())
        distributed.wait()
        if distributed.rank() == 0:
            (partial / RECORD).write_text(json.dumps(self._record))
            shutil.rmtree(self.at(step), ignore_errors=True)
            partial.replace(self.at(step))
        distributed.wait()
        self.made = self.at(step)

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
            where = (slice(y, y + size), slice(left, left + size))
            codes = self._open(number, "light")[where].astype(np.float32) / _WHITE
            light.append(inverse_mu_law(torch.from_numpy(codes).permute(2, 0, 1)) / 2.0 ** min(scene.evs))
            sigma.append(torch.from_numpy(self._open(number, "sigma")[where].astype(np.float32))[None])
            row, column = (np.arange(start, start + size) // self.side for start in (top, left))
            patches = self._open(number, "means")[np.ix_(row - scene.rows[0] // self.side, column)]
            means.append(torch.from_numpy(patches)[None])
        judged = torch.stack(sigma)
        return Pseudo(torch.where(judged.isnan(), torch.nan, torch.stack(light)), judged, torch.stack(means))

    def tidy(self) -> None:
        """Remove every refresh but the one in use."""
        if distributed.rank() == 0 and self.made is not None:
            for other in self.folder.iterdir():
                if other != self.made:
                    shutil.rmtree(other, ignore_errors=True)

    def _open(self, number: int, what: str) -> NDArray[np.generic]:
        assert self.made is not None, "refresh before use"
        found: NDArray[np.generic] = np.load(self.made / f"{number}.{what}.npy", mmap_mode="r")
        return found
