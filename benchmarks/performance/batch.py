"""Sets per minute of `smarthdr batch`, of a shell loop of `smarthdr fuse` and, where installed, of other programs.

    python -m benchmarks.performance.batch [--small 100] [--large 6] [--megapixels 24]

Small bursts are 640x427, large ones of ``--megapixels``; three handheld JPEGs each, as ``performance/fuse.py``
synthesises them (one burst of either size under many names). Whole processes, one run each. Other programs:
luminance-hdr-cli, and align_image_stack with enfuse. Writes the section "batch" of RESULTS.md.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.lib.results_file import RESULTS, write_section
from benchmarks.performance.fuse import synthesise
from smarthdr_cli.evaluate.tables import markdown_table, measurement_conditions

ROOT = Path(__file__).parents[2]
SMALL_MP = 0.273  # 640x427
SMARTHDR = [sys.executable, "-c", "from smarthdr_cli.cli.app import main; main()"]


def make_shoot(folder: Path, count: int, megapixels: float) -> list[list[Path]]:
    """``count`` bursts as sub-folders; the files of each differ from those of the others by a JPEG comment."""
    source = folder / "source"
    source.mkdir(parents=True)
    synthesise(source, megapixels)
    sets = []
    for number in range(count):
        burst = folder / "shoot" / f"{number:03d}"
        burst.mkdir(parents=True)
        for image in sorted(source.glob("*.jpg")):
            data = image.read_bytes()
            comment = f"{number}".encode()
            block = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
            (burst / image.name).write_bytes(data[:2] + block + data[2:])
        sets.append(sorted(burst.iterdir()))
    return sets


def total_seconds(commands: list[list[str]], folder: Path) -> float:
    """Seconds of the commands one after another. Ends the benchmark where one fails."""
    start = time.perf_counter()
    for command in commands:
        completed = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        if completed.returncode:
            raise SystemExit(
                f"{' '.join(command)} ended with {completed.returncode}:\n{completed.stderr.decode()[-2000:]}"
            )
    return time.perf_counter() - start


def program_commands(sets: list[list[Path]], out: Path) -> dict[str, list[list[str]]]:
    """The commands of each program, by its name."""
    names = [[str(path) for path in files] for files in sets]
    shoot_folder = str(sets[0][0].parent.parent)
    programs = {
        "`smarthdr batch`": [[*SMARTHDR, "batch", shoot_folder, "-o", str(out / "batch"), "-q"]],
        "shell loop of `smarthdr fuse`": [
            [*SMARTHDR, "fuse", *files, "-o", str(out / f"{n}.exr"), "-q"] for n, files in enumerate(names)
        ],
    }
    if shutil.which("luminance-hdr-cli"):
        programs["luminance-hdr-cli, MTB"] = [
            ["luminance-hdr-cli", "-a", "MTB", "-s", str(out / f"l{n}.exr"), *files] for n, files in enumerate(names)
        ]
    if shutil.which("align_image_stack") and shutil.which("enfuse"):
        programs["align_image_stack + enfuse"] = [
            command
            for n, files in enumerate(names)
            for command in (
                ["align_image_stack", "-a", str(out / f"a{n}-"), *files],
                ["enfuse", "-o", str(out / f"e{n}.tif"), *(str(out / f"a{n}-{i:04d}.tif") for i in range(len(files)))],
            )
        ]
    return programs


def main() -> None:
    parser = argparse.ArgumentParser(description="sets per minute of smarthdr batch")
    parser.add_argument("--small", type=int, default=100)
    parser.add_argument("--large", type=int, default=6)
    parser.add_argument("--megapixels", type=float, default=24.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows: list[list[object]] = []
    for count, megapixels, what in (
        (options.small, SMALL_MP, f"{options.small} bursts of 640x427"),
        (options.large, options.megapixels, f"{options.large} bursts of {options.megapixels:g} MP"),
    ):
        if not count:
            continue
        with tempfile.TemporaryDirectory() as name:
            sets = make_shoot(Path(name), count, megapixels)
            results = Path(name) / "out"
            results.mkdir()
            for program, commands in program_commands(sets, results).items():
                seconds = total_seconds(commands, Path(name))
                print(f"{what}, {program}: {seconds:.0f} s", file=sys.stderr, flush=True)
                rows.append([what, program, seconds, seconds / count, 60 * count / seconds])
    missing = [name for name in ("luminance-hdr-cli", "enfuse") if not shutil.which(name)]
    not_installed = f" Not installed: {', '.join(missing)}." if missing else ""
    text = [
        "## Batches",
        measurement_conditions(),
        f"Whole processes, one run each, three JPEGs a burst.{not_installed}",
        markdown_table(["shoot", "program", "s", "s a set", "sets a minute"], rows),
    ]
    section = "\n\n".join(text)
    print(section)
    write_section(options.out, "batch", section)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(ROOT))
    main()
