"""Mean uncertainty, which `smarthdr fuse --fail-if-uncertainty-above` compares, of good and degraded bursts.

    python -m benchmarks.quality.uncertainty [--bursts FOLDER ...]

The bursts are the example, unchanged and degraded in known ways, and each folder of ``--bursts``: one real burst with
EXIF. Writes the section "uncertainty" of RESULTS.md.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import OpenEXR
from numpy.typing import NDArray
from PIL import Image

from benchmarks.lib.results_file import RESULTS, write_section
from smarthdr_cli import FusionResult, fuse
from smarthdr_cli.evaluate.comparison import error_map
from smarthdr_cli.evaluate.tables import markdown_table, measurement_conditions

BURST = Path(__file__).parents[2] / "examples" / "burst"
EVS = (-3.0, 0.0, 3.0)
U8 = NDArray[np.uint8]
Frames = Sequence[U8]
Degradation = Callable[[Frames], Frames]


class Case(NamedTuple):
    """``degrade``: applied to the frames (None: the files unchanged); ``gain``: of radiance by it. ``evs``: as stated.

    ``reference``: the frame, from 1, at the truth's moment. ``shortest_ev``: true EV of the shortest frame relative to
    the frame whose clip is the truth's unit.
    """

    name: str
    degrade: Degradation | None = None
    evs: tuple[float, ...] = EVS
    gain: float = 1.0
    reference: int = 2
    shortest_ev: float = EVS[0]


def reexpose(codes: U8, ev: float) -> U8:
    """A frame with ``ev`` more exposure, for a display gamma of 2.2."""
    return np.round(255 * ((codes / 255) ** 2.2 * 2.0**ev).clip(0, 1) ** (1 / 2.2)).astype(np.uint8)


def brighter(frames: Frames) -> Frames:
    return [reexpose(codes, 3) for codes in frames]


def darker(frames: Frames) -> Frames:
    """The bracket three stops lower: one shorter frame more, the long frame dropped.

    Darkening every frame would turn clipped surfaces into unclipped ones.
    """
    return [reexpose(frames[0], -3), frames[0], frames[1]]


def foreign_frame(index: int) -> Degradation:
    """Frame ``index`` of another scene: its mirror image, which no camera homography maps back."""
    return lambda frames: [np.ascontiguousarray(f[:, ::-1]) if n == index else f for n, f in enumerate(frames)]


def noisy(frames: Frames) -> Frames:
    grainy = [f + np.random.default_rng(n).normal(0, 25, f.shape) for n, f in enumerate(frames)]
    return [np.clip(np.round(f), 0, 255).astype(np.uint8) for f in grainy]


CASES = (
    Case("the burst as it is"),
    Case("exposures stated a stop wrong", None, (-2.0, 0.0, 2.0)),
    Case("the short frame of another scene", foreign_frame(0)),
    Case("the long frame of another scene", foreign_frame(2)),
    Case("noise of 10 % of the range", noisy),
    Case("3 stops too bright", brighter, gain=8.0),
    Case("3 stops too dark", darker, (-6.0, -3.0, 0.0), reference=3, shortest_ev=-6.0),
)


def measure(case: Case) -> tuple[float, float, float]:
    """Mean uncertainty, share clipped in every frame, and mean |error| against the truth in the same units."""
    with OpenEXR.File(str(BURST / "truth.exr")) as file:
        truth = np.asarray(file.channels()["RGB"].pixels, np.float32)  # 1 = the clip of the middle frame
    files = sorted(BURST.glob("img*.jpg"))
    options: dict[str, Any] = {"ev": case.evs, "reference": case.reference, "exposure_check": "off"}
    if case.degrade is None:
        result = fuse(files, **options)
    else:
        with tempfile.TemporaryDirectory() as folder:
            degraded = [Path(folder, f"{path.stem}.png") for path in files]
            for codes, target in zip(case.degrade([read_codes(path) for path in files]), degraded, strict=True):
                Image.fromarray(codes).save(target)
            result = fuse(degraded, **options)
    short = np.float32(2.0**case.shortest_ev)  # the truth in units of the shortest frame's clip, whatever was stated
    error = error_map(np.clip(result.radiance * short, 0, None), truth * np.float32(case.gain) * short)
    return *uncertainty_shares(result), float(error.mean())


def read_codes(path: Path) -> U8:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def uncertainty_shares(result: FusionResult) -> tuple[float, float]:
    return result.mean_uncertainty, float((result.uncertainty >= 1).mean())


def rows(bursts: list[Path]) -> Iterator[list[Any]]:
    for case in CASES:
        yield [case.name, *measure(case)]
    for folder in bursts:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".tif"))
        yield [f"real burst {folder.name}", *uncertainty_shares(fuse(files)), None]


def main() -> None:
    parser = argparse.ArgumentParser(description="mean uncertainty of good and degraded bursts")
    parser.add_argument("--bursts", type=Path, nargs="*", default=[], help="folders of real bursts")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    table = []
    for name, mean, share, error in rows(options.bursts):
        table.append([name, f"{mean:.4f}", f"{share:.1%}", None if error is None else f"{error:.4f}"])
        print(table[-1], file=sys.stderr, flush=True)
    text = [
        "## Uncertainty of good and spoilt bursts",
        measurement_conditions(),
        "The example burst (three frames, 3 EV apart), as it is and spoilt. The mean uncertainty is what "
        "`--fail-if-uncertainty-above` compares; the error is the mean of |error| against the truth. Both are in the "
        "mu-law domain, where a stop is 0.081.",
        markdown_table(["burst", "mean uncertainty", "clipped in every frame", "mean error"], table),
    ]
    section = "\n\n".join(text)
    print(section)
    write_section(options.out, "uncertainty", section)


if __name__ == "__main__":
    main()
