"""Sets per minute of `smarthdr batch`, beside a shell loop of `smarthdr fuse` and, where installed, other programs.

    python benchmarks/batch.py [--small 100] [--large 6] [--megapixels 24]

Small bursts are 640x427, large ones of ``--megapixels``; three handheld JPEGs each, as benchmarks/speed.py makes them
(one burst of either size, linked under other names: every program reads and fuses each anew). Whole processes, one run
each. Rivals are run where they are found: luminance-hdr-cli, and align_image_stack with enfuse. Writes the section
"batch" of RESULTS.md.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from speed import synthesise

from smarthdr_cli.evaluate import report

HERE = Path(__file__).parent
SMALL = 0.273  # megapixels: 640x427
SMARTHDR = [sys.executable, "-c", "from smarthdr_cli.cli.app import main; main()"]


def shoot(folder: Path, count: int, megapixels: float) -> list[list[Path]]:
    """``count`` bursts as sub-folders; files of one burst differ from those of another by a comment of their own."""
    source = folder / "source"
    source.mkdir(parents=True)
    synthesise(source, megapixels)
    sets = []
    for number in range(count):
        each = folder / "shoot" / f"{number:03d}"
        each.mkdir(parents=True)
        for picture in sorted(source.glob("*.jpg")):
            data = picture.read_bytes()
            comment = f"{number}".encode()
            block = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
            (each / picture.name).write_bytes(data[:2] + block + data[2:])
        sets.append(sorted(each.iterdir()))
    return sets


def timed(commands: list[list[str]], folder: Path) -> float:
    """Seconds of the commands one after another. Ends the benchmark when one fails."""
    began = time.perf_counter()
    for command in commands:
        done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr.decode()[-2000:]}")
    return time.perf_counter() - began


def programs(sets: list[list[Path]], out: Path) -> dict[str, list[list[str]]]:
    """What is run, by name: a list of commands each."""
    names = [[str(path) for path in files] for files in sets]
    shoot_folder = str(sets[0][0].parent.parent)
    found = {
        "`smarthdr batch`": [[*SMARTHDR, "batch", shoot_folder, "-o", str(out / "batch"), "-q"]],
        "shell loop of `smarthdr fuse`": [
            [*SMARTHDR, "fuse", *files, "-o", str(out / f"{n}.exr"), "-q"] for n, files in enumerate(names)
        ],
    }
    if shutil.which("luminance-hdr-cli"):
        found["luminance-hdr-cli, MTB"] = [
            ["luminance-hdr-cli", "-a", "MTB", "-s", str(out / f"l{n}.exr"), *files] for n, files in enumerate(names)
        ]
    if shutil.which("align_image_stack") and shutil.which("enfuse"):
        found["align_image_stack + enfuse"] = [
            command
            for n, files in enumerate(names)
            for command in (
                ["align_image_stack", "-a", str(out / f"a{n}-"), *files],
                ["enfuse", "-o", str(out / f"e{n}.tif"), *(str(out / f"a{n}-{i:04d}.tif") for i in range(len(files)))],
            )
        ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="sets per minute of smarthdr batch")
    parser.add_argument("--small", type=int, default=100)
    parser.add_argument("--large", type=int, default=6)
    parser.add_argument("--megapixels", type=float, default=24.0)
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args()
    rows: list[list[object]] = []
    for count, megapixels, what in (
        (options.small, SMALL, f"{options.small} bursts of 640x427"),
        (options.large, options.megapixels, f"{options.large} bursts of {options.megapixels:g} MP"),
    ):
        if not count:
            continue
        with tempfile.TemporaryDirectory() as name:
            sets = shoot(Path(name), count, megapixels)
            results = Path(name) / "out"
            results.mkdir()
            for program, commands in programs(sets, results).items():
                seconds = timed(commands, Path(name))
                print(f"{what}, {program}: {seconds:.0f} s", file=sys.stderr, flush=True)
                rows.append([what, program, seconds, seconds / count, 60 * count / seconds])
    missing = [name for name in ("luminance-hdr-cli", "enfuse") if not shutil.which(name)]
    gone = f" Not installed: {', '.join(missing)}." if missing else ""
    text = [
        "## Batches",
        report.circumstances(),
        f"Whole processes, one run each, three JPEGs a burst.{gone}",
        report.markdown_table(["shoot", "program", "s", "s a set", "sets a minute"], rows),
    ]
    section = "\n\n".join(text)
    print(section)
    report.write_section(options.out, "batch", section)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(HERE.parent))
    main()
