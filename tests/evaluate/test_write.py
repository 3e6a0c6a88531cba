"""The files of an evaluation: all of them, whole, in a folder that is made and unmade as it should be."""

import json
from pathlib import Path

import cv2
import pytest

from smarthdr_cli.errors import OutputError
from smarthdr_cli.evaluate import evaluate, tables, write
from smarthdr_cli.evaluate.methods import Computation

NAMES = {"results.json", "table.md", "sheet.png", "sparsification.png"}


def test_the_files(made: Path, weights: Path, tmp_path: Path) -> None:
    options = evaluate.EvaluateOptions(scenes=1, rivals=(), how=Computation("cpu", "fp32", "none"))
    found = evaluate.evaluate(evaluate.plan([str(weights)], made, options))
    out = tmp_path / "results" / "first"
    with write.results_folder(out, overwrite=False):
        paths = write.write_evaluation(found, out, overwrite=False)
    assert {path.name for path in out.iterdir()} == NAMES == {path.name for path in paths}
    assert json.loads((out / "results.json").read_text()) == json.loads(json.dumps(tables.results(found)))
    assert (out / "table.md").read_text() == tables.markdown(found)
    sheet = cv2.imread(str(out / "sheet.png"))[..., ::-1]
    assert (sheet == found.rows[0]).all()
    assert (cv2.imread(str(out / "sparsification.png"))[..., ::-1] == tables.sparsification_plot(found)).all()
    with pytest.raises(OutputError, match="exists already"), write.results_folder(out, overwrite=False):
        pass
    with write.results_folder(out, overwrite=True):
        write.write_evaluation(found, out, overwrite=True)


def test_a_folder_made_for_nothing_goes_again(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()

    def interrupted(folder: Path) -> None:
        with write.results_folder(folder, overwrite=False):
            assert folder.is_dir()
            raise KeyboardInterrupt

    for folder in (there, tmp_path / "new"):
        with pytest.raises(KeyboardInterrupt):
            interrupted(folder)
    assert there.is_dir()
    assert not (tmp_path / "new").exists()


def test_what_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, said in (("file", "not a folder"), ("file/below", "cannot write"), ("x" * 300, "too long")):
        with pytest.raises(OutputError, match=said), write.results_folder(tmp_path / path, overwrite=False):
            pass
