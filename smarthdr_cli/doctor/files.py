"""What lies on the disk: weights, the hub's setting, the cache."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from smarthdr_cli.doctor.findings import Part, size


def weights(part: Part) -> None:
    """Every name that is known, its file verified."""
    from smarthdr_cli.models.catalog import list_verified

    part.facts = []
    for item in list_verified():
        part.facts.append({
            "name": item.name, "path": None if item.path is None else str(item.path), "licence": item.licence,
            "default": item.default, "state": item.state, "sha256": item.sha256, "problem": item.problem,
        })  # fmt: skip
        what = f"{item.name} (default)" if item.default else item.name
        if item.path is None:
            part.say("-", what, "is not on this machine; it would be fetched from the hub, if one is configured")
        elif item.state == "damaged":
            part.say("!", what, str(item.problem))
        else:
            listed = "verified" if item.state == "verified" else "whole, in no manifest"
            part.say("ok", what, f"{listed}, sha256 {str(item.sha256)[:12]}, {item.path}")
    if not part.facts:
        part.say("!", "weights", "none are installed; reinstall smarthdr, or give --weights PATH")


def hub(part: Part) -> None:
    """The repository that weights would be fetched from."""
    from smarthdr_cli.models.hub import REPOSITORY_VARIABLE, hub_repository

    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    part.facts = facts = {"repository": None, "revision": None, "offline": offline, "home": os.environ.get("HF_HOME")}
    source = hub_repository()
    if source is None:
        part.say("-", "hub", f"no repository ({REPOSITORY_VARIABLE} is not set): nothing is ever downloaded")
        return
    facts["repository"], facts["revision"] = source
    part.say("ok", "hub", f"{source.id} at {source.revision}" + (", offline (HF_HUB_OFFLINE)" if offline else ""))


def cache(part: Part) -> None:
    """Its folder and size."""
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
