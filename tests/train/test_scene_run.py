"""Whole runs on folders: which data, which splits, which licence, and what is left in the run's folder."""

import json
import math
import shutil
from dataclasses import replace
from fractions import Fraction
from functools import partial

import cv2
import numpy as np
import pytest
import torch
import train_pictures as made

from smarthdr_cli.data.synth.export import (
    benchmark_config,
    cached_benchmark,
    encode_jpeg,
    write_benchmark,
    write_radiance,
)
from smarthdr_cli.data.synth.sources import load_bank
from smarthdr_cli.errors import InputError, ModelError, UsageError
from smarthdr_cli.models.checkpoint import load_model
from smarthdr_cli.train import scene_run as room
from smarthdr_cli.train.pseudo_labels import predict_scene
from smarthdr_cli.train.request import Request
from smarthdr_cli.train.scene_run import bursts_below, plan, run_scenes
from smarthdr_cli.train.scene_session import whole
from smarthdr_cli.train.state import load_train_state

METHODS = ["smarthdr", "selfhdr", *(pytest.param(m, marks=pytest.mark.slow) for m in ("supervised", "smae", "fshdr"))]
PICTURES = "that of the pictures it was trained on"


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    """One cache for all of them: scenes are prepared once."""
    base = tmp_path_factory.getbasetemp() / "smarthdr-home"
    monkeypatch.setenv("SMARTHDR_HOME", str(base))


@pytest.fixture
def short(scene_values):
    return scene_values | {"iterations": 2, "labelled_first": 0.5, "validate_every": 2}


@pytest.fixture
def few(monkeypatch):
    """A small benchmark of its own."""
    small = partial(cached_benchmark, train=6, test=1, size=(64, 96), read_bank=partial(load_bank, procedural=2))
    monkeypatch.setattr(room, "cached_benchmark", small)


def bracket(folder, seed=0, evs=(-2, 0, 2), size=(64, 96), start=0):
    """JPEGs of a still scene with EXIF, as a camera leaves them."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    light = cv2.resize(rng.uniform(0.02, 0.8, (8, 12, 3)).astype(np.float32), size[::-1])
    for n, ev in enumerate(evs):
        codes = np.round(np.clip(light * 2.0**ev, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)
        path = folder / f"IMG_{start + n:04d}.jpg"
        path.write_bytes(encode_jpeg(codes, Fraction(1, 60) * Fraction(2) ** ev, 95))


def test_a_run_leaves_student_and_teacher_that_fuse(short, scene_root, tmp_path):
    planned = plan(Request(str(scene_root), labeled=5), short)
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
    assert Request.load(folder) == planned.request
    assert json.loads((folder / "run.json").read_text())["split"] == record["split"]


def test_the_held_out_scene_is_scored_as_it_is(short, scene_root, tmp_path):
    planned = plan(Request(str(scene_root), labeled=5), short)
    run_scenes(tmp_path, planned, device="cpu")
    model, checkpoint = load_model(tmp_path / "model.safetensors")
    (scene,) = planned.data.held_out
    found = predict_scene(model, scene, torch.device("cpu"), "fp32")
    batch = whole(scene)
    scale = 2.0 ** min(scene.evs)
    tone = [np.log1p(5000 * scale * x[0].double().numpy()) / math.log(5001)
            for x in (found.radiance, batch.frames[:, 0], batch.target)]  # fmt: skip
    ours, reference = (-10 * math.log10(((x - tone[2]) ** 2).mean()) for x in tone[:2])
    assert checkpoint.metrics["psnr_mu"] == pytest.approx(ours, abs=0.02)
    assert checkpoint.metrics["reference"] == pytest.approx(reference, abs=0.001)
    sigma = checkpoint.calibration.apply(found.sigma.numpy())
    below = np.abs(tone[0] - tone[2]).mean(axis=0) < sigma[0, 0]
    assert below.mean() == pytest.approx(0.68, abs=0.05)


@pytest.mark.parametrize(
    "method",
    ["smarthdr", "selfhdr", *(pytest.param(m, marks=pytest.mark.slow) for m in ("supervised", "smae", "fshdr"))],
)
def test_no_method_opens_a_truth_that_is_not_labelled(short, scene_root, tmp_path, method):
    """The others' files hold rubbish, and may not even be read."""
    root = tmp_path / "set"
    shutil.copytree(scene_root, root)
    request = Request(str(root), labeled=5)
    drawn = plan(Request(str(scene_root), labeled=5), short).split
    for part in drawn.unlabeled:
        truth = root / part.scene.name / "HDRImg.exr"
        truth.write_bytes(b"rotten")
        truth.chmod(0)
        (root / part.scene.name / "moving.png").write_bytes(b"rotten")
    planned = plan(request, short | {"method": method})
    assert [p.scene.name for p in planned.split.unlabeled] == [p.scene.name for p in drawn.unlabeled]
    out = run_scenes(tmp_path / "run", planned, device="cpu")
    assert out["record"]["method"] == method
    assert all(scene.target is None for scene in planned.data.unlabeled)
    assert (len(planned.data.unlabeled) == 0) == (method == "supervised")


def test_without_labels_selfhdr_alone_learns(short, scene_root, tmp_path):
    with pytest.raises(UsageError, match="--method smarthdr needs labelled scenes; selfhdr does without"):
        plan(Request(str(scene_root), labeled=0), short)
    planned = plan(Request(str(scene_root), labeled=0), short | {"method": "selfhdr"})
    logged = []
    run_scenes(tmp_path, planned, device="cpu", on_log=logged.append)
    _, checkpoint = load_model(tmp_path / "model.safetensors")
    assert checkpoint.calibration is None
    assert checkpoint.metrics == {}
    assert "reconstruction" not in logged[0]
    assert logged[0]["unlabeled_structure"] > 0


def test_few_labels_hold_out_a_band(short, bank, tmp_path):
    """A quarter of the only labelled scene, too low to be watched, is what the judge is calibrated on."""
    root = tmp_path / "set"
    write_benchmark(root, bank, 2, 3, benchmark_config("gamma16", (64, 96)))
    planned = plan(Request(str(root), labeled=1), short)
    assert any(n.startswith("too small to be watched while training: what is held out of 00") for n in planned.notes)
    logged = []
    run_scenes(tmp_path / "run", planned, device="cpu", on_log=logged.append)
    assert not any(key.startswith("validation") for key in logged[0])
    _, checkpoint = load_model(tmp_path / "run" / "model.safetensors")
    assert checkpoint.calibration.samples == 16 * 96
    held = replace(planned.data.held_out[0], band=replace(planned.data.held_out[0].band, top=0.97))
    assert room.held_out_verdict(torch.nn.Identity(), (), torch.device("cpu")) == ({}, None)
    metrics, calibration = room.held_out_verdict(load_model(tmp_path / "run" / "model.safetensors")[0], (held,),
                                                 torch.device("cpu"))  # fmt: skip
    assert metrics["psnr_mu"] > 0
    assert calibration is None  # 96 pixels


def test_all_labelled_is_supervised_unless_another_method_was_asked_for(scene_values, scene_root):
    values = {k: v for k, v in scene_values.items() if k != "method"}
    planned = plan(Request(str(scene_root)), values)
    assert planned.config.method == planned.record["method"] == "supervised"
    assert len(planned.data.labeled) == 6
    with pytest.raises(UsageError, match="--method smae needs unlabelled bursts; every scene is labelled"):
        plan(Request(str(scene_root)), values | {"method": "smae"})
    assert plan(Request(str(scene_root), labeled=5), values).config.method == "smarthdr"


def test_a_users_bursts_need_no_truth(short, scene_root, tmp_path):
    mine = tmp_path / "mine"
    for n in range(2):
        bracket(mine / f"burst{n}", seed=n)
    bracket(mine / "pair", seed=5, evs=(-1, 1))
    values = short | {"iterations": 4, "labelled_first": 0.25}
    planned = plan(Request(str(scene_root), labeled=7, unlabeled=(str(mine),)), values)
    assert [p.scene.name for p in planned.split.unlabeled] == ["burst0", "burst1", "pair"]
    assert [len(s.evs) for s in planned.data.unlabeled] == [3, 3, 2]
    out = run_scenes(tmp_path / "run", planned, device="cpu")
    assert out["record"]["steps"] == 4
    assert load_model(tmp_path / "run" / "model.safetensors")[1].licence == PICTURES


def test_a_folder_of_pictures_is_grouped_into_bursts(tmp_path):
    for n in range(3):
        bracket(tmp_path / "card", seed=n, start=3 * n)
    said = []
    found = bursts_below(tmp_path / "card", said.append)
    assert [[p.name for p in scene.frames] for scene in found] == [
        [f"IMG_{n:04d}.jpg" for n in numbers] for numbers in ((3, 4, 5), (6, 7, 8))
    ]  # the first of these three brackets without times is not sure
    assert all(scene.truth is None and scene.split == "train" for scene in found)
    assert said == [f"{tmp_path / 'card'}: 1 of 3 brackets are uncertain and left out (see smarthdr group)"]
    with pytest.raises(InputError, match="is not a folder of bursts"):
        bursts_below(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no subfolder with at least two images"):
        bursts_below(tmp_path / "empty")
    bracket(tmp_path / "one", evs=(0,))
    with pytest.raises(InputError, match=r"no brackets found among its 1 pictures \(see smarthdr group\)"):
        bursts_below(tmp_path / "one")


@pytest.mark.parametrize(("method", "passes"), [("smarthdr", (2, 3)), ("supervised", (2, 3)), ("smarthdr", (0, 1))])
def test_epochs_are_passes_over_the_crops(scene_values, scene_root, method, passes):
    """3 x 5 crops of 32 at a stride of 16 in 64 x 96: four scenes of them are labelled, two are not."""
    values = scene_values | {"method": method, "refresh": 0}
    config = plan(Request(str(scene_root), labeled=5, epochs=passes), values).config
    labelled, then = 4 * 15 // 2, (2 if method == "smarthdr" else 4) * 15 // 2
    assert config.iterations == passes[0] * labelled + passes[1] * then
    assert config.first_unlabeled == (passes[0] * labelled if method == "smarthdr" else config.iterations)


def test_gfhdr_is_refused_before_training_where_a_burst_does_not_fit(short, scene_root, tmp_path):
    bracket(tmp_path / "mine" / "pair", evs=(-1, 1))
    request = Request(str(scene_root), labeled=5, unlabeled=(str(tmp_path / "mine"),))
    with pytest.raises(UsageError, match=r"gfhdr takes three frames; scene pair has 2 \(saf takes 2 to 9\)"):
        plan(request, short | {"model": {"name": "gfhdr", "dim": 12}})


def test_a_burst_smaller_than_a_crop_is_named(short, scene_root, tmp_path):
    planned = plan(Request(str(scene_root), labeled=5), short | {"crop": 96})
    with pytest.raises(InputError, match=r"scene 00\d: 96x64 pixels hold no crop of 96x96"):
        run_scenes(tmp_path, planned, device="cpu")


@pytest.mark.usefixtures("few")
def test_no_data_is_a_benchmark_of_its_own_and_free(short, tmp_path):
    stages = []
    planned = plan(Request(labeled=5), short, lambda stage, share: stages.append((stage, share)))
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
    adapted = plan(Request(labeled=5, unlabeled=(str(tmp_path / "mine"),)), short)
    run_scenes(tmp_path / "b", adapted, device="cpu", init=first["weights"])
    _, checkpoint = load_model(tmp_path / "b" / "model.safetensors")
    assert checkpoint.licence == f"{PICTURES}; and, of the weights it began with: CC0-1.0"
    assert checkpoint.record["init"] == {"name": "model.safetensors", "sha256": first["sha256"], "licence": "CC0-1.0"}


def test_the_licence_of_the_first_weights_is_never_lost(short, scene_root, tmp_path):
    """Not by resuming, and not by training on what is free."""
    planned = plan(Request(str(scene_root), labeled=5), short | {"iterations": 1})
    first = run_scenes(tmp_path / "a", planned, device="cpu")
    run_scenes(tmp_path / "b", planned, device="cpu", init=first["weights"])
    longer = replace(planned, config=replace(planned.config, iterations=2))
    out = run_scenes(tmp_path / "b", longer, device="cpu", resume=True)
    assert out["record"]["init"]["sha256"] == first["sha256"]
    assert load_model(tmp_path / "b" / "model.safetensors")[1].licence == PICTURES
    state = load_train_state(tmp_path / "b" / "state.pt", longer.config, torch.device("cpu"))
    assert room.licence("CC0-1.0", state) == f"CC0-1.0; and, of the weights it began with: {PICTURES}"


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_a_run_on_a_users_panoramas_is_not_called_free(short, tmp_path):
    for n in range(2):
        light, _ = made.pair(height=96, width=160, seed=n)
        (tmp_path / "mine").mkdir(exist_ok=True)
        write_radiance(tmp_path / "mine" / f"{n}.exr", light[0].permute(1, 2, 0).numpy())
    run_scenes(tmp_path / "run", plan(Request(panoramas=str(tmp_path / "mine"), labeled=5), short), device="cpu")
    assert load_model(tmp_path / "run" / "model.safetensors")[1].licence == PICTURES


def test_a_run_of_other_weights_and_folders_says_why(short, scene_root, tmp_path):
    planned = plan(Request(str(scene_root), labeled=5), short)
    with pytest.raises(InputError, match="no training state there to resume"):
        run_scenes(tmp_path / "none", planned, device="cpu", resume=True)
    with pytest.raises(ModelError):
        run_scenes(tmp_path / "none", planned, device="cpu", init=str(tmp_path / "none.safetensors"))
    with pytest.raises(InputError, match="not the record of a run on scenes"):
        Request.load(tmp_path)
    short_of_a_number = {"data": None, "labeled": 1, "epochs": [1], "panoramas": None, "unlabeled": []}
    for text in ("", "[]", '{"data": null}', json.dumps(short_of_a_number)):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(InputError, match="not the record of a run on scenes"):
            Request.load(tmp_path)


@pytest.mark.parametrize("request_", [
    Request(), Request("d", "p", 3, ("a", "b"), (1, 2)), Request("d", labeled=("001", "002")),
])  # fmt: skip
def test_a_request_is_remembered(tmp_path, request_):
    request_.save(tmp_path / "new")
    assert Request.load(tmp_path / "new") == request_
