"""Weights from the Hugging Face hub, when they are listed but not on this machine.

The repository is a setting with no default: SMARTHDR_HUB_REPO=owner/name@revision, the revision a full commit or a
version tag, never a branch. What arrives must have the sha256 the manifest lists, which the hub's library does not
check. HF_HOME, HF_HUB_OFFLINE and HF_ENDPOINT are honoured; the library reads them when imported, which is on the
first fetch.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from smarthdr_cli.errors import ModelError
from smarthdr_cli.models.manifest import Entry

SETTING = "SMARTHDR_HUB_REPO"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_REPO = re.compile(rf"({_PART}/{_PART})@(.+)")
_PINNED = re.compile(r"[0-9a-f]{40}|v?[0-9]+(\.[0-9A-Za-z_-]+)*")


class Repo(NamedTuple):
    """A repository on the hub at a pinned revision."""

    id: str
    revision: str

    def __str__(self) -> str:
        return f"{self.id}@{self.revision}"


def repo() -> Repo | None:
    """The repository the setting names, None where it is unset. Raises ModelError for one that pins no revision."""
    text = os.environ.get(SETTING, "").strip()
    if not text:
        return None
    match = _REPO.fullmatch(text)
    if not match or not _PINNED.fullmatch(match[2]):
        raise ModelError(
            f"{SETTING}={text}: must be owner/name@revision, the revision a 40-digit commit or a version tag"
        )
    return Repo(match[1], match[2])


def fetch(entry: Entry) -> Path:
    """The file of ``entry`` in the hub's cache, downloaded if it is not there yet.

    A cached copy is taken without a look at the network, and fetched anew where it is damaged. With no connection the
    hub's library tries for some 20 seconds. Raises ModelError without a repository, offline and not cached, on any
    failure of the download, and where the file is not the one listed.
    """
    source = repo()
    where = f"put {entry.file} into $SMARTHDR_HOME/weights, or give its path as --weights"
    if source is None:
        raise ModelError(
            f"{entry.name} is not on this machine: set {SETTING}=owner/name@revision to download it, or {where}"
        )
    from huggingface_hub import constants

    path = _cached(source, entry)
    if path is None or not (constants.HF_HUB_OFFLINE or _whole(path, entry)):
        with one_line(entry.name, str(source), entry.file, f"run smarthdr models download {entry.name}", where):
            path = download(source.id, entry.file, source.revision, again=path is not None)
    entry.check(path)
    return path


def cached(entry: Entry) -> Path | None:
    """Where the hub's cache has the file of ``entry``, unchecked; None without a repository. Never goes to the network.

    Raises ModelError for a setting that is no pinned repository.
    """
    source = repo()
    return None if source is None else _cached(source, entry)


def whole(entry: Entry) -> bool:
    """Whether the hub's cache has the file of ``entry``, byte for byte. Raises what ``cached`` raises."""
    path = cached(entry)
    return path is not None and _whole(path, entry)


def download(repository: str, file: str, revision: str | None, *, again: bool = False) -> Path:
    """A file of a repository in the hub's cache, fetched where it is not there, or in any case ``again``.

    Raises whatever the hub's library raises; see ``one_line``.
    """
    import huggingface_hub

    return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision, force_download=again))


@contextlib.contextmanager
def one_line(what: str, source: str, file: str, again: str, instead: str) -> Iterator[None]:
    """What the hub's library raises inside, as a ModelError of one line.

    ``what``: how the user knows the ``file``; ``source``: the repository; ``again``: what to do once it can be reached;
    ``instead``: what to do without it.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        yield
    except LocalEntryNotFoundError as error:
        if constants.HF_HUB_OFFLINE:
            problem, remedy = "HF_HUB_OFFLINE is set", "unset it"
        else:
            problem, remedy = f"{constants.ENDPOINT} cannot be reached", "connect"
        raise ModelError(f"{what} is not on this machine and {problem}: {remedy} and {again}, or {instead}") from error
    except HfHubHTTPError as error:
        status = f" (HTTP {error.response.status_code})" if error.response is not None else ""
        raise ModelError(f"{file} cannot be had from {source}{status}; {instead}") from error
    except (ValueError, OSError) as error:  # the library's own validation; the disk and the connection
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"{file} cannot be downloaded from {source}: {line}") from error


def _cached(source: Repo, entry: Entry) -> Path | None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    with one_line(entry.name, str(source), entry.file, "", ""), contextlib.suppress(LocalEntryNotFoundError):
        return Path(
            huggingface_hub.hf_hub_download(source.id, entry.file, revision=source.revision, local_files_only=True)
        )
    return None


def _whole(path: Path, entry: Entry) -> bool:
    try:
        entry.check(path)
    except ModelError:
        return False
    return True
