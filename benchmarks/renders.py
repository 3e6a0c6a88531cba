"""The second frozen set: rendered bursts, from another generator than the training's.

    python benchmarks/renders.py --set FOLDER --panoramas FOLDER [--scenes 24] [--seed N]
    python benchmarks/quality.py --set FOLDER --section renders

Rooms, streets, table tops, gardens, porches and nights, drawn at random and rendered: true depth, a hand that moves
the camera by centimetres and tenths of a degree to a degree, thrown things, people, swarms, plants in the wind and
swinging lamps, thin bars, flat and textured walls, lamps many stops over what they light. In the set of the default
seed, what stands still shifts between two frames by 4 px in the median burst (17 at most), of which a homography
leaves 1 px at the 95th percentile (16 at most), and what moves by itself shifts by 11 px (75 at most). No picture is
anybody's: panoramas (those held out from training, see smarthdr_cli/data/synth/sources.py) are only what is far
away, and its light. The camera, its noise, clipping, curves and files are those of the first set (smarthdr_cli/data),
and so is what counts as moving (rendered/moved.py).

Rays are cast by Mitsuba 3, which is no dependency: `pip install mitsuba==3.9.1` and an LLVM library (the head of
examples/make_burst.py). Light is a finite number of fixed lamps (rendered/lamps.py), so that the truth has no
Monte-Carlo noise at all: the same seed is the same picture, bit by bit. About eight seconds of one core for a scene.
Scenes that are there already are left alone.
"""

import argparse
import sys
import time
from pathlib import Path

from rendered.develop import write_rendered
from rendered.light import panorama_of, show
from rendered.places import PANORAMAS
from rendered.scenery import Scenery
from rendered.shown import Shown

KINDS = ("gamma16", "camera8")
SCENES, SEED, SIZE = 24, 2026112004, (256, 384)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="a frozen set of rendered bursts")
    parser.add_argument("--set", type=Path, required=True, help="folder to make it in")
    parser.add_argument("--panoramas", type=Path, required=True, help="folder of HDR panoramas (.exr, .hdr)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--width", type=int, default=SIZE[1], help="of the pictures, 3:2")
    return parser.parse_args()


def main() -> None:
    options = parse()
    sources = {p.stem: p for p in options.panoramas.glob("*") if p.suffix in {".exr", ".hdr"}}
    missing = sorted(set(PANORAMAS) - sources.keys())
    if missing:
        raise SystemExit(f"{options.panoramas}: these panoramas are not there: {', '.join(missing)}")
    try:
        from rendered.rays import MitsubaCaster
    except ImportError as error:
        raise SystemExit(f"renders.py casts rays with Mitsuba 3: pip install mitsuba==3.9.1 ({error})") from error
    began = time.monotonic()

    def renderer(scenery: Scenery, size: tuple[int, int]) -> dict[int, Shown]:
        return show(scenery, size, panorama_of(scenery, sources), MitsubaCaster)

    def say(scenery: Scenery) -> None:
        spent = f"{time.process_time():.0f} s of CPU, {time.monotonic() - began:.0f} s"
        print(f"{scenery.name}: {len(scenery.things)} things; {spent}", file=sys.stderr, flush=True)

    size = (options.width * 2 // 3, options.width)
    write_rendered(options.set, options.kinds, range(options.scenes), options.seed, size, renderer, say)


if __name__ == "__main__":
    main()
