"""Whether `smarthdr fuse --max-memory` keeps what it promises, at the sizes of today's cameras.

    python benchmarks/memory.py [--cases 24:2 45:3 100:6.5]

A case is megapixels and a limit in GiB: three handheld JPEGs, as benchmarks/speed.py makes them, are fused within it;
the peak is the largest resident set the kernel saw. Writes the section "memory" of RESULTS.md.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import speed

from smarthdr_cli.evaluate import report

HERE = Path(__file__).parent
GIB = 2**30 / 1e9  # GB


def main() -> None:
    parser = argparse.ArgumentParser(description="peak memory of smarthdr fuse within a limit")
    parser.add_argument("--cases", nargs="+", default=["24:2", "45:3", "100:6.5"])
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args()
    rows: list[list[object]] = []
    for case in options.cases:
        megapixels, limit = (float(part) for part in case.split(":"))
        with tempfile.TemporaryDirectory() as name:
            make = [sys.executable, str(HERE / "speed.py"), "--synthesise", name, "--megapixels", str(megapixels)]
            subprocess.run(make, check=True)
            seconds, peak = speed.measure(speed.ours(Path(name), ["--max-memory", f"{limit}G"]))
        rows.append([f"{megapixels:g} MP", limit, peak / GIB, "yes" if peak / GIB <= limit else "NO", seconds])
        print(rows[-1], file=sys.stderr, flush=True)
    text = [
        "## Memory within a limit",
        report.circumstances(),
        "`smarthdr fuse 1.jpg 2.jpg 3.jpg -o out.exr --max-memory`, whole processes, one run each.",
        report.markdown_table(["three JPEGs of", "limit, GiB", "peak, GiB", "kept", "s"], rows),
    ]
    section = "\n\n".join(text)
    print(section)
    report.write_section(options.out, "memory", section)


if __name__ == "__main__":
    main()
