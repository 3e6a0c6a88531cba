"""The report: words and figures of an evaluation made by hand, and its files."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from smarthdr_cli.errors import OutputError
from smarthdr_cli.evaluate import evaluate, figures, report, uncertainty_metrics
from smarthdr_cli.evaluate.methods import EvaluatedCheckpoint, FusionSettings
from smarthdr_cli.evaluate.tables import cell

KEYS = ("scale", "psnr_mu", "psnr_l", "ssim_mu", "ssim_l", "pu21",
        "psnr_mu_moving", "psnr_l_moving", "psnr_mu_clipped", "psnr_l_clipped")  # fmt: skip
NAN = float("nan")


def make_scores(value: float, jod: float | None = None) -> dict[str, Any]:
    scores: dict[str, Any] = {"published": dict.fromkeys(KEYS, value), "fitted": dict.fromkeys(KEYS, value + 5)}
    return scores | {"seconds": 1.5} | ({} if jod is None else {"jod": jod})


def scene_record(**changes: Any) -> dict[str, Any]:
    record = {"split": "test", "encoding": "gamma2.2", "size": [96, 64], "evs": [-2.0, 0.0, 2.0], "moving": 0.2,
           "moving_from": "moving.png", "clipped": 0.1}  # fmt: skip
    return record | changes


def make_evaluation(scaling: Any = "published", **options: Any) -> evaluate.Evaluation:
    checkpoints = tuple(
        EvaluatedCheckpoint(name, Path(f"/secret/{name}"), {"file": name}) for name in ("mine", "other")
    )
    plan = evaluate.EvaluationPlan(
        Path("/secret/set"), checkpoints, (), evaluate.EvaluateOptions(**options), scaling, "cpu"
    )
    evaluation = evaluate.Evaluation(plan, "ab" * 32)
    for scene, level in (("001", 30.0), ("002", 32.0)):
        jods = (9.0, 9.5, 8.0) if options.get("cvvdp") else (None,) * 3
        evaluation.scores[scene] = {
            "mine": make_scores(level, jods[0]),
            "other": make_scores(level + 1, jods[1]),
            "static": make_scores(level - 2, jods[2]),
        }
        evaluation.about[scene] = scene_record()
    evaluation.scores["002"]["mine"]["published"]["psnr_mu_moving"] = NAN
    rng = np.random.default_rng(0)
    for name in ("mine", "other"):
        sigma = rng.uniform(0.01, 0.1, 500)
        error = np.abs(rng.normal(0, sigma))
        evaluation.uncertainty[name] = (
            uncertainty_metrics.sparsification(error, sigma),
            uncertainty_metrics.coverage(error, sigma),
        )
    return evaluation


def table_cells(text: str) -> dict[str, list[list[str]]]:
    """The cells of every table's rows by their first cell."""
    cells_of_row: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| :--"):
            first, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            cells_of_row.setdefault(first, []).append(cells)
    return cells_of_row


def test_the_tables_have_means_intervals_and_differences() -> None:
    text = report.markdown(make_evaluation())
    cells = table_cells(text)
    assert cells["mine"][0] == (
        ["31.00", "[30.00, 32.00]", "31.00", "31.0000", "31.0000", "31.00", "36.00", "–", "–", "1.50"]
    )
    assert cells["other"][0][7:9] == ["+1.00", "[+1.00, +1.00]"]
    assert cells["our static merge"][0][7] == "-2.00"
    assert cells["mine"][1] == ["30.00", "31.00", "31.00", "31.00"]  # the scene without moving pixels does not count
    assert cells["001"][0] == ["30.00", "31.00", "28.00"]
    assert text.startswith("# mine on 2 test scenes of set, published protocol\n")
    assert "nothing rescaled" in text
    assert "abab" in text
    assert "PSNR-μ fitted" in text
    assert text.count("AUSE") == 2
    assert text.endswith("|\n")
    assert "secret" not in text


def test_a_fitted_report_states_its_protocol_and_has_the_published_column() -> None:
    text = report.markdown(make_evaluation("fitted", split="all"))
    assert table_cells(text)["mine"][0][0] == "36.00"
    assert table_cells(text)["mine"][0][6] == "31.00"
    assert "PSNR-μ published" in text
    assert "one scale per scene and method" in text
    assert "capped at 50 dB a scene" in text
    assert text.startswith("# mine on 2 scenes of set, fitted protocol\n")


def test_jod_has_a_column_where_requested() -> None:
    assert "JOD" not in report.markdown(make_evaluation())
    text = report.markdown(make_evaluation(cvvdp=True))
    assert table_cells(text)["other"][0][6] == "9.50"
    assert "ColorVideoVDP, radiance 1 at 1000 cd/m²" in text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "Moving pixels as the set's moving.png has them: 20.0% of all"),
        ({"moving_from": "the burst"}, "contradicts the truth beyond noise (1 of 2 scenes: moving.png): 20.0% of all"),
    ],
)
def test_the_source_of_moving_pixels_is_stated(changes: dict[str, Any], text: str) -> None:
    evaluation = make_evaluation()
    evaluation.about["002"] = scene_record(**changes)
    assert text in report.regions(evaluation)


def test_the_curve_of_debevec_is_stated() -> None:
    evaluation = make_evaluation()
    assert "merges under gamma 2.2 as given" in report.preamble(evaluation)
    evaluation.about["001"] = scene_record(encoding="camera")
    assert "CalibrateDebevec behind a camera's curve" in report.preamble(evaluation)
    assert "Debevec" not in report.preamble(make_evaluation(baselines=("static",)))


def test_the_results_are_json_and_name_no_folders() -> None:
    text = json.dumps(report.results(make_evaluation()), allow_nan=False)
    back = json.loads(text)
    assert "secret" not in text
    assert back["set"] == {"name": "set", "split": "test", "scenes": 2, "sha256": "ab" * 32}
    assert back["protocol"] == "published"
    assert back["checkpoints"] == {"mine": {"file": "mine"}, "other": {"file": "other"}}
    assert back["scenes"]["002"]["methods"]["mine"]["published"]["psnr_mu_moving"] is None
    assert back["scenes"]["002"]["methods"]["mine"]["fitted"]["psnr_mu"] == 37
    assert back["methods"]["other"]["over_first_interval"] == [1, 1]
    assert len(back["judge"]["mine"]["curve"]) == 100
    assert len(back["judge"]["mine"]["decile_sigma"]) == 10
    assert back["judge"]["mine"]["ause"] < back["judge"]["mine"]["ause_constant"]


def test_the_chart_has_each_sigma_its_oracle_and_a_constant_sigma() -> None:
    evaluation = make_evaluation()
    curves = report.sparsification_curves(evaluation)
    assert len(curves) == 5
    expected = evaluation.uncertainty["other"][0]
    assert (curves[2].y == expected.curve).all()
    assert (curves[3].y == expected.oracle).all()
    assert curves[3].dashed
    assert curves[2].colour == curves[3].colour != curves[0].colour
    assert f"{expected.ause:.3f}" in curves[2].label
    assert (curves[4].y == 1).all()
    assert f"{expected.ause_random:.3f}" in curves[4].label
    assert report.sparsification_chart(evaluation).shape == (figures.HEIGHT, figures.WIDTH, 3)


def test_a_table_cell_for_an_interval() -> None:
    assert report.interval((1.0, 2.0)) == "[1.00, 2.00]"
    assert cell(report.interval((NAN, NAN))) == "–"


def test_uncertainty_text_has_ause_and_deciles() -> None:
    metrics = make_evaluation().uncertainty["mine"]
    text = report.uncertainty_text(metrics)
    assert f"AUSE {metrics[0].ause:.3f}" in text
    assert len(table_cells(text)["mean σ"][0]) == 10


def test_a_report_without_uncertainty_metrics_is_complete() -> None:
    evaluation = make_evaluation()
    evaluation.uncertainty = {}
    assert "AUSE" not in report.markdown(evaluation)
    assert report.results(evaluation)["judge"] == {}
    assert report.sparsification_chart(evaluation).shape == (figures.HEIGHT, figures.WIDTH, 3)


NAMES = {"results.json", "table.md", "sheet.png", "sparsification.png"}


def test_the_files_are_the_report(scene_set: Path, run_folder: Path, tmp_path: Path) -> None:
    options = evaluate.EvaluateOptions(scenes=1, baselines=(), fusion=FusionSettings("cpu", "fp32", "none"))
    evaluation = evaluate.evaluate(evaluate.plan_evaluation([str(run_folder)], scene_set, options))
    out = tmp_path / "results" / "first"
    with report.results_folder(out, overwrite=False):
        paths = report.write_report(evaluation, out, overwrite=False)
    assert {path.name for path in out.iterdir()} == NAMES == {path.name for path in paths}
    assert json.loads((out / "results.json").read_text()) == json.loads(json.dumps(report.results(evaluation)))
    assert (out / "table.md").read_text() == report.markdown(evaluation)
    assert (cv2.imread(str(out / "sheet.png"))[..., ::-1] == evaluation.rows[0]).all()
    assert (cv2.imread(str(out / "sparsification.png"))[..., ::-1] == report.sparsification_chart(evaluation)).all()
    with pytest.raises(OutputError, match="exists already"), report.results_folder(out, overwrite=False):
        pass
    with report.results_folder(out, overwrite=True):
        report.write_report(evaluation, out, overwrite=True)


def test_an_interrupted_report_removes_the_folder_it_created(tmp_path: Path) -> None:
    existing = tmp_path / "existing"
    existing.mkdir()

    def interrupted(folder: Path) -> None:
        with report.results_folder(folder, overwrite=False):
            assert folder.is_dir()
            raise KeyboardInterrupt

    for folder in (existing, tmp_path / "new"):
        with pytest.raises(KeyboardInterrupt):
            interrupted(folder)
    assert existing.is_dir()
    assert not (tmp_path / "new").exists()


def test_a_path_that_cannot_be_a_folder_raises(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, message in (("file", "not a folder"), ("file/below", "cannot write"), ("x" * 300, "too long")):
        with pytest.raises(OutputError, match=message), report.results_folder(tmp_path / path, overwrite=False):
            pass
