"""Sprites of moving people: consecutive phases of a motion with radiance, coverage, shadow and optical flow.

A pixel with B behind a person shows L + (1 - a) (1 - s) B: premultiplied radiance L, coverage a, and the share s of its
light that the ground loses in the person's shadow. ``benchmarks/people/make_people.py`` renders the files.
"""

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.errors import InputError


@dataclass(frozen=True)
class Sprite:
    """A person in P phases, in pictures of one size with the root, the ground under the pelvis, at the same pixel.

    ``rgba``: (P, 4, H, W) premultiplied radiance, 1 = the median of the panorama that lights it, and coverage.
    ``shadow``: (P, 1, H, W) share of its light that what is behind loses. ``motion``: (P, 2, H, W) px from the
    reference phase, P // 2, to each phase, relative to the root; ``visible``: (P, 1, H, W) bool, where the person does
    not hide its own surface there. ``travel``: (P, 2) px of the root from the reference phase. ``root``: (2,) px (x, y)
    from the middle of the picture. ``height``: px from the head to the ground. ``panorama``: name of the light's
    source.
    """

    rgba: Tensor
    shadow: Tensor
    motion: Tensor
    visible: Tensor
    travel: Tensor
    root: Tensor
    height: float
    panorama: str

    @property
    def phases(self) -> int:
        """P."""
        return len(self.rgba)

    def to(self, device: torch.device) -> "Sprite":
        """A copy on another device."""
        return Sprite(
            self.rgba.to(device), self.shadow.to(device), self.motion.to(device), self.visible.to(device),
            self.travel.to(device), self.root.to(device), self.height, self.panorama,
        )  # fmt: skip


def write_sprite(path: Path, sprite: Sprite) -> None:
    """Write a sprite as a compressed .npz: half precision, visibility as bits."""
    arrays: dict[str, Any] = {"height": sprite.height, "panorama": sprite.panorama}
    for name in ("rgba", "shadow", "motion"):
        arrays[name] = getattr(sprite, name).half().numpy()
    arrays["visible"] = np.packbits(sprite.visible.numpy())
    arrays |= {"travel": sprite.travel.float().numpy(), "root": sprite.root.float().numpy()}
    with atomic_file(path, overwrite=True) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_sprite(path: Path) -> Sprite:
    """A sprite of ``write_sprite``. Raises InputError for a damaged file or one of another kind."""
    try:
        with path.open("rb") as file, np.load(file) as stored:
            arrays = {f.name: stored[f.name] for f in fields(Sprite)}
        phases, _, height, width = arrays["rgba"].shape
        shapes = {"rgba": 4, "shadow": 1, "motion": 2}
        if any(arrays[name].shape != (phases, n, height, width) for name, n in shapes.items()):
            raise ValueError("planes of different sizes")
        count = phases * height * width
        visible = np.unpackbits(arrays["visible"], count=count).reshape(phases, 1, height, width)
        arrays["visible"] = visible.astype(bool)
        if arrays["travel"].shape != (phases, 2) or arrays["root"].shape != (2,):
            raise ValueError("no position for every phase")
        tensors = {name: torch.from_numpy(a) for name, a in arrays.items() if name not in ("height", "panorama")}
        return Sprite(**tensors, height=float(arrays["height"]), panorama=str(arrays["panorama"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: not a readable sprite of a person ({error}); delete it, and make_people.py makes it again"
        ) from error
