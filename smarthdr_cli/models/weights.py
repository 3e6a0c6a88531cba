"""From ``--weights`` to a verified file: a path, or a name looked up in manifests.

A folder of weights has a ``manifest.toml`` with one table per file:

    [[weights]]
    name = "saf-base"
    file = "saf-base.safetensors"
    sha256 = "..."
    bytes = 1234567
    licence = "MIT"
    default = true

A name is searched in $SMARTHDR_HOME/weights, then among the shipped weights, then on the hub (models/hub.py). A file
found by its name must have the size and the sha256 of its entry. Loads no torch.
"""

import contextlib
import hashlib
import os
import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

import smarthdr_cli
from smarthdr_cli.errors import ModelError
from smarthdr_cli.models import hub

MANIFEST = "manifest.toml"
HOME_VARIABLE = "SMARTHDR_HOME"
SUFFIX = ".safetensors"
RUN_FILES = ("best.safetensors", "model.safetensors")  # of a run folder, in order of preference
_TOML_KEYS = {"size": "bytes"}  # fields with another name in the file
_FIELD_NAMES = {key: field for field, key in _TOML_KEYS.items()}


@dataclass(frozen=True)
class ManifestEntry:
    """One listed file. ``name``: for ``--weights``. ``file``: without a folder. ``sha256``: lower-case hex. ``size``:
    in bytes, "bytes" in TOML. Raises ValueError for other values.
    """

    name: str
    file: str
    sha256: str
    size: int
    licence: str
    default: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            if type(getattr(self, field.name)) is not field.type:
                raise ValueError(f"{field.name} must be {getattr(field.type, '__name__', field.type)}")
        for text in (self.name, self.file):
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
                raise ValueError(f"{text!r} is not a bare name")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError("sha256 must be 64 hexadecimal digits")

    @staticmethod
    def of(path: Path, name: str, licence: str, default: bool = False) -> "ManifestEntry":
        """The entry for the file at ``path`` as it is now."""
        data = path.read_bytes()
        return ManifestEntry(name, path.name, hashlib.sha256(data).hexdigest(), len(data), licence, default)

    def to_toml(self) -> str:
        """The table for ``manifest.toml``."""
        values = {_TOML_KEYS.get(field.name, field.name): getattr(self, field.name) for field in fields(self)}
        return "\n".join(["[[weights]]", *(f"{key} = {_toml(value)}" for key, value in values.items()), ""])

    def check(self, path: Path) -> None:
        """Raises ModelError unless the file at ``path`` has the size and the digest of this entry."""
        try:
            data = path.read_bytes() if path.stat().st_size == self.size else b""
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
        self.check_digest(path, len(data), hashlib.sha256(data).hexdigest())

    def check_digest(self, path: Path, size: int, sha256: str) -> None:
        """``check`` for contents that were read already."""
        if (size, sha256) != (self.size, self.sha256):
            raise ModelError(f"{path}: not the {self.name} that {MANIFEST} lists (sha256 differs); fetch it again")

    def matches(self, path: Path) -> bool:
        """Whether ``check`` passes."""
        with contextlib.suppress(ModelError):
            self.check(path)
            return True
        return False


def read_manifest(folder: Path) -> tuple[ManifestEntry, ...]:
    """The entries of ``folder/manifest.toml``, none where there is no such file.

    Raises ModelError where it is damaged.
    """
    path = folder / MANIFEST
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    items = table.get("weights", [])
    if set(table) - {"weights"} or not isinstance(items, list):
        raise ModelError(f"{path}: only [[weights]] tables are allowed")
    try:
        entries = tuple(
            ManifestEntry(**{_FIELD_NAMES.get(key, key): value for key, value in item.items()}) for item in items
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: {error}") from error
    if any(len({getattr(entry, key) for entry in entries}) < len(entries) for key in ("name", "file")):
        raise ModelError(f"{path}: a name or file is listed twice")
    if sum(entry.default for entry in entries) > 1:
        raise ModelError(f"{path}: more than one default")
    return entries


def _toml(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@dataclass(frozen=True)
class KnownWeights:
    """Weights with a name. ``path``: None where only the hub has them. ``entry``: None where no manifest lists them."""

    name: str
    path: Path | None
    entry: ManifestEntry | None
    default: bool

    @property
    def licence(self) -> str | None:
        """As listed."""
        return None if self.entry is None else self.entry.licence


def weights_dir() -> Path:
    """The shipped weights: inside the package in a wheel, beside it in a checkout or an editable install.

    Raises ModelError where neither exists.
    """
    package = Path(smarthdr_cli.__file__).resolve().parent
    for folder in (package / "_weights", package.parent / "weights"):
        if (folder / MANIFEST).is_file():
            return folder
    raise ModelError(f"{package}: no weights were installed with smarthdr; reinstall it, or give --weights PATH")


def shipped_dir() -> Path | None:
    """``weights_dir``, or None where no weights are installed."""
    with contextlib.suppress(ModelError):
        return weights_dir()
    return None


def home_dir() -> Path | None:
    """$SMARTHDR_HOME/weights, whether it exists or not; None without the variable."""
    home = os.environ.get(HOME_VARIABLE)
    return Path(home).expanduser() / "weights" if home else None


def weights_folders() -> list[Path]:
    """The existing folders in which names are searched, in order."""
    return [folder for folder in (home_dir(), shipped_dir()) if folder is not None and folder.is_dir()]


def find_weights(spec: str | Path | None = None) -> Path:
    """The file that ``spec`` means.

    A path (every Path, and text with a folder or the suffix in it) is a file, or a run folder with best.safetensors or
    model.safetensors. Other text is a name, None the default weights. Raises ModelError where there is no such file,
    where it differs from its manifest entry, and where it cannot be downloaded.
    """
    if isinstance(spec, Path) or (spec is not None and _is_path(spec)):
        return _resolve_path(Path(spec).expanduser())
    entries = _listed_entries()
    name = spec if spec is not None else _default_name(entries)
    path, entry = _look_up(name, entries)
    if path is not None:
        if entry is not None:
            entry.check(path)
        return path
    if entry is not None:
        return fetch(entry)
    raise unknown_weights(name)


def known_weights() -> list[KnownWeights]:
    """Every name that ``find_weights`` takes: listed names, then unlisted files in the searched folders."""
    entries = _listed_entries()
    default = next((entry.name for entry in entries.values() if entry.default), None)
    listed = [KnownWeights(name, *_look_up(name, entries), name == default) for name in entries]
    files = {entry.file for entry in entries.values()}
    unlisted = [path for folder in weights_folders() for path in sorted(folder.glob("*" + SUFFIX))]
    return listed + [KnownWeights(path.stem, path, None, False) for path in unlisted if path.name not in files]


def unknown_weights(name: str) -> ModelError:
    """The error for an unknown name."""
    hint = " (a file or folder needs a / or its suffix)" if Path(name).exists() else ""
    known = ", ".join(weights.name for weights in known_weights()) or "none"
    return ModelError(f"no weights are called {name!r}{hint}; known are {known}")


def fetch(entry: ManifestEntry) -> Path:
    """The file of ``entry`` in the hub's cache, downloaded where it is missing or damaged.

    A good cached copy is returned without any use of the network. Without a connection the client library tries for
    about 20 seconds. Raises ModelError without a repository, where the file is neither cached nor can be downloaded,
    and where it differs from the entry.
    """
    repository = hub.hub_repository()
    alternative = f"put {entry.file} into $SMARTHDR_HOME/weights, or give its path as --weights"
    if repository is None:
        variable = f"{hub.REPOSITORY_VARIABLE}=owner/name@revision"
        raise ModelError(f"{entry.name} is not on this machine: set {variable} to download it, or {alternative}")
    path = cached(entry)
    if path is None or not (hub.is_offline() or entry.matches(path)):
        remedy = f"run smarthdr models download {entry.name}"
        with hub.readable_hub_errors(entry.name, str(repository), entry.file, remedy, alternative):
            path = hub.download(repository.id, entry.file, repository.revision, force=path is not None)
    entry.check(path)
    return path


def cached(entry: ManifestEntry) -> Path | None:
    """The file of ``entry`` in the hub's cache, not checked; None where it is missing or no repository is set.

    Uses no network. Raises ModelError where the repository setting is invalid.
    """
    repository = hub.hub_repository()
    if repository is None:
        return None
    with hub.readable_hub_errors(entry.name, str(repository), entry.file, "", ""):
        return hub.cached_path(repository, entry.file)


def _is_path(spec: str) -> bool:
    return spec.endswith(SUFFIX) or any(mark in spec for mark in ("/", os.sep)) or spec in (".", "..")


def _resolve_path(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise ModelError(f"{path}: no such weights file")
    for name in RUN_FILES:
        if (path / name).is_file():
            return path / name
    raise ModelError(f"{path}: a folder without {' or '.join(RUN_FILES)}")


def _look_up(name: str, entries: dict[str, ManifestEntry]) -> tuple[Path | None, ManifestEntry | None]:
    """The first file called ``name`` and its entry: of its own folder's manifest, else of the first that lists it."""
    for folder in weights_folders():
        entry = next((e for e in read_manifest(folder) if e.name == name), None) or entries.get(name)
        path = folder / (entry.file if entry else name + SUFFIX)
        if path.is_file():
            return path, entry
    return None, entries.get(name)


def _listed_entries() -> dict[str, ManifestEntry]:
    """All entries by name; $SMARTHDR_HOME/weights comes before the shipped weights."""
    entries: dict[str, ManifestEntry] = {}
    for folder in weights_folders():
        for entry in read_manifest(folder):
            entries.setdefault(entry.name, entry)
    return entries


def _default_name(entries: dict[str, ManifestEntry]) -> str:
    for entry in entries.values():
        if entry.default:
            return entry.name
    weights_dir()  # raises where nothing was installed
    raise ModelError("no default weights are installed; give --weights PATH")
