"""Folders of a cache: named by a hash of what they are made of, complete or not there, remade when damaged."""

import contextlib
import hashlib
import io
import json
import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.errors import InputError, OutputError

RECORD = "record.json"  # written last of a folder's files
_HEADER = 128  # bytes of a .npy header as numpy pads it, for arrays of few dimensions
_ABANDONED = 24 * 3600.0  # seconds after which a half-written folder belongs to nobody


def stamp(path: Path) -> list[Any]:
    """What tells one state of a file from another: absolute name, size and time of change. Raises InputError."""
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}") from error
    return [str(path.absolute()), found.st_size, found.st_mtime_ns]


def key_of(made_of: Any) -> str:
    """32 hex digits for a value that JSON can hold."""
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:32]


def stored(folder: Path, arrays: tuple[str, ...], fill: Callable[[Path], None]) -> Path:
    """``folder``, made by ``fill`` unless it is there and whole: its record can be read and its ``arrays`` are of full
    length.

    It is filled under another name and renamed, so that whoever is stopped on the way, by whatever means, leaves none
    that is half written. Raises OutputError when the cache cannot be written.
    """
    if whole(folder, arrays):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            fill(temporary)
            if folder.exists() and not whole(folder, arrays):
                shutil.rmtree(folder)
            try:
                temporary.rename(folder)
            except OSError:
                if not whole(folder, arrays):  # else another run was faster, with the same content
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{folder.parent}: cannot write prepared scenes there: {error.strerror or error}") from error
    return folder


def whole(folder: Path, arrays: tuple[str, ...]) -> bool:
    """Whether the record can be read and every array has the length its header states."""
    try:
        json.loads((folder / RECORD).read_text())
        for name in arrays:
            mapped(folder / name)
    except (OSError, ValueError, InputError):
        return False
    return True


def mapped(path: Path) -> NDArray[Any]:
    """An array of the cache, read-only, read from disk where it is looked at.

    What ``np.load`` does in five times the time, which is as long as a crop takes. Raises InputError when it is gone,
    cut short or no array.
    """
    try:
        with path.open("rb") as file:
            shape, kind, offset = _header(file.read(_HEADER))
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.ndarray(shape, kind, mapping, offset)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: the prepared scene is gone or damaged; start again to prepare it") from error


@lru_cache(maxsize=64)
def _header(start: bytes) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, type and offset of the data of a .npy file of version 1, from its first bytes."""
    file = io.BytesIO(start)
    np.lib.format.read_magic(file)
    shape, _, kind = np.lib.format.read_array_header_1_0(file)
    return shape, kind, file.tell()


@contextlib.contextmanager
def array_file(path: Path, shape: tuple[int, ...], kind: type[np.generic]) -> Iterator[Callable[[NDArray[Any]], None]]:
    """A .npy file of ``shape``, written piece by piece in C order: yields what to call with the next piece.

    Plain writes, since a full disk behind a memory map would end the process and not raise.
    """
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        yield lambda piece: _append(file, np.ascontiguousarray(piece, kind))
        file.flush()
        os.fsync(file.fileno())


def _append(file: Any, piece: NDArray[Any]) -> None:
    file.write(piece.data)


def sweep(folder: Path) -> None:
    """Remove what a killed run left of this folder, unless another may still be at it."""
    for left in folder.parent.glob(f".{folder.name}-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED:
                shutil.rmtree(left)
