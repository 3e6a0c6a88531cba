"""The report's words and figures, from an evaluation made by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smarthdr_cli.evaluate import evaluate, plot, report, tables, uncertainty_metrics
from smarthdr_cli.evaluate.methods import Contestant

KEYS = ("scale", "psnr_mu", "psnr_l", "ssim_mu", "ssim_l", "pu21",
        "psnr_mu_moving", "psnr_l_moving", "psnr_mu_clipped", "psnr_l_clipped")  # fmt: skip
NAN = float("nan")


def scores(value: float, jod: float | None = None) -> dict[str, Any]:
    one: dict[str, Any] = {"published": dict.fromkeys(KEYS, value), "fitted": dict.fromkeys(KEYS, value + 5)}
    return one | {"seconds": 1.5} | ({} if jod is None else {"jod": jod})


def about(**changes: Any) -> dict[str, Any]:
    one = {"split": "test", "encoding": "gamma2.2", "size": [96, 64], "evs": [-2.0, 0.0, 2.0], "moving": 0.2,
           "moving_from": "moving.png", "clipped": 0.1}  # fmt: skip
    return one | changes


def evaluation(scaling: Any = "published", **options: Any) -> evaluate.Evaluation:
    entrants = tuple(Contestant(name, Path(f"/secret/{name}"), {"file": name}) for name in ("mine", "other"))
    plan = evaluate.Plan(Path("/secret/set"), entrants, (), evaluate.EvaluateOptions(**options), scaling, "cpu")
    found = evaluate.Evaluation(plan, "ab" * 32)
    for scene, level in (("001", 30.0), ("002", 32.0)):
        jods = (9.0, 9.5, 8.0) if options.get("cvvdp") else (None,) * 3
        found.scores[scene] = {
            "mine": scores(level, jods[0]), "other": scores(level + 1, jods[1]), "static": scores(level - 2, jods[2]),
        }  # fmt: skip
        found.about[scene] = about()
    found.scores["002"]["mine"]["published"]["psnr_mu_moving"] = NAN
    rng = np.random.default_rng(0)
    for name in ("mine", "other"):
        sigma = rng.uniform(0.01, 0.1, 500)
        error = np.abs(rng.normal(0, sigma))
        found.verdicts[name] = (
            uncertainty_metrics.sparsification(error, sigma),
            uncertainty_metrics.coverage(error, sigma),
        )
    return found


def rows(text: str) -> dict[str, list[list[str]]]:
    """The cells of every table's rows by their first cell."""
    found: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| :--"):
            first, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            found.setdefault(first, []).append(cells)
    return found


def test_the_means_and_differences() -> None:
    text = tables.markdown(evaluation())
    cells = rows(text)
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


def test_the_fitted_protocol_says_so_and_has_the_other_beside_it() -> None:
    text = tables.markdown(evaluation("fitted", split="all"))
    assert rows(text)["mine"][0][0] == "36.00"
    assert rows(text)["mine"][0][6] == "31.00"
    assert "PSNR-μ published" in text
    assert "one scale per scene and method" in text
    assert "capped at 50 dB a scene" in text
    assert text.startswith("# mine on 2 scenes of set, fitted protocol\n")


def test_jod_where_it_was_asked_for() -> None:
    assert "JOD" not in tables.markdown(evaluation())
    text = tables.markdown(evaluation(cvvdp=True))
    assert rows(text)["other"][0][6] == "9.50"
    assert "ColorVideoVDP, radiance 1 at 1000 cd/m²" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Moving pixels as the set's moving.png has them: 20.0% of all"),
        ({"moving_from": "the burst"}, "contradicts the truth beyond noise (1 of 2 scenes: moving.png): 20.0% of all"),
    ],
)
def test_where_moving_pixels_come_from_is_said(changes: dict[str, Any], said: str) -> None:
    found = evaluation()
    found.about["002"] = about(**changes)
    assert said in tables.regions(found)


def test_what_debevec_was_told() -> None:
    found = evaluation()
    assert "merges under gamma 2.2 as given" in tables.preamble(found)
    found.about["001"] = about(encoding="camera")
    assert "CalibrateDebevec behind a camera's curve" in tables.preamble(found)
    assert "Debevec" not in tables.preamble(evaluation(rivals=("static",)))


def test_the_results_are_json_and_name_no_folders() -> None:
    text = json.dumps(tables.results(evaluation()), allow_nan=False)
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


def test_the_plot_has_each_sigma_its_oracle_and_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[plot.Curve] = []
    whole = plot.lines
    monkeypatch.setattr(plot, "lines", lambda *words: drawn.extend(words[-1]) or whole(*words))
    found = evaluation()
    image = tables.sparsification_plot(found)
    assert image.shape == (plot.HEIGHT, plot.WIDTH, 3)
    assert len(drawn) == 5
    curve = found.verdicts["other"][0]
    assert (drawn[2].y == curve.curve).all()
    assert (drawn[3].y == curve.oracle).all()
    assert drawn[3].dashed
    assert drawn[2].colour == drawn[3].colour != drawn[0].colour
    assert f"{curve.ause:.3f}" in drawn[2].label
    assert (drawn[4].y == 1).all()
    assert f"{curve.ause_random:.3f}" in drawn[4].label


def test_a_table_cell_for_an_interval() -> None:
    assert tables.between((1.0, 2.0)) == "[1.00, 2.00]"
    assert report.cell(tables.between((NAN, NAN))) == "–"


def test_without_a_verdict_the_report_is_still_whole() -> None:
    found = evaluation()
    found.verdicts = {}
    assert "AUSE" not in tables.markdown(found)
    assert tables.results(found)["judge"] == {}
    assert tables.sparsification_plot(found).shape == (plot.HEIGHT, plot.WIDTH, 3)
