"""What lies on the disk: weights, the hub's setting, the cache."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smarthdr_cli.doctor.findings import Part, said, size


def weights(part: Part) -> None:
    """Every name that is known, its file verified."""
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
            fact["state"], fact["problem"] = "broken", said(error)
            part.say("!", what, said(error))
            continue
        part.say("ok", what, f"verified, sha256 {fact['sha256'][:12]}, {path}")
    if not part.facts:
        part.say("!", "weights", "none are installed; reinstall smarthdr, or give --weights PATH")


def hub(part: Part) -> None:
    """The repository that weights would be fetched from."""
    from smarthdr_cli.models.hub import SETTING, repo

    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    part.facts = facts = {"repository": None, "revision": None, "offline": offline, "home": os.environ.get("HF_HOME")}
    source = repo()
    if source is None:
        part.say("-", "hub", f"no repository ({SETTING} is not set): nothing is ever downloaded")
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
