"""The methods of the benchmarks on a scene of a frozen set, and ``fuse`` on any files.

``smarthdr_cli/evaluate/methods.py`` has the baselines of ``smarthdr evaluate``; here are also those that need the true
curve of a synthetic camera, and exposure fusion.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.lib.frozen_set import FrozenScene
from smarthdr_cli.evaluate.comparison import MethodResult
from smarthdr_cli.evaluate.methods import align_mtb, debevec, linearize_reference, merge_registered, to_8_bits
from smarthdr_cli.models.uncertainty_calibration import isotonic
from smarthdr_cli.radiometry import Response
from smarthdr_cli.response import named_response

F32 = NDArray[np.float32]
Codes = NDArray[Any]

METHODS = {
    "reference": "reference frame alone",
    "reference-true": "reference frame alone, true curve",
    "debevec-gamma": "OpenCV Debevec, gamma 2.2",
    "debevec": "OpenCV Debevec, calibrated",
    "mtb-debevec-gamma": "AlignMTB + Debevec, gamma 2.2",
    "mtb-debevec": "AlignMTB + Debevec, calibrated",
    "registered-debevec": "registered as the truth + Debevec, calibrated",
    "static": "ours, `--deghost off`",
    "ours": "**ours**",
    "oracle": "oracle",
}


def fuse_files(
    paths: Sequence[Path], weights: str | Path | None = None, device: str = "cpu", **options: Any
) -> MethodResult:
    """``fuse`` on files, shortest clip = 1. Raises what ``fuse`` raises."""
    from smarthdr_cli import fuse

    result = fuse(list(paths), weights=weights, device=device, **options)
    return MethodResult(np.asarray(result.radiance * np.float32(result.scale_short)), result.uncertainty)


def frozen_scene_methods(
    scene: FrozenScene, kind: str, weights: str | Path | None = None, device: str = "cpu"
) -> dict[str, Callable[[], MethodResult]]:
    """A callable per method of METHODS that a frozen scene allows; ``kind``: of ``frozen_set.KINDS``."""
    codes, times, reference = scene.codes, scene.times, scene.reference
    curve, entries = ("gamma2.2", 4096) if kind == "gamma16" else ("srgb", 256)
    options: dict[str, Any] = {
        "ev": [float(np.log2(t / times[reference])) for t in times],
        "reference": reference + 1,  # 1-based
        "response": "gamma2.2" if kind == "gamma16" else "auto",
        "weights": weights,
        "device": device,
    }
    frame, time = codes[reference], times[reference]
    response = named_response(curve, entries)
    methods = {
        "reference": lambda: MethodResult(linearize_reference(frame, time, response)),
        "reference-true": lambda: MethodResult(linearize_reference(frame, time, true_curve(scene))),
        "debevec-gamma": lambda: MethodResult(debevec(codes, times, curve="gamma2.2")),
        "debevec": lambda: MethodResult(debevec(codes, times)),
        "mtb-debevec-gamma": lambda: MethodResult(debevec(align_mtb(codes, reference), times, curve="gamma2.2")),
        "mtb-debevec": lambda: MethodResult(debevec(align_mtb(codes, reference), times)),
        "static": lambda: fuse_files(scene.paths, deghost="off", **options),
        "ours": lambda: fuse_files(scene.paths, **options),
        "oracle": lambda: MethodResult(merge_registered(scene.oracle, times)),
    }
    if kind == "gamma16":
        del methods["reference-true"]  # gamma 2.2 is the true curve
    return methods


def true_curve(scene: FrozenScene) -> Response:
    """The curve of the scene's camera, measured on its truth."""
    reference = scene.reference
    exposed = scene.truth * np.float32(scene.times[reference])
    return curve_from_truth(scene.codes[reference], exposed, ~scene.moving)


def curve_from_truth(frame: Codes, exposed: F32, static: NDArray[np.bool_]) -> Response:
    """The response that fits a frame best: per code the median truth, per channel, made monotone.

    ``exposed``: (H, W, 3) true linear exposure of the frame, 1 = its clip. Codes without a static, unclipped pixel are
    interpolated; 16-bit codes are pooled to 4096 entries.
    """
    white = float(np.iinfo(frame.dtype).max)
    entries = 256 if frame.dtype == np.uint8 else 4096
    grid, channels = np.arange(entries), []
    for channel in range(3):
        usable = static & (frame[..., channel] < white) & (exposed[..., channel] < 1)
        code = np.round(frame[..., channel][usable] / white * (entries - 1)).astype(int)
        order = np.argsort(code, kind="stable")
        codes, starts, counts = np.unique(code[order], return_index=True, return_counts=True)
        groups = np.split(exposed[..., channel][usable][order], starts[1:])
        medians = np.array([float(np.median(group)) for group in groups])
        inner = (codes > 0) & (codes < entries - 1)
        knots = np.r_[0, codes[inner], entries - 1]
        rising = isotonic(medians[inner], counts[inner])
        channels.append(np.interp(grid, knots, np.r_[0.0, rising, 1.0]))
    return Response("truth", np.stack(channels).astype(np.float32), {})


def mertens(frames: Sequence[Codes]) -> F32:
    """OpenCV's exposure fusion (Mertens et al. 2007): a display image in [0, 1], not radiance."""
    merged = cv2.createMergeMertens().process([to_8_bits(f) for f in frames])
    return np.clip(np.asarray(merged, np.float32), 0.0, 1.0)
