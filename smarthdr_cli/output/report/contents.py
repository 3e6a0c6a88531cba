"""What the page of a fusion shows, gathered while the frames are still in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.aligned_burst import AlignedBurst
from smarthdr_cli.burst.burst import Exposure, Frame
from smarthdr_cli.burst.exposure import format_time
from smarthdr_cli.colorspace import REC709, convert_rgb
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output import heatmap
from smarthdr_cli.output.metadata import require_finite
from smarthdr_cli.output.preview import fit_preview, render_srgb
from smarthdr_cli.output.report.pictures import (
    CODES,
    LOW_EV,
    STEPS_PER_EV,
    Reduction,
    jpeg_uri,
    pack_indices,
    pack_light,
    thumbnail_uri,
)
from smarthdr_cli.output.report.plots import CurvePlot, FrameField, curve_plot, frame_fields
from smarthdr_cli.output.tonemap import ToneMapConfig, look_config
from smarthdr_cli.output.write_options import Look
from smarthdr_cli.radiometry import F32, assumed_response, linear_to_srgb
from smarthdr_cli.response import sample_blocks
from smarthdr_cli.response.exposure_ratios import measure_ratios

_SLIDER_PERCENTILES = (0.1, 99.99)  # of the light, between which the exposure slider goes
_MAX_SLIDER_EV = 16.0  # either end of the slider
_SOURCES = {
    "exif": "EXIF",
    "ev": "--ev",
    "times": "--exposure-times",
    "sidecar": "sidecar file",
    "pixels": "measured",
    "none": "unknown",
}


@dataclass(frozen=True)
class FrameRow:
    """A frame in the table of exposures. EVs are relative to the reference; ``measured`` is None where unknown."""

    file: str
    is_reference: bool
    stated: str
    ev: float
    source: str
    measured: float | None


@dataclass(frozen=True)
class Pictures:
    """The pictures of the viewer, all of ``width`` x ``height``.

    ``preview``: the tone-mapped result, and its ``thumbnail``; ``camera``: the reference as its file shows it; all as
    data: URIs.
    ``radiance``, ``reference``: linear light, see pictures.py. ``uncertainty``: rows of the heatmap's table.
    ``slider``: lowest and highest EV of the exposure slider. ``reference`` and ``camera`` are None for a result whose
    frames are no longer in memory.
    """

    width: int
    height: int
    preview: str
    thumbnail: str
    radiance: str
    uncertainty: str
    slider: tuple[float, float]
    camera: str | None = None
    reference: str | None = None

    def viewer(self) -> dict[str, Any]:
        """What the script needs to know about them."""
        ticks = [[value, label] for value, label in heatmap.TICKS]
        return {
            "width": self.width,
            "height": self.height,
            "lowEv": LOW_EV,
            "stepsPerEv": STEPS_PER_EV,
            "codes": CODES,
            "sigma": {"min": heatmap.MIN_SIGMA, "max": heatmap.MAX_SIGMA, "ticks": ticks},
            "colours": heatmap.colour_table().ravel().tolist(),
        }


@dataclass(frozen=True)
class Contents:
    """All of a page. ``fields`` and ``curve`` are empty for a result that does not carry its registration."""

    report: Mapping[str, Any]
    notes: tuple[str, ...]
    mean_uncertainty: float
    pictures: Pictures
    frames: tuple[FrameRow, ...]
    fields: tuple[FrameField, ...] = ()
    curve: CurvePlot | None = None


def collect(result: FusionResult, look: Look = "natural", preview_ev: float = 0.0) -> Contents:
    """The contents of the page of ``result``; ``look``, ``preview_ev``: of its tone-mapped picture.

    Raises OutputError where its pixels are not finite.
    """
    require_finite(result.radiance, "radiance")
    require_finite(result.uncertainty, "uncertainty")
    aligned = result.registered
    report = result.report
    measured: NDArray[np.float64] | None = None
    fields: tuple[FrameField, ...] = ()
    if aligned is not None:
        burst = aligned.burst
        measured = measure_ratios(burst, sample_blocks(burst, aligned.alignment), aligned.response).evs
        fields = tuple(frame_fields(aligned.alignment, report.files, burst.reference, burst.size))
    return Contents(
        report=report.to_dict(),
        notes=tuple(report.all_notes()),
        mean_uncertainty=result.mean_uncertainty,
        pictures=_pictures(result, aligned, look_config(look, preview_ev)),
        frames=tuple(_rows(result, measured)),
        fields=fields,
        curve=None if aligned is None else curve_plot(aligned.response),
    )


def _rows(result: FusionResult, measured: NDArray[np.float64] | None) -> list[FrameRow]:
    rows = []
    for index, (frame, ev) in enumerate(zip(result.burst.frames, result.burst.evs, strict=True)):
        measured_ev = None if measured is None or np.isnan(measured[index]) else float(measured[index])
        source = _SOURCES[frame.exposure.source]
        is_reference = index == result.burst.reference
        rows.append(FrameRow(frame.path.name, is_reference, _stated(frame.exposure), float(ev), source, measured_ev))
    return rows


def _stated(exposure: Exposure) -> str:
    """ "1/250 s, f/8, ISO 200"; "" where the file states nothing."""
    parts = []
    if exposure.time:
        parts.append(f"{format_time(exposure.time)} s")
    if exposure.aperture:
        parts.append(f"f/{exposure.aperture:g}")
    if exposure.iso:
        parts.append(f"ISO {exposure.iso:g}")
    return ", ".join(parts)


def _pictures(result: FusionResult, aligned: AlignedBurst | None, config: ToneMapConfig) -> Pictures:
    reduction = Reduction.of(*result.radiance.shape[:2])
    small = replace(result, radiance=reduction.reduce(result.radiance))
    light = convert_rgb(small.radiance, result.colorspace, REC709) * np.float32(2.0**-result.anchor_ev)
    preview = render_srgb(small, 8, fit_preview(small, config))
    pictures = Pictures(
        width=reduction.size[0],
        height=reduction.size[1],
        preview=jpeg_uri(preview),
        thumbnail=thumbnail_uri(preview),
        radiance=pack_light(light),
        uncertainty=pack_indices(heatmap.colour_index(reduction.reduce(result.uncertainty))),
        slider=_slider(light),
    )
    if aligned is None:
        return pictures
    frame = aligned.burst.frames[aligned.burst.reference]
    as_shot = replace(aligned, response=assumed_response(frame.encoding), curves=())
    display = np.clip(_reference_light(as_shot, frame, reduction), 0.0, 1.0)
    camera = np.rint(linear_to_srgb(display) * 255).astype(np.uint8)
    reference = _reference_light(aligned, frame, reduction)
    return replace(pictures, camera=jpeg_uri(camera), reference=pack_light(reference))


def _reference_light(aligned: AlignedBurst, frame: Frame, reduction: Reduction) -> F32:
    """The reference's linear light in Rec. 709, reduced."""
    light = reduction.reduce_cells(aligned.downsample(aligned.burst.reference, reduction.cell))
    return convert_rgb(light, frame.colorspace, REC709)


def _slider(light: F32) -> tuple[float, float]:
    """The lowest and highest EV of the exposure slider: from the brightest place below white to the darkest visible."""
    brightest = light.max(axis=2)
    dark, bright = np.log2(np.maximum(np.percentile(brightest, _SLIDER_PERCENTILES), 2.0**LOW_EV))
    lowest, highest = -np.ceil(bright) - 1, np.ceil(-dark) - 2
    return float(np.clip(lowest, -_MAX_SLIDER_EV, -2.0)), float(np.clip(highest, 2.0, _MAX_SLIDER_EV))
