"""Where what can be made again is kept: prepared scenes and the benchmark that training makes for itself."""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from smarthdr_cli.data.cache import sweep
from smarthdr_cli.data.synth.export import benchmark_config, write_benchmark
from smarthdr_cli.data.synth.sources import load_bank
from smarthdr_cli.errors import InputError, OutputError

SIZE = (256, 384)  # height and width of the scenes training makes for itself
TRAIN, TEST = 75, 60
_FORMAT = 1  # raised whenever the same options make other scenes


def cache_home() -> Path:
    """$SMARTHDR_HOME/cache, or smarthdr in the platform's folder for caches. All in it may be deleted at any time."""
    if home := os.environ.get("SMARTHDR_HOME"):
        return Path(home).expanduser() / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "smarthdr"
    base = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return Path(base) / "smarthdr" if base else Path.home() / ".cache" / "smarthdr"


def own_benchmark(
    panoramas: Path | None, seed: int, *, train: int | None = None, test: int | None = None,
    size: tuple[int, int] | None = None,
    on_scene: Callable[[int, int], None] = lambda _done, _all: None,
) -> Path:  # fmt: skip
    """The folder of a synthetic benchmark in the Kalantari layout, made unless it is in the cache already.

    From ``panoramas`` (HDR images of the user), or procedural scenes. ``on_scene`` is told how many of how many scenes
    are written. Raises InputError for panoramas that cannot be read, OutputError when the cache cannot be written.
    """
    train, test, size = train or TRAIN, test or TEST, size or SIZE
    if panoramas is not None and not panoramas.is_dir():
        raise InputError(f"{panoramas} is not a folder of HDR images")
    sources = sorted((p.name, p.stat().st_size) for p in panoramas.iterdir()) if panoramas else []
    made_of = json.dumps([_FORMAT, sources, seed, train, test, size])
    folder = cache_home() / f"benchmark-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    config = benchmark_config("gamma16", size)
    partial = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))  # another run may be at it too
        done = 0
        for part, count, held_out in (("Training", train, False), ("Test", test, True)):
            bank = load_bank(panoramas, held_out=held_out, seed=seed)

            def told(number: int, before: int = done) -> None:
                on_scene(before + number + 1, train + test)

            write_benchmark(partial / part, bank, count, seed * 2 + held_out, config, on_scene=told)
            done += count
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another run was faster, with the same scenes
                raise
    except OSError as error:
        raise OutputError(f"{folder}: cannot write the benchmark there: {error.strerror}") from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
    return folder
