"""Scenes aligned and linearised once, stored in the cache, and read from there in crops.

A scene's folder has ``frames.npy`` (N, H, W, 3), ``valid.npy`` (N, H, W) and ``record.json``. Frames are uint16 codes
c = round(65535 L^(1/2.2)) of linear light L in each frame's own units (1 = clip), reference first; 65535 means clipped.
The folder's name is a hash of everything the frames depend on. Ground truth has a folder of its own, so that other
labels do not prepare frames again, and truth without a label is never opened.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.aligned_burst import Window, register
from smarthdr_cli.burst.load import load_burst
from smarthdr_cli.burst.reference import spanning_frames
from smarthdr_cli.data.cache import RECORD, build_arrays, cache_key, file_state, map_array, npy_writer
from smarthdr_cli.data.datasets import EXPOSURE_FILES, SceneFiles
from smarthdr_cli.data.splits import SceneBand
from smarthdr_cli.data.synth.sources import read_radiance
from smarthdr_cli.errors import InputError, UsageError
from smarthdr_cli.radiometry import GAMMA

F32 = NDArray[np.float32]
FORMAT = 1  # of the cache; raised whenever what is written, or how it is computed, changes
WHITE = 65535
MAX_FRAMES = 9  # of a longer burst, those that span its exposure range best
STRIP_ROWS = 256  # rows in float32 at a time
WELL_EXPOSED = (0.05, 0.8)  # in units of the reference's clip: range in which truth and reference are compared
MIN_COMPARED_PIXELS = 100


@dataclass(frozen=True)
class PreparedScene:
    """A scene, or a band of it, in the cache.

    ``folder``: its frames. ``evs``: relative to the reference; reference first, then from dark to bright. ``size``:
    (height, width) of the whole image. ``target``: folder of its truth, None without a label. ``notes``: for the user.
    """

    band: SceneBand
    folder: Path
    evs: tuple[float, ...]
    size: tuple[int, int]
    target: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[int, int]:
        """First row of the band, and the row after its last."""
        height = self.size[0]
        return ceil(self.band.top * height - 1e-6), floor(self.band.bottom * height + 1e-6)

    def crop(self, top: int, left: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Frames (N, 3, h, w), validity (N, 1, h, w) and target (3, h, w) or None, as float32.

        Frames are linear in their own units. The target is in units of the reference, capped at the shortest frame's
        clip. Raises ValueError for a crop outside the band, InputError where the cache has been removed.
        """
        count = len(self.evs)
        frames, valid = torch.empty(count, 3, height, width), torch.empty(count, 1, height, width)
        target = None if self.target is None else torch.empty(3, height, width)
        self.crop_into(top, left, frames, valid, target)
        return frames, valid, target

    def crop_into(self, top: int, left: int, frames: Tensor, valid: Tensor, target: Tensor | None) -> None:
        """``crop`` into existing contiguous tensors; their size is the size of the crop."""
        height, width = frames.shape[-2:]
        first, last = self.rows
        inside = first <= top and top + height <= last and left >= 0 and left + width <= self.size[1]
        if not inside or min(height, width) < 1:
            raise ValueError(f"crop {height}x{width} at ({top}, {left}) leaves rows {first} to {last} of {self.size}")
        rows, columns = slice(top, top + height), slice(left, left + width)
        decode(map_array(self.folder / "frames.npy")[:, rows, columns].transpose(0, 3, 1, 2), out=frames.numpy())
        valid.numpy()[:, 0] = map_array(self.folder / "valid.npy")[:, rows, columns]
        if self.target is not None and target is not None:
            target.numpy()[:] = map_array(self.target / "target.npy")[rows, columns].transpose(2, 0, 1)


def prepare(
    bands: Sequence[SceneBand], cache: Path, *, align: str = "auto", response: str = "auto",
    on_scene: Callable[[int, PreparedScene], None] = lambda _done, _scene: None,
) -> list[PreparedScene]:  # fmt: skip
    """Prepare every band as ``fuse`` would, or find it in ``cache``.

    The reference is the middle frame where the scene states EVs, else the one ``fuse`` chooses. ``align`` and
    ``response`` are options of ``fuse``; "auto" is "gamma2.2" for scenes of that encoding. ``on_scene`` gets the number
    of finished bands and the latest.

    Raises InputError with the scene's name for files that are missing, damaged or do not fit together, UsageError for
    an unknown option, OutputError where the cache cannot be written.
    """
    if align not in ("auto", "none"):
        raise UsageError(f"--align {align}: use auto, none")
    scenes: list[PreparedScene] = []
    for band in bands:
        try:
            scenes.append(_prepare(band, cache, align, response))
        except InputError as error:
            prefix = "" if str(error).startswith("scene ") else f"scene {band.scene.name}: "
            raise InputError(f"{prefix}{error}") from error
        on_scene(len(scenes), scenes[-1])
    return scenes


def _prepare(band: SceneBand, cache: Path, align: str, response: str) -> PreparedScene:
    scene = band.scene
    if response == "auto" and scene.encoding != "camera":
        response = scene.encoding
    folders = {path.parent for path in scene.frames}
    sidecars = [folder / name for folder in sorted(folders) for name in EXPOSURE_FILES]
    dependencies = {
        "format": FORMAT,
        "frames": [file_state(path) for path in scene.frames],
        "evs": scene.evs if scene.evs is not None else [file_state(path) for path in sidecars if path.is_file()],
        "align": align,
        "response": [response, *([file_state(Path(response))] if Path(response).is_file() else [])],
    }
    key = _folder_name(dependencies)
    folder = build_arrays(
        cache / key, ("frames.npy", "valid.npy"), lambda to: _write_frames(scene, to, align, response)
    )
    record = json.loads((folder / RECORD).read_text())
    evs, size = tuple(record["evs"]), (record["size"][0], record["size"][1])
    target = None
    if scene.truth is not None:
        truth = scene.truth
        target_key = _folder_name({"frames": key, "truth": file_state(truth)})
        target = build_arrays(
            cache / target_key, ("target.npy",), lambda to: _write_target(scene, truth, folder, evs, to)
        )
    return PreparedScene(band, folder, evs, size, target, tuple(record["notes"]))


def _folder_name(dependencies: object) -> str:
    return cache_key(dependencies)[:32]


def _write_frames(scene: SceneFiles, folder: Path, align: str, response: str) -> None:
    """Register the scene's burst and write frames, validity and record."""
    middle = (len(scene.frames) - 1) // 2
    loaded, notes = load_burst(scene.frames, evs=scene.evs, reference="auto" if scene.evs is None else middle + 1)
    registered = register(loaded, align=cast(Literal["auto", "none"], align), response=response)
    aligned, burst = registered.burst, registered.burst.burst
    order = [burst.reference, *(i for i in spanning_frames(burst, MAX_FRAMES) if i != burst.reference)]
    height, width = burst.size
    shape = (len(order), height, width)
    with (
        npy_writer(folder / "frames.npy", (*shape, 3), np.uint16) as write_codes,
        npy_writer(folder / "valid.npy", shape, np.uint8) as write_valid,
    ):
        for index in order:
            for top in range(0, height, STRIP_ROWS):
                linear, valid = aligned.read(index, Window(top, 0, min(STRIP_ROWS, height - top), width))
                write_codes(encode(linear))
                write_valid(valid.astype(np.uint8))
    record = {
        "scene": scene.name,
        "files": [burst.frames[i].path.name for i in order],
        "evs": [float(burst.evs[i]) for i in order],
        "size": [height, width],
        "moved": [aligned.alignment.moved[i] for i in order],
        "response": Path(aligned.response.name).name,
        "notes": [*notes, *registered.notes],
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1))


def encode(linear: F32) -> NDArray[np.uint16]:
    """Linear light in [0, 1] to codes; 65535 exactly where the light is 1 or more."""
    codes: F32 = np.rint(np.clip(linear, 0.0, 1.0) ** np.float32(1 / GAMMA) * np.float32(WHITE))
    codes[(linear < 1) & (codes >= WHITE)] = WHITE - 1
    return codes.astype(np.uint16)


def decode(codes: NDArray[np.uint16], out: F32 | None = None) -> F32:
    """Codes to linear light, written to ``out`` where that is given."""
    light: F32 = np.take(_decoding_table(), codes, out=out, mode="clip")  # "clip" avoids a buffer; no code is outside
    return light


@lru_cache(maxsize=1)
def _decoding_table() -> F32:
    table: F32 = ((np.arange(WHITE + 1) / WHITE) ** GAMMA).astype(np.float32)
    return table


def _write_target(scene: SceneFiles, truth: Path, frames: Path, evs: Sequence[float], folder: Path) -> None:
    """Write the truth in units of the reference, capped at the shortest frame's clip.

    An estimated response fixes brightness up to a factor only. The truth of a "camera" scene is therefore scaled by the
    median ratio of reference and truth over well-exposed pixels, as the evaluation scales predictions.
    """
    radiance = read_radiance(truth)
    codes = map_array(frames / "frames.npy")
    if radiance.shape != codes.shape[1:]:
        (h, w), (height, width) = radiance.shape[:2], codes.shape[1:3]
        raise InputError(f"{truth.name} is {w}x{h}, the frames are {width}x{height}")
    reference_ev = -min(evs) if scene.evs is None else scene.evs[(len(scene.evs) - 1) // 2]
    target = radiance * np.float32(2.0**reference_ev)
    gain = 1.0
    if scene.encoding == "camera":
        reference = decode(codes[0])
        low, high = WELL_EXPOSED
        compared = ((target >= low) & (target <= high) & (reference > 0) & (reference < 1)).all(axis=2)
        if np.count_nonzero(compared) >= MIN_COMPARED_PIXELS:
            gain = float(np.median(reference[compared] / target[compared]))
    target = np.minimum(target * np.float32(gain), np.float32(2.0 ** -min(evs)))
    with npy_writer(folder / "target.npy", target.shape, np.float32) as write:
        write(target)
    (folder / RECORD).write_text(json.dumps({"scene": scene.name, "truth": truth.name, "gain": gain}))
