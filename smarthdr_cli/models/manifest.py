"""``manifest.toml`` beside a folder of weights: what each file is called, and the sha256 it must have.

[[weights]]
name = "saf-base"
file = "saf-base.safetensors"
sha256 = "..."
bytes = 1234567
licence = "MIT"
default = true
"""

import hashlib
import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from smarthdr_cli.errors import ModelError

MANIFEST = "manifest.toml"
_KEYS = {"size": "bytes"}  # a field's name in the file, where it is another
_FIELDS = {key: field for field, key in _KEYS.items()}


@dataclass(frozen=True)
class Entry:
    """One file of weights: ``name`` is what ``--weights`` takes, ``file`` a bare file name, ``size`` in bytes.

    ``sha256`` is lower-case hex. Raises ValueError for values that are nothing of the kind.
    """

    name: str
    file: str
    sha256: str
    size: int  # "bytes" in the file
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
    def of(path: Path, name: str, licence: str, default: bool = False) -> "Entry":
        """The entry that lists the file at ``path`` as it is now."""
        data = path.read_bytes()
        return Entry(name, path.name, hashlib.sha256(data).hexdigest(), len(data), licence, default)

    def to_toml(self) -> str:
        """As ``manifest.toml`` holds it."""
        values = {_KEYS.get(field.name, field.name): getattr(self, field.name) for field in fields(self)}
        lines = [f"{key} = {_toml(value)}" for key, value in values.items()]
        return "\n".join(["[[weights]]", *lines, ""])

    def check(self, path: Path) -> None:
        """Raises ModelError unless the file at ``path`` is the one listed, byte for byte."""
        try:
            data = path.read_bytes() if path.stat().st_size == self.size else b""
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
        self.check_bytes(path, data)

    def check_bytes(self, path: Path, data: bytes) -> None:
        """The same for contents already read."""
        self.check_digest(path, len(data), hashlib.sha256(data).hexdigest())

    def check_digest(self, path: Path, size: int, sha256: str) -> None:
        """The same for contents of which only the size in bytes and the digest are known."""
        if (size, sha256) != (self.size, self.sha256):
            raise ModelError(f"{path}: not the {self.name} that {MANIFEST} lists (sha256 differs); fetch it again")


def read_manifest(folder: Path) -> tuple[Entry, ...]:
    """The entries of ``folder/manifest.toml``; none where there is no such file.

    Raises ModelError for a damaged one.
    """
    path = folder / MANIFEST
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    listed = table.get("weights", [])
    if set(table) - {"weights"} or not isinstance(listed, list):
        raise ModelError(f"{path}: only [[weights]] tables may stand in it")
    try:
        entries = tuple(Entry(**{_FIELDS.get(key, key): value for key, value in item.items()}) for item in listed)
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: {error}") from error
    if len({entry.name for entry in entries}) < len(entries) or len({entry.file for entry in entries}) < len(entries):
        raise ModelError(f"{path}: a name or file is listed twice")
    if sum(entry.default for entry in entries) > 1:
        raise ModelError(f"{path}: more than one default")
    return entries


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
