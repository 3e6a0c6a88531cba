"""The order of a fusion, once: read, align, find the response, align again, fuse, convert."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from smarthdr_cli.align import align_burst
from smarthdr_cli.aligned_burst import AlignedBurst
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.burst.load import Paths, load_burst
from smarthdr_cli.colorspace import OUTPUT_SPACES, convert_rgb
from smarthdr_cli.fusion.fuse_options import FuseOptions as FuseOptions
from smarthdr_cli.fusion.fuse_options import check_options as check_options
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.response import matched, resolve_response, with_clip

if TYPE_CHECKING:
    import torch

    from smarthdr_cli.fusion.networks import Network
    from smarthdr_cli.fusion.static_merge import RadianceSigma

Progress = Callable[[str, float], None]
OpenNetwork = Callable[["str | Path | None", "torch.device", str], "Network"]  # weights, device, precision


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
    ``source``, as ``register`` made it of this burst, saves looking again for one that fuses a burst several times.
    Raises UsageError, InputError, ModelError or MemoryLimitError.
    """
    report: dict[str, Any] = {"options": _said(chosen)}
    merge = _prepare(burst, chosen, clock, report, open_network)  # what is wrong with it is said before the slow stages
    if source is None:
        source = register(burst, chosen, clock)
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


def register(burst: Burst, options: FuseOptions, clock: "StageTimer") -> AlignedBurst:
    """What every fusion looks at: ``burst`` aligned, its response found, aligned again, its frames matched; what was
    said is in its notes.

    Raises UsageError or InputError.
    """
    with clock.stage("align"):
        alignment = align_burst(burst, None, mode=options.align)
    with clock.stage("response"):
        resolved = resolve_response(burst, alignment, options.response, options.exposure_check)
        burst = replace(resolved.burst, notes=(*resolved.burst.notes, *resolved.notes))
    alignment = resolved.alignment
    if any(alignment.moved) and resolved.response.name != "srgb":
        with clock.stage("align again"):
            alignment = align_burst(burst, resolved.response, mode=options.align, previous=alignment)
    response = with_clip(resolved.response, burst, alignment)
    curves, said = matched(burst, alignment, response) if options.gains == "auto" else ((), ())
    return AlignedBurst(replace(burst, notes=(*burst.notes, *said)), response, alignment, curves)


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
