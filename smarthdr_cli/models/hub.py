"""Files of a pinned repository on the Hugging Face hub.

The repository is a setting without a default: SMARTHDR_HUB_REPO=owner/name@revision, where the revision is a full
commit or a version tag, never a branch. The client library honours HF_HOME, HF_HUB_OFFLINE and HF_ENDPOINT; it reads
them when it is imported, which is on first use. It does not check digests: callers do.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from smarthdr_cli.errors import ModelError

REPOSITORY_VARIABLE = "SMARTHDR_HUB_REPO"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_REPOSITORY = re.compile(rf"({_NAME}/{_NAME})@(.+)")
_PINNED_REVISION = re.compile(r"[0-9a-f]{40}|v?[0-9]+(\.[0-9A-Za-z_-]+)*")


class HubRepository(NamedTuple):
    """A repository at a pinned revision."""

    id: str
    revision: str

    def __str__(self) -> str:
        return f"{self.id}@{self.revision}"


def hub_repository() -> HubRepository | None:
    """The repository that the environment names, None where it names none.

    Raises ModelError where the value has another form or pins no revision.
    """
    text = os.environ.get(REPOSITORY_VARIABLE, "").strip()
    if not text:
        return None
    match = _REPOSITORY.fullmatch(text)
    if not match or not _PINNED_REVISION.fullmatch(match[2]):
        form = "owner/name@revision, the revision a 40-digit commit or a version tag"
        raise ModelError(f"{REPOSITORY_VARIABLE}={text}: must be {form}")
    return HubRepository(match[1], match[2])


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def download(repository: str, file: str, revision: str | None, *, force: bool = False) -> Path:
    """The path of ``file`` in the hub's cache; downloaded where it is missing, or always under ``force``.

    Raises what the client library raises; see ``readable_hub_errors``.
    """
    import huggingface_hub

    return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision, force_download=force))


def cached_path(repository: HubRepository, file: str) -> Path | None:
    """The path of ``file`` in the hub's cache, not checked; None where it is missing. Uses no network."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    with contextlib.suppress(LocalEntryNotFoundError):
        return Path(
            huggingface_hub.hf_hub_download(repository.id, file, revision=repository.revision, local_files_only=True)
        )
    return None


@contextlib.contextmanager
def readable_hub_errors(label: str, source: str, file: str, remedy: str, alternative: str) -> Iterator[None]:
    """Turns errors of the client library into a ModelError of one line.

    ``label``: what the user calls the ``file``. ``source``: the repository. ``remedy``: what to do once the hub can be
    reached. ``alternative``: what to do without it.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        yield
    except LocalEntryNotFoundError as error:
        if constants.HF_HUB_OFFLINE:
            problem, step = "HF_HUB_OFFLINE is set", "unset it"
        else:
            problem, step = f"{constants.ENDPOINT} cannot be reached", "connect"
        raise ModelError(
            f"{label} is not on this machine and {problem}: {step} and {remedy}, or {alternative}"
        ) from error
    except HfHubHTTPError as error:
        status = f" (HTTP {error.response.status_code})" if error.response is not None else ""
        raise ModelError(f"{source} does not provide {file}{status}; {alternative}") from error
    except (ValueError, OSError) as error:  # the library's own validation; the disk and the connection
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"{file} cannot be downloaded from {source}: {line}") from error
