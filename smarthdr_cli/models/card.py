"""The model card of a file of weights: markdown beside it, under its name."""

from pathlib import Path

from smarthdr_cli.errors import ModelError
from smarthdr_cli.models.manifest import read_manifest
from smarthdr_cli.models.weights import folders

SUFFIX = ".md"
MAX_BYTES = 1 << 20


def read_card(path: Path, sha256: str) -> str | None:
    """The card of the weights at ``path``, or None where there is none.

    A copy elsewhere (in the hub's cache) has the card of the listed file with the same ``sha256``. Raises ModelError
    for a card that is no text.
    """
    listed = (folder / entry.file for folder in folders() for entry in read_manifest(folder) if entry.sha256 == sha256)
    for weights in (path, *listed):
        card = weights.with_suffix(SUFFIX)
        if card.is_file():
            return _text(card)
    return None


def _text(card: Path) -> str:
    try:
        with card.open("rb") as file:
            return file.read(MAX_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{card}: cannot be read: {error}") from error
