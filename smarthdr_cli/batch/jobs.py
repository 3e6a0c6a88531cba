"""Sets to jobs: the name of each set, the paths of its files, and checks that no two sets meet in one file."""

import os
import re
import string
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from smarthdr_cli.atomic import RESERVED_PREFIX
from smarthdr_cli.batch.batch_options import OutputFiles
from smarthdr_cli.errors import UsageError
from smarthdr_cli.grouping.group import BracketSet
from smarthdr_cli.grouping.header import Header
from smarthdr_cli.output.write import Role

FIELDS = ("first", "last", "stem", "date", "n", "camera")  # of a template
MAX_NAME_BYTES = 255  # of one part of a path, on common file systems
SUFFIX_BYTES = 40  # of these kept free for "-uncertainty.exr" and the like
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # datetime.fromtimestamp fails before it on some systems
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]+')


@dataclass(frozen=True)
class Job:
    """One set to be fused.

    ``name``: its path below the output folder without an ending, its key in the results. ``outputs``: role to path,
    the result last. ``camera``: make and model, "" where EXIF has neither. ``kind``: jpeg, png, tiff or raw.
    """

    name: str
    files: tuple[Path, ...]
    outputs: Mapping[Role, Path]
    camera: str = ""
    kind: str = ""
    ambiguous: bool = False
    reasons: tuple[str, ...] = ()

    @property
    def curve(self) -> str:
        """What one tone curve belongs to: a camera and the kind of file it writes."""
        return f"{self.camera} {self.kind}".strip()

    @property
    def result(self) -> Path:
        """The path of the HDR file."""
        return self.outputs["result"]


def make_jobs(
    sets: Sequence[BracketSet],
    out: Path,
    template: str,
    files: OutputFiles,
    headers: Mapping[Path, Header],
    shoot: Path | None = None,
) -> list[Job]:
    """A job for each set, in the order given; ``{n}`` counts them from 1.

    Sub-folders of ``shoot`` (without it: of the folder that holds all frames) are kept below ``out``. ``headers``: of
    the frames, where they could be read.
    Raises UsageError for unsafe names, and where two outputs, or an output and an input, are one file.
    """
    check_template(template)
    root = absolute(shoot) if shoot is not None else _common_folder(sets)
    digits = max(4, len(str(len(sets))))
    jobs = []
    for number, bracket in enumerate(sets, start=1):
        frames = bracket.frames
        header = headers.get(frames[0], Header(frames[0]))
        name = fill_template(template.replace("{n}", f"{{n:0{digits}}}"), {
            "first": frames[0].stem, "last": frames[-1].stem, "stem": bracket.name, "n": number,
            "date": _date(header.timestamp), "camera": header.model or "unknown",
        })  # fmt: skip
        folder = absolute(frames[0]).parent
        path = (folder.relative_to(root) if folder.is_relative_to(root) else Path()) / name
        if is_reserved(path):
            raise UsageError(
                f"{out / path}: names that begin with {RESERVED_PREFIX} are reserved for smarthdr; choose another "
                "--name"
            )
        if not real_path(out / path).parent.is_relative_to(real_path(out)):
            raise UsageError(f"{out / path} would be written outside {out}")
        jobs.append(
            Job(
                path.as_posix(), frames, files.paths(out / path), camera_name(header), header.kind,
                bracket.ambiguous, bracket.reasons,
            )
        )  # fmt: skip
    inputs = [absolute(path) for job in jobs for path in job.files]
    check_distinct([(job.name, absolute(path)) for job in jobs for path in job.outputs.values()], inputs)
    return jobs


def camera_name(header: Header) -> str:
    """Make and model, the make not twice; "" where EXIF has neither."""
    if header.model.lower().startswith(header.make.lower()):
        return header.model
    return f"{header.make} {header.model}".strip()


def _common_folder(sets: Sequence[BracketSet]) -> Path:
    """The deepest folder that holds all frames; links are not followed."""
    return Path(os.path.commonpath([absolute(path).parent for bracket in sets for path in bracket.frames]))


def _date(start: float | None) -> str:
    """YYYY-MM-DD on the camera's clock, or "undated"."""
    return "undated" if start is None else f"{_EPOCH + timedelta(seconds=start):%Y-%m-%d}"


def check_template(template: str) -> None:
    """Raises UsageError for a template with other fields than FIELDS, or with none that differs between sets."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UsageError(f"--name {template}: {error}") from error
    used = [field for _, field, _, _ in parts if field is not None]
    for _, field, spec, conversion in parts:
        if field is None:
            continue
        if field not in FIELDS or conversion:
            choices = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise UsageError(f"--name {template}: {{{field}}} is not known; use {choices}")
        if spec and (field != "n" or not re.fullmatch(r"0\d{1,2}d?", spec)):
            raise UsageError(f"--name {template}: only {{n}} takes a width, such as {{n:05}}")
    if not set(used) & {"first", "last", "stem", "n"}:
        raise UsageError(f"--name {template}: it needs {{first}}, {{last}}, {{stem}} or {{n}} to tell the sets apart")


def fill_template(template: str, values: Mapping[str, str | int]) -> str:
    """The name of one set, with / between folders; ``values`` has all of FIELDS, ``n`` a whole number.

    Values are made safe as parts of paths. Raises UsageError for an unsafe name, see ``check_name``.

    >>> fill_template("{camera}/{n:04}", dict.fromkeys(FIELDS, "") | {"camera": "A/B", "n": 7})
    'A_B/0007'
    """
    safe = {name: value if isinstance(value, int) else safe_part(value) for name, value in values.items()}
    name = string.Formatter().vformat(template, (), safe)
    check_name(name)
    return name


def safe_part(text: str) -> str:
    """``text`` as one part of a path: each run of characters that file systems reject becomes an underscore."""
    return _UNSAFE.sub("_", text).strip(" .") or "_"


def check_name(name: str) -> None:
    """Raises UsageError unless ``name`` is a relative path that stays below its folder and fits into file systems."""
    quoted = repr(name.encode(errors="backslashreplace").decode())
    for part in name.split("/"):
        if part in ("", ".", "..") or part != part.strip() or any(ord(char) < 32 or char in "\\\x7f" for char in part):
            raise UsageError(f"{quoted} is no safe name for an output: it must stay in its folder")
        if len(part.encode(errors="surrogateescape")) > MAX_NAME_BYTES - SUFFIX_BYTES:
            raise UsageError(f"{quoted} is too long a name for an output")


def check_distinct(outputs: Iterable[tuple[str, Path]], inputs: Iterable[Path]) -> None:
    """Raises UsageError where two outputs (set's name, path), or an output and an input, are one file.

    Names that differ only in case or in Unicode composition are one file on some systems and count as one.
    """
    input_keys = {_path_key(path) for path in inputs}
    owners: dict[str, str] = {}
    for owner, path in outputs:
        key = _path_key(path)
        if key in input_keys:
            raise UsageError(f"the output {path} of the set {owner} is also an input; choose another --name or folder")
        if key in owners:
            other = owners[key]
            sets = f"the sets {other} and {owner}" if other != owner else f"two outputs of the set {owner}"
            raise UsageError(f"{sets} would both be written to {path}; choose a --name that tells them apart")
        owners[key] = owner


def is_reserved(path: Path) -> bool:
    """Whether a part of ``path`` begins with RESERVED_PREFIX, as the files of a run do."""
    return any(_path_key(Path(part)).startswith(RESERVED_PREFIX) for part in path.parts)


def _path_key(path: Path) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()


def absolute(path: Path) -> Path:
    """``path`` from the root, without dots; links are not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def real_path(path: Path) -> Path:
    """``path`` with links followed; unlike Path.resolve() it does not raise on a loop of links."""
    return Path(os.path.realpath(path))
