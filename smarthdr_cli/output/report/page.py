"""Fill the templates and write the pages."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import jinja2

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output.metadata import SOFTWARE
from smarthdr_cli.output.report.contents import Contents, collect
from smarthdr_cli.output.write_options import Look

_TEMPLATES = Path(__file__).parent / "templates"
_END = b"</html>\n"
_THUMBNAIL = '<link rel="icon" href="'  # of a page, as its icon; the index reads it back
_MAX_HEAD = 1 << 17  # characters; the thumbnail stands within them


@dataclass(frozen=True)
class IndexEntry:
    """A set in the index of a batch.

    ``status``: ok, skipped, failed or ambiguous. ``page``, ``thumbnail``: link and data: URI, None without a page.
    ``uncertainty``: mean. ``seconds``: of all stages. ``problem``: why there is no result. ``warnings``: notes.
    """

    name: str
    status: str
    page: str | None = None
    thumbnail: str | None = None
    uncertainty: float | None = None
    seconds: float | None = None
    problem: str = ""
    warnings: tuple[str, ...] = ()


def write_report(
    result: FusionResult, path: Path, *, look: Look = "natural", preview_ev: float = 0.0, overwrite: bool = False
) -> list[str]:
    """Write the page of ``result``, titled by the file's name; there are no notes.

    ``look``, ``preview_ev``: of the tone-mapped picture.
    Raises OutputError where the pixels are not finite or the file cannot be written.
    """
    write_page(collect(result, look, preview_ev), path, path.stem, overwrite=overwrite)
    return []


def write_page(contents: Contents, path: Path, title: str, *, overwrite: bool = False) -> None:
    """Write the page of a fusion. Raises OutputError."""
    text = _environment().get_template("fusion.html").render(title=title, contents=contents, software=SOFTWARE)
    _write(text, path, overwrite)


def write_index(entries: Sequence[IndexEntry], path: Path, title: str) -> None:
    """Write the index of a batch, failures first; replaces an earlier one. Raises OutputError."""
    rank = {"failed": 0, "ambiguous": 1}
    ordered = sorted(entries, key=lambda entry: rank.get(entry.status, 2))
    _write(
        _environment().get_template("index.html").render(title=title, entries=ordered, software=SOFTWARE), path, True
    )


def read_thumbnail(path: Path) -> str | None:
    """The thumbnail of a page as a data: URI; None for a file that is no page of a fusion or cannot be read."""
    try:
        with path.open(encoding="utf-8") as file:
            _, found, rest = file.read(_MAX_HEAD).partition(_THUMBNAIL)
    except (OSError, UnicodeDecodeError):
        return None
    uri, end, _ = rest.partition('"')
    return uri if found and end and uri.startswith("data:image/jpeg;base64,") else None


def is_intact(path: Path) -> bool:
    """Whether the page is there to its end."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_END)))
        return file.read() == _END


def _write(text: str, path: Path, overwrite: bool) -> None:
    with atomic_file(path, overwrite=overwrite, is_as_written=is_intact) as temporary:
        temporary.write_bytes(text.encode(errors="backslashreplace"))


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["ev"] = _signed_ev
    environment.filters["link"] = _link
    return environment


def _signed_ev(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}".replace("-", "−")


def _link(path: str) -> str:
    return quote(path, errors="surrogateescape")
