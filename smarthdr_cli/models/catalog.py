"""Every file of weights that is known by name: what it is, where it lies, whether it is the one listed.

Listing loads no torch: a checkpoint says what it is in the head of its file. Verifying does, for it fills the network.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from smarthdr_cli.errors import ModelError
from smarthdr_cli.models import hub
from smarthdr_cli.models.header import Header, read_header
from smarthdr_cli.models.manifest import Entry, read_manifest
from smarthdr_cli.models.weights import Available, available, find_weights, home_dir, shipped_dir, unknown

Place = Literal["home", "shipped", "hub cache"]
State = Literal["verified", "unlisted", "damaged", "absent"]


@dataclass(frozen=True)
class Item:
    """One name. ``size`` in bytes, ``sha256`` of the file, or of the one to be had where it is "absent".

    ``state``: "verified" (byte for byte the one listed), "unlisted" (in no manifest: nothing to compare it with),
    "damaged" (``problem`` says how) or "absent" (listed, and not on this machine). What is not known is None.
    """

    name: str
    state: State
    default: bool = False
    network: str | None = None
    parameters: int | None = None
    size: int | None = None
    licence: str | None = None
    sha256: str | None = None
    place: Place | None = None
    path: Path | None = None
    problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; ``size`` is called "bytes"."""
        values = asdict(self)
        return {("bytes" if key == "size" else key): value for key, value in values.items()}


def inventory() -> tuple[Item, ...]:
    """Everything ``--weights NAME`` knows: listed in a manifest, then other files in $SMARTHDR_HOME/weights.

    The hub's cache is looked into where a repository is set; nothing is fetched. Raises ModelError for a damaged
    manifest and for a setting that is no pinned repository.
    """
    return tuple(_item(known) for known in available())


def checked() -> tuple[Item, ...]:
    """``inventory()``, with every network that is on this machine built and filled. Raises ModelError as it does."""
    return tuple(_loaded(item) for item in inventory())


def verify(names: Iterable[str | Path] = ()) -> tuple[Item, ...]:
    """The sha256 recomputed, the network built and filled with every tensor, for each of ``names``.

    Names or paths, as ``find_weights`` takes them; none: all that are on this machine. What fails comes back as
    "damaged", or "absent" where the hub would have to be asked. Raises ModelError for a name that nobody knows.
    """
    wanted = list(names)
    if not wanted:
        return tuple(item for item in checked() if item.path is not None)
    found = {item.name: item for item in inventory()}
    return tuple(_loaded(found[name] if isinstance(name, str) and name in found else seen(name)) for name in wanted)


def seen(spec: str | Path | None = None) -> Item:
    """What ``find_weights`` finds for a name or a path, fetched where it has to be. Raises ModelError as it does."""
    path = find_weights(spec)
    known = next((item for item in inventory() if item.path == path), None)
    if known is not None:
        return known
    listed = next((entry for entry in read_manifest(path.parent) if entry.file == path.name), None)
    return _seen(path.stem if listed is None else listed.name, path, listed, False, _place(path))


@dataclass(frozen=True)
class Download:
    """``fetched``: False where the file was on this machine already."""

    name: str
    path: Path
    fetched: bool


def download(names: Iterable[str] = ()) -> Iterator[Download]:
    """See to it that the weights are on this machine, one after another; without ``names`` all that are listed.

    Yields each as it is there and has the sha256 listed. Raises ModelError for names not listed, without a repository
    (SMARTHDR_HUB_REPO), for whatever the download fails by, and where a damaged file would hide the one fetched.
    """
    known = {one.name: one for one in available()}
    wanted = list(names) or [name for name, one in known.items() if one.entry is not None]
    for name in wanted:
        if name not in known:
            raise unknown(name)
    for name in wanted:
        yield _fetched(known[name])


def _fetched(known: Available) -> Download:
    if known.path is not None:
        try:
            find_weights(known.name)
        except ModelError as error:
            raise ModelError(
                f"{known.path} is damaged and comes before anything downloaded; remove it, then download again"
            ) from error
        return Download(known.name, known.path, fetched=False)
    assert known.entry is not None  # what is not listed is known by being there
    before = hub.whole(known.entry)
    return Download(known.name, hub.fetch(known.entry), fetched=not before)


def _item(known: Available) -> Item:
    if known.path is not None:
        return _seen(known.name, known.path, known.entry, known.default, _place(known.path))
    entry = known.entry
    assert entry is not None  # what is not listed is known by being there
    path = hub.cached(entry)
    if path is not None:
        return _seen(known.name, path, entry, known.default, "hub cache")
    return Item(
        known.name, "absent", known.default, size=entry.size, licence=entry.licence, sha256=entry.sha256,
        problem=f"{known.name} is not on this machine: smarthdr models download {known.name}",
    )  # fmt: skip


def _seen(name: str, path: Path, entry: Entry | None, default: bool, place: Place | None) -> Item:
    """What a file turns out to be."""
    state: State = "unlisted" if entry is None else "verified"
    head: Header | None = None
    sha256 = problem = None
    size = None
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if entry is not None:
            entry.check_digest(path, size, sha256)
        head = read_header(path)
    except ModelError as error:
        state, problem = "damaged", str(error)
    except OSError as error:
        state, problem = "damaged", f"{path}: cannot be read: {error.strerror}"
    return Item(
        name, state, default,
        network=None if head is None else head.network,
        parameters=None if head is None else head.parameters,
        size=size,
        licence=entry.licence if entry is not None else None if head is None else head.description["licence"] or None,
        sha256=sha256, place=place, path=path, problem=problem,
    )  # fmt: skip


def _place(path: Path) -> Place | None:
    """Which of the places searched by name the file lies in."""
    if path.parent == home_dir():
        return "home"
    return "shipped" if path.parent == shipped_dir() else None


def _loaded(item: Item) -> Item:
    """``item``, its network built and filled, which an "absent" or "damaged" one need not try."""
    if item.path is None or item.state == "damaged":
        return item
    from smarthdr_cli.models.load import load_model

    try:
        load_model(item.path)
    except ModelError as error:
        return replace(item, state="damaged", problem=str(error))
    return item
