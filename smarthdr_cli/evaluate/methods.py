"""Who takes part: checkpoints through the real pipeline, classical rivals and the oracle, each as a call to make."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from smarthdr_cli.errors import UsageError
from smarthdr_cli.evaluate import baselines
from smarthdr_cli.evaluate.comparison import Result
from smarthdr_cli.evaluate.scene import Case
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.fusion.fuser import Fuser, load_network
from smarthdr_cli.fusion.pipeline import StageTimer, fuse_loaded
from smarthdr_cli.models.checkpoint import Checkpoint, load_checkpoint
from smarthdr_cli.models.weights import RUN_FILES, SUFFIX, find_weights
from smarthdr_cli.response import named_response

RIVALS = {
    "reference": "reference frame alone",
    "debevec": "OpenCV Debevec",
    "mtb-debevec": "AlignMTB + Debevec",
    "static": "our static merge",
}
ORACLE = "oracle"
TEACHER = "teacher" + SUFFIX  # beside the student's file in a run folder


@dataclass(frozen=True)
class Contestant:
    """A checkpoint that takes part, by the name its figures go under. ``record`` says what it is."""

    label: str
    path: Path
    record: dict[str, Any]


@dataclass(frozen=True)
class Computation:
    """How the pipeline is run: the fields of ``FuseOptions`` of these names."""

    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    align: Literal["auto", "none"] = "auto"


class Networks:
    """Networks kept from scene to scene, so that each is loaded, and its precision found out, once."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str], Fuser] = {}

    def open(self, weights: str | Path | None, device: torch.device, precision: str) -> Fuser:
        """As ``load_network``."""
        key = (str(weights), str(device), precision)
        if key not in self._kept:
            self._kept[key] = load_network(weights, device, precision)
        return self._kept[key]


def contestants(specs: Sequence[str]) -> list[Contestant]:
    """The checkpoints meant by ``specs`` (run folders, files, names), a run's teacher after its student.

    Raises ModelError for weights that are missing or damaged, UsageError for a file given twice.
    """
    found: list[Contestant] = []
    for spec in specs:
        path = find_weights(spec)
        folder = Path(spec).expanduser()
        run = path.parent == folder
        name = folder.resolve().name if run else path.stem
        if not run and path.name in (*RUN_FILES, TEACHER):
            name = f"{path.resolve().parent.name}/{path.stem}"
        parts = [(name, path)]
        if run and (teacher := folder / TEACHER).is_file():
            parts = [(f"{name} (student)", path), (f"{name} (teacher)", teacher)]
        for label, file in parts:
            if any(file.samefile(other.path) for other in found):
                raise UsageError(f"{spec}: these weights were given already")
            taken = {other.label for other in found} | set(RIVALS) | {ORACLE}
            if label in taken:  # the same name from another folder
                label = f"{spec} ({file.stem})"
            found.append(Contestant(label, file, describe(load_checkpoint(file))))
    return found


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """File name, sha256, network, licence, and how it was trained where the checkpoint says."""
    said: dict[str, Any] = {key: checkpoint.record[key] for key in ("method", "steps") if key in checkpoint.record}
    return {
        "file": checkpoint.path.name, "sha256": checkpoint.sha256, "network": checkpoint.config["name"],
        "licence": checkpoint.licence, **said,
    }  # fmt: skip


def methods(
    case: Case, entrants: Sequence[Contestant], rivals: Sequence[str], how: Computation, networks: Networks
) -> dict[str, Callable[[], Result]]:
    """What to call for each method's picture of ``case``: checkpoints, the chosen rivals, the oracle where it can be.

    A known gamma 2.2 is told to everybody: Debevec's merge is then given it instead of calibrating its own, which is
    kinder to it. Behind a camera's curve the reference alone is read as sRGB and Debevec calibrates.
    """
    codes, times, at = case.codes, case.times, case.burst.reference
    known = case.response == "gamma2.2"
    curve: Literal["gamma2.2", "calibrated"] = "gamma2.2" if known else "calibrated"
    alone = named_response("gamma2.2" if known else "srgb", 256 if codes[at].dtype == np.uint8 else 4096)
    classical: dict[str, Callable[[], Result]] = {
        "reference": lambda: Result(baselines.reference_alone(codes[at], times[at], alone)),
        "debevec": lambda: Result(baselines.debevec(codes, times, curve=curve)),
        "mtb-debevec": lambda: Result(baselines.debevec(baselines.align_mtb(codes, at), times, curve=curve)),
        "static": lambda: fused(case, how, networks, deghost="off"),
    }
    everybody: dict[str, Callable[[], Result]] = {
        entrant.label: lambda path=entrant.path: fused(case, how, networks, weights=path)  # type: ignore[misc]
        for entrant in entrants
    }
    everybody |= {name: method for name, method in classical.items() if name in rivals}
    oracle = case.oracle
    if oracle is not None:
        everybody[ORACLE] = lambda: Result(baselines.static_merge(oracle, times))
    return everybody


def fused(case: Case, how: Computation, networks: Networks, **options: Any) -> Result:
    """What ``fuse`` makes of the case's files, in the scale where the shortest frame's clip is 1.

    The burst is looked at (aligned, its response found) once a case, whoever fuses it. Raises what ``fuse`` raises.
    """
    chosen = FuseOptions(response=case.response, device=how.device, precision=how.precision, align=how.align, **options)
    timer = StageTimer()
    result = fuse_loaded(case.burst, chosen, timer, open_network=networks.open, registered=case.registered)
    return Result(np.asarray(result.radiance * np.float32(result.scale_short)), result.uncertainty)
