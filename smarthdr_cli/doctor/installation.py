"""Versions: of ourselves, of what fusing stands on, and of what the extras add."""

import contextlib
import importlib
import importlib.util
import platform
from importlib import metadata
from typing import Any

from smarthdr_cli.doctor.findings import Part, said
from smarthdr_cli.version import __version__

LIBRARIES = (
    ("torch", "torch"), ("numpy", "numpy"), ("opencv-python", "cv2"), ("OpenEXR", "OpenEXR"),
    ("pillow", "PIL"), ("simplejpeg", "simplejpeg"), ("imagecodecs", "imagecodecs"), ("tifffile", "tifffile"),
    ("imageio", "imageio"), ("safetensors", "safetensors"), ("huggingface-hub", "huggingface_hub"), ("typer", "typer"),
    ("rich", "rich"),
)  # fmt: skip
EXTRAS = (
    ("raw", "rawpy", "RAW files"), ("ray", "ray", "batches on a Ray cluster"),
    ("tensorboard", "tensorboard", "TensorBoard"), ("distributed", "accelerate", "training on several devices"),
)  # fmt: skip
_SLOW = {"ray", "tensorboard", "accelerate", "huggingface_hub"}  # found, not imported: seconds each


def versions(part: Part) -> None:
    """smarthdr, Python, the system, and the libraries of the base install."""
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


def extras(part: Part) -> None:
    """What each extra needs, and whether it is there."""
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
        return version, said(error)
    except Exception as error:  # a library of the system that is missing, a build for another processor
        return version, said(error)
    return version or str(getattr(loaded, "__version__", "?")), None
