"""Where weights come from: a path, then $SMARTHDR_HOME/weights, then the ones shipped, then the hub.

A file found by its name is checked against the manifest that lists it before it is used. Loads no torch.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import smarthdr_cli
from smarthdr_cli.errors import ModelError
from smarthdr_cli.models import hub
from smarthdr_cli.models.manifest import MANIFEST, Entry, read_manifest

HOME = "SMARTHDR_HOME"
SUFFIX = ".safetensors"
RUN_FILES = ("best.safetensors", "model.safetensors")  # what a run folder offers, the first that is there


@dataclass(frozen=True)
class Available:
    """Weights that ``--weights NAME`` knows: in a folder (``path``), listed in a manifest (``entry``), or both.

    ``path`` is None where they would have to be fetched from the hub.
    """

    name: str
    path: Path | None
    entry: Entry | None
    default: bool

    @property
    def licence(self) -> str | None:
        """As listed."""
        return None if self.entry is None else self.entry.licence


def weights_dir() -> Path:
    """The shipped weights: inside the package in a wheel, beside it in a checkout or an editable install.

    Raises ModelError where neither is there.
    """
    package = Path(smarthdr_cli.__file__).resolve().parent
    for folder in (package / "_weights", package.parent / "weights"):
        if (folder / MANIFEST).is_file():
            return folder
    raise ModelError(f"{package}: no weights were installed with smarthdr; reinstall it, or give --weights PATH")


def find_weights(spec: str | Path | None = None) -> Path:
    """The file of weights meant by ``spec``.

    A path (anything with a folder or a suffix in it, and every Path) is a file, or a run folder holding
    best.safetensors or model.safetensors. Anything else is a name, and None is the default's. Raises ModelError where
    there is no such file, where it is not the one its manifest lists, and where it would have to be fetched and cannot.
    """
    if isinstance(spec, Path) or (spec is not None and _is_path(spec)):
        return _from_path(Path(spec).expanduser())
    entries = _entries()
    name = spec if spec is not None else _default(entries)
    path, entry = _look_up(name, entries)
    if path is not None:
        if entry is not None:
            entry.check(path)
        return path
    if entry is not None:
        return hub.fetch(entry)
    raise unknown(name)


def unknown(name: str) -> ModelError:
    """What to raise for a name that nobody knows."""
    hint = " (a file or folder needs a / or its suffix)" if Path(name).exists() else ""
    known = ", ".join(item.name for item in available()) or "none"
    return ModelError(f"no weights are called {name!r}{hint}; known are {known}")


def available() -> list[Available]:
    """Every name ``find_weights`` knows: those listed, then unlisted files in $SMARTHDR_HOME/weights."""
    entries = _entries()
    first = next((entry.name for entry in entries.values() if entry.default), None)
    found = [Available(name, *_look_up(name, entries), name == first) for name in entries]
    listed = {entry.file for entry in entries.values()}
    own = (path for folder in folders() for path in sorted(folder.glob("*" + SUFFIX)) if path.name not in listed)
    return found + [Available(path.stem, path, None, False) for path in own]


def _is_path(spec: str) -> bool:
    return spec.endswith(SUFFIX) or any(mark in spec for mark in ("/", os.sep)) or spec in (".", "..")


def _from_path(path: Path) -> Path:
    if path.is_file():
        return path
    if path.is_dir():
        for name in RUN_FILES:
            if (path / name).is_file():
                return path / name
        raise ModelError(f"{path}: a folder without {' or '.join(RUN_FILES)}")
    raise ModelError(f"{path}: no such weights file")


def shipped_dir() -> Path | None:
    """``weights_dir``, or None where nothing was installed."""
    with contextlib.suppress(ModelError):
        return weights_dir()
    return None


def home_dir() -> Path | None:
    """$SMARTHDR_HOME/weights, there or not; None where the variable is not set."""
    home = os.environ.get(HOME)
    return Path(home).expanduser() / "weights" if home else None


def folders() -> list[Path]:
    """The folders searched by name, in order, as far as they are there."""
    return [folder for folder in (home_dir(), shipped_dir()) if folder is not None and folder.is_dir()]


def _look_up(name: str, entries: dict[str, Entry]) -> tuple[Path | None, Entry | None]:
    """The first file called so and the entry it must agree with: that of its own folder, else the first of any."""
    for folder in folders():
        entry = next((one for one in read_manifest(folder) if one.name == name), None) or entries.get(name)
        path = folder / (entry.file if entry else name + SUFFIX)
        if path.is_file():
            return path, entry
    return None, entries.get(name)


def _entries() -> dict[str, Entry]:
    """Everything listed, by name; a manifest in $SMARTHDR_HOME/weights comes before the shipped one."""
    entries: dict[str, Entry] = {}
    for folder in folders():
        for entry in read_manifest(folder):
            entries.setdefault(entry.name, entry)
    return entries


def _default(entries: dict[str, Entry]) -> str:
    for entry in entries.values():
        if entry.default:
            return entry.name
    weights_dir()  # says so where nothing was installed
    raise ModelError("no default weights are installed; give --weights PATH")
