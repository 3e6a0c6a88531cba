"""The pictures of a folder, by their names' endings; what they are is for their headers to say."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from smarthdr_cli.burst.exif_containers import RAW_SUFFIXES
from smarthdr_cli.errors import InputError

# HEIF, AVIF and WebP are not read; they are listed so that somebody is told.
_PLAIN = ".jpg .jpeg .jpe .png .tif .tiff .heic .heif .hif .avif .webp"
ENDINGS = frozenset(_PLAIN.split()) | RAW_SUFFIXES
_DIGITS = re.compile(r"(\d+)")


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key under which 2 comes before 10; digits by value, everything else by its characters, case ignored."""
    parts = _DIGITS.split(text.casefold())
    return tuple((0, int(p), "") if i % 2 and p.isascii() else (1, 0, p) for i, p in enumerate(parts) if p)


def find_pictures(folder: Path, recursive: bool = True, on_error: Callable[[str], None] | None = None) -> list[Path]:
    """The pictures under ``folder``, in natural order; hidden files and folders, and links to folders, are left out.

    Raises InputError when the folder is missing or cannot be read; for a sub-folder ``on_error`` is told instead, where
    it is given.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder" if folder.exists() else f"{folder} does not exist")
    found: list[Path] = []

    def refused(error: OSError) -> None:
        said = f"{error.filename} cannot be read: {(error.strerror or str(error)).lower()}"
        if on_error is None or Path(error.filename) == folder:
            raise InputError(said) from error
        on_error(said)

    for root, folders, names in os.walk(folder, onerror=refused):
        folders[:] = sorted((f for f in folders if not f.startswith(".")), key=natural) if recursive else []
        shown = (n for n in names if not n.startswith(".") and Path(n).suffix.lower() in ENDINGS)
        found += [Path(root, name) for name in sorted(shown, key=natural)]
    return found
