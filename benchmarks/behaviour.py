"""Whether a change leaves every result as it was: pixels, JSON and trained weights, before and after.

    python -m benchmarks.behaviour record FILE.json [--bursts FOLDER] [--cases NAME ...]
    python -m benchmarks.behaviour check FILE.json [--cases NAME ...]

Record before a change that must not alter results, check after every step of it; the exit code is 1 where anything
differs. Cases:

- example: examples/burst, as EXR with the uncertainty embedded;
- one for each burst in BURSTS, folders below ``--bursts`` (without it they are left out): default options;
- off: the example under ``--deghost off``, as Radiance HDR with a heatmap; gfhdr: the example, small, under gfhdr-base;
- raw: three DNGs of the tests' writer, to ACEScg;
- group: ``smarthdr group --json`` on a generated shoot;
- synth, train, stream: ``smarthdr synth`` and twenty updates each on its scenes (method smarthdr) and on streamed
  bursts, from a seed.

Pictures are reduced to MEGAPIXELS, with their EXIF. Every command runs in a process of its own, through the public
command line, on the CPU, in fp32, with one thread. FILE.json holds a SHA-256 of every array, and the JSON without
times, paths and names of machines; FILE.npz beside it holds the arrays, so that a check can state the largest
difference. Hashes hold for one machine and one set of installed packages: FILE.json states both, and a check prints
what changed.
"""

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
MEGAPIXELS = 0.2
GFHDR_MEGAPIXELS = 0.02  # the non-local network is slow on a CPU
FP32 = ("--precision", "fp32", "--device", "cpu", "--json", "-q")
TILE = ("--tile", "256")  # several tiles a picture

# Folder below --bursts: files (None: all), and options that EXIF makes necessary.
BURSTS: dict[str, tuple[tuple[str, ...] | None, tuple[str, ...]]] = {
    "gallo_arch": (None, ("--ev", "-2,-1,0,1,2")),  # people walking
    "merianos_searock": (None, ("--ev", "-2,0,2")),  # waves
    "lee_seq1": (None, ()),  # handheld, and ISO varies
    "syc_scene1": (("1.JPG", "3.JPG", "5.JPG", "7.JPG"), ()),  # turned by EXIF; contradicts its exposures
    "becky_desks_windows": (("desks_windows02.JPG", "desks_windows03.JPG", "desks_windows12.JPG"), ()),  # 9 EV apart
    "mpi_exposures": (None, ()),  # 13 frames: more than the network takes
}

# Keys of the recorded JSON that have another name today, or none: {"as recorded": "today", "removed": None}.
RENAMED_KEYS: dict[str, str | None] = {
    "weight_gradient": None, "weight_ms_ssim": None, "noise_iso": None, "scale": None,  # of training
}  # fmt: skip
# What differs from run to run, and checksums of whole files, which hold the names of keys.
DROPPED_KEYS = {"seconds", "hours", "patches_per_second", "outputs", "weights", "checksum"}

TRAINING = """
iterations = 20
validate_every = 10
validation_bursts = 2
precision = "fp32"
batch = 2
warmup = 5
pool = 2
makers = 0
{method}
[model]
name = "saf"
encoder = 8
motion = 12
hidden = 4
match = 4
verify = 12
refine = 12
[synth]
height = 64
width = 64
frames = [2, 3]
objects = 1
"""
ON_SCENES = 'method = "smarthdr"\nlabelled_first = 0.3\nrefresh = 5\nbatch_unlabeled = 2\ncrop = 64'


@dataclass(frozen=True)
class Result:
    """What one case gave: ``facts`` as plain JSON, ``arrays`` by name."""

    facts: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Run:
    """A temporary ``folder`` and the command line that runs in it."""

    folder: Path
    bursts: Path | None

    def smarthdr(self, *arguments: object) -> str:
        """The stdout of ``smarthdr`` with ``arguments``; ends the benchmark where the command fails."""
        one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}
        home = {"SMARTHDR_HOME": str(self.folder / "home"), "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(
            [sys.executable, "-m", "smarthdr_cli", *map(str, arguments)],
            cwd=self.folder, env=os.environ | one_thread | home, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            command = " ".join(map(str, arguments))
            raise SystemExit(f"smarthdr {command}: exit code {done.returncode}\n{done.stderr[-2000:]}")
        return done.stdout


def reduced(paths: list[Path], folder: Path, megapixels: float = MEGAPIXELS) -> list[Path]:
    """JPEGs of at most ``megapixels`` in ``folder``, with the EXIF blocks of ``paths``."""
    from PIL import Image

    folder.mkdir()
    found = []
    for path in paths:
        with Image.open(path) as picture:
            scale = min(1.0, (megapixels * 1e6 / (picture.width * picture.height)) ** 0.5)
            size = (round(picture.width * scale), round(picture.height * scale))
            exif = picture.info.get("exif")
            small = picture.convert("RGB").resize(size, Image.Resampling.BOX)
        target = folder / f"{path.stem}.jpg"
        small.save(target, "JPEG", quality=95, subsampling=0, **({} if exif is None else {"exif": exif}))
        found.append(target)
    return found


def fused(
    run: Run,
    files: list[Path],
    *options: str,
    output: str = "out.exr",
    sigma: str = "sigma.exr",
    preview: str = "preview.png",
) -> Result:
    """``smarthdr fuse`` of ``files``: its JSON, its pixels, its uncertainty, its preview."""
    out = [run.folder / name for name in (output, sigma, preview)]
    whole = ("--float",) if out[0].suffix == ".exr" else ()
    text = run.smarthdr("fuse", *files, "-o", out[0], "--uncertainty", out[1], "--preview", out[2],
                        *FP32, *TILE, *whole, *options)  # fmt: skip
    arrays = inputs(files)
    for path in out:
        arrays |= pixels(path)
    facts = json.loads(text)
    if whole:
        facts["header"] = header(out[0])
    return Result(facts, arrays)


def example(run: Run) -> Result:
    return fused(run, example_files(run), "--embed-uncertainty", preview="preview.tif")


def static(run: Run) -> Result:
    files = example_files(run)
    return fused(run, files, "--deghost", "off", output="out.hdr", sigma="heatmap.png", preview="preview.jpg")


def gfhdr(run: Run) -> Result:
    return fused(run, example_files(run, GFHDR_MEGAPIXELS), "--weights", "gfhdr-base", "--align", "none")


def example_files(run: Run, megapixels: float = MEGAPIXELS) -> list[Path]:
    return reduced(sorted((ROOT / "examples" / "burst").glob("img*.jpg")), run.folder / "in", megapixels)


def burst(run: Run, name: str) -> Result:
    assert run.bursts is not None
    names, options = BURSTS[name]
    folder = run.bursts / name
    kinds = (".jpg", ".jpeg")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in kinds) if names is None else [
        folder / part for part in names
    ]  # fmt: skip
    return fused(run, reduced(paths, run.folder / "in"), *options)


def raw(run: Run) -> Result:
    sys.path.insert(0, str(ROOT))
    from tests.support.files import write_dng

    rng = np.random.default_rng(11)
    height, width = 240, 320
    light = scene(rng, height, width).mean(axis=2) * np.float32(0.4)
    balance = np.ones((height, width))
    balance[::2, ::2], balance[1::2, 1::2] = 0.5, 0.625  # red and blue sites of RGGB
    files = []
    for number, (numerator, denominator) in enumerate(((1, 400), (1, 100), (1, 25)), start=1):
        signal = light * balance * 100 * numerator / denominator * 15488
        noise = rng.normal(0, 1, signal.shape) * np.sqrt(np.maximum(signal, 0) + 16)
        path = run.folder / f"{number}.dng"
        write_dng(path, np.clip(np.round(512 + signal + noise), 0, 16000), time=(numerator, denominator))
        files.append(path)
    return fused(run, files, "--colorspace", "acescg")


def scene(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """(height, width, 3) linear light around 0.3: blocks of several sizes, and a bright window."""
    total = np.zeros((height, width, 3))
    for side in (4, 12, 40):
        blocks = rng.uniform(0.05, 1, (-(-height // side), -(-width // side), 3))
        total += np.kron(blocks, np.ones((side, side, 1)))[:height, :width] / 3
    total[: height // 4, : width // 3] *= 6
    return np.asarray(total * 0.6)


def group(run: Run) -> Result:
    """Four brackets of three, one of five, two single frames, two cameras, one bracket without an aperture."""
    folder = run.folder / "shoot"
    folder.mkdir()
    third, fifth = [Fraction(1, 400), Fraction(1, 100), Fraction(1, 25)], [Fraction(4**k, 1600) for k in range(5)]
    shots = [(third, "A", 4.0), (third, "A", 4.0), (third, "B", 8.0), ([Fraction(1, 60)], "A", 4.0)]
    shots += [(fifth, "A", 4.0), (third, "B", None), ([Fraction(1, 30)], "B", 4.0)]
    number = 0
    for place, (times, camera, aperture) in enumerate(shots):
        light = scene(np.random.default_rng(place), 64, 96)
        for k, seconds in enumerate(times):
            number += 1
            path = folder / f"IMG_{number:04d}.jpg"
            write_jpeg(path, light * float(seconds * 100), seconds, camera, aperture, 40 * place + 0.5 * k)
    lines = run.smarthdr("group", "shoot", "--json", "-q").splitlines()
    return Result({"lines": [json.loads(line) for line in lines]}, inputs(sorted(folder.iterdir())))


def write_jpeg(
    path: Path, light: NDArray[np.float64], seconds: Fraction, camera: str, aperture: float | None, moment: float
) -> None:
    """Linear ``light`` (1 = clip) under gamma 2.2, with EXIF; ``moment`` in seconds after noon."""
    from PIL import Image
    from PIL.TiffImagePlugin import IFDRational

    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", f"Model {camera}"
    details = exif.get_ifd(0x8769)
    minutes, whole = divmod(int(moment), 60)
    details[0x9003], details[0x9291] = f"2026:05:06 12:{minutes:02d}:{whole:02d}", f"{int(moment * 100) % 100:02d}"
    details[0x829A] = IFDRational(seconds.numerator, seconds.denominator)
    if aperture is not None:
        details[0x829D] = IFDRational(Fraction(aperture).limit_denominator(100))
    details[0x8827] = 100
    codes = np.round(np.clip(light, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)
    Image.fromarray(codes).save(path, "JPEG", quality=95, subsampling=0, exif=exif)


def synth(run: Run) -> Result:
    """Both kinds of scenes: hashes of their files' pixels."""
    arrays: dict[str, NDArray[Any]] = {}
    for kind in ("gamma16", "camera8"):
        run.smarthdr("synth", kind, "--scenes", 1, "--test", 0, "--size", "96x64", "--kind", kind, "-q")
        for path in sorted((run.folder / kind).rglob("*")):
            if path.suffix in {".tif", ".jpg", ".exr", ".hdr"}:
                arrays |= pixels(path, f"{kind}/{path.parent.name}/")
    return Result({}, arrays)


def train(run: Run) -> Result:
    """Two labelled scenes, two without truth: supervised first, then SmartHDR's teacher, judge and masks."""
    run.smarthdr("synth", "scenes", "--scenes", 4, "--test", 0, "--size", "96x96", "--kind", "camera8", "-q")
    return trained(run, ON_SCENES, "--data", "scenes", "--labeled", 2)


def stream(run: Run) -> Result:
    """Twenty updates on synthetic bursts made on the way."""
    return trained(run, "")


def trained(run: Run, method: str, *options: object) -> Result:
    (run.folder / "config.toml").write_text(TRAINING.format(method=method))
    given = ("--config", "config.toml", "--seed", 7, "--device", "cpu", "--json", "-q")
    summary = json.loads(run.smarthdr("train", "-o", "run", *options, *given))
    metrics = [json.loads(line) for line in (run.folder / "run" / "metrics.jsonl").read_text().splitlines()]

    from safetensors import safe_open

    with safe_open(run.folder / "run" / "model.safetensors", "numpy") as file:
        arrays = {f"weights/{name}": file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        metadata = {name: json.loads(value) for name, value in file.metadata().items()}
    facts = {"record": summary["record"], "scores": summary["metrics"], "steps": metrics, "metadata": metadata}
    return Result(facts, arrays)


def inputs(files: list[Path]) -> dict[str, NDArray[Any]]:
    """The bytes the command was given, to tell another input from another result."""
    return {f"input/{path.name}": np.frombuffer(path.read_bytes(), np.uint8) for path in files}


def pixels(path: Path, prefix: str = "") -> dict[str, NDArray[Any]]:
    """Every channel of a written picture, read by another library than the one that wrote it where there is one."""
    if path.suffix == ".exr":
        import OpenEXR

        with OpenEXR.File(str(path), separate_channels=True) as file:
            return {
                f"{prefix}{path.name}/{number}/{name}": np.array(channel.pixels)
                for number, part in enumerate(file.parts)
                for name, channel in part.channels.items()
            }
    if path.suffix == ".hdr":
        return {f"{prefix}{path.name}": np.frombuffer(path.read_bytes(), np.uint8)}
    import cv2

    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise SystemExit(f"{path}: OpenCV cannot read it")
    return {f"{prefix}{path.name}": image}


def header(path: Path) -> dict[str, Any]:
    """Attributes of an EXR's parts that are text or numbers."""
    import OpenEXR

    with OpenEXR.File(str(path), header_only=True) as file:
        return {
            f"{number}/{name}": value
            for number, part in enumerate(file.parts)
            for name, value in part.header.items()
            if isinstance(value, str | int | float)
        }


def plain(value: Any, folder: Path) -> Any:
    """JSON without what differs from run to run: DROPPED_KEYS, and ``folder`` in texts."""
    if isinstance(value, dict):
        return {key: plain(part, folder) for key, part in value.items() if key not in DROPPED_KEYS}
    if isinstance(value, list | tuple):
        return [plain(part, folder) for part in value]
    return value.replace(f"{folder}{os.sep}", "") if isinstance(value, str) else value


def renamed(value: Any) -> Any:
    """Recorded JSON under today's keys; those removed are left out."""
    if isinstance(value, dict):
        today = {RENAMED_KEYS.get(key, key): renamed(part) for key, part in value.items()}
        return {key: part for key, part in today.items() if key is not None}
    return [renamed(part) for part in value] if isinstance(value, list) else value


def digest(array: NDArray[Any]) -> str:
    return hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode() + array.tobytes()).hexdigest()


def changed_keys(before: Any, after: Any, place: str = "") -> Iterator[str]:
    """Where two JSON values differ: "a.b: 1 -> 2"."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            inner = f"{place}.{key}" if place else key
            if key not in after or key not in before:
                yield f"{inner}: {'missing' if key in before else 'new'}"
            else:
                yield from changed_keys(before[key], after[key], inner)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from changed_keys(one, other, f"{place}[{number}]")
    elif before != after:
        yield f"{place}: {json.dumps(before)[:60]} -> {json.dumps(after)[:60]}"


def changed_arrays(before: dict[str, str], kept: Any, case: str, after: dict[str, NDArray[Any]]) -> Iterator[str]:
    """Arrays whose hash differs, with the largest difference."""
    for name in [*before, *(name for name in after if name not in before)]:
        if name not in after or name not in before:
            yield f"{name}: {'missing' if name in before else 'new'}"
        elif before[name] != digest(after[name]):
            old, new = kept[f"{case}|{name}"], after[name]
            if old.shape != new.shape or old.dtype != new.dtype:
                yield f"{name}: {old.dtype} {old.shape} -> {new.dtype} {new.shape}"
            else:
                gap = np.abs(new.astype(np.float64) - old.astype(np.float64))
                share = np.count_nonzero(gap) / gap.size
                largest, peak = np.nanmax(gap), np.nanmax(np.abs(old))
                yield f"{name}: largest difference {largest:.3g} of {peak:.3g}, {share:.2%} differ"


def cases(bursts: Path | None) -> dict[str, Callable[[Run], Result]]:
    found: dict[str, Callable[[Run], Result]] = {"example": example, "off": static, "gfhdr": gfhdr, "raw": raw}
    if bursts is not None:
        found |= {name: lambda run, name=name: burst(run, name) for name in BURSTS}
    return found | {"group": group, "synth": synth, "train": train, "stream": stream}


def environment() -> dict[str, str]:
    """What hashes depend on beside the code."""
    packages = (
        "torch",
        "numpy",
        "opencv-python",
        "pillow",
        "tifffile",
        "imagecodecs",
        "OpenEXR",
        "rawpy",
        "simplejpeg",
    )
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version(), "machine": platform.machine()} | versions


def measured(names: list[str], bursts: Path | None) -> Iterator[tuple[str, Result]]:
    known = cases(bursts)
    unknown = [name for name in names if name not in known]
    if unknown:
        hint = "; bursts need --bursts FOLDER" if set(unknown) & set(BURSTS) else ""
        raise SystemExit(f"unknown case {', '.join(unknown)}; choose from {', '.join(known)}{hint}")
    for name in names or known:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text).resolve()
            result = known[name](Run(folder, bursts))
            result = Result(json.loads(json.dumps(plain(result.facts, folder))), result.arrays)
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        yield name, result


def record(path: Path, names: list[str], bursts: Path | None) -> int:
    content: dict[str, Any] = {"environment": environment(), "bursts": bursts and str(bursts), "cases": {}}
    arrays: dict[str, NDArray[Any]] = {}
    for name, result in measured(names, bursts):
        hashes = {key: digest(array) for key, array in result.arrays.items()}
        content["cases"][name] = {"json": result.facts, "sha256": hashes}
        arrays |= {f"{name}|{key}": array for key, array in result.arrays.items()}
    np.savez(path.with_suffix(".npz"), **arrays)
    path.write_text(json.dumps(content, indent=1) + "\n")
    return 0


def check(path: Path, names: list[str], bursts: Path | None) -> int:
    content = json.loads(path.read_text())
    for line in changed_keys(content["environment"], environment()):
        print(f"environment: {line}")
    if bursts is None and content["bursts"]:
        bursts = Path(content["bursts"])
    differ = 0
    with np.load(path.with_suffix(".npz")) as kept:
        for name, result in measured(names or list(content["cases"]), bursts):
            before = content["cases"].get(name)
            if before is None:
                raise SystemExit(f"{path} has no case {name}")
            lines = [f"JSON: {line}" for line in changed_keys(renamed(before["json"]), result.facts)]
            lines += changed_arrays(before["sha256"], kept, name, result.arrays)
            print(f"{name}: {'differs' if lines else 'unchanged'}", *lines, sep="\n  ", flush=True)
            differ += bool(lines)
    return 1 if differ else 0


def main() -> None:
    parser = argparse.ArgumentParser(description="whether a change leaves every result as it was")
    parser.add_argument("action", choices=("record", "check"))
    parser.add_argument("file", type=Path, help="FILE.json; FILE.npz beside it holds the arrays")
    parser.add_argument("--bursts", type=Path, help="folder of real bursts, one folder each; check: the recorded one")
    parser.add_argument("--cases", nargs="+", default=[], metavar="NAME", help="only these")
    options = parser.parse_args()
    act = record if options.action == "record" else check
    bursts = options.bursts and options.bursts.resolve()
    raise SystemExit(act(options.file, options.cases, bursts))


if __name__ == "__main__":
    main()
