"""What `smarthdr fuse --fail-if-uncertainty-above` compares, for the example burst as it is and spoilt in known ways.

    python benchmarks/uncertainty.py [--bursts FOLDER ...]

A folder given is one real burst with EXIF, fused as it is. Writes the section "uncertainty" of RESULTS.md.
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

from smarthdr_cli import FusionResult, fuse
from smarthdr_cli.evaluate import comparison, report

HERE = Path(__file__).parent
BURST = HERE.parent / "examples" / "burst"
EVS = (-3.0, 0.0, 3.0)
U8 = NDArray[np.uint8]
Frames = Sequence[U8]
Spoil = Callable[[Frames], Frames]


class Case(NamedTuple):
    """``spoil``: what is done to the frames; without it the files go in as they are. ``gain``: of the light, then.
    ``evs``: as stated. ``reference``: the frame, from 1, at the truth's moment. ``shortest``: its true EV relative to
    the frame that the truth's unit is the clip of."""

    name: str
    spoil: Spoil | None = None
    evs: tuple[float, ...] = EVS
    gain: float = 1.0
    reference: int = 2
    shortest: float = EVS[0]


def exposed(codes: U8, stops: float) -> U8:
    """A frame as it would be with so many stops more light, for a display gamma of 2.2."""
    return np.round(255 * ((codes / 255) ** 2.2 * 2.0**stops).clip(0, 1) ** (1 / 2.2)).astype(np.uint8)


def brighter(frames: Frames) -> Frames:
    return [exposed(codes, 3) for codes in frames]


def darker(frames: Frames) -> Frames:
    """The bracket that begins three stops lower: the long frame is missing, and what was the middle one is the longest.
    (Darkening every frame would make unclipped surfaces of clipped ones.)"""
    return [exposed(frames[0], -3), frames[0], frames[1]]


def other(which: int) -> Spoil:
    """One frame shows something else: itself in a mirror, which no homography of a camera undoes."""
    return lambda frames: [np.ascontiguousarray(f[:, ::-1]) if n == which else f for n, f in enumerate(frames)]


def noisy(frames: Frames) -> Frames:
    grainy = [f + np.random.default_rng(n).normal(0, 25, f.shape) for n, f in enumerate(frames)]
    return [np.clip(np.round(f), 0, 255).astype(np.uint8) for f in grainy]


CASES = (
    Case("the burst as it is"),
    Case("exposures stated a stop wrong", None, (-2.0, 0.0, 2.0)),
    Case("the short frame of another scene", other(0)),
    Case("the long frame of another scene", other(2)),
    Case("noise of 10 % of the range", noisy),
    Case("3 stops too bright", brighter, gain=8.0),
    Case("3 stops too dark", darker, (-6.0, -3.0, 0.0), reference=3, shortest=-6.0),
)


def measured(case: Case) -> tuple[float, float, float]:
    """Mean uncertainty, share clipped in every frame, and mean |error| against the truth in the same units."""
    with OpenEXR.File(str(BURST / "truth.exr")) as file:
        truth = np.asarray(file.channels()["RGB"].pixels, np.float32)  # 1 = the clip of the middle frame
    files = sorted(BURST.glob("img*.jpg"))
    options: dict[str, Any] = {"evs": case.evs, "reference": case.reference, "exposure_check": "off"}
    if case.spoil is None:
        fused = fuse(files, **options)
    else:
        with tempfile.TemporaryDirectory() as folder:
            spoilt = [Path(folder, f"{path.stem}.png") for path in files]
            for codes, target in zip(case.spoil([read(path) for path in files]), spoilt, strict=True):
                Image.fromarray(codes).save(target)
            fused = fuse(spoilt, **options)
    short = np.float32(2.0**case.shortest)  # the truth in units of the shortest frame's clip, whatever was stated
    error = comparison.error_map(np.clip(fused.radiance * short, 0, None), truth * np.float32(case.gain) * short)
    return *clipped(fused), float(error.mean())


def read(path: Path) -> U8:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def clipped(fused: FusionResult) -> tuple[float, float]:
    return fused.mean_uncertainty, float((fused.uncertainty >= 1).mean())


def rows(bursts: list[Path]) -> Iterator[list[Any]]:
    for case in CASES:
        yield [case.name, *measured(case)]
    for folder in bursts:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".tif"))
        yield [f"real burst {folder.name}", *clipped(fuse(files)), None]


def main() -> None:
    parser = argparse.ArgumentParser(description="mean uncertainty of good and spoilt bursts")
    parser.add_argument("--bursts", type=Path, nargs="*", default=[], help="folders of real bursts")
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args()
    table = []
    for name, mean, share, error in rows(options.bursts):
        table.append([name, f"{mean:.4f}", f"{share:.1%}", None if error is None else f"{error:.4f}"])
        print(table[-1], file=sys.stderr, flush=True)
    text = [
        "## Uncertainty of good and spoilt bursts",
        report.circumstances(),
        "The example burst (three frames, 3 EV apart), as it is and spoilt. The mean uncertainty is what "
        "`--fail-if-uncertainty-above` compares; the error is the mean of |error| against the truth. Both are in the "
        "mu-law domain, where a stop is 0.081.",
        report.markdown_table(["burst", "mean uncertainty", "clipped in every frame", "mean error"], table),
    ]
    section = "\n\n".join(text)
    print(section)
    report.write_section(options.out, "uncertainty", section)


if __name__ == "__main__":
    main()
