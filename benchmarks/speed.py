"""How long `smarthdr fuse` takes and how much memory, beside OpenCV's AlignMTB + MergeDebevec on the same files.

    python benchmarks/speed.py [--megapixels 24 ...] [--tiles 512 1024 ...] [--runs 3] [-- options of smarthdr fuse]

Three handheld JPEGs are synthesised in a temporary folder. Both programs run as whole processes, start-up and files
included, in turn; the ratio is of medians, the memory the largest resident set the kernel saw (the highest of the
runs). Writes the section "speed" of RESULTS.md. ``--tiles`` repeats ours with other tile sizes at the first picture
size: peak memory must not grow with the number of tiles.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from smarthdr_cli.evaluate import report

HERE = Path(__file__).parent
TIMES = ("1/250", "1/60", "1/15")  # 2 EV apart
ASPECT = 1.5
RATIO_LIMIT, MEMORY_LIMIT = 4.0, 3.0  # times OpenCV; GB at 24 MP


def synthesise(folder: Path, megapixels: float) -> None:
    """Writes 1.jpg to 3.jpg: one textured scene of many stops, handheld (60 px, 1 degree), with noise and EXIF."""
    import cv2
    import numpy as np
    from PIL import Image
    from PIL.TiffImagePlugin import IFDRational

    from smarthdr_cli.data.synth.sources import fractal_noise, procedural_scene

    rng = np.random.default_rng(7)
    height = round(math.sqrt(megapixels * 1e6 / ASPECT))
    width = round(height * ASPECT)
    margin = 80
    size = (width + 2 * margin, height + 2 * margin)
    base = cv2.resize(procedural_scene(rng, 800, 1200), size, interpolation=cv2.INTER_CUBIC)
    scene = np.clip(base, 1e-4, None).astype(np.float32)
    grain = np.exp(0.25 * fractal_noise(rng, 1024, 1024, 0.7))  # detail at every pixel
    tiles = (math.ceil(size[1] / 1024), math.ceil(size[0] / 1024))
    scene *= np.tile(grain, tiles)[: size[1], : size[0], None]
    scene /= np.float32(np.quantile(scene[::16, ::16], 0.6) * 6)
    for number, text in enumerate(TIMES, start=1):
        seconds = fraction(text)
        turn, dx, dy = (0.0, 0.0, 0.0) if number == 2 else (rng.uniform(-1, 1), *rng.uniform(-60, 60, 2))
        matrix = np.eye(3)
        matrix[:2] = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), turn, 1.0)
        matrix[:2, 2] += (dx - margin, dy - margin)
        view = np.empty((height, width, 3), np.float32)
        cv2.warpPerspective(scene, matrix, (width, height), dst=view, borderMode=cv2.BORDER_REFLECT)
        np.multiply(view, np.float32(seconds / fraction(TIMES[1])), out=view)
        for rows in np.array_split(view, 16):  # in strips, to stay small
            noise = rng.standard_normal(rows.shape, np.float32) * np.sqrt(np.maximum(rows, 0) / 3e4 + 1e-7)
            np.add(rows, noise, out=rows)
            np.clip(rows, 0, 1, out=rows)
            np.power(rows, np.float32(1 / 2.2), out=rows)
        exif = Image.Exif()
        numerator, denominator = (int(part) for part in text.split("/"))
        exif.get_ifd(0x8769).update(
            {0x829A: IFDRational(numerator, denominator), 0x829D: IFDRational(8, 1), 0x8827: 100}
        )
        Image.fromarray(np.round(view * 255).astype(np.uint8)).save(folder / f"{number}.jpg", quality=93, exif=exif)


def fraction(text: str) -> float:
    numerator, denominator = text.split("/")
    return int(numerator) / int(denominator)


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds and peak resident set (GB) of one process. Ends the benchmark with its error when it fails.

    The kernel hands a child its parent's peak at the start, so this process must stay small: nothing heavy is imported
    here, and the pictures are made in a process of their own.
    """
    with tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{errors.read().decode()[-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_maxrss * unit / 1e9


def ours(folder: Path, extra: list[str]) -> list[str]:
    """What the console script runs, under this interpreter."""
    files = [str(folder / f"{i}.jpg") for i in (1, 2, 3)]
    program = [sys.executable, "-c", "from smarthdr_cli.cli.app import main; main()"]
    return [*program, "fuse", *files, "-o", str(folder / "out.exr"), "--overwrite", "-q", *extra]


def rival(folder: Path) -> list[str]:
    pairs = [part for i, t in enumerate(TIMES, start=1) for part in (str(fraction(t)), str(folder / f"{i}.jpg"))]
    return [sys.executable, str(HERE / "opencv_merge.py"), str(folder / "out.hdr"), *pairs]


def alternate(commands: dict[str, list[str]], runs: int) -> dict[str, tuple[float, float]]:
    """Median seconds and highest peak (GB) of each command, run in turn."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            taken[name].append(measure(command))
            print(f"{name}: {taken[name][-1][0]:.1f} s, {taken[name][-1][1]:.2f} GB", file=sys.stderr, flush=True)
    return {n: (statistics.median(t[0] for t in found), max(t[1] for t in found)) for n, found in taken.items()}


def main() -> None:
    own, extra = sys.argv[1:], []
    if "--" in own:
        own, extra = own[: own.index("--")], own[own.index("--") + 1 :]
    parser = argparse.ArgumentParser(description="time and memory of smarthdr fuse against OpenCV")
    parser.add_argument("--megapixels", type=float, nargs="+", default=[24.0])
    parser.add_argument("--tiles", nargs="*", default=[], help="also run ours with these tile sizes")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=["ours", "OpenCV"], help="run one side and write nothing")
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    parser.add_argument("--synthesise", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(own)
    if options.synthesise:
        synthesise(options.synthesise, options.megapixels[0])
        return
    rows, tile_rows = [], []
    for megapixels in options.megapixels:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make = [sys.executable, __file__, "--synthesise", name, "--megapixels", str(megapixels)]
            subprocess.run(make, check=True)
            commands = {"OpenCV": rival(folder), "ours": ours(folder, extra) if options.only != "OpenCV" else []}
            if options.only:
                commands = {options.only: commands[options.only]}
            found = alternate(commands, options.runs)
            if options.only:
                continue
            (cv_time, cv_peak), (time_, peak) = found["OpenCV"], found["ours"]
            rows.append([f"{megapixels:g} MP", time_, peak, cv_time, cv_peak, f"{time_ / cv_time:.2f}×"])
            if megapixels == options.megapixels[0]:
                for tile in options.tiles:
                    seconds, top = alternate({f"tile {tile}": ours(folder, [*extra, "--tile", tile])}, 1)[
                        f"tile {tile}"
                    ]
                    tile_rows.append([tile, seconds, top])
    if options.only:
        return
    said = " ".join(Path(word).name if os.sep in word else word for word in extra)  # no paths of this machine
    header = ["three JPEGs of", "ours, s", "ours, peak GB", "OpenCV, s", "OpenCV, peak GB", "ratio"]
    text = [
        "## Speed and memory",
        report.circumstances(),
        "`smarthdr fuse 1.jpg 2.jpg 3.jpg -o out.exr`" + (f" with `{said}`" if extra else "") + " against "
        "OpenCV imread, AlignMTB, MergeDebevec, imwrite `.hdr`: whole processes, in turn, medians of "
        f"{options.runs} run{'s' if options.runs > 1 else ''}. Wanted at 24 MP: "
        f"at most {RATIO_LIMIT:g}× and {MEMORY_LIMIT:g} GB.",
        report.markdown_table(header, rows),
    ]
    if tile_rows:
        text += [
            f"Ours at {options.megapixels[0]:g} MP by tile size (one run each):",
            report.markdown_table(["--tile", "s", "peak GB"], tile_rows),
        ]
    section = "\n\n".join(text)
    print(section)
    report.write_section(options.out, "speed", section)


if __name__ == "__main__":
    main()
