"""What quality is measured of: the frozen set's kinds and size, every method on a scene of it, ours on any files."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smarthdr_cli.evaluate import baselines, frozen
from smarthdr_cli.evaluate.comparison import Result
from smarthdr_cli.radiometry import Response
from smarthdr_cli.response import named_response

SCENES, SEED, SIZE = 40, 20261120, (384, 512)
KINDS = {"gamma16": "16-bit gamma-2.2", "camera8": "8-bit camera-curve JPEG"}
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


def ours(paths: Sequence[Path], options: argparse.Namespace, **settings: Any) -> Result:
    from smarthdr_cli import fuse

    fused = fuse(list(paths), weights=options.weights, device=options.device, **settings)
    return Result(np.asarray(fused.radiance * np.float32(fused.scale_short)), fused.uncertainty)


def scene_methods(scene: frozen.Scene, kind: str, options: argparse.Namespace) -> dict[str, Callable[[], Result]]:
    codes, times, at = scene.codes, scene.times, scene.reference
    curve, entries = ("gamma2.2", 4096) if kind == "gamma16" else ("srgb", 256)
    settings: dict[str, Any] = {
        "evs": [float(np.log2(t / times[at])) for t in times],
        "reference": at + 1,  # 1-based
        "response": "gamma2.2" if kind == "gamma16" else "auto",
    }
    alone = named_response(curve, entries)
    methods = {
        "reference": lambda: Result(baselines.reference_alone(codes[at], times[at], alone)),
        "reference-true": lambda: Result(baselines.reference_alone(codes[at], times[at], true_curve(scene))),
        "debevec-gamma": lambda: Result(baselines.debevec(codes, times, curve="gamma2.2")),
        "debevec": lambda: Result(baselines.debevec(codes, times)),
        "mtb-debevec-gamma": lambda: Result(baselines.debevec(baselines.align_mtb(codes, at), times, curve="gamma2.2")),
        "mtb-debevec": lambda: Result(baselines.debevec(baselines.align_mtb(codes, at), times)),
        "static": lambda: ours(scene.paths, options, deghost="off", **settings),
        "ours": lambda: ours(scene.paths, options, **settings),
        "oracle": lambda: Result(baselines.static_merge(scene.oracle, times)),
    }
    if kind == "gamma16":  # the curve is known: the reference alone has it already
        del methods["reference-true"]
    return methods


def true_curve(scene: frozen.Scene) -> Response:
    at = scene.reference
    return baselines.curve_from_truth(scene.codes[at], scene.truth * np.float32(scene.times[at]), ~scene.moving)
