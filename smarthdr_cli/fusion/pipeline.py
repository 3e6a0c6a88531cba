"""The order of a fusion: read, align, find the response, fuse, convert.

``fuse`` does all of it. ``load`` and ``fuse_loaded`` are its steps, for callers that keep a network between bursts or
fuse one burst several times. Torch is loaded late.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from smarthdr_cli.aligned_burst import AlignedBurst, RegisteredBurst, register
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.burst.load import LoadedBurst, Paths, load_burst
from smarthdr_cli.colorspace import OUTPUT_SPACES, convert_rgb
from smarthdr_cli.errors import UsageError, out_of_memory
from smarthdr_cli.fusion.fuse_options import FuseOptions, check_options, parse_memory, parse_pixels, parse_tile
from smarthdr_cli.fusion.result import FuserRecord, FusionReport, FusionResult, TiledFusion, UncertaintySummary
from smarthdr_cli.response import OtherScene

if TYPE_CHECKING:
    import torch

    from smarthdr_cli.fusion.fuser import Fuser
    from smarthdr_cli.fusion.memory_budget import MemoryBudget

Progress = Callable[[str, float], None]  # stage, share of it that is done
OpenNetwork = Callable[["str | Path | None", "torch.device", str], "Fuser"]  # weights, device, precision


def fuse(
    paths: Iterable[str | os.PathLike[str]],
    *,
    weights: str | Path | None = None,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    tile: int | str = "auto",
    max_memory: float | str | None = None,
    max_pixels: int | str | None = None,
    reference: int | Literal["auto"] = "auto",
    align: Literal["auto", "none"] = "auto",
    response: str | Path = "auto",
    deghost: Literal["auto", "off", "strong"] = "auto",
    ev: Sequence[float] | None = None,
    exposure_times: Sequence[float] | None = None,
    exposure_check: Literal["off", "warn", "fix"] = "warn",
    gains: Literal["auto", "off"] = "auto",
    colorspace: Literal["rec709", "rec2020", "acescg"] = "rec709",
    anchor: Literal["reference", "short"] = "reference",
    progress: Progress | None = None,
) -> FusionResult:
    """Fuse the files of one burst, in any order, into linear radiance at the reference frame's moment and pose.

    The options are the flags of ``smarthdr fuse``:

    - ``paths``: the files as a list of texts or paths, without patterns: ``sorted(Path("photos").glob("*.jpg"))``.
    - ``weights``: name or path of other weights than the default.
    - ``device``: "auto", "cpu", "cuda" or "cuda:N". ``precision``: "auto", "fp32", "bf16" or "fp16".
    - ``tile``: side of a tile in pixels, 0 for one tile. ``max_memory``: bytes, or text such as "3G". ``max_pixels``:
      of one file, larger ones are rejected before decoding; a number, or text such as "60M".
    - ``reference``: the frame whose moment and pose the result has, counted from 1 in ``paths``.
    - ``align``: "auto" (a homography per frame, where it helps) or "none".
    - ``response``: "auto", "srgb", "gamma2.2", "linear" or a calibration file.
    - ``deghost``: "auto", "strong" (the network trusts other frames less) or "off" (the static merge).
    - ``ev`` (larger is brighter) or ``exposure_times`` (seconds): of the files in their order, instead of EXIF.
    - ``exposure_check``: "warn" notes where the pixels contradict the stated exposures, "fix" takes those of the
      pixels, "off" does not look.
    - ``gains``: "auto" matches the channels of each frame to the reference, "off" does not.
    - ``colorspace``: "rec709", "rec2020" or "acescg". ``anchor``: the frame whose clip is 1, "reference" or "short".
    - ``progress``: called with the stage and the share of it that is done, 0 to 1.

    Returns a ``FusionResult``; ``write_result``, ``write_preview`` and ``write_uncertainty`` store it.
    Raises UsageError, InputError, ModelError or MemoryLimitError, all of them SmartHDRError.
    """
    options = FuseOptions(
        weights=weights,
        device=device,
        precision=precision,
        tile=parse_tile(str(tile)),
        max_memory=parse_memory(max_memory) if isinstance(max_memory, str) else max_memory,
        max_pixels=parse_pixels(max_pixels) if isinstance(max_pixels, str) else max_pixels,
        reference=reference,
        align=align,
        response=str(response),
        deghost=deghost,
        ev=None if ev is None else tuple(map(float, ev)),
        exposure_times=None if exposure_times is None else tuple(map(float, exposure_times)),
        exposure_check=exposure_check,
        gains=gains,
        colorspace=colorspace,
        anchor=anchor,
    )
    check_options(options)
    files = _listed(paths)
    timer = StageTimer(progress)
    Thread(target=_import_and_compile, daemon=True).start()  # while files are decoded
    loaded = load(files, options, timer)
    return fuse_loaded(loaded.burst, options, timer, notes=loaded.notes)


def _listed(paths: Iterable[str | os.PathLike[str]]) -> Paths:
    """``paths`` as a list. Raises UsageError for one path instead of several, and for a pattern."""
    if isinstance(paths, str | os.PathLike):
        raise UsageError(f"fuse takes a list of files, not {paths!r}; {_expanded(paths)} makes one")
    files = list(paths)
    for path in files:
        if _is_pattern(os.fspath(path)) and not Path(path).exists():
            raise UsageError(f"{os.fspath(path)!r} is a pattern, not a file; {_expanded(path)} makes the list of files")
    return files


def _expanded(path: str | os.PathLike[str]) -> str:
    """The expression that makes a list of files of a folder or a pattern."""
    path = Path(path)
    pattern = path.name if _is_pattern(path.name) else "*.jpg"
    folder = path if path.is_dir() else path.parent
    return f'sorted(Path("{folder.as_posix()}").glob("{pattern}"))'


def _is_pattern(text: str) -> bool:
    return any(character in text for character in "*?[")


def load(paths: Paths, options: FuseOptions, timer: "StageTimer") -> LoadedBurst:
    """The first step of ``fuse``: the files of one burst and the notes of reading. Raises UsageError or InputError."""
    with timer.stage("read"):
        return load_burst(
            paths,
            evs=options.ev,
            times=options.exposure_times,
            reference=options.reference,
            max_pixels=options.max_pixels,
            exposure_check=options.exposure_check,
        )


def fuse_loaded(
    burst: Burst,
    options: FuseOptions,
    timer: "StageTimer",
    *,
    notes: Sequence[str] = (),
    open_network: OpenNetwork | None = None,
    registered: RegisteredBurst | None = None,
) -> FusionResult:
    """The other steps of ``fuse``.

    ``notes``: of reading, for the report. ``open_network``: used instead of ``load_network``. ``registered``: the
    result of ``register`` for this burst, where it is known. Raises UsageError, InputError, ModelError or
    MemoryLimitError.
    """
    with timer.stage("load"):  # no slow step meanwhile: importing torch takes the interpreter from its many small calls
        fuser, budget = _open_fuser(burst, options, open_network)
    if registered is None:
        registered = register_loaded(burst, options, timer)
    from smarthdr_cli.fusion.pixel_functions import is_chosen, kernel_choice

    if not is_chosen():  # on the first run on a machine
        with timer.stage("compile"):
            kernel_choice()
    with timer.stage("merge" if options.deghost == "off" else "fuse") as on_progress:
        fusion, tile = _fuse_with_retries(fuser, registered.burst, budget, options.deghost == "strong", on_progress)
    tile_after_retreat = None if tile == budget.tile else tile
    return to_result(
        fusion, registered.burst, fuser.record, options, timer,
        notes=(*notes, *registered.notes), other_scenes=registered.other_scenes, tile_after_retreat=tile_after_retreat,
    )  # fmt: skip


def register_loaded(burst: Burst, options: FuseOptions, timer: "StageTimer") -> RegisteredBurst:
    """The second step of ``fuse``, without torch: alignment and response. Raises UsageError or InputError."""
    return register(
        burst,
        align=options.align,
        response=options.response,
        exposure_check=options.exposure_check,
        gains=options.gains,
        stage=timer.stage,
    )


def _import_and_compile() -> None:
    """Import torch, then compile the per-pixel pass, or load what is compiled."""
    import_module("smarthdr_cli.fusion.fuser")
    from smarthdr_cli.fusion.pixel_functions import kernel_choice

    kernel_choice()


def to_result(
    fusion: TiledFusion,
    burst: AlignedBurst,
    fuser: FuserRecord,
    options: FuseOptions,
    timer: "StageTimer",
    *,
    notes: Sequence[str] = (),
    other_scenes: tuple[OtherScene, ...] = (),
    tile_after_retreat: int | None = None,
) -> FusionResult:
    """Convert colours and anchor, and write the report. Overwrites the radiance of ``fusion``."""
    frames, evs = burst.burst.frames, burst.burst.evs
    radiance, sigma = fusion.image.radiance, fusion.image.sigma
    shortest, response = float(evs.min()), fusion.response or burst.response
    colorspace = OUTPUT_SPACES[options.colorspace]
    with timer.stage("convert"):
        light = convert_rgb(radiance, frames[0].colorspace, colorspace, out=radiance)
        anchor_ev = shortest if options.anchor == "short" else 0.0
        if anchor_ev:
            light *= np.float32(2.0**anchor_ev)
    report = FusionReport(
        options=non_default_options(options),
        fuser=fuser,
        response={"name": Path(response.name).name, **response.record},
        files=tuple(frame.path.name for frame in frames),
        reference=frames[burst.burst.reference].path.name,
        evs=tuple(round(float(ev), 4) for ev in evs),
        moved=burst.alignment.moved,
        size=(burst.burst.size[1], burst.burst.size[0]),
        colorspace=colorspace.name,
        source_colorspace=frames[0].colorspace.name,
        uncertainty=UncertaintySummary(
            mean=float(sigma.mean()),
            p95=float(np.quantile(sigma[::4, ::4], 0.95)),
            clipped_share=float((sigma >= 1.0).mean()),
        ),
        gains_ev=tuple(tuple(curve.record.get("gains_ev", (0.0, 0.0, 0.0))) for curve in burst.curves),
        other_scenes=other_scenes,
        kernel=fusion.kernel,
        tile_after_retreat=tile_after_retreat,
        statistics=fusion.statistics,
        notes=tuple(notes),
        seconds=dict(timer.seconds),
    )
    return FusionResult(light, sigma, colorspace, anchor_ev, 2.0 ** (shortest - anchor_ev), burst.burst, report, burst)


def non_default_options(options: FuseOptions) -> dict[str, Any]:
    """The options that differ from their defaults, for the report; of paths only the file name.

    The report is written into files that are given away.
    """
    default = FuseOptions()
    values = {field.name: getattr(options, field.name) for field in fields(options)}
    changed = {name: value for name, value in values.items() if value != getattr(default, name)}
    return {name: Path(str(v)).name if name in ("weights", "response") else v for name, v in changed.items()}


class StageTimer:
    """Reports stages as they run and measures them: ``seconds`` by stage."""

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress or _ignore
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Callable[[float], None]]:
        """A stage; yields the function to call with the share of it that is done."""
        self._progress(name, 0.0)
        start = time.perf_counter()
        yield partial(self._progress, name)
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)
        self._progress(name, 1.0)


def _ignore(_stage: str, _share: float) -> None:
    pass


def _open_fuser(burst: Burst, options: FuseOptions, open_network: OpenNetwork | None) -> "tuple[Fuser, MemoryBudget]":
    """What fuses under ``options``, and the memory that it may take for ``burst``."""
    from smarthdr_cli.fusion.device import resolve_device, resolve_precision
    from smarthdr_cli.fusion.fuser import load_network
    from smarthdr_cli.fusion.memory_budget import BurstSize, memory_budget
    from smarthdr_cli.fusion.network_fusion import MAX_NETWORK_FRAMES
    from smarthdr_cli.fusion.static_merge import StaticFuser

    static = options.deghost == "off"
    device = resolve_device(options.device)
    code_bytes = float(sum(frame.codes.nbytes for frame in burst.frames))
    size = BurstSize(burst.size[0] * burst.size[1], code_bytes, min(len(burst), MAX_NETWORK_FRAMES))
    budget = memory_budget(options.tile, size, device, options.max_memory, with_motion=not static)
    if static:
        resolve_precision("fp32" if options.precision == "auto" else options.precision, device)
        return StaticFuser(), budget
    return (open_network or load_network)(options.weights, device, options.precision), budget


def _fuse_with_retries(
    fuser: "Fuser", burst: AlignedBurst, budget: "MemoryBudget", strong: bool, on_progress: Callable[[float], None]
) -> tuple[TiledFusion, int]:
    """The fusion and the tile it took; the tile is halved whenever memory runs out.

    Raises MemoryLimitError where it runs out with the smallest tile.
    """
    from smarthdr_cli.fusion.tiles import smaller_tile

    tile = budget.tile
    while True:
        try:
            return fuser.fuse(burst, replace(budget, tile=tile), strong=strong, on_progress=on_progress), tile
        except Exception as error:  # MemoryError, RuntimeError of torch, cv2.error
            if not out_of_memory(error):
                raise
            tile = smaller_tile(tile, error)
