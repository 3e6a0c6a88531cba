"""A small evaluation, whole, against figures computed beside it; and what a plan rejects."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smarthdr_cli
from smarthdr_cli.data.synth.export import write_radiance
from smarthdr_cli.data.synth.sources import read_radiance
from smarthdr_cli.errors import InputError, ModelError, UsageError
from smarthdr_cli.evaluate import comparison, evaluate, metrics, protocol, scene
from smarthdr_cli.evaluate.methods import FusionSettings, NetworkCache, fuse_scene

OPTIONS = evaluate.EvaluateOptions(baselines=("reference", "static"), fusion=FusionSettings("cpu", "fp32", "none"))


@pytest.fixture(scope="module")
def progress() -> list[float]:
    return []


@pytest.fixture(scope="module")
def evaluation(scene_set: Path, run_folder: Path, progress: list[float]) -> evaluate.Evaluation:
    plan = evaluate.plan_evaluation([str(run_folder)], scene_set, OPTIONS)
    return evaluate.evaluate(plan, progress.append)


def read_scenes(root: Path) -> list[scene.Scene]:
    return [scene.read_scene(files, "none") for files in scene.select_scenes(root, "test", None)]


def test_every_method_on_every_scene(evaluation: evaluate.Evaluation, progress: list[float], scene_set: Path) -> None:
    names = ["first (student)", "first (teacher)", "reference", "static", "oracle"]
    assert evaluation.names() == names
    assert evaluation.first == names[0]
    assert {key: list(scores) for key, scores in evaluation.scores.items()} == {"Test/001": names, "Test/002": names}
    assert progress == sorted(progress)
    assert progress[0] == 0
    assert progress[-1] == 1
    assert evaluation.plan.scaling == "published"
    files = [path for path in (scene_set / "Test").rglob("*") if path.is_file()]
    assert evaluation.set_sha256 == scene.set_sha256(scene_set, files)
    assert len(evaluation.rows) == 2


def test_scores_are_those_of_the_protocol(evaluation: evaluate.Evaluation, scene_set: Path, run_folder: Path) -> None:
    for read in read_scenes(scene_set):
        paths = [frame.path for frame in read.burst.frames]
        result = smarthdr_cli.fuse(paths, ev=np.log2(read.times).tolist(), reference=2, response="gamma2.2",
                                   weights=run_folder, align="none", device="cpu", precision="fp32")  # fmt: skip
        radiance = result.radiance * result.scale_short
        for scaling in ("published", "fitted"):
            context: dict[str, Any] = {"reference_time": read.times[1], "moving": read.moving, "scaling": scaling}
            scores = evaluation.scores[read.files.name]["first (student)"][scaling]
            expected = protocol.score(radiance, read.truth, **context)
            assert scores == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_uncertainty_metrics_pool_errors_where_the_truth_is_not_clipped(scene_set_copy: Path, run_folder: Path) -> None:
    truth_file = scene_set_copy / "Test" / "001" / "HDRImg.exr"
    truth = read_radiance(truth_file)
    truth[:20] = 2.0
    write_radiance(truth_file, truth)
    plan = evaluate.plan_evaluation([str(run_folder / "teacher.safetensors")], scene_set_copy, OPTIONS)
    evaluation = evaluate.evaluate(plan)
    pool, unmasked = comparison.UncertaintyPool(), comparison.UncertaintyPool()
    for read in read_scenes(scene_set_copy):
        result = fuse_scene(read, OPTIONS.fusion, NetworkCache(), weights=run_folder / "teacher.safetensors")
        assert result.sigma is not None
        prediction, truth = (np.log1p(5000 * np.clip(x, 0, 1)) / np.log(5001) for x in (result.radiance, read.truth))
        error = np.abs(prediction - truth).mean(axis=2)
        pool.add(error, result.sigma, read.truth.max(axis=2) < 1)
        unmasked.add(error, result.sigma)
    expected, without_mask = pool.metrics(), unmasked.metrics()
    assert expected is not None
    assert without_mask is not None
    curve, deciles = evaluation.uncertainty["first/teacher"]
    assert curve.ause == pytest.approx(expected[0].ause, rel=1e-3)
    assert curve.ause != pytest.approx(without_mask[0].ause, rel=1e-2)
    assert deciles.sigma == pytest.approx(expected[1].sigma, rel=1e-4)


def test_means_intervals_and_paired_differences(evaluation: evaluate.Evaluation) -> None:
    figures = evaluate.summary(evaluation)
    first = [scores[evaluation.first]["published"]["psnr_mu"] for scores in evaluation.scores.values()]
    for name in evaluation.names():
        values = [scores[name]["published"]["psnr_mu"] for scores in evaluation.scores.values()]
        assert figures[name]["published"]["psnr_mu"] == pytest.approx(np.mean(values))
        assert figures[name]["psnr_mu_interval"] == metrics.bootstrap_interval(values)
        if name == evaluation.first:
            assert "over_first" not in figures[name]
            continue
        over = np.subtract(values, first)
        assert figures[name]["over_first"] == pytest.approx(over.mean())
        assert figures[name]["over_first_interval"] == pytest.approx(metrics.bootstrap_interval(over.tolist()))
    assert figures["oracle"]["published"]["psnr_mu"] > figures["reference"]["published"]["psnr_mu"]
    assert figures["oracle"]["fitted"]["scale"] == pytest.approx(1, abs=0.05)


def test_a_method_that_one_scene_lacks(evaluation: evaluate.Evaluation) -> None:
    scores = {name: dict(of_scene) for name, of_scene in evaluation.scores.items()}
    del scores["Test/001"]["oracle"]
    without_oracle = replace(evaluation, scores=scores)
    assert "oracle" in without_oracle.names()
    column = without_oracle.column("oracle", "psnr_mu")
    assert np.isnan(column[0])
    assert without_oracle.mean("oracle", "psnr_mu") == column[1]
    assert np.isnan(without_oracle.over_first("oracle")[0])
    assert np.isnan(evaluate.summary(without_oracle)["oracle"]["psnr_mu_interval"]).all()


def test_a_black_result_has_no_fitted_scores(scene_set: Path) -> None:
    read = read_scenes(scene_set)[0]
    black = comparison.MethodResult(np.zeros_like(read.truth))
    scores = evaluate.score_method(read, black, "fitted", lambda image, truth: float(image.max() + truth.max()))
    assert np.isnan(scores["fitted"]["psnr_mu"])
    assert scores["fitted"].keys() == scores["published"].keys()
    assert scores["published"]["psnr_mu"] < 20
    assert scores["jod"] == pytest.approx(np.clip(read.truth, 0, 1).max())


def test_the_protocol_is_published_where_all_curves_are_known(
    scene_set: Path, camera_set: Path, run_folder: Path
) -> None:
    def scaling(root: Path, **options: Any) -> str:
        return evaluate.plan_evaluation([str(run_folder)], root, replace(OPTIONS, **options)).scaling

    assert scaling(scene_set) == "published"
    assert scaling(scene_set, protocol="fitted") == "fitted"
    assert scaling(camera_set) == "fitted"
    assert scaling(camera_set, protocol="published") == "published"


def test_a_plan_rejects_what_cannot_be_evaluated(
    scene_set: Path, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rejected(
        kind: type[Exception], message: str, spec: Path = run_folder, root: Path = scene_set, **options: Any
    ) -> None:
        with pytest.raises(kind, match=message):
            evaluate.plan_evaluation([str(spec)], root, replace(OPTIONS, **options))

    monkeypatch.setitem(sys.modules, "pycvvdp", None)
    rejected(UsageError, "unknown rival 'mertens'; use reference, debevec", baselines=("static", "mertens"))
    rejected(UsageError, "cvvdp", cvvdp=True)
    rejected(UsageError, "abacus", fusion=FusionSettings("abacus"))
    rejected(UsageError, "fp16", fusion=FusionSettings("cpu", "fp16"))
    rejected(ModelError, "no such weights", spec=tmp_path / "none.safetensors")
    rejected(InputError, "does not exist", root=tmp_path / "nowhere")
    rejected(InputError, "no test scenes", root=scene_set / "Training")
