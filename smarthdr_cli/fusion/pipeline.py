"""The order of a fusion, once: read, align, find the response, align again, fuse, convert."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from smarthdr_cli.aligned_burst import AlignedBurst, register
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.burst.load import Paths, load_burst
from smarthdr_cli.colorspace import OUTPUT_SPACES, convert_rgb
from smarthdr_cli.errors import UsageError
from smarthdr_cli.fusion.result import FusionResult

if TYPE_CHECKING:
    import torch

    from smarthdr_cli.fusion.networks import Network
    from smarthdr_cli.fusion.static_merge import RadianceSigma

Progress = Callable[[str, float], None]
OpenNetwork = Callable[["str | Path | None", "torch.device", str], "Network"]  # weights, device, precision


@dataclass(frozen=True)
class FuseOptions:
    """Everything ``fuse`` may be told, with its defaults; see the command's help for words on each."""

    weights: str | Path | None = None
    device: str = "auto"
    precision: str = "auto"
    tile: str = "auto"
    max_memory: float | None = None  # bytes
    max_pixels: int | None = None  # of one file; None: MAX_PIXELS
    reference: int | Literal["auto"] = "auto"
    align: Literal["auto", "none"] = "auto"
    response: str = "auto"
    deghost: Literal["auto", "off", "strong"] = "auto"
    evs: Sequence[float] | None = None
    exposure_times: Sequence[float] | None = None
    exposure_check: Literal["off", "warn", "fix"] = "warn"
    gains: Literal["auto", "off"] = "auto"
    colorspace: str = "rec709"
    anchor: Literal["reference", "short"] = "reference"


_CHOICES: dict[str, tuple[str, ...]] = {
    "align": ("auto", "none"),
    "deghost": ("auto", "off", "strong"),
    "exposure_check": ("off", "warn", "fix"),
    "gains": ("auto", "off"),
    "colorspace": tuple(OUTPUT_SPACES),
    "anchor": ("reference", "short"),
}


def check_options(options: FuseOptions) -> None:
    """Raises UsageError for a word that an option does not know."""
    for name, known in _CHOICES.items():
        value = getattr(options, name)
        if value not in known:
            raise UsageError(f"--{name.replace('_', '-')} {value}: use {', '.join(known)}")


def fuse(paths: Paths, *, progress: Progress = lambda _stage, _share: None, **options: Any) -> FusionResult:
    """Fuse the files of one burst into linear radiance at the reference's moment and pose.

    ``options`` are the fields of ``FuseOptions``. ``progress`` is told the stage and how much of it is done, 0 to 1.
    Raises UsageError, InputError, ModelError or MemoryLimitError.
    """
    chosen = FuseOptions(**options)
    check_options(chosen)
    clock = StageTimer(progress)
    warm = Thread(target=import_module, args=("smarthdr_cli.fusion.networks",), daemon=True)  # torch, while files load
    warm.start()
    burst = load(paths, chosen, clock)
    warm.join()
    return fuse_loaded(burst, chosen, clock)


def load(paths: Paths, options: FuseOptions, clock: "StageTimer") -> Burst:
    """The first step of ``fuse``: the files of one burst, read. Raises UsageError or InputError."""
    with clock.stage("read"):
        return load_burst(
            paths,
            evs=options.evs,
            times=options.exposure_times,
            reference=options.reference,
            max_pixels=options.max_pixels,
        )


def fuse_loaded(
    burst: Burst,
    chosen: FuseOptions,
    clock: "StageTimer",
    open_network: OpenNetwork | None = None,
    source: AlignedBurst | None = None,
) -> FusionResult:
    """The second step of ``fuse``: a burst as ``load`` read it, fused.

    ``open_network`` replaces ``load_network``, for a caller that keeps a network from one burst to the next;
    ``source``, as ``register`` made it of this burst, saves registering again for one that fuses a burst several times.
    Raises UsageError, InputError, ModelError or MemoryLimitError.
    """
    report: dict[str, Any] = {"options": _said(chosen)}
    merge = _prepare(burst, chosen, clock, report, open_network)  # what is wrong with it is said before the slow stages
    if source is None:
        source = register(
            burst,
            align=chosen.align,
            response=chosen.response,
            exposure_check=chosen.exposure_check,
            gains=chosen.gains,
            stage=clock.stage,
        )
    alignment, response = source.alignment, source.response
    report |= {
        "response": {"name": Path(response.name).name, **response.record},
        "alignment": [
            {"file": f.path.name, "moved": m} for f, m in zip(source.burst.frames, alignment.moved, strict=True)
        ],
    }
    if source.curves:
        report["gains"] = [
            {"file": f.path.name, "ev": c.record.get("gains_ev", [0.0, 0.0, 0.0])}
            for f, c in zip(source.burst.frames, source.curves, strict=True)
        ]
    return finish(merge(source), source, chosen, clock, report)


def _prepare(
    burst: Burst,
    options: FuseOptions,
    clock: "StageTimer",
    report: dict[str, Any],
    open_network: OpenNetwork | None = None,
) -> Callable[[AlignedBurst], "RadianceSigma"]:
    """Device, tile and network as asked for; returns what fuses a source with them."""
    from smarthdr_cli.fusion.device import resolve_device, resolve_precision
    from smarthdr_cli.fusion.memory_budget import Load, room
    from smarthdr_cli.fusion.networks import NETWORK_FRAMES, load_network
    from smarthdr_cli.fusion.static_merge import static_merge
    from smarthdr_cli.fusion.tiles import with_retreat

    device = resolve_device(options.device)
    count = min(len(burst), NETWORK_FRAMES)
    pixels = burst.size[0] * burst.size[1]
    codes = float(sum(frame.codes.nbytes for frame in burst.frames))
    space = room(options.tile, Load(pixels, codes, count), device, options.max_memory, moving=options.deghost != "off")
    size = space.tile

    def told_retreat(side: int) -> None:
        report["tile_after_retreat"] = side

    if options.deghost == "off":
        resolve_precision("fp32" if options.precision == "auto" else options.precision, device)
        report |= {"model": "none", "device": "cpu", "precision": "fp32"}

        def static(source: AlignedBurst) -> "RadianceSigma":
            with clock.stage("merge") as told:
                return with_retreat(min(size, 512) or 512, lambda side: static_merge(source, side, told), told_retreat)

        return static
    with clock.stage("load"):
        network = (open_network or load_network)(options.weights, device, options.precision)
    report |= network.record

    def learned(source: AlignedBurst) -> "RadianceSigma":
        strong = options.deghost == "strong"
        with clock.stage("fuse") as told:
            return with_retreat(
                size, lambda side: network.fuse(source, replace(space, tile=side), strong, told, report), told_retreat
            )

    return learned


def finish(
    plane: "RadianceSigma", source: AlignedBurst, options: FuseOptions, clock: "StageTimer", report: dict[str, Any]
) -> FusionResult:
    """Colour and anchor last; the record of it all."""
    burst: Burst = source.burst
    short = float(burst.evs.min())
    space = OUTPUT_SPACES[options.colorspace]
    with clock.stage("convert"):
        light = convert_rgb(plane.radiance, burst.frames[0].colorspace, space, out=plane.radiance)
        anchor = short if options.anchor == "short" else 0.0
        if anchor:
            light *= np.float32(2.0**anchor)
    report |= {
        "files": [f.path.name for f in burst.frames],
        "reference": burst.frames[burst.reference].path.name,
        "evs": [round(float(ev), 4) for ev in burst.evs],
        "size": [burst.size[1], burst.size[0]],
        "colorspace": space.name, "source_colorspace": burst.frames[0].colorspace.name,
        "uncertainty": {"mean": float(plane.sigma.mean()), "p95": float(np.quantile(plane.sigma[::4, ::4], 0.95)),
                        "clipped_share": float((plane.sigma >= 1.0).mean())},
        "notes": [*burst.notes, *report.get("notes", [])], "seconds": clock.seconds,
    }  # fmt: skip
    return FusionResult(light, plane.sigma, space, anchor, 2.0 ** (short - anchor), burst, report)


def _said(options: FuseOptions) -> dict[str, Any]:
    default = FuseOptions()
    fields = {name: getattr(options, name) for name in options.__dataclass_fields__}
    said = {name: value for name, value in fields.items() if value != getattr(default, name)}
    for name in ("weights", "response"):  # they may be paths, and the report goes into files that are given away
        if name in said:
            said[name] = Path(str(said[name])).name
    return said


class StageTimer:
    """Names the stages aloud and keeps how long each took."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Callable[[float], None]]:
        """A stage; yields what to call with the share of it that is done."""
        self._progress(name, 0.0)
        start = time.perf_counter()
        yield lambda share: self._progress(name, share)
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)
        self._progress(name, 1.0)
