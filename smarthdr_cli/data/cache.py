"""The cache: folders named by a hash of what their content depends on, complete or absent, rebuilt when damaged.

A folder is filled under a temporary name beside its own and renamed when complete, so that an interrupted run leaves
no half-written folder under the final name, and two runs may build the same one at a time. A complete folder of arrays
has a readable ``record.json``, and every ``.npy`` has the length its header states.
"""

import contextlib
import hashlib
import io
import json
import mmap
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.errors import InputError, OutputError

RECORD = "record.json"
NPY_HEADER_BYTES = 128  # as numpy pads it for arrays of few dimensions
ABANDONED_SECONDS = 24 * 3600.0  # age at which a temporary folder has no running owner


def cache_home() -> Path:
    """``$SMARTHDR_HOME/cache``, or ``smarthdr`` in the platform's cache folder. Its content may be deleted any time."""
    if home := os.environ.get("SMARTHDR_HOME"):
        return Path(home).expanduser() / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "smarthdr"
    base = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return Path(base) / "smarthdr" if base else Path.home() / ".cache" / "smarthdr"


def file_state(path: Path) -> list[Any]:
    """Absolute path, size and modification time (ns) of a file. Raises InputError where it cannot be read."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}") from error
    return [str(path.absolute()), status.st_size, status.st_mtime_ns]


def cache_key(dependencies: Any) -> str:
    """64 hex digits for a JSON value.

    >>> cache_key({"b": 1, "a": [2]}) == cache_key({"a": [2], "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(dependencies, sort_keys=True).encode()).hexdigest()


def build_folder(folder: Path, fill: Callable[[Path], None], is_complete: Callable[[Path], bool], content: str) -> Path:
    """``folder``, filled by ``fill`` unless ``is_complete``.

    Raises OutputError where the cache cannot be written; its text names the ``content``.
    """
    if is_complete(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            fill(temporary)
            if folder.exists() and not is_complete(folder):
                shutil.rmtree(folder)
            try:
                temporary.rename(folder)
            except OSError:
                if not is_complete(folder):  # else another run finished first, with the same content
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{folder.parent}: cannot write {content} there: {error.strerror or error}") from error
    return folder


def build_arrays(folder: Path, arrays: tuple[str, ...], fill: Callable[[Path], None]) -> Path:
    """``build_folder`` for the ``.npy`` files ``arrays`` and a record."""
    return build_folder(folder, fill, lambda path: has_arrays(path, arrays), "prepared scenes")


def has_arrays(folder: Path, arrays: tuple[str, ...]) -> bool:
    """Whether the record is readable and every array has its full length."""
    try:
        json.loads((folder / RECORD).read_text())
        for name in arrays:
            map_array(folder / name)
    except (OSError, ValueError, InputError):
        return False
    return True


def map_array(path: Path) -> NDArray[Any]:
    """An array of the cache as a read-only memory map. Raises InputError where it is gone, cut short or no array.

    ``np.load`` does the same in five times the time, which is as long as reading a crop.
    """
    try:
        with path.open("rb") as file:
            shape, kind, offset = _parse_header(file.read(NPY_HEADER_BYTES))
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.ndarray(shape, kind, mapping, offset)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: the prepared scene is gone or damaged; start again to prepare it") from error


@lru_cache(maxsize=64)
def _parse_header(header: bytes) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, type and offset of the data of a .npy file of version 1, from its first bytes."""
    file = io.BytesIO(header)
    np.lib.format.read_magic(file)
    shape, _, kind = np.lib.format.read_array_header_1_0(file)
    return shape, kind, file.tell()


@contextlib.contextmanager
def npy_writer(
    path: Path, shape: tuple[int, ...], kind: type[np.generic]
) -> Iterator[Callable[[NDArray[Any]], object]]:
    """Write a .npy file of ``shape`` in C order: yields a function that appends an array.

    A memory map would end the process on a full disk; plain writes raise OSError.
    """
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        yield lambda array: file.write(np.ascontiguousarray(array, kind).data)
        file.flush()
        os.fsync(file.fileno())


def remove_abandoned(folder: Path) -> None:
    """Remove temporary folders that a killed run left of ``folder``; recent ones may have an owner and stay."""
    for temporary in folder.parent.glob(f".{folder.name}-*"):
        with contextlib.suppress(OSError):
            if time.time() - temporary.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(temporary)
