"""The machine: processor, memory, devices."""

import contextlib
import os
import platform
from pathlib import Path
from typing import Any

from smarthdr_cli import system
from smarthdr_cli.doctor.findings import Part, size

WORTHWHILE_GAIN = 1.3  # of a trial in bf16 over fp32, from which to suggest it
_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")


def cpu(part: Part) -> None:
    """Its name, cores and features, and whether bf16 pays on it."""
    name, flags = _cpuinfo()
    usable = system.usable_cores()
    facts: dict[str, Any] = {"name": name, "cores": os.cpu_count(), "usable": usable, "features": flags}
    part.facts = facts
    part.say("ok", "processor", f"{name}, {usable} of {facts['cores']} cores, {' '.join(flags) or 'features unknown'}")
    import torch

    from smarthdr_cli.fusion.device import PRECISION_NAMES, bf16_gain, has_native_bf16, resolve_precision

    facts["vector"], facts["threads"] = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    facts["bf16_native"] = has_native_bf16()
    facts["bf16_gain"] = gain = round(bf16_gain(), 2)
    chosen = facts["precision"] = PRECISION_NAMES[resolve_precision("auto", torch.device("cpu"))]
    native = "in hardware" if facts["bf16_native"] else "not in hardware"
    text = f"{native}: --precision auto takes {chosen}; a trial ran at {gain:.1f} times the speed of fp32"
    if chosen == "fp32" and gain >= WORTHWHILE_GAIN:
        text += ", so --precision bf16 may be faster here"
    part.say("ok", "bf16", text)


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


def memory(part: Part) -> None:
    """Free and in all."""
    total, available = system.physical_memory()
    part.facts = {"total": total, "available": available}
    said = [f"{size(value)} {what}" for value, what in ((available, "free"), (total, "in all")) if value is not None]
    part.say("ok" if said else "-", "memory", " of ".join(said) or "the system does not tell")


def devices(part: Part) -> None:
    """CUDA devices."""
    import torch

    part.facts = []
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(count):
        found = torch.cuda.get_device_properties(index)
        part.facts.append({"device": f"cuda:{index}", "name": found.name, "memory": found.total_memory})
        part.say("ok", f"cuda:{index}", f"{found.name}, {size(found.total_memory)}")
    if not count:
        part.say("-", "CUDA", "no device; the CPU is used")
