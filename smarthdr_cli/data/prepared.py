"""Bursts aligned and linearised once, on disk, and cut from there: memory does not grow with the number of scenes.

A scene is a folder of the cache named by a hash of all it depends on: ``frames.npy`` (N, H, W, 3) 16-bit codes of
linear light under gamma 2.2, reference first, ``valid.npy`` (N, H, W), and ``record.json``. Ground truth has folders of
its own, so that drawing other labels prepares no frame again, and no truth is opened that is not labelled.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache as once
from math import ceil, floor
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import Window
from smarthdr_cli.burst.load import load_burst
from smarthdr_cli.burst.reference import spanning_frames
from smarthdr_cli.data.cache import RECORD, array_file, key_of, mapped, stamp, stored
from smarthdr_cli.data.datasets import SceneFiles
from smarthdr_cli.data.splits import Part
from smarthdr_cli.data.synth.sources import read_radiance
from smarthdr_cli.errors import InputError
from smarthdr_cli.fusion.pipeline import FuseOptions, StageTimer, check_options, register

F32 = NDArray[np.float32]
FORMAT = 1  # of the cache; raised whenever what is written or how it is made changes
GAMMA, WHITE = 2.2, 65535
MOST_FRAMES = 9  # of a longer burst those that span its range best
_STRIP = 256  # rows held as float32 at a time
_EXPOSED = (0.05, 0.8)  # of the reference's clip: where curve and truth are compared
_FEW = 100  # pixels


@dataclass(frozen=True)
class Prepared:
    """One scene (or a band of it) in the cache.

    ``folder``: its aligned frames. ``evs``: relative to the reference, REFERENCE FIRST, then the others darkest first.
    ``size``: (height, width) of the whole picture. ``target``: the cache's copy of its truth, None without a label.
    ``notes``: what is to be said aloud of it.
    """

    part: Part
    folder: Path
    evs: tuple[float, ...]
    size: tuple[int, int]
    target: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[int, int]:
        """First row of the part's band and the row after its last."""
        height = self.size[0]
        return ceil(self.part.top * height - 1e-6), floor(self.part.bottom * height + 1e-6)

    def crop(self, top: int, left: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Frames (N, 3, h, w) linear in their own units, validity (N, 1, h, w), target (3, h, w) or None; float32.

        The reference comes first; the target is in its units, capped at the shortest frame's clip, as ``Batch`` says.
        Raises ValueError for a crop that leaves the part's band, and InputError when the cache has been removed.
        """
        count = len(self.evs)
        frames, valid = torch.empty(count, 3, height, width), torch.empty(count, 1, height, width)
        target = None if self.target is None else torch.empty(3, height, width)
        self.fill(top, left, frames, valid, target)
        return frames, valid, target

    def fill(self, top: int, left: int, frames: Tensor, valid: Tensor, target: Tensor | None) -> None:
        """``crop`` into contiguous tensors that are there already, of the size that ``frames`` has."""
        height, width = frames.shape[-2:]
        first, last = self.rows
        inside = first <= top and top + height <= last and left >= 0 and left + width <= self.size[1]
        if not inside or min(height, width) < 1:
            raise ValueError(f"crop {height}x{width} at ({top}, {left}) leaves rows {first} to {last} of {self.size}")
        rows, columns = slice(top, top + height), slice(left, left + width)
        codes = mapped(self.folder / "frames.npy")[:, rows, columns].transpose(0, 3, 1, 2)
        np.take(_decoding(), codes, out=frames.numpy(), mode="clip")  # "clip": straight into out, no code is outside
        valid.numpy()[:, 0] = mapped(self.folder / "valid.npy")[:, rows, columns]
        if self.target is not None and target is not None:
            target.numpy()[:] = mapped(self.target / "target.npy")[rows, columns].transpose(2, 0, 1)


def prepare(
    parts: Sequence[Part], cache: Path, *, align: str = "auto", response: str = "auto",
    on_scene: Callable[[int, Prepared], None] = lambda _done, _scene: None,
) -> list[Prepared]:  # fmt: skip
    """Every part, prepared as ``fuse`` would see it or found in ``cache``.

    The middle frame is the reference where the exposures are those of a benchmark, else the one ``fuse`` would choose.
    ``align`` and ``response`` are the options of ``fuse``; under "auto" gamma 2.2 scenes are known to be that. Truth is
    opened for parts whose scene still has its path. ``on_scene`` is told how many are done and the latest.

    Raises InputError naming the scene whose files are missing, damaged or do not fit together, UsageError for an
    unknown option, and OutputError when the cache cannot be written.
    """
    check_options(FuseOptions(align=cast(Literal["auto", "none"], align)))
    done = []
    for part in parts:
        try:
            prepared = _prepare(part, cache, align, response)
        except InputError as error:
            said = str(error)
            raise InputError(said if said.startswith("scene ") else f"scene {part.scene.name}: {said}") from error
        done.append(prepared)
        on_scene(len(done), prepared)
    return done


def _prepare(part: Part, cache: Path, align: str, response: str) -> Prepared:
    scene = part.scene
    if response == "auto" and scene.encoding != "camera":
        response = scene.encoding
    folders = {path.parent for path in scene.frames}
    beside = [f for folder in sorted(folders) for f in (folder / "exposure.txt", folder / "input_exp.txt")]
    made_of = {
        "format": FORMAT,
        "frames": [stamp(path) for path in scene.frames],
        "evs": scene.evs if scene.evs is not None else [stamp(path) for path in beside if path.is_file()],
        "align": align,
        "response": [response, *([stamp(Path(response))] if Path(response).is_file() else [])],
    }
    key = key_of(made_of)
    folder = stored(cache / key, ("frames.npy", "valid.npy"), lambda to: _write_frames(scene, to, align, response))
    record = json.loads((folder / RECORD).read_text())
    evs, size = tuple(record["evs"]), (record["size"][0], record["size"][1])
    target = None
    if scene.truth is not None:
        truth = scene.truth
        known = key_of({"frames": key, "truth": stamp(truth)})
        target = stored(cache / known, ("target.npy",), lambda to: _write_target(scene, truth, folder, evs, to))
    return Prepared(part, folder, evs, size, target, tuple(record["notes"]))


def _write_frames(scene: SceneFiles, folder: Path, align: str, response: str) -> None:
    """Align, linearise, and write frames, validity and the record."""
    middle = (len(scene.frames) - 1) // 2
    burst = load_burst(scene.frames, evs=scene.evs, reference="auto" if scene.evs is None else middle + 1)
    options = FuseOptions(align=cast(Literal["auto", "none"], align), response=response)
    source = register(burst, options, StageTimer(lambda _stage, _share: None))
    reference = source.burst.reference
    order = [reference, *(i for i in spanning_frames(source.burst, MOST_FRAMES) if i != reference)]
    height, width = source.burst.size
    shape = (len(order), height, width)
    with (
        array_file(folder / "frames.npy", (*shape, 3), np.uint16) as frames,
        array_file(folder / "valid.npy", shape, np.uint8) as valid,
    ):
        for index in order:
            for top in range(0, height, _STRIP):
                linear, seen = source.read(index, Window(top, 0, min(_STRIP, height - top), width))
                frames(encode(linear))
                valid(seen.astype(np.uint8))
    record = {
        "scene": scene.name,
        "files": [source.burst.frames[i].path.name for i in order],
        "evs": [float(source.burst.evs[i]) for i in order],
        "size": [height, width],
        "moved": [source.alignment.moved[i] for i in order],
        "response": Path(source.response.name).name,
        "notes": list(source.burst.notes),
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1))


def encode(linear: F32) -> NDArray[np.uint16]:
    """Linear light in [0, 1] to 16-bit codes of gamma 2.2; 65535 stands for exactly 1, what clipped, and no less."""
    codes: F32 = np.rint(np.clip(linear, 0.0, 1.0) ** np.float32(1 / GAMMA) * np.float32(WHITE))
    codes[(linear < 1) & (codes >= WHITE)] = WHITE - 1
    return codes.astype(np.uint16)


@once
def _decoding() -> F32:
    light: F32 = ((np.arange(WHITE + 1) / WHITE) ** GAMMA).astype(np.float32)
    return light


def _write_target(scene: SceneFiles, truth: Path, frames: Path, evs: Sequence[float], folder: Path) -> None:
    """The truth in units of the reference, capped at the shortest frame's clip.

    Behind an estimated camera curve, brightness is known up to a factor; the truth is brought to the reference frame
    by the median ratio where that is well exposed, as the evaluation does to predictions.
    """
    radiance = read_radiance(truth)
    codes = mapped(frames / "frames.npy")
    if radiance.shape != codes.shape[1:]:
        (h, w), (height, width) = radiance.shape[:2], codes.shape[1:3]
        raise InputError(f"{truth.name} is {w}x{h}, the frames are {width}x{height}")
    stated = -min(evs) if scene.evs is None else scene.evs[(len(scene.evs) - 1) // 2]
    target = radiance * np.float32(2.0**stated)
    gain = 1.0
    if scene.encoding == "camera":
        reference = _decoding()[codes[0]]
        well = ((target >= _EXPOSED[0]) & (target <= _EXPOSED[1]) & (reference > 0) & (reference < 1)).all(axis=2)
        if np.count_nonzero(well) >= _FEW:
            gain = float(np.median(reference[well] / target[well]))
    target = np.minimum(target * np.float32(gain), np.float32(2.0 ** -min(evs)))
    with array_file(folder / "target.npy", target.shape, np.float32) as write:
        write(target)
    (folder / RECORD).write_text(json.dumps({"scene": scene.name, "truth": truth.name, "gain": gain}))
