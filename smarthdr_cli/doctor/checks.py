"""The checks of ``smarthdr doctor``. A check that fails is a line of the report and never a crash."""

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

from smarthdr_cli import system
from smarthdr_cli.errors import MemoryLimitError, SmartHDRError, out_of_memory
from smarthdr_cli.version import __version__

LIBRARIES = {
    "torch": "torch", "numpy": "numpy", "numba": "numba", "opencv-python": "cv2", "OpenEXR": "OpenEXR",
    "exifread": "exifread", "pillow": "PIL", "simplejpeg": "simplejpeg", "imagecodecs": "imagecodecs",
    "tifffile": "tifffile", "imageio": "imageio", "safetensors": "safetensors", "huggingface-hub": "huggingface_hub",
    "typer": "typer", "rich": "rich",
}  # distribution to module  # fmt: skip
EXTRAS = (
    ("raw", "rawpy", "RAW files"), ("ray", "ray", "batches on a Ray cluster"),
    ("tensorboard", "tensorboard", "TensorBoard"), ("distributed", "accelerate", "training on several devices"),
)  # fmt: skip
_SLOW_IMPORTS = {"ray", "tensorboard", "accelerate", "huggingface_hub"}  # seconds each: looked up, not imported
_CPU_FEATURES = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")  # that matter here
_MIN_BF16_GAIN = 1.3  # speed of a trial in bf16 over fp32 from which bf16 is suggested

Status = Literal["ok", "-", "!"]  # works; absent and not needed; broken


@dataclass
class Section:
    """One section of the report: ``facts`` for JSON, ``lines`` (status, topic, text) for people."""

    name: str
    facts: Any = None
    lines: list[tuple[Status, str, str]] = field(default_factory=list)

    def add(self, status: Status, topic: str, text: str) -> None:
        """Add a line."""
        self.lines.append((status, topic, " ".join(text.split())))


@dataclass(frozen=True)
class Report:
    """All sections, and the error that fusing ends with, None where it works."""

    sections: tuple[Section, ...]
    error: SmartHDRError | None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: ``ok``, ``exit_code``, ``problems`` (lines of status "!"), and the facts of each section."""
        problems = [
            f"{topic}: {text}" for section in self.sections for status, topic, text in section.lines if status == "!"
        ]
        code = 0 if self.error is None else self.error.exit_code
        facts = {section.name: section.facts for section in self.sections}
        return {"ok": code == 0, "exit_code": code, "problems": problems} | facts


def run_checks() -> Report:
    """Run all checks; takes some seconds, of which the self-test about one."""
    sections = [run_check(name, check) for name, check in CHECKS.items()]
    self_test = Section("selftest")
    error = check_self_test(self_test)
    return Report((*sections, self_test), error)


def run_check(name: str, check: Callable[[Section], None]) -> Section:
    """The section that ``check`` fills; an exception becomes a line of status "!"."""
    section = Section(name)
    try:
        check(section)
    except Exception as error:
        section.add("!", section.name, describe(error))
        if section.facts is None:
            section.facts = {"problem": describe(error)}
    return section


def check_versions(section: Section) -> None:
    """smarthdr, Python, the system, and the libraries of the base install."""
    libraries: dict[str, str | None] = {}
    python, platform_name = platform.python_version(), platform.platform()
    section.facts = {"smarthdr": __version__, "python": python, "system": platform_name, "libraries": libraries}
    section.add("ok", f"smarthdr {__version__}", f"Python {python}, {platform_name}")
    for distribution, module in LIBRARIES.items():
        version, problem = _library_version(distribution, module)
        libraries[distribution] = version if problem is None else None
        if problem is not None:
            hint = "; apt-get install libgl1" if "libGL.so" in problem else ""
            section.add("!", distribution, f"cannot be loaded ({problem}){hint}")
        elif version is None:
            section.add("!", distribution, "is not installed")
    usable = (f"{distribution} {version}" for distribution, version in libraries.items() if version is not None)
    section.add("ok", "libraries", ", ".join(usable))


def check_extras(section: Section) -> None:
    """The package of each optional feature."""
    section.facts = {}
    for extra, module, purpose in EXTRAS:
        version, problem = _library_version(module, module)
        usable_version = version if problem is None else None
        section.facts[extra] = {"package": module, "version": usable_version, "for": purpose}
        if usable_version is not None:
            section.add("ok", module, f"{usable_version} ({purpose})")
        else:
            state = f"cannot be loaded ({problem})" if problem else "not installed"
            section.add("-", module, f"{state}; for {purpose}: pip install 'smarthdr[{extra}]'")


def _library_version(distribution: str, module: str) -> tuple[str | None, str | None]:
    """(version, problem) of a library; both None where it is not installed."""
    version = None
    with contextlib.suppress(metadata.PackageNotFoundError):
        version = metadata.version(distribution)
    try:
        if module in _SLOW_IMPORTS:
            is_installed = importlib.util.find_spec(module) is not None
            return (version or "?", None) if is_installed else (None, None)
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name in (module, None):
            return None, None
        return version, describe(error)
    except Exception as error:  # a system library is missing, or the build is for another processor
        return version, describe(error)
    return version or str(getattr(loaded, "__version__", "?")), None


def check_cpu(section: Section) -> None:
    """Name, cores and features of the processor, and whether bf16 is faster on it."""
    name, features = _cpu_name_and_features()
    cores, usable_cores = os.cpu_count(), system.usable_cores()
    section.facts = {"name": name, "cores": cores, "usable": usable_cores, "features": features}
    listed = " ".join(features) or "features unknown"
    section.add("ok", "processor", f"{name}, {usable_cores} of {cores} cores, {listed}")

    import torch

    from smarthdr_cli.fusion.device import PRECISION_NAMES, bf16_gain, has_native_bf16, resolve_precision

    is_native, gain = has_native_bf16(), round(bf16_gain(), 2)
    precision = PRECISION_NAMES[resolve_precision("auto", torch.device("cpu"))]
    section.facts |= {
        "vector": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads(),
        "bf16_native": is_native, "bf16_gain": gain, "precision": precision,
    }  # fmt: skip
    support = "in hardware" if is_native else "not in hardware"
    text = f"{support}: --precision auto takes {precision}; a trial ran at {gain:.1f} times the speed of fp32"
    if precision == "fp32" and gain >= _MIN_BF16_GAIN:
        text += ", so --precision bf16 may be faster here"
    section.add("ok", "bf16", text)


def _cpu_name_and_features() -> tuple[str, list[str]]:
    """The processor's name and those of _CPU_FEATURES that it has; no features where the system does not list them."""
    name, flags = platform.processor() or platform.machine(), set[str]()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
                break
    return name, [feature for feature in _CPU_FEATURES if feature in flags]


def check_memory(section: Section) -> None:
    """Available and total memory."""
    total, available = system.physical_memory()
    section.facts = {"total": total, "available": available}
    sizes = [f"{format_bytes(n)} {which}" for n, which in ((available, "free"), (total, "total")) if n is not None]
    section.add("ok" if sizes else "-", "memory", " of ".join(sizes) or "not reported by the system")


def check_devices(section: Section) -> None:
    """CUDA devices."""
    import torch

    section.facts = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        device = torch.cuda.get_device_properties(index)
        section.facts.append({"device": f"cuda:{index}", "name": device.name, "memory": device.total_memory})
        section.add("ok", f"cuda:{index}", f"{device.name}, {format_bytes(device.total_memory)}")
    if not section.facts:
        section.add("-", "CUDA", "no device; the CPU is used")


def check_kernel(section: Section) -> None:
    """What the merge runs on, and where it is cached once compiled."""
    from smarthdr_cli.fusion.pixel_functions import kernel_choice

    choice = kernel_choice()
    section.facts = {"kernel": choice.kernel, "cache": choice.cache, "problem": choice.reason or None}
    if choice.kernel == "numpy":
        section.add("!", "merge", f"runs on NumPy, which takes ten times as long: {choice.reason}")
    elif choice.cache is None:
        hint = "no cache folder can be written, so every run compiles it; NUMBA_CACHE_DIR names another folder"
        section.add("-", "merge", f"compiled; {hint}")
    else:
        section.add("ok", "merge", f"compiled, cached in {choice.cache}")


def check_weights(section: Section) -> None:
    """Every weights file that is known, verified against its sha256."""
    from smarthdr_cli.models.catalog import list_verified

    section.facts = []
    for item in list_verified():
        section.facts.append({
            "name": item.name, "path": None if item.path is None else str(item.path), "licence": item.licence,
            "default": item.default, "state": item.state, "sha256": item.sha256, "problem": item.problem,
        })  # fmt: skip
        topic = f"{item.name} (default)" if item.default else item.name
        if item.path is None:
            section.add("-", topic, "is not on this machine; it would be fetched from the hub, if one is configured")
        elif item.state == "damaged":
            section.add("!", topic, str(item.problem))
        else:
            state = "verified" if item.state == "verified" else "unlisted (readable, in no manifest)"
            section.add("ok", topic, f"{state}, sha256 {str(item.sha256)[:12]}, {item.path}")
    if not section.facts:
        section.add("!", "weights", "none installed; reinstall smarthdr, or give smarthdr fuse --weights PATH")


def check_hub(section: Section) -> None:
    """The repository from which missing weights are downloaded."""
    from smarthdr_cli.models.hub import REPOSITORY_VARIABLE, hub_repository

    is_offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    facts = {"repository": None, "revision": None, "offline": is_offline, "home": os.environ.get("HF_HOME")}
    section.facts = facts
    source = hub_repository()
    if source is None:
        section.add("-", "hub", f"no repository ({REPOSITORY_VARIABLE} is not set): nothing is ever downloaded")
        return
    facts["repository"], facts["revision"] = source
    suffix = ", offline (HF_HUB_OFFLINE)" if is_offline else ""
    section.add("ok", "hub", f"{source.id} at {source.revision}{suffix}")


def check_cache(section: Section) -> None:
    """The cache folder, its size, and whether it can be written."""
    from smarthdr_cli.data.cache import cache_home

    folder = cache_home()
    size, is_writable = sum(_file_sizes(folder)), _is_writable(folder)
    section.facts = {"folder": str(folder), "bytes": size, "writable": is_writable}
    hint = "" if is_writable else "; it cannot be written, which training on scenes needs (SMARTHDR_HOME moves it)"
    section.add("ok" if is_writable else "-", "cache", f"{folder}, {format_bytes(size)}{hint}")


def _file_sizes(folder: Path) -> Iterator[int]:
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                yield os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118 - a million files


def _is_writable(folder: Path) -> bool:
    """Whether a file can be created in the folder, or in the nearest existing one above it."""
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing):
            return True
    except (OSError, StopIteration):
        return False


def check_self_test(section: Section) -> SmartHDRError | None:
    """Fuse the burst of known truth; returns the error that ``smarthdr fuse`` would end with, None where it works."""
    facts: dict[str, Any] = {"psnr_mu": None, "seconds": None, "model": None, "device": None, "problem": None}
    section.facts = facts
    try:
        from smarthdr_cli.doctor.selftest import self_test

        result = self_test()
    except Exception as error:
        facts["problem"] = describe(error)
        section.add("!", "self-test", describe(error))
        if isinstance(error, SmartHDRError):
            return error
        if out_of_memory(error):
            return MemoryLimitError("out of memory in the self-test")
        return SmartHDRError(f"fusing does not work here: {describe(error)}")
    model, device = result.report["model"]["name"], f"{result.report['device']} in {result.report['precision']}"
    facts |= {
        "psnr_mu": round(result.psnr_mu, 2), "seconds": round(result.seconds, 3), "model": model, "device": device,
    }  # fmt: skip
    quality = f"{result.psnr_mu:.1f} dB from the truth, {result.seconds:.2f} s"
    section.add("ok", "self-test", f"three frames of {model} on {device}: {quality}")
    return None


CHECKS: dict[str, Callable[[Section], None]] = {
    "versions": check_versions, "extras": check_extras, "cpu": check_cpu, "memory": check_memory,
    "devices": check_devices, "kernel": check_kernel, "weights": check_weights, "hub": check_hub, "cache": check_cache,
}  # fmt: skip


def describe(error: BaseException) -> str:
    """An error on one line, with its type where it is not one of smarthdr's."""
    text = " ".join(str(error).split())
    return text if isinstance(error, SmartHDRError) else f"{type(error).__name__}: {text}".rstrip(": ")


def format_bytes(count: float) -> str:
    """A size for people: 1.5 GiB, 300.0 MiB, 12 KiB."""
    for unit, power in (("GiB", 30), ("MiB", 20)):
        if count >= 1 << power:
            return f"{count / (1 << power):.1f} {unit}"
    return f"{count / 1024:.0f} KiB"
