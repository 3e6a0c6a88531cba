"""The files of an evaluation, each whole or not there."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from smarthdr_cli.atomic import atomic_file, check_targets
from smarthdr_cli.errors import OutputError
from smarthdr_cli.evaluate import sheet, tables
from smarthdr_cli.evaluate.evaluate import Evaluation

RESULTS, TABLE, SHEET, PLOT = "results.json", "table.md", "sheet.png", "sparsification.png"


@contextlib.contextmanager
def results_folder(folder: Path, *, overwrite: bool) -> Iterator[None]:
    """Makes ``folder`` and sees to it that its files can be written; a folder made for nothing is removed again.

    Raises OutputError for files that exist (without ``overwrite``) or a folder that refuses them.
    """
    try:
        made = not folder.exists()
        if not made and not folder.is_dir():
            raise OutputError(f"{folder} is a file, not a folder for the results")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {(error.strerror or str(error)).lower()}") from error
    try:
        check_targets([folder / name for name in (RESULTS, TABLE, SHEET, PLOT)], overwrite)
        yield
    except BaseException:
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def write_evaluation(found: Evaluation, folder: Path, *, overwrite: bool) -> list[Path]:
    """Writes the four files and returns their paths. Raises OutputError."""
    data = json.dumps(tables.results(found), indent=1, allow_nan=False) + "\n"
    pictures = {SHEET: found.rows, PLOT: [tables.sparsification_plot(found)]}
    for name, text in ((RESULTS, data), (TABLE, tables.markdown(found))):
        with atomic_file(folder / name, overwrite=overwrite) as partial:
            partial.write_text(text, encoding="utf-8")
    for name, rows in pictures.items():
        with atomic_file(folder / name, overwrite=overwrite) as partial:
            sheet.save(partial, rows)
    return [folder / name for name in (RESULTS, TABLE, SHEET, PLOT)]
