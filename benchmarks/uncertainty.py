"""What `smarthdr fuse --fail-if-uncertainty-above` compares, for the example burst as it is and spoilt in known ways.

    python benchmarks/uncertainty.py [--bursts FOLDER ...]

A folder given is one real burst with EXIF, fused as it is. Writes the section "uncertainty" of RESULTS.md.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import OpenEXR
from numpy.typing import NDArray
from PIL import Image

from smarthdr_cli import Fused, fuse
from smarthdr_cli.evaluate import contest, report

HERE = Path(__file__).parent
BURST = HERE.parent / "examples" / "burst"
EVS = (-3.0, 0.0, 3.0)
U8 = NDArray[np.uint8]
Spoil = Callable[[U8, int], U8]  # a frame and its number in the burst


class Case(NamedTuple):
    """``spoil``: what is done to each frame; without it the files go in as they are. ``gain``: of the light, then."""

    name: str
    spoil: Spoil | None = None
    evs: tuple[float, ...] = EVS
    gain: float = 1.0


def exposed(stops: float) -> Spoil:
    """The frames as they would be with so many stops more light, for a display gamma of 2.2."""
    return lambda codes, _: np.round(255 * ((codes / 255) ** 2.2 * 2.0**stops).clip(0, 1) ** (1 / 2.2)).astype(np.uint8)


def other(which: int) -> Spoil:
    """One frame shows something else: itself in a mirror, which no homography of a camera undoes."""
    return lambda codes, number: np.ascontiguousarray(codes[:, ::-1]) if number == which else codes


def noisy(codes: U8, number: int) -> U8:
    noise = np.random.default_rng(number).normal(0, 25, codes.shape)
    return np.clip(np.round(codes + noise), 0, 255).astype(np.uint8)


CASES = (
    Case("the burst as it is"),
    Case("exposures stated a stop wrong", None, (-2.0, 0.0, 2.0)),
    Case("the short frame of another scene", other(0)),
    Case("the long frame of another scene", other(2)),
    Case("noise of 10 % of the range", noisy),
    Case("3 stops too bright", exposed(3), gain=8.0),
    Case("3 stops too dark", exposed(-3), gain=1 / 8),
    Case("6 stops too dark", exposed(-6), gain=1 / 64),
)


def measured(case: Case) -> tuple[float, float, float]:
    """Mean uncertainty, share clipped in every frame, and mean |error| against the truth in the same units."""
    with OpenEXR.File(str(BURST / "truth.exr")) as file:
        truth = np.asarray(file.channels()["RGB"].pixels, np.float32)  # 1 = the clip of the middle frame
    files = sorted(BURST.glob("img*.jpg"))
    if case.spoil is None:
        fused = fuse(files, evs=case.evs, reference=2, exposure_check="off")
    else:
        with tempfile.TemporaryDirectory() as folder:
            spoilt = [Path(folder, f"{path.stem}.png") for path in files]
            for number, (path, target) in enumerate(zip(files, spoilt, strict=True)):
                with Image.open(path) as picture:
                    Image.fromarray(case.spoil(np.asarray(picture.convert("RGB")), number)).save(target)
            fused = fuse(spoilt, evs=case.evs, reference=2, exposure_check="off")
    short = np.float32(2.0 ** EVS[0])  # the truth in units of the shortest frame's clip, whatever was stated
    error = contest.error_map(np.clip(fused.radiance * short, 0, None), truth * np.float32(case.gain) * short)
    return *clipped(fused), float(error.mean())


def clipped(fused: Fused) -> tuple[float, float]:
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
