"""Sets into jobs: what each is called, where its files go, and that no two get in each other's way."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from smarthdr_cli.atomic import RESERVED_PREFIX
from smarthdr_cli.batch.names import absolute, check_distinct, check_template, fill, is_reserved, real_path
from smarthdr_cli.batch.settings import Settings
from smarthdr_cli.errors import UsageError
from smarthdr_cli.grouping.group import BracketSet
from smarthdr_cli.grouping.header import Header

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # not every system's clock counts from before it


@dataclass(frozen=True)
class Job:
    """One set to be done.

    ``name``: its path below the output folder, without an ending; its key in the results. ``outputs``: role to path,
    the result last. ``camera``: make and model, "" where EXIF has none. ``kind``: jpeg, png, tiff or raw.
    """

    name: str
    files: tuple[Path, ...]
    outputs: Mapping[str, Path]
    camera: str = ""
    kind: str = ""
    ambiguous: bool = False
    reasons: tuple[str, ...] = ()

    @property
    def curve(self) -> str:
        """What one curve belongs to: a camera, and the kind of file it writes."""
        return f"{self.camera} {self.kind}".strip()

    @property
    def result(self) -> Path:
        """The picture itself."""
        return self.outputs["result"]


def make_jobs(
    sets: Sequence[BracketSet],
    out: Path,
    template: str,
    settings: Settings,
    headers: Mapping[Path, Header],
    shoot: Path | None = None,
) -> list[Job]:
    """A job for each set, in the order given.

    Sub-folders of ``shoot`` (without it: of the folder all frames are in) are kept below ``out``. ``headers``: what the
    frames say, as far as it is known. ``{n}`` counts the sets from 1.
    Raises UsageError for unsafe names, and where two outputs, or an output and an input, are one file.
    """
    check_template(template)
    home = absolute(shoot) if shoot is not None else _common(sets)
    width = max(4, len(str(len(sets))))
    jobs = []
    for number, found in enumerate(sets, start=1):
        head = headers.get(found.frames[0], Header(found.frames[0]))
        name = fill(template.replace("{n}", f"{{n:0{width}}}"), {
            "first": found.frames[0].stem, "last": found.frames[-1].stem, "stem": found.name, "n": number,
            "date": _date(head.timestamp), "camera": head.model or "unknown",
        })  # fmt: skip
        folder = absolute(found.frames[0]).parent
        below = folder.relative_to(home) if folder.is_relative_to(home) else Path()
        base = out / below / name
        if is_reserved(below / name):
            raise UsageError(
                f"{base}: names that begin with {RESERVED_PREFIX} are smarthdr's own; choose another --name"
            )
        if not real_path(base).parent.is_relative_to(real_path(out)):
            raise UsageError(f"{base} would be written outside {out}")
        jobs.append(
            Job(
                (below / name).as_posix(), found.frames, settings.writing.paths(base),
                camera_name(head), head.kind, found.ambiguous, found.reasons,
            )
        )  # fmt: skip
    inputs = [absolute(path) for job in jobs for path in job.files]
    check_distinct([(job.name, absolute(p)) for job in jobs for p in job.outputs.values()], inputs)
    return jobs


def camera_name(head: Header) -> str:
    """Make and model in one, the make not twice; "" where EXIF has neither."""
    return head.model if head.model.lower().startswith(head.make.lower()) else f"{head.make} {head.model}".strip()


def _common(sets: Sequence[BracketSet]) -> Path:
    """The folder all frames are in, however deep. Links are not followed: the names given are the names meant."""
    return Path(os.path.commonpath([absolute(path).parent for found in sets for path in found.frames]))


def _date(start: float | None) -> str:
    """YYYY-MM-DD on the camera's clock, or "undated"."""
    return "undated" if start is None else f"{_EPOCH + timedelta(seconds=start):%Y-%m-%d}"
