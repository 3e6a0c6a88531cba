"""List, verify, download and describe weights.

Listing loads no torch: a checkpoint states its network in its header. Verifying and describing build the network.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from smarthdr_cli.errors import ModelError
from smarthdr_cli.models.checkpoint import Header, load_model, read_header
from smarthdr_cli.models.weights import (
    KnownWeights,
    ManifestEntry,
    cached,
    fetch,
    find_weights,
    home_dir,
    known_weights,
    read_manifest,
    shipped_dir,
    unknown_weights,
    weights_folders,
)

if TYPE_CHECKING:
    from smarthdr_cli.models.uncertainty_calibration import Calibration

Place = Literal["home", "shipped", "hub cache"]
State = Literal["verified", "unlisted", "damaged", "absent"]
CARD_SUFFIX = ".md"
MAX_CARD_BYTES = 1 << 20


@dataclass(frozen=True)
class CatalogEntry:
    """One file of weights; what is unknown is None.

    ``state``: "verified" (its sha256 is the listed one), "unlisted" (in no manifest), "damaged" (``problem`` says how)
    or "absent" (listed, but not on this machine). ``size`` in bytes and ``sha256`` are those of the file, or the listed
    ones where it is absent.
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
        """For JSON; ``size`` is called "bytes"."""
        return {("bytes" if key == "size" else key): value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Download:
    """``fetched``: False where the file was on this machine already."""

    name: str
    path: Path
    fetched: bool


@dataclass(frozen=True)
class Description:
    """One file in full. ``parts``: parameters of each part of the network. ``config``: all settings with defaults.

    ``record`` and ``metrics`` as training stored them. ``calibration``: quantile, samples, number of knots and range of
    sigma, and the same as "eight_bit" where 8-bit files have their own curve. ``card``: markdown. None where missing.
    """

    item: CatalogEntry
    parts: dict[str, int]
    config: dict[str, Any]
    record: dict[str, Any]
    metrics: dict[str, Any]
    calibration: dict[str, Any] | None
    card: str | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the keys of ``item``, then one per field."""
        fields = ("parts", "config", "record", "metrics", "calibration", "card")
        return self.item.to_dict() | {name: getattr(self, name) for name in fields}


def list_weights() -> tuple[CatalogEntry, ...]:
    """Everything that ``--weights NAME`` takes. Uses no network.

    Raises ModelError for a damaged manifest and an invalid repository setting.
    """
    return tuple(_entry_of(weights) for weights in known_weights())


def list_verified() -> tuple[CatalogEntry, ...]:
    """``list_weights``, with the network of every file on this machine built and run."""
    return tuple(_verified(item) for item in list_weights())


def verify(names: Iterable[str | Path] = ()) -> tuple[CatalogEntry, ...]:
    """Recompute the sha256 of weights, then build and run their network.

    ``names``: names or paths as for ``find_weights``; none: all weights on this machine. Failures are returned as
    "damaged", files that only the hub has as "absent". Raises ModelError for an unknown name.
    """
    requested = list(names)
    if not requested:
        return tuple(item for item in list_verified() if item.path is not None)
    by_name = {weights.name: weights for weights in known_weights()}
    items = (
        _entry_of(by_name[name]) if isinstance(name, str) and name in by_name else find_entry(name)
        for name in requested
    )
    return tuple(_verified(item) for item in items)


def find_entry(spec: str | Path | None = None) -> CatalogEntry:
    """The entry of the file that ``find_weights`` returns for ``spec``. Downloads and raises as it does."""
    path = find_weights(spec)
    known = next((weights for weights in known_weights() if _local_path(weights) == path), None)
    if known is not None:
        return _entry_of(known)
    listed = next((entry for entry in read_manifest(path.parent) if entry.file == path.name), None)
    return _inspect(path.stem if listed is None else listed.name, path, listed, False, _place(path))


def download(names: Iterable[str] = ()) -> Iterator[Download]:
    """Bring weights onto this machine, one after another; without ``names`` all listed ones.

    Yields each when it is present and has the listed sha256. Raises ModelError for an unknown name (before the first
    download), without a repository, for a failed download, and where a damaged file hides the downloaded one.
    """
    known = {weights.name: weights for weights in known_weights()}
    requested = list(names) or [name for name, weights in known.items() if weights.entry is not None]
    for name in requested:
        if name not in known:
            raise unknown_weights(name)
    for name in requested:
        yield _downloaded(known[name])


def describe(spec: str | Path | None = None) -> Description:
    """The file that ``find_weights`` returns for ``spec``. Raises ModelError unless it is whole and loads."""
    from smarthdr_cli.models.base import config_to_dict

    item = find_entry(spec)
    assert item.path is not None
    model, checkpoint = load_model(item.path)
    parts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        parts[name.partition(".")[0]] += parameter.numel()
    calibration = checkpoint.calibration
    return Description(
        item=item,
        parts=dict(parts),
        config=config_to_dict(model.config),
        record=checkpoint.record,
        metrics=checkpoint.metrics,
        calibration=None if calibration is None else _summarise(calibration),
        card=read_card(item.path, checkpoint.sha256),
    )


def read_card(path: Path, sha256: str) -> str | None:
    """The model card of the weights at ``path``: the .md file beside them, else beside the listed file with ``sha256``.

    None where there is none. Raises ModelError for a card that is not UTF-8 text.
    """
    listed = (
        folder / entry.file for folder in weights_folders() for entry in read_manifest(folder) if entry.sha256 == sha256
    )
    for weights in (path, *listed):
        card = weights.with_suffix(CARD_SUFFIX)
        if card.is_file():
            try:
                with card.open("rb") as file:
                    return file.read(MAX_CARD_BYTES).decode("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ModelError(f"{card}: cannot be read: {error}") from error
    return None


def _downloaded(weights: KnownWeights) -> Download:
    if weights.path is not None:
        try:
            find_weights(weights.name)
        except ModelError as error:
            raise ModelError(
                f"{weights.path} is damaged and comes before anything downloaded; remove it, then download again"
            ) from error
        return Download(weights.name, weights.path, fetched=False)
    assert weights.entry is not None  # unlisted weights have a path
    before = cached(weights.entry)
    present = before is not None and weights.entry.matches(before)
    return Download(weights.name, fetch(weights.entry), fetched=not present)


def _local_path(weights: KnownWeights) -> Path | None:
    """The file on this machine, installed or in the hub's cache; its content is not read."""
    return cached(weights.entry) if weights.path is None and weights.entry is not None else weights.path


def _entry_of(weights: KnownWeights) -> CatalogEntry:
    name, entry, path = weights.name, weights.entry, _local_path(weights)
    if path is not None:
        return _inspect(name, path, entry, weights.default, "hub cache" if weights.path is None else _place(path))
    assert entry is not None  # unlisted weights have a path
    return CatalogEntry(
        name, "absent", weights.default, size=entry.size, licence=entry.licence, sha256=entry.sha256,
        problem=f"{name} is not on this machine: smarthdr models download {name}",
    )  # fmt: skip


def _inspect(name: str, path: Path, entry: ManifestEntry | None, default: bool, place: Place | None) -> CatalogEntry:
    """The entry of an existing file: its digest and its header are read."""
    state: State = "unlisted" if entry is None else "verified"
    header: Header | None = None
    sha256 = problem = size = None
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if entry is not None:
            entry.check_digest(path, size, sha256)
        header = read_header(path)
    except ModelError as error:
        state, problem = "damaged", str(error)
    except OSError as error:
        state, problem = "damaged", f"{path}: cannot be read: {error.strerror}"
    licence = None if header is None else header.description["licence"] or None
    return CatalogEntry(
        name, state, default,
        network=None if header is None else header.network,
        parameters=None if header is None else header.parameters,
        size=size, licence=licence if entry is None else entry.licence,
        sha256=sha256, place=place, path=path, problem=problem,
    )  # fmt: skip


def _place(path: Path) -> Place | None:
    if path.parent == home_dir():
        return "home"
    return "shipped" if path.parent == shipped_dir() else None


def _verified(item: CatalogEntry) -> CatalogEntry:
    """``item`` with its network built and run, unless it is absent or damaged already."""
    if item.path is None or item.state == "damaged":
        return item
    try:
        load_model(item.path)
    except ModelError as error:
        return replace(item, state="damaged", problem=str(error))
    return item


def _summarise(calibration: "Calibration") -> dict[str, Any]:
    summary: dict[str, Any] = {
        "quantile": calibration.quantile, "samples": calibration.samples, "knots": len(calibration.raw),
        "lowest": calibration.calibrated[0], "highest": calibration.calibrated[-1],
    }  # fmt: skip
    eight_bit = calibration.eight_bit
    return summary if eight_bit is None else summary | {"eight_bit": _summarise(eight_bit)}
