"""Whole runs: which data, which licence, what is left in the folder, and weights that fuse."""

import json
import math
import shutil
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
import torch

from smarthdr_cli.data.synth.export import benchmark_config, cached_benchmark, write_benchmark, write_radiance
from smarthdr_cli.data.synth.sources import load_bank
from smarthdr_cli.errors import InputError, ModelError, UsageError
from smarthdr_cli.fusion.pipeline import fuse
from smarthdr_cli.models.base import build_model
from smarthdr_cli.models.checkpoint import load_model, save_checkpoint
from smarthdr_cli.train import scene_data
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.methods import METHODS
from smarthdr_cli.train.pseudo_labels import predict_scene
from smarthdr_cli.train.run import evaluate_held_out, held_out_batches, licence, run_scenes, run_training, start_state
from smarthdr_cli.train.run_folder import DataRequest
from smarthdr_cli.train.scene_data import prepare_run, whole
from smarthdr_cli.train.state import load_train_state
from tests.support.training import bracket, pair

PICTURES = "that of the pictures it was trained on"
FAST = ("smarthdr", "selfhdr")  # the other methods are slow tests


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    """One cache for all tests: scenes are prepared once."""
    monkeypatch.setenv("SMARTHDR_HOME", str(tmp_path_factory.getbasetemp() / "smarthdr-home"))


@pytest.fixture
def short(scene_values):
    return scene_values | {"iterations": 2, "labelled_first": 0.5, "validate_every": 2}


@pytest.fixture
def few(monkeypatch):
    """A small benchmark in place of the one that training makes for itself."""
    small = partial(cached_benchmark, train=6, test=1, size=(64, 96), read_bank=partial(load_bank, procedural=2))
    monkeypatch.setattr(scene_data, "cached_benchmark", small)


@pytest.fixture(scope="module")
def panoramas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine")
    for number in range(3):
        light = np.random.default_rng(number).gamma(1.0, 1.0, (96, 160, 3)).astype(np.float32)
        write_radiance(folder / f"place_{number}.exr", light)
    return folder


def train(folder, values, panoramas, **options):
    """A run on streamed bursts, validated on small images."""
    return run_training(folder, values, panoramas, device="cpu", validation_side=48, **options)


def test_a_run_ends_in_weights_that_fuse(values, panoramas, tmp_path):
    summary = train(tmp_path / "run", values | {"iterations": 2}, panoramas)
    model, checkpoint = load_model(tmp_path / "run" / "model.safetensors")
    assert checkpoint.sha256 == summary["sha256"]
    assert checkpoint.config["name"] == "saf"
    assert checkpoint.calibration is not None
    assert checkpoint.calibration.samples > 1000
    assert checkpoint.record["steps"] == 2
    assert checkpoint.record["sources"] == 2
    assert checkpoint.record["config"]["batch"] == 2
    assert {"psnr_mu", "reference", "merged"} == set(checkpoint.metrics)
    assert checkpoint.licence
    assert not model.training
    light = np.random.default_rng(0).uniform(0.05, 0.7, (40, 48, 3))
    files = []
    for ev in (-2, 0, 2):
        files.append(tmp_path / f"{len(files)}.png")
        cv2.imwrite(str(files[-1]), np.round(np.clip(light * 2.0**ev, 0, 1) ** (1 / 2.2) * 65535).astype(np.uint16))
    out = fuse(files, weights=tmp_path / "run" / "model.safetensors", ev=(-2, 0, 2), response="gamma2.2", align="none",
               device="cpu", precision="fp32", reference=2)  # fmt: skip
    assert np.abs(out.radiance[..., ::-1] / light - 1).mean() < 0.05
    assert out.report.fuser.model["sha256"] == summary["sha256"]


def test_initial_weights_that_are_unusable_are_an_error(values, tmp_path):
    config, path = train_config(values), tmp_path / "wild.safetensors"
    state = {name: torch.full_like(value, 1e30) for name, value in build_model(config.model).state_dict().items()}
    save_checkpoint(path, state, config.model)
    with pytest.raises(ModelError, match=r"wild\.safetensors: not usable weights"):
        start_state(tmp_path, config, torch.device("cpu"), resume=False, init=str(path))


def test_resume_and_init_continue_from_weights(values, panoramas, tmp_path):
    first = train(tmp_path / "a", values | {"iterations": 1}, panoramas)
    again = train(tmp_path / "a", values | {"iterations": 3}, panoramas, resume=True)
    assert (first["record"]["steps"], again["record"]["steps"]) == (1, 3)
    started = train(tmp_path / "b", values | {"iterations": 1, "learning_rate": 0.0}, panoramas,
                    init=str(tmp_path / "a" / "model.safetensors"))  # fmt: skip
    a, _ = load_model(tmp_path / "a" / "model.safetensors")
    b, _ = load_model(started["weights"])
    for name, value in a.state_dict().items():
        assert torch.allclose(value, b.state_dict()[name], atol=2e-3), name


def test_a_deeper_gfhdr_starts_from_a_shallower_one(values, panoramas, tmp_path):
    small = {"name": "gfhdr", "dim": 12, "blocks": 1, "heads": 3, "window": 4, "squeeze": 4, "drop_path": 0.0}
    frozen = values | {"iterations": 1, "learning_rate": 0.0}
    models = {}
    for depth, init in ((1, None), (3, str(tmp_path / "1" / "model.safetensors"))):
        train(tmp_path / str(depth), frozen | {"model": small | {"depth": depth}}, panoramas, init=init)
        models[depth], _ = load_model(tmp_path / str(depth) / "model.safetensors")
    frames = torch.rand(1, 3, 6, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(
            models[3].predict(frames).radiance, models[1].predict(frames).radiance, rtol=0, atol=1e-3
        )
    with pytest.raises(ModelError, match="its gfhdr config makes it"):
        train(tmp_path / "wide", frozen | {"model": small | {"dim": 24, "depth": 3}}, panoramas,
              init=str(tmp_path / "1" / "model.safetensors"))  # fmt: skip


def test_a_run_that_cannot_start_states_why(values, panoramas, tmp_path):
    with pytest.raises(UsageError, match="batch"):
        train(tmp_path, {"bach": 2}, panoramas)
    with pytest.raises(InputError, match="no training state"):
        train(tmp_path / "none", values, panoramas, resume=True)
    with pytest.raises(InputError, match="no training"):
        train(tmp_path / "none", values, tmp_path)


def test_held_out_batches_repeat(bank):
    a, b = (held_out_batches(bank, 4, 7, torch.device("cpu"), 32) for _ in range(2))
    assert len(a) == 2
    assert all(torch.equal(x.frames, y.frames) for x, y in zip(a, b, strict=True))


def test_a_run_on_scenes_leaves_student_and_teacher(short, scene_root, tmp_path):
    planned = prepare_run(DataRequest(str(scene_root), labeled=5), short)
    logged = []
    out = run_scenes(tmp_path / "run", planned, device="cpu", on_log=logged.append)
    folder = tmp_path / "run"
    assert sorted(p.name for p in folder.iterdir()) == [
        "metrics.jsonl", "model.safetensors", "run.json", "state.pt", "teacher.safetensors",
    ]  # fmt: skip
    state = load_train_state(folder / "state.pt", planned.config, torch.device("cpu"))
    for name, network in (("model", state.student), ("teacher", state.teacher)):
        model, checkpoint = load_model(folder / f"{name}.safetensors")
        for key, value in network.state_dict().items():
            torch.testing.assert_close(model.state_dict()[key], value, rtol=1e-3, atol=1e-6)
        assert checkpoint.licence == PICTURES
        record = checkpoint.record
        assert record["weights"] == {"model": "student"}.get(name, name)
        assert record["method"] == "smarthdr"
        assert record["vgg"] is None
        assert record["config"]["weight_vgg"] == 0
        assert record["data"] == scene_root.name
        assert {role: len(parts) for role, parts in record["split"].items()} == {
            "labeled": 4, "held_out": 1, "unlabeled": 2,
        }  # fmt: skip
        assert checkpoint.calibration is not None
        assert checkpoint.calibration.samples == 64 * 96
        assert checkpoint.metrics.keys() == {"psnr_mu", "reference"}
    assert out["weights"] == str(folder / "model.safetensors")
    assert {"validation_psnr_mu", "validation_student", "unlabeled_reconstruction"} <= logged[0].keys()
    assert DataRequest.load(folder) == planned.request
    assert json.loads((folder / "run.json").read_text())["split"] == record["split"]


def test_metrics_and_calibration_are_those_of_the_held_out_scene(short, scene_root, tmp_path):
    planned = prepare_run(DataRequest(str(scene_root), labeled=5), short)
    run_scenes(tmp_path, planned, device="cpu")
    model, checkpoint = load_model(tmp_path / "model.safetensors")
    (scene,) = planned.data.held_out
    pseudo = predict_scene(model, scene, torch.device("cpu"), "fp32")
    batch = whole(scene)
    scale = 2.0 ** min(scene.evs)
    tone = [np.log1p(5000 * scale * x[0].double().numpy()) / math.log(5001)
            for x in (pseudo.radiance, batch.frames[:, 0], batch.target)]  # fmt: skip
    ours, reference = (-10 * math.log10(((x - tone[2]) ** 2).mean()) for x in tone[:2])
    assert checkpoint.metrics["psnr_mu"] == pytest.approx(ours, abs=0.02)
    assert checkpoint.metrics["reference"] == pytest.approx(reference, abs=0.001)
    sigma = checkpoint.calibration.apply(pseudo.sigma.numpy())
    below = np.abs(tone[0] - tone[2]).mean(axis=0) < sigma[0, 0]
    assert below.mean() == pytest.approx(0.68, abs=0.05)


@pytest.mark.parametrize("method", [m if m in FAST else pytest.param(m, marks=pytest.mark.slow) for m in METHODS])
def test_no_method_opens_the_truth_of_unlabelled_scenes(short, scene_root, tmp_path, method):
    """The files are damaged and may not be read."""
    root = tmp_path / "set"
    shutil.copytree(scene_root, root)
    request = DataRequest(str(root), labeled=5)
    drawn = prepare_run(DataRequest(str(scene_root), labeled=5), short).split
    for part in drawn.unlabeled:
        truth = root / part.scene.name / "HDRImg.exr"
        truth.write_bytes(b"rotten")
        truth.chmod(0)
        (root / part.scene.name / "moving.png").write_bytes(b"rotten")
    planned = prepare_run(request, short | {"method": method})
    assert [p.scene.name for p in planned.split.unlabeled] == [p.scene.name for p in drawn.unlabeled]
    out = run_scenes(tmp_path / "run", planned, device="cpu")
    assert out["record"]["method"] == method
    assert all(scene.target is None for scene in planned.data.unlabeled)
    assert (len(planned.data.unlabeled) == 0) == (method == "supervised")


def test_only_selfhdr_trains_without_labels(short, scene_root, tmp_path):
    with pytest.raises(UsageError, match="--method smarthdr needs labelled scenes; selfhdr does without"):
        prepare_run(DataRequest(str(scene_root), labeled=0), short)
    planned = prepare_run(DataRequest(str(scene_root), labeled=0), short | {"method": "selfhdr"})
    logged = []
    run_scenes(tmp_path, planned, device="cpu", on_log=logged.append)
    _, checkpoint = load_model(tmp_path / "model.safetensors")
    assert checkpoint.calibration is None
    assert checkpoint.metrics == {}
    assert "reconstruction" not in logged[0]
    assert logged[0]["unlabeled_structure"] > 0


def test_one_label_holds_out_a_band_of_it(short, bank, tmp_path):
    """Sigma is calibrated on a quarter of the only labelled scene, which is too low for validation."""
    root = tmp_path / "set"
    write_benchmark(root, bank, 2, 3, benchmark_config("gamma16", (64, 96)))
    planned = prepare_run(DataRequest(str(root), labeled=1), short)
    assert any(n.startswith("too small to be watched while training: what is held out of 00") for n in planned.notes)
    logged = []
    run_scenes(tmp_path / "run", planned, device="cpu", on_log=logged.append)
    assert not any(key.startswith("validation") for key in logged[0])
    _, checkpoint = load_model(tmp_path / "run" / "model.safetensors")
    assert checkpoint.calibration.samples == 16 * 96
    band = replace(planned.data.held_out[0], band=replace(planned.data.held_out[0].band, top=0.97))
    assert evaluate_held_out(torch.nn.Identity(), (), torch.device("cpu")) == ({}, None)
    metrics, calibration = evaluate_held_out(load_model(tmp_path / "run" / "model.safetensors")[0], (band,),
                                                 torch.device("cpu"))  # fmt: skip
    assert metrics["psnr_mu"] > 0
    assert calibration is None  # 96 pixels


def test_bursts_of_a_user_need_no_truth(short, scene_root, tmp_path):
    mine = tmp_path / "mine"
    for n in range(2):
        bracket(mine / f"burst{n}", seed=n)
    bracket(mine / "pair", seed=5, evs=(-1, 1))
    values = short | {"iterations": 4, "labelled_first": 0.25}
    planned = prepare_run(DataRequest(str(scene_root), labeled=7, unlabeled=(str(mine),)), values)
    assert [p.scene.name for p in planned.split.unlabeled] == ["burst0", "burst1", "pair"]
    assert [len(s.evs) for s in planned.data.unlabeled] == [3, 3, 2]
    out = run_scenes(tmp_path / "run", planned, device="cpu")
    assert out["record"]["steps"] == 4
    assert load_model(tmp_path / "run" / "model.safetensors")[1].licence == PICTURES


def test_a_burst_smaller_than_a_crop_is_an_error(short, scene_root, tmp_path):
    planned = prepare_run(DataRequest(str(scene_root), labeled=5), short | {"crop": 96})
    with pytest.raises(InputError, match=r"scene 00\d: 96x64 pixels hold no crop of 96x96"):
        run_scenes(tmp_path, planned, device="cpu")


@pytest.mark.usefixtures("few")
def test_without_data_a_run_makes_its_own_scenes_and_is_free(short, tmp_path):
    stages = []
    planned = prepare_run(DataRequest(labeled=5), short, lambda stage, share: stages.append((stage, share)))
    assert planned.notes[0].startswith("no --data: trained on synthetic scenes, kept in ")
    assert "the perceptual term of the published loss is left out" in planned.notes[1]
    assert ("make scenes", 1.0) in stages
    assert ("prepare", 1.0) in stages
    assert planned.tests == 1
    assert all("Training" in p.scene.name for p in (*planned.split.labeled, *planned.split.unlabeled))
    first = run_scenes(tmp_path / "a", planned, device="cpu")
    _, checkpoint = load_model(tmp_path / "a" / "model.safetensors")
    assert checkpoint.licence == "CC0-1.0"
    assert checkpoint.record["data"] == "own synthetic scenes"
    assert checkpoint.record["init"] == {}
    bracket(tmp_path / "mine" / "burst")
    adapted = prepare_run(DataRequest(labeled=5, unlabeled=(str(tmp_path / "mine"),)), short)
    run_scenes(tmp_path / "b", adapted, device="cpu", init=first["weights"])
    _, checkpoint = load_model(tmp_path / "b" / "model.safetensors")
    assert checkpoint.licence == f"{PICTURES}; and, of the weights it began with: CC0-1.0"
    assert checkpoint.record["init"] == {"name": "model.safetensors", "sha256": first["sha256"], "licence": "CC0-1.0"}


def test_the_licence_of_the_initial_weights_is_kept(short, scene_root, tmp_path):
    """Resuming keeps it, and so does training on free data."""
    planned = prepare_run(DataRequest(str(scene_root), labeled=5), short | {"iterations": 1})
    first = run_scenes(tmp_path / "a", planned, device="cpu")
    run_scenes(tmp_path / "b", planned, device="cpu", init=first["weights"])
    longer = replace(planned, config=replace(planned.config, iterations=2))
    out = run_scenes(tmp_path / "b", longer, device="cpu", resume=True)
    assert out["record"]["init"]["sha256"] == first["sha256"]
    assert load_model(tmp_path / "b" / "model.safetensors")[1].licence == PICTURES
    state = load_train_state(tmp_path / "b" / "state.pt", longer.config, torch.device("cpu"))
    assert licence("CC0-1.0", state) == f"CC0-1.0; and, of the weights it began with: {PICTURES}"


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_a_run_on_panoramas_of_a_user_is_not_free(short, tmp_path):
    for n in range(2):
        light, _ = pair(height=96, width=160, seed=n)
        (tmp_path / "mine").mkdir(exist_ok=True)
        write_radiance(tmp_path / "mine" / f"{n}.exr", light[0].permute(1, 2, 0).numpy())
    planned = prepare_run(DataRequest(panoramas=str(tmp_path / "mine"), labeled=5), short)
    run_scenes(tmp_path / "run", planned, device="cpu")
    assert load_model(tmp_path / "run" / "model.safetensors")[1].licence == PICTURES


def test_missing_states_and_weights_are_errors(short, scene_root, tmp_path):
    planned = prepare_run(DataRequest(str(scene_root), labeled=5), short)
    with pytest.raises(InputError, match="no training state there to resume"):
        run_scenes(tmp_path / "none", planned, device="cpu", resume=True)
    with pytest.raises(ModelError):
        run_scenes(tmp_path / "none", planned, device="cpu", init=str(tmp_path / "none.safetensors"))
