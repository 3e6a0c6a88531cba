"""A small evaluation, whole, against figures worked out beside it; and what a plan refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smarthdr_cli
from smarthdr_cli.errors import InputError, ModelError, UsageError
from smarthdr_cli.evaluate import bootstrap, comparison, evaluate, frozen, protocol, scene, uncertainty_metrics
from smarthdr_cli.evaluate.methods import Computation, Networks, fused

OPTIONS = evaluate.EvaluateOptions(rivals=("reference", "static"), how=Computation("cpu", "fp32", "none"))


@pytest.fixture(scope="module")
def told() -> list[float]:
    return []


@pytest.fixture(scope="module")
def found(made: Path, weights: Path, told: list[float]) -> evaluate.Evaluation:
    return evaluate.evaluate(evaluate.plan([str(weights)], made, OPTIONS), told.append)


def test_every_method_on_every_scene(found: evaluate.Evaluation, told: list[float], made: Path) -> None:
    names = ["first (student)", "first (teacher)", "reference", "static", "oracle"]
    assert found.names() == names
    assert found.first == names[0]
    assert {scene: list(one) for scene, one in found.scores.items()} == {"Test/001": names, "Test/002": names}
    assert told == sorted(told)
    assert told[0] == 0
    assert told[-1] == 1
    assert found.plan.scaling == "published"
    assert found.identity == frozen.identity_of(made, [p for p in (made / "Test").rglob("*") if p.is_file()])
    assert len(found.rows) == 2


def test_the_figures_are_the_protocols(found: evaluate.Evaluation, made: Path, weights: Path) -> None:
    for folder in frozen.scene_folders(made / "Test"):
        scene = frozen.read_scene(folder)
        result = smarthdr_cli.fuse(scene.paths, evs=np.log2(scene.times).tolist(), reference=2, response="gamma2.2",
                                   weights=weights, align="none", device="cpu", precision="fp32")  # fmt: skip
        light = result.radiance * result.scale_short
        for scaling in ("published", "fitted"):
            view: dict[str, Any] = {"reference_time": scene.times[1], "moving": scene.moving, "scaling": scaling}
            mine = found.scores[f"Test/{scene.name}"]["first (student)"][scaling]
            assert mine == pytest.approx(protocol.score(light, scene.truth, **view), rel=1e-6, nan_ok=True)


def test_the_judge_saw_the_error_of_every_scene(found: evaluate.Evaluation, made: Path) -> None:
    pool = comparison.Pool()
    for entrant, files in ((found.plan.entrants[1], f) for f in scene.select(made, "test", None)):
        one = scene.read_case(files, "none")
        result = fused(one, OPTIONS.how, Networks(), weights=entrant.path)
        assert result.sigma is not None
        error = np.abs(
            np.log1p(5000 * np.clip(result.radiance, 0, 1)) - np.log1p(5000 * np.clip(one.truth, 0, 1))
        ) / np.log(5001)  # fmt: skip
        pool.add(error.mean(axis=2), result.sigma, one.truth.max(axis=2) < 1)
    expected = pool.verdict()
    assert expected is not None
    curve, deciles = found.verdicts["first (teacher)"]
    assert curve.ause == pytest.approx(expected[0].ause, rel=1e-3)
    assert deciles.sigma == pytest.approx(expected[1].sigma, rel=1e-4)
    assert isinstance(curve, uncertainty_metrics.Sparsification)


def test_means_intervals_and_paired_differences(found: evaluate.Evaluation) -> None:
    figures = evaluate.summary(found)
    for name in found.names():
        values = [one[name]["published"]["psnr_mu"] for one in found.scores.values()]
        assert figures[name]["published"]["psnr_mu"] == pytest.approx(np.mean(values))
        assert figures[name]["psnr_mu_interval"] == bootstrap.interval(values)
        first = [one[found.first]["published"]["psnr_mu"] for one in found.scores.values()]
        if name == found.first:
            assert "over_first" not in figures[name]
            continue
        over = np.subtract(values, first)
        assert figures[name]["over_first"] == pytest.approx(over.mean())
        assert figures[name]["over_first_interval"] == pytest.approx(bootstrap.interval(over.tolist()))
    assert figures["oracle"]["published"]["psnr_mu"] > figures["reference"]["published"]["psnr_mu"]
    assert figures["oracle"]["fitted"]["scale"] == pytest.approx(1, abs=0.05)


def test_a_method_that_one_scene_lacks(found: evaluate.Evaluation) -> None:
    scores = {scene: dict(one) for scene, one in found.scores.items()}
    del scores["Test/001"]["oracle"]
    less = replace(found, scores=scores)
    assert "oracle" in less.names()
    column = less.column("oracle", "psnr_mu")
    assert np.isnan(column[0])
    assert less.mean("oracle", "psnr_mu") == column[1]
    assert np.isnan(less.over_first("oracle")[0])
    assert np.isnan(evaluate.summary(less)["oracle"]["psnr_mu_interval"]).all()


def test_a_black_picture_has_no_fitted_figures(made: Path) -> None:
    one = scene.read_case(scene.select(made, "test", 1)[0], "none")
    black = comparison.Result(np.zeros_like(one.truth))
    scores = evaluate.scored(one, black, "fitted", lambda shown, truth: float(shown.max() + truth.max()))
    assert np.isnan(scores["fitted"]["psnr_mu"])
    assert scores["fitted"].keys() == scores["published"].keys()
    assert scores["published"]["psnr_mu"] < 20
    assert scores["jod"] == pytest.approx(np.clip(one.truth, 0, 1).max())


def test_the_protocol_follows_what_is_known(made: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scaling(**options: Any) -> str:
        return evaluate.plan([str(weights)], made, replace(OPTIONS, **options)).scaling

    assert scaling() == "published"
    assert scaling(protocol="fitted") == "fitted"
    files = [replace(f, encoding="camera") for f in scene.select(made, "all", None)]
    monkeypatch.setattr(scene, "find_scenes", lambda _root: files)
    assert scaling() == "fitted"
    assert scaling(protocol="published") == "published"


def test_what_a_plan_refuses(made: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(kind: type[Exception], said: str, spec: Path = weights, root: Path = made, **options: Any) -> None:
        with pytest.raises(kind, match=said):
            evaluate.plan([str(spec)], root, replace(OPTIONS, **options))

    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    refused(UsageError, "unknown rival 'mertens'; use reference, debevec", rivals=("static", "mertens"))
    refused(UsageError, "cvvdp", cvvdp=True)
    refused(UsageError, "abacus", how=Computation("abacus"))
    refused(UsageError, "fp16", how=Computation("cpu", "fp16"))
    refused(ModelError, "no such weights", spec=tmp_path / "none.safetensors")
    refused(InputError, "does not exist", root=tmp_path / "nowhere")
    refused(InputError, "no test scenes", root=made / "Training")
