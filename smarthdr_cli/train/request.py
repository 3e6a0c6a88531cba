"""Which data a run on scenes is on, and the file by which its folder remembers."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.data.splits import Split
from smarthdr_cli.errors import InputError

RUN = "run.json"  # what a run's folder remembers of its data


@dataclass(frozen=True)
class Request:
    """Which data a run is on. ``data`` None: the benchmark that training makes for itself.

    ``labeled``: how many scenes keep their ground truth, or their names, or None for all. ``unlabeled``: folders of
    bursts without ground truth. ``epochs``: passes over the labelled and then over the unlabelled crops, in place of
    iterations.
    """

    data: str | None = None
    panoramas: str | None = None
    labeled: int | tuple[str, ...] | None = None
    unlabeled: tuple[str, ...] = ()
    epochs: tuple[int, int] | None = None

    def save(self, folder: Path, split: Split | None = None) -> None:
        """Remember it in the run's folder, with which scenes came out of it."""
        folder.mkdir(parents=True, exist_ok=True)
        drawn = {} if split is None else {"split": split.to_dict()}
        with atomic_file(folder / RUN, overwrite=True) as partial:
            partial.write_text(json.dumps(asdict(self) | drawn, indent=1))

    @staticmethod
    def load(folder: Path) -> "Request":
        """What a run's folder remembers. Raises InputError where that is not to be had."""
        try:
            values = json.loads((folder / RUN).read_text())
            labeled, epochs = values["labeled"], values["epochs"]
            return Request(
                values["data"], values["panoramas"], tuple(labeled) if isinstance(labeled, list) else labeled,
                tuple(values["unlabeled"]), None if epochs is None else (int(epochs[0]), int(epochs[1])),
            )  # fmt: skip
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(f"{folder / RUN}: not the record of a run on scenes ({error})") from error
