"""Time and peak memory of `smarthdr fuse`, against OpenCV's AlignMTB + MergeDebevec and within `--max-memory`.

    python -m benchmarks.performance.fuse [--megapixels 24 ...] [--scenes tripod moving] [--runs 3] [-- options of fuse]
    python -m benchmarks.performance.fuse --section memory [--cases 24:2 45:3 100:6.5]

Input: three JPEGs, synthesised in a temporary folder: from a tripod, handheld, or handheld with a fifth of the picture
moving. Everything runs as whole processes, start-up and files included; what is compiled once per machine is compiled
before, and memory is claimed from the host of a virtual machine. Memory is the largest resident set the kernel reports.

"speed": in turn, ratio of medians, highest peak. OpenCV beside ours; at the first image size also ours in fp32, and
three frames of a quarter megapixel beside a process that imports torch and OpenCV. ``--tiles`` repeats ours with other
tile sizes at the first image size. "memory": a case is megapixels and a limit in GiB. Each writes its section of
RESULTS.md.

This process stays small, since the kernel hands a child its parent's peak at the start: nothing heavy is imported here,
and images are synthesised in a process of their own.
"""

import argparse
import itertools
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.lib.results_file import RESULTS, write_section
from smarthdr_cli.evaluate.tables import markdown_table, measurement_conditions
from smarthdr_cli.system import physical_memory

HERE = Path(__file__).parent
TIMES = ("1/250", "1/60", "1/15")  # 2 EV apart
ASPECT = 1.5
SCENES = {"tripod": 2.0, "handheld": 2.5, "moving": 2.5}  # and the ratio to OpenCV that is wanted at 24 MP
MAX_MEMORY_GB = 2.2  # at 24 MP
SMALL_MP, MAX_SMALL_RATIO, MAX_FP32_RATIO = 0.25, 2.0, 1.2
MOVERS, MOVING_SHARE = 60, 0.2
GB_PER_GIB = 2**30 / 1e9
CLAIMED_GB = 5.0  # above the largest peak, that of 100 MP
MARGIN_PX = 80  # of the scene around a frame, for the camera's motion


def synthesise(
    folder: Path, megapixels: float, scene_kind: str = "handheld", times: Sequence[str] = TIMES
) -> None:  # fmt: skip
    """Write 1.jpg, 2.jpg and so on, one for each of the exposure ``times``: one textured HDR scene with noise and EXIF.

    ``scene_kind``: "tripod", "handheld" (60 px, 1 degree), or "moving": handheld, and discs that cover a fifth of the
    picture stand elsewhere in every frame.
    """
    import cv2
    import numpy as np
    from PIL import Image
    from PIL.TiffImagePlugin import IFDRational

    from smarthdr_cli.data.synth.sources import fractal_noise, procedural_scene

    rng = np.random.default_rng(7)
    height = round(math.sqrt(megapixels * 1e6 / ASPECT))
    width = round(height * ASPECT)
    size = (width + 2 * MARGIN_PX, height + 2 * MARGIN_PX)
    base = cv2.resize(procedural_scene(rng, 800, 1200), size, interpolation=cv2.INTER_CUBIC)
    scene = np.clip(base, 1e-4, None).astype(np.float32)
    grain = np.exp(0.25 * fractal_noise(rng, 1024, 1024, 0.7))  # detail at every pixel
    tiles = (math.ceil(size[1] / 1024), math.ceil(size[0] / 1024))
    scene *= np.tile(grain, tiles)[: size[1], : size[0], None]
    scene /= np.float32(np.quantile(scene[::16, ::16], 0.6) * 6)
    middle = (len(times) + 1) // 2
    for number, text in enumerate(times, start=1):
        seconds = to_seconds(text)
        still = number == middle or scene_kind == "tripod"
        angle, dx, dy = (0.0, 0.0, 0.0) if still else (rng.uniform(-1, 1), *rng.uniform(-60, 60, 2))
        matrix = np.eye(3)
        matrix[:2] = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), angle, 1.0)
        matrix[:2, 2] += (dx - MARGIN_PX, dy - MARGIN_PX)
        view = np.empty((height, width, 3), np.float32)
        cv2.warpPerspective(scene, matrix, (width, height), dst=view, borderMode=cv2.BORDER_REFLECT)
        if scene_kind == "moving":
            radius = math.sqrt(MOVING_SHARE * height * width / MOVERS / math.pi)
            for colour in np.random.default_rng(3).uniform(0.02, 0.8, (MOVERS, 3)).tolist():
                centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
                cv2.circle(view, centre, int(radius), colour, -1, cv2.LINE_AA)
        np.multiply(view, np.float32(seconds / to_seconds(times[middle - 1])), out=view)
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


def to_seconds(text: str) -> float:
    numerator, denominator = text.split("/")
    return int(numerator) / int(denominator)


def claim_memory() -> None:
    """Have memory at hand for the next process, by one that writes CLAIMED_GB of it, or half of what is free.

    A virtual machine gives its host back what nobody uses. To get it again takes 6 to 12 s a GB where this was
    measured, more than the work of the program that happens to need it, whichever that is.
    """
    available = physical_memory()[1]
    size = CLAIMED_GB * 1e9 if available is None else min(CLAIMED_GB * 1e9, available / 2)
    subprocess.run([sys.executable, "-c", f"b'.' * {int(size)}"], check=True)


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds and peak resident set (GB) of one process. Ends the benchmark with its error where it fails."""
    claim_memory()
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{errors.read().decode()[-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_maxrss * unit / 1e9


def smarthdr_command(folder: Path, extra: list[str]) -> list[str]:
    """``smarthdr fuse`` under this interpreter."""
    files = [str(folder / f"{i}.jpg") for i in (1, 2, 3)]
    program = [sys.executable, "-c", "from smarthdr_cli.cli.app import main; main()"]
    return [*program, "fuse", *files, "-o", str(folder / "out.exr"), "--overwrite", "-q", *extra]


def opencv_command(folder: Path) -> list[str]:
    pairs = [part for i, t in enumerate(TIMES, start=1) for part in (str(to_seconds(t)), str(folder / f"{i}.jpg"))]
    return [sys.executable, str(HERE / "opencv_merge.py"), str(folder / "out.hdr"), *pairs]


def measure_in_turn(commands: dict[str, list[str]], runs: int) -> dict[str, tuple[float, float]]:
    """Median seconds and highest peak (GB) of each command, run in turn."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            measured[name].append(measure(command))
            print(f"{name}: {measured[name][-1][0]:.1f} s, {measured[name][-1][1]:.2f} GB", file=sys.stderr, flush=True)
    return {
        n: (statistics.median(run[0] for run in runs_of_command), max(run[1] for run in runs_of_command))
        for n, runs_of_command in measured.items()
    }


def make_images(folder: Path, megapixels: float, scene_kind: str = "handheld") -> None:
    """``synthesise`` in a process of its own."""
    module = [sys.executable, "-m", "benchmarks.performance.fuse", "--scenes", scene_kind]
    subprocess.run([*module, "--synthesise", str(folder), "--megapixels", str(megapixels)], check=True)


def warm_up() -> None:
    """Compile what is compiled once per machine."""
    with tempfile.TemporaryDirectory() as name:
        make_images(Path(name), 0.05)
        measure(smarthdr_command(Path(name), []))


def memory_section(cases: list[str]) -> str:
    """Markdown of the section "memory"."""
    rows: list[list[object]] = []
    for case in cases:
        megapixels, limit = (float(part) for part in case.split(":"))
        with tempfile.TemporaryDirectory() as name:
            make_images(Path(name), megapixels)
            seconds, peak = measure(smarthdr_command(Path(name), ["--max-memory", f"{limit}G"]))
        peak_gib = peak / GB_PER_GIB
        rows.append([f"{megapixels:g} MP", limit, peak_gib, "yes" if peak_gib <= limit else "NO", seconds])
        print(rows[-1], file=sys.stderr, flush=True)
    return "\n\n".join([
        "## Memory within a limit",
        measurement_conditions(),
        "`smarthdr fuse 1.jpg 2.jpg 3.jpg -o out.exr --max-memory`, whole processes, one run each.",
        markdown_table(["three JPEGs of", "limit, GiB", "peak, GiB", "kept", "s"], rows),
    ])  # fmt: skip


def speed_section(options: argparse.Namespace, extra: list[str]) -> str | None:
    """Markdown of the section "speed"; None where ``--only`` runs one side."""
    warm_up()
    rows: list[list[object]] = []
    tile_rows: list[list[object]] = []
    other_rows: list[list[object]] = []
    for megapixels, scene_kind in itertools.product(options.megapixels, options.scenes):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make_images(folder, megapixels, scene_kind)
            commands = {"OpenCV": opencv_command(folder), "ours": smarthdr_command(folder, extra)}
            first = (megapixels, scene_kind) == (options.megapixels[0], options.scenes[-1])
            if first and not extra:
                commands["ours, fp32"] = smarthdr_command(folder, ["--precision", "fp32"])
            if options.only:
                commands = {options.only: commands[options.only]}
            measured = measure_in_turn(commands, options.runs)
            if options.only:
                continue
            (opencv_seconds, opencv_peak), (seconds, peak) = measured["OpenCV"], measured["ours"]
            ratio = f"{seconds / opencv_seconds:.2f}×"
            wanted = f"{SCENES[scene_kind]:g}×"
            rows.append([f"{megapixels:g} MP, {scene_kind}", seconds, peak, opencv_seconds, opencv_peak, ratio, wanted])
            if "ours, fp32" in measured:
                fp32 = measured["ours, fp32"][0]
                label = f"{megapixels:g} MP, {scene_kind}: `--precision fp32` against `auto`"
                other_rows.append([label, fp32, seconds, f"{fp32 / seconds:.2f}×", f"{MAX_FP32_RATIO:g}×"])
            for tile in options.tiles if first else ():
                command = {f"tile {tile}": smarthdr_command(folder, [*extra, "--tile", tile])}
                ((tile_seconds, tile_peak),) = measure_in_turn(command, 1).values()
                tile_rows.append([tile, tile_seconds, tile_peak])
    if options.only:
        return None
    with tempfile.TemporaryDirectory() as name:
        make_images(Path(name), SMALL_MP)
        commands = {
            "imports": [sys.executable, "-c", "import torch, cv2"],
            "small": smarthdr_command(Path(name), extra),
        }
        measured = measure_in_turn(commands, max(options.runs, 3))
    imports, small = measured["imports"][0], measured["small"][0]
    label = f'{SMALL_MP:g} MP, handheld, against `python -c "import torch, cv2"`'
    other_rows.append([label, small, imports, f"{small / imports:.2f}×", f"{MAX_SMALL_RATIO:g}×"])
    # Names only, no paths of this machine.
    given_options = " ".join(Path(word).name if os.sep in word else word for word in extra)
    header = ["three JPEGs of", "ours, s", "ours, peak GB", "OpenCV, s", "OpenCV, peak GB", "ratio", "wanted"]
    text = [
        "## Speed and memory",
        measurement_conditions(),
        "`smarthdr fuse 1.jpg 2.jpg 3.jpg -o out.exr`" + (f" with `{given_options}`" if extra else "") + " against "
        "OpenCV imread, AlignMTB, MergeDebevec, imwrite `.hdr`: whole processes, in turn, medians of "
        f"{options.runs} run{'s' if options.runs > 1 else ''}. Before each, memory is claimed from the host of a "
        'virtual machine. In "moving" a fifth of the picture stands elsewhere in '
        f"every frame. Wanted at 24 MP: at most {MAX_MEMORY_GB:g} GB.",
        markdown_table(header, rows),
        markdown_table(["other ratios", "s", "against, s", "ratio", "wanted"], other_rows),
    ]
    if tile_rows:
        text += [
            f"Ours at {options.megapixels[0]:g} MP by tile size (one run each):",
            markdown_table(["--tile", "s", "peak GB"], tile_rows),
        ]
    return "\n\n".join(text)


def main() -> None:
    arguments, extra = sys.argv[1:], []
    if "--" in arguments:
        split = arguments.index("--")
        arguments, extra = arguments[:split], arguments[split + 1 :]
    parser = argparse.ArgumentParser(description="time and memory of smarthdr fuse")
    parser.add_argument("--section", choices=("speed", "memory"), default="speed")
    parser.add_argument("--megapixels", type=float, nargs="+", default=[24.0])
    parser.add_argument("--scenes", choices=SCENES, nargs="+", default=list(SCENES))
    parser.add_argument("--tiles", nargs="*", default=[], help="also run ours with these tile sizes")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=["ours", "OpenCV"], help="run one side and write nothing")
    parser.add_argument("--cases", nargs="+", default=["24:2", "45:3", "100:6.5"], help="megapixels:GiB, for memory")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--synthesise", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.synthesise:
        synthesise(options.synthesise, options.megapixels[0], options.scenes[0])
        return
    section = memory_section(options.cases) if options.section == "memory" else speed_section(options, extra)
    if section is not None:
        print(section)
        write_section(options.out, options.section, section)


if __name__ == "__main__":
    main()
