"""What ``smarthdr doctor`` looks at, part by part; whatever is broken is a finding, never a crash."""

import contextlib
import importlib
import importlib.util
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from smarthdr_cli.errors import MemoryLimitError, SmartHDRError, out_of_memory
from smarthdr_cli.version import __version__

Mark = Literal["ok", "-", "!"]  # works; absent or of no use here, and not needed; broken
LIBRARIES = (
    ("torch", "torch"), ("numpy", "numpy"), ("opencv-python", "cv2"), ("OpenEXR", "OpenEXR"), ("exifread", "exifread"),
    ("pillow", "PIL"), ("tifffile", "tifffile"), ("imageio", "imageio"), ("safetensors", "safetensors"),
    ("huggingface-hub", "huggingface_hub"), ("typer", "typer"), ("rich", "rich"),
)  # fmt: skip
EXTRAS = (
    ("raw", "rawpy", "RAW files"), ("ray", "ray", "batches on a Ray cluster"),
    ("tensorboard", "tensorboard", "TensorBoard"), ("distributed", "accelerate", "training on several devices"),
)  # fmt: skip
_SLOW = {"ray", "tensorboard", "accelerate", "huggingface_hub"}  # found, not imported: seconds each
_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")
_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}


@dataclass
class Part:
    """One part of the findings: ``facts`` for JSON, ``lines`` (mark, what, words) for people."""

    name: str
    facts: Any = None
    lines: list[tuple[Mark, str, str]] = field(default_factory=list)

    def say(self, mark: Mark, what: str, words: str) -> None:
        """Add a line."""
        self.lines.append((mark, what, " ".join(words.split())))


@dataclass(frozen=True)
class Checkup:
    """All parts, and what stands in the way of fusing, None where nothing does."""

    parts: tuple[Part, ...]
    error: SmartHDRError | None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: ``ok``, ``exit_code``, ``problems`` (lines marked as broken), and a key for each part."""
        broken = [f"{what}: {words}" for part in self.parts for mark, what, words in part.lines if mark == "!"]
        code = 0 if self.error is None else self.error.exit_code
        return {"ok": code == 0, "exit_code": code, "problems": broken} | {p.name: p.facts for p in self.parts}


def checkup() -> Checkup:
    """Look at everything; takes some seconds, of which the self-test about one."""
    checks = (_versions, _extras, _cpu, _memory, _devices, _weights, _hub, _cache)
    parts = [_run(check) for check in checks]
    test = Part("selftest")
    error = _self_test(test)
    return Checkup((*parts, test), error)


def _run(check: Callable[[Part], None]) -> Part:
    part = Part(check.__name__.strip("_"))
    try:
        check(part)
    except Exception as error:
        part.say("!", part.name, _line(error))
        if part.facts is None:
            part.facts = {"problem": _line(error)}
    return part


def _line(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return words if isinstance(error, SmartHDRError) else f"{type(error).__name__}: {words}".rstrip(": ")


def _version(distribution: str, module: str) -> tuple[str | None, str | None]:
    """(version, what is wrong) of a library; both None where it is not installed."""
    version = None
    with contextlib.suppress(metadata.PackageNotFoundError):
        version = metadata.version(distribution)
    try:
        if module in _SLOW:
            there = importlib.util.find_spec(module) is not None
            return (version or "?", None) if there else (None, None)
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name in (module, None):
            return None, None
        return version, _line(error)
    except Exception as error:  # a library of the system that is missing, a build for another processor
        return version, _line(error)
    return version or str(getattr(loaded, "__version__", "?")), None


def _versions(part: Part) -> None:
    facts: dict[str, Any] = {
        "smarthdr": __version__, "python": platform.python_version(), "system": platform.platform(), "libraries": {},
    }  # fmt: skip
    part.facts = facts
    part.say("ok", f"smarthdr {__version__}", f"Python {facts['python']}, {facts['system']}")
    fine = []
    for distribution, module in LIBRARIES:
        version, problem = _version(distribution, module)
        facts["libraries"][distribution] = version if problem is None else None
        if version is not None and problem is None:
            fine.append(f"{distribution} {version}")
            continue
        hint = "; apt-get install libgl1" if problem and "libGL.so" in problem else ""
        part.say("!", distribution, f"cannot be loaded ({problem}){hint}" if problem else "is not installed")
    part.say("ok", "libraries", ", ".join(fine))


def _extras(part: Part) -> None:
    part.facts = {}
    for extra, module, purpose in EXTRAS:
        version, problem = _version(module, module)
        usable = version is not None and problem is None
        part.facts[extra] = {"package": module, "version": version if usable else None, "for": purpose}
        if usable:
            part.say("ok", module, f"{version} ({purpose})")
        else:
            why = f"cannot be loaded ({problem})" if problem else "not installed"
            part.say("-", module, f"{why}; for {purpose}: pip install 'smarthdr[{extra}]'")


def _cpu(part: Part) -> None:
    name, flags = _cpuinfo()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts: dict[str, Any] = {
        "name": name, "cores": os.cpu_count(), "usable": usable, "features": flags,
        "bf16_native": bool(_BF16 & set(flags)),
    }  # fmt: skip
    part.facts = facts
    part.say("ok", "processor", f"{name}, {usable} of {facts['cores']} cores, {' '.join(flags) or 'features unknown'}")
    import torch

    from smarthdr_cli.fusion.device import BF16_GAIN, bf16_gain

    facts["vector"], facts["threads"] = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    facts["bf16_gain"] = gain = round(bf16_gain(), 2)
    chosen = facts["precision"] = "bf16" if gain >= BF16_GAIN else "fp32"
    native = "native" if facts["bf16_native"] else "not native"
    part.say(
        "ok", "bf16", f"{native}, {gain:.1f} times the speed of fp32 on a trial: --precision auto takes {chosen} on it"
    )


def _cpuinfo() -> tuple[str, list[str]]:
    """The processor's name and those of its features that matter, as far as the system tells."""
    name, flags = platform.processor() or platform.machine(), set[str]()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
                break
    return name, [flag for flag in _FLAGS if flag in flags]


def _memory(part: Part) -> None:
    total = available = None
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        total, available = (int(lines[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    if total is None and hasattr(os, "sysconf"):
        with contextlib.suppress(OSError, ValueError):
            total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    part.facts = {"total": total, "available": available}
    said = [f"{size(value)} {what}" for value, what in ((available, "free"), (total, "in all")) if value is not None]
    part.say("ok" if said else "-", "memory", " of ".join(said) or "the system does not tell")


def _devices(part: Part) -> None:
    import torch

    part.facts = []
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(count):
        found = torch.cuda.get_device_properties(index)
        part.facts.append({"device": f"cuda:{index}", "name": found.name, "memory": found.total_memory})
        part.say("ok", f"cuda:{index}", f"{found.name}, {size(found.total_memory)}")
    if not count:
        part.say("-", "CUDA", "no device; the CPU is used")


def _weights(part: Part) -> None:
    from smarthdr_cli.models.find import available, find_weights

    part.facts = []
    for entry in available():
        fact: dict[str, Any] = {
            "name": entry.name, "path": None if entry.path is None else str(entry.path), "licence": entry.licence,
            "default": entry.default, "state": "absent", "sha256": None, "problem": None,
        }  # fmt: skip
        part.facts.append(fact)
        what = f"{entry.name} (default)" if entry.default else entry.name
        if entry.path is None:
            part.say("-", what, "is not on this machine; it would be fetched from the hub, if one is configured")
            continue
        try:
            path = find_weights(entry.name)
            from smarthdr_cli.models.checkpoint import load_checkpoint

            fact["sha256"], fact["path"], fact["state"] = load_checkpoint(path).sha256, str(path), "verified"
        except Exception as error:
            fact["state"], fact["problem"] = "broken", _line(error)
            part.say("!", what, _line(error))
            continue
        part.say("ok", what, f"verified, sha256 {fact['sha256'][:12]}, {path}")
    if not part.facts:
        part.say("!", "weights", "none are installed; reinstall smarthdr, or give --weights PATH")


def _hub(part: Part) -> None:
    from smarthdr_cli.models.hub import SETTING, repo

    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    part.facts = facts = {"repository": None, "revision": None, "offline": offline, "home": os.environ.get("HF_HOME")}
    source = repo()
    if source is None:
        part.say("-", "hub", f"no repository ({SETTING} is not set): nothing is ever downloaded")
        return
    facts["repository"], facts["revision"] = source
    part.say("ok", "hub", f"{source.id} at {source.revision}" + (", offline (HF_HUB_OFFLINE)" if offline else ""))


def _cache(part: Part) -> None:
    from smarthdr_cli.data.home import cache_home

    folder = cache_home()
    held = sum(_sizes(folder))
    writable = _writable(folder)
    part.facts = {"folder": str(folder), "bytes": held, "writable": writable}
    closed = "" if writable else "; it cannot be written, which training on scenes needs (SMARTHDR_HOME moves it)"
    part.say("ok" if writable else "-", "cache", f"{folder}, {size(held)}{closed}")


def _sizes(folder: Path) -> Iterator[int]:
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                yield os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118 - a million files


def _writable(folder: Path) -> bool:
    """Whether a file can be made in the folder, or in the nearest one above it that exists."""
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=there):
            return True
    except (OSError, StopIteration):
        return False


def _self_test(part: Part) -> SmartHDRError | None:
    """Fuse the burst of known truth; what ``fuse`` would end with where that fails."""
    facts: dict[str, Any] = {"psnr_mu": None, "seconds": None, "model": None, "device": None, "problem": None}
    part.facts = facts
    try:
        from smarthdr_cli.evaluate.selftest import self_test

        found = self_test()
    except Exception as error:
        facts["problem"] = _line(error)
        part.say("!", "self-test", _line(error))
        if isinstance(error, SmartHDRError):
            return error
        if out_of_memory(error):
            return MemoryLimitError("out of memory in the self-test")
        return SmartHDRError(f"fusing does not work here: {_line(error)}")
    model, device = found.report["model"]["name"], f"{found.report['device']} in {found.report['precision']}"
    facts.update(psnr_mu=round(found.psnr_mu, 2), seconds=round(found.seconds, 3), model=model, device=device)
    words = f"three frames of {model} on {device}: {found.psnr_mu:.1f} dB from the truth, {found.seconds:.2f} s"
    part.say("ok", "self-test", words)
    return None


def size(count: float) -> str:
    """Bytes for people: 1.5 GiB, 300 MiB, 12 KiB."""
    for unit, power in (("GiB", 30), ("MiB", 20)):
        if count >= 1 << power:
            return f"{count / (1 << power):.1f} {unit}"
    return f"{count / 1024:.0f} KiB"
