"""Names of outputs by template, and what no name may do: leave the folder, or stand for two sets."""

import os
import re
import string
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from smarthdr_cli.atomic import RESERVED_PREFIX
from smarthdr_cli.errors import UsageError

FIELDS = ("first", "last", "stem", "date", "n", "camera")
DEFAULT = "{first}-{last}"
MAX_BYTES = 255  # of one part of a path, as common file systems have it
_UNFIT = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]+')


def check_template(template: str) -> None:
    """Raises UsageError for a template with other fields than FIELDS, or one that names every set alike."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UsageError(f"--name {template}: {error}") from error
    used = [field for _, field, _, _ in parts if field is not None]
    for _, field, spec, conversion in parts:
        if field is None:
            continue
        if field not in FIELDS or conversion:
            known = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise UsageError(f"--name {template}: {{{field}}} is not known; use {known}")
        if spec and (field != "n" or not re.fullmatch(r"0\d{1,2}d?", spec)):
            raise UsageError(f"--name {template}: only {{n}} takes a width, such as {{n:05}}")
    if not set(used) & {"first", "last", "stem", "n"}:
        raise UsageError(f"--name {template}: it needs {{first}}, {{last}}, {{stem}} or {{n}} to tell the sets apart")


def fill(template: str, values: Mapping[str, str | int]) -> str:
    """The name of one set, with / between folders; ``values`` has every one of FIELDS, ``n`` a whole number.

    Values are made fit for file names; the template's own folders are kept. Raises UsageError for a name that is
    empty, absolute, leads out of its folder, or is longer than file systems take.
    """
    fit = {name: value if isinstance(value, int) else fit_part(value) for name, value in values.items()}
    name = string.Formatter().vformat(template, (), fit)
    check_name(name)
    return name


def check_name(name: str) -> None:
    """Raises UsageError unless ``name`` is a relative path that stays where it is put."""
    shown = name.encode(errors="backslashreplace").decode()
    for part in name.split("/"):
        if part in ("", ".", "..") or part != part.strip() or any(ord(mark) < 32 or mark in "\\\x7f" for mark in part):
            raise UsageError(f"{shown!r} is no safe name for an output: it must stay in its folder")
        if len(part.encode(errors="surrogateescape")) > MAX_BYTES - 40:  # room for a suffix
            raise UsageError(f"{shown!r} is too long a name for an output")


def check_distinct(outputs: Iterable[tuple[str, Path]], inputs: Iterable[Path]) -> None:
    """Refuse outputs (set's name, path) that are one file, or an input, before any work starts.

    Names that differ only in case or in how Unicode is composed are one file on some systems and count as one here.
    Raises UsageError.
    """
    sources = {_key(path) for path in inputs}
    seen: dict[str, tuple[str, Path]] = {}
    for owner, path in outputs:
        key = _key(path)
        if key in sources:
            raise UsageError(f"the output {path} of the set {owner} is also an input; choose another --name or folder")
        if key in seen:
            other = seen[key][0]
            sets = f"the sets {other} and {owner}" if other != owner else f"two outputs of the set {owner}"
            raise UsageError(f"{sets} would both be written to {path}; choose a --name that tells them apart")
        seen[key] = (owner, path)


def absolute(path: Path) -> Path:
    """``path`` from the root, without dots; links are not followed: the name given is the name meant."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def real_path(path: Path) -> Path:
    """Where ``path`` leads, links followed; unlike Path.resolve() it does not raise on a loop of links."""
    return Path(os.path.realpath(path))


def is_reserved(path: Path) -> bool:
    """Whether a part of ``path`` has a name that is kept for a run's own files."""
    return any(_key(Path(part)).startswith(RESERVED_PREFIX) for part in path.parts)


def _key(path: Path) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()


def fit_part(value: str) -> str:
    """``value`` without what file names cannot hold; a run of it becomes one underscore."""
    return _UNFIT.sub("_", value).strip(" .") or "_"
