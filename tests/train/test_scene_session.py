"""Runs on prepared scenes: the inputs of a step, and every method and switch, with either network."""

import math
from dataclasses import replace

import pytest
import torch

from smarthdr_cli.data.augment import Augmentation
from smarthdr_cli.data.crops import CropSampler
from smarthdr_cli.data.datasets import find_scenes
from smarthdr_cli.data.prepared import prepare
from smarthdr_cli.data.splits import draw_split
from smarthdr_cli.data.synth.export import benchmark_config, write_benchmark
from smarthdr_cli.errors import UsageError
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.loop import ema_decay, train
from smarthdr_cli.train.methods import METHODS, fshdr, method_class, selfhdr
from smarthdr_cli.train.optical_flow import dense_flows
from smarthdr_cli.train.pseudo_labels import predict_augmented
from smarthdr_cli.train.scene_data import SceneData
from smarthdr_cli.train.scene_session import SceneSession, step_inputs
from smarthdr_cli.train.state import new_state

CPU = torch.device("cpu")
GFHDR = {"name": "gfhdr", "dim": 12, "blocks": 1, "depth": 2, "heads": 2, "squeeze": 4, "drop_path": 0.5}


@pytest.fixture
def samplers(scenes):
    return CropSampler(scenes.labeled, 32, 2, 4), CropSampler(scenes.unlabeled, 32, 2, 5)


def method_of(values):
    config = train_config(values)
    return method_class(config.method)(config)


@pytest.mark.parametrize(
    ("more", "early", "late"),
    [
        ({"fill": "none"}, (False, False), (True, False)),
        ({"fill": "selfhdr"}, (False, False), (True, True)),
        ({"fill": "selfhdr-first"}, (False, False), (True, True)),
        ({"method": "smae", "fill": "selfhdr"}, (False, False), (True, False)),
        ({"method": "fshdr"}, (True, False), (True, True)),
        ({"method": "smae", "smae_stage1": True}, (True, False), (True, False)),
        ({"method": "selfhdr", "labelled_first": 0.0}, (True, True), (True, True)),
    ],
)
def test_inputs_hold_what_the_method_and_phase_need(scene_values, samplers, more, early, late):
    method = method_of(scene_values | more)
    for step, expected in ((0, early), (7, late)):
        inputs = step_inputs(*samplers, method, step)
        assert inputs.labeled is not None
        assert (inputs.unlabeled is not None, inputs.flows is not None) == expected
        assert torch.equal(inputs.labeled.batch.frames, samplers[0](step).batch.frames)
        if inputs.flows is not None:
            for ours, wanted_field in zip(inputs.flows, dense_flows(samplers[1](step).batch), strict=True):
                assert torch.equal(ours, wanted_field)


def test_inputs_without_a_sampler_have_no_crops(scene_values, samplers):
    inputs = step_inputs(None, samplers[1], method_of(scene_values | {"fill": "selfhdr"}), 7)
    assert inputs.labeled is None
    assert step_inputs(samplers[0], None, method_of(scene_values), 7).unlabeled is None
    meta = inputs.to(torch.device("meta"))
    assert {field.device.type for field in (meta.unlabeled.batch.frames, *meta.flows)} == {"meta"}
    assert meta.unlabeled == replace(inputs.unlabeled, batch=meta.unlabeled.batch)


@pytest.mark.parametrize("more", [{"fill": "selfhdr-first"}, {"method": "fshdr"}, {"method": "selfhdr"}])
def test_flow_is_computed_once_an_update(scene_values, scenes, tmp_path, monkeypatch, more):
    def again(_batch):
        raise AssertionError("flow was computed ahead")

    monkeypatch.setattr(selfhdr, "dense_flows", again)
    monkeypatch.setattr(fshdr, "dense_flows", again)
    config = train_config(scene_values | {"iterations": 5} | more)
    state = new_state(config, CPU)
    train(config, SceneSession(scenes, config, state, tmp_path), tmp_path, state, lambda _: None)
    assert state.step == 5


def run(data, values, folder, watch=lambda _session, _state: None):
    """All steps of a run, their terms by step, and the state; ``watch`` looks after each."""
    config = train_config(values)
    state = new_state(config, CPU)
    session = SceneSession(data, config, state, folder)
    steps = []

    def on_step(record):
        steps.append(record)
        watch(session, state)

    train(config, session, folder, state, lambda _: None, on_step=on_step)
    return steps, state, session


def tensors(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(
    ("more", "labelled", "then"),
    [
        ({"method": "supervised"}, set(), set()),
        ({"method": "smarthdr"}, set(), {"unlabeled_reconstruction", "kept", "kept_patches"}),
        ({"method": "smarthdr", "pseudo": "step"}, set(), {"unlabeled_reconstruction", "kept", "kept_patches"}),
        ({"method": "smarthdr", "fill": "selfhdr"}, set(), {"unlabeled_reconstruction", "kept", "kept_filled"}),
        ({"method": "smarthdr", "views": 2}, set(), {"unlabeled_reconstruction", "kept"}),
        ({"method": "smarthdr", "weight_cells": 1.0}, set(), {"unlabeled_reconstruction", "unlabeled_cells"}),
        ({"method": "smarthdr", "batch_made": 2}, {"made_motion"}, {"unlabeled_reconstruction", "made_reconstruction"}),
        ({"method": "smae"}, set(), {"unlabeled_reconstruction", "kept"}),
        ({"method": "smae", "smae_stage1": True}, {"unlabeled_masked"}, {"unlabeled_reconstruction", "kept"}),
        ({"method": "fshdr"}, {"unlabeled_rerendered"}, {"unlabeled_reconstruction"}),
        ({"method": "selfhdr"}, {"unlabeled_structure", "kept"}, {"unlabeled_structure", "unlabeled_reconstruction"}),
    ],
)
def test_every_method_has_its_phases_and_terms(scene_values, scenes, tmp_path, more, labelled, then):
    steps, state, _ = run(scenes, scene_values | {"iterations": 6, "labelled_first": 0.5} | more, tmp_path)
    first = 0 if more["method"] == "selfhdr" else 6 if more["method"] == "supervised" else 3
    assert [s["phase"] for s in steps] == ["labelled"] * first + [more["method"]] * (6 - first)
    for n, record in enumerate(steps):
        assert all(math.isfinite(v) for k, v in record.items() if k != "phase")
        expected = labelled if n < 3 else then
        assert expected <= record.keys()
        assert expected or not any(k.startswith(("unlabeled", "kept", "made")) for k in record)
        assert {"reconstruction", "uncertainty", "merged", "gradient"} <= record.keys()
        assert all(0 <= v <= 1 for k, v in record.items() if k.startswith("kept"))
    assert state.step == 6


def test_without_masks_every_pixel_is_kept(scene_values, scenes, tmp_path):
    for patch, pixel in ((True, True), (False, False)):
        more = {"masks": {"side": 16, "patch": patch, "pixel": pixel, "tau_patch": 0.2, "tau_pixel": 0.2}}
        steps, _, _ = run(scenes, scene_values | {"labelled_first": 0.0, "iterations": 2} | more, tmp_path / str(patch))
        assert all((s["kept"] == 1) != patch for s in steps)


def test_adaptive_thresholds_are_quantiles_over_labelled_scenes(scene_values, scenes, tmp_path):
    """tau at the largest labelled sigma keeps nearly every unlabelled pixel, at the smallest none."""
    kept = {}
    for quantile in (0.0, 1.0):
        masks = {"side": 16, "adaptive": True, "quantile": quantile}
        values = scene_values | {"labelled_first": 0.0, "iterations": 2, "masks": masks, "learning_rate": 0.0}
        steps, _, session = run(scenes, values, tmp_path / str(quantile))
        kept[quantile] = steps[-1]["kept"]
        pixels = sum(s.size[0] * s.size[1] for s in scenes.labeled)
        assert float(session.method.labeled_range.pixels.counts.sum()) == pixels
        assert float(session.method.sigma_range.pixels.counts.sum()) == sum(
            s.size[0] * s.size[1] for s in scenes.unlabeled
        )
    assert kept[0.0] < 0.05
    assert kept[1.0] > 0.5


def test_a_copied_teacher_equals_the_student_and_an_averaged_one_follows_it(scene_values, scenes, tmp_path):
    def equal(_session, state):
        student = state.student.state_dict()
        assert all(torch.equal(v, student[k]) for k, v in state.teacher.state_dict().items())

    run(scenes, scene_values | {"teacher": "copy", "iterations": 5}, tmp_path / "copy", equal)
    config = train_config(scene_values)
    average = tensors(new_state(config, CPU).teacher)

    def closed(_session, state):
        decay = ema_decay(config.ema, state.step - 1)
        for name, value in state.student.state_dict().items():
            average[name] = decay * average[name] + (1 - decay) * value
            torch.testing.assert_close(state.teacher.state_dict()[name], average[name], rtol=1e-5, atol=1e-7)

    run(scenes, scene_values | {"iterations": 5}, tmp_path / "ema", closed)


def test_one_batch_is_overfitted_under_smarthdr(scene_values, scenes, tmp_path, monkeypatch):
    """Labels and pseudo-labels of the same crops at every step: the loss on labels falls by a quarter in 40 updates."""
    places = CropSampler.draw_positions
    monkeypatch.setattr(CropSampler, "draw_positions", lambda sampler, _step: places(sampler, 0))
    monkeypatch.setattr(Augmentation, "draw_weak", lambda _: Augmentation(False, 0, (0, 1, 2)))
    monkeypatch.setattr(Augmentation, "draw", lambda _: Augmentation(True, 1, (2, 0, 1)))
    values = scene_values | {"iterations": 40, "labelled_first": 0.1, "learning_rate": 3e-3, "refresh": 10,
                             "validate_every": 40, "ema": 0.9}  # fmt: skip
    steps, _, _ = run(scenes, values, tmp_path)
    first, last = (sum(s["reconstruction"] for s in part) / 5 for part in (steps[:5], steps[-5:]))
    assert last < 0.75 * first
    assert steps[-1]["unlabeled_reconstruction"] < first


@pytest.fixture(scope="module")
def other_counts(bank, tmp_path_factory, prepared_cache):
    """Unlabelled bursts of two and of four frames."""
    results = []
    for frames in (2, 4):
        root = tmp_path_factory.mktemp(f"frames{frames}")
        write_benchmark(root, bank, 1, 9 + frames, benchmark_config("gamma16", (48, 64), frames))
        results += prepare(draw_split(find_scenes(root), 0, 0).unlabeled, prepared_cache, align="none")
    return tuple(results)


@pytest.mark.parametrize(
    "method", ["smarthdr", *(pytest.param(m, marks=pytest.mark.slow) for m in ("smae", "fshdr", "selfhdr"))]
)
def test_a_run_takes_bursts_of_different_lengths(scene_values, scenes, other_counts, tmp_path, method):
    data = replace(scenes, unlabeled=(*scenes.unlabeled[:1], *other_counts))
    values = scene_values | {"method": method, "labelled_first": 0.0}
    sampler = CropSampler(data.unlabeled, 32, 2, 1)  # the session's own, for seed 0
    assert {sampler(step).batch.frames.shape[1] for step in range(12)} == {2, 3, 4}
    steps, state, _ = run(data, values, tmp_path)
    assert state.step == 12
    assert all(math.isfinite(record["total"]) for record in steps)


@pytest.mark.parametrize(("method", "pseudo"), [("supervised", "epoch"), ("smarthdr", "epoch"), ("smarthdr", "step")])
def test_gfhdr_trains_in_the_same_session(scene_values, scenes, tmp_path, method, pseudo):
    """Layers are dropped at random in the student, never in the teacher."""
    values = scene_values | {"model": GFHDR, "iterations": 2, "labelled_first": 0.0, "method": method, "pseudo": pseudo}
    before = tensors(new_state(train_config(values), CPU).student)
    batch = CropSampler(scenes.labeled, 32, 2, 0)(0).batch

    def watch(_session, state):
        assert state.student.training
        assert not any(m.training for m in state.teacher.modules())
        with torch.no_grad():
            seen = [[predict_augmented(m, batch, torch.Generator().manual_seed(1), "fp32").radiance for _ in range(6)]
                    for m in (state.teacher, state.student)]  # fmt: skip
        assert all(torch.equal(x, seen[0][0]) for x in seen[0])
        assert not all(torch.equal(x, seen[1][0]) for x in seen[1])

    with torch.random.fork_rng():
        steps, state, _ = run(scenes, values, tmp_path, watch)
    assert all(math.isfinite(s["total"]) and s["gradient"] > 0 for s in steps)
    changed = [name for name, value in state.student.state_dict().items() if not torch.equal(value, before[name])]
    assert len(changed) > 0.9 * len(before)
    assert ("unlabeled_reconstruction" in steps[0]) == (method == "smarthdr")


def test_a_run_that_meets_an_unsuitable_burst_saves_its_state(scene_values, scenes, other_counts, tmp_path):
    data = replace(scenes, unlabeled=other_counts[:1])
    with pytest.raises(UsageError, match="gfhdr takes three frames; the bursts have 2"):
        run(data, scene_values | {"model": GFHDR, "iterations": 2, "labelled_first": 0.5}, tmp_path)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 1


def test_drop_path_draws_depend_on_the_step_alone(scene_values, scenes, tmp_path):
    """A run neither depends on torch's global random state nor changes it."""
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        values = scene_values | {"model": GFHDR, "iterations": 2, "method": "supervised"}
        results.append(tensors(run(scenes, values, tmp_path / str(seed))[1].student))
        assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(v, results[1][k]) for k, v in results[0].items())


def test_an_epoch_is_a_pass_over_the_unlabelled_crops(scene_values, scenes, tmp_path):
    for more, epoch in (({"refresh": 0}, 3 * 5 * 2 // 2), ({"refresh": 5}, 5), ({"method": "fshdr"}, 12)):
        config = train_config(scene_values | more)
        session = SceneSession(scenes, config, new_state(config, CPU), tmp_path)
        session.close()
        assert session.epoch == epoch


def test_a_held_out_band_too_small_for_a_network_is_left_out(scene_values, scenes, tmp_path):
    part = scenes.held_out[0].band
    low = replace(scenes.held_out[0], band=replace(part, top=0.75))  # 16 of 64 rows
    steps, state, session = run(replace(scenes, held_out=(low,)), scene_values | {"iterations": 2}, tmp_path)
    assert len(steps) == 2
    assert session.validate(state) == {}
    both = SceneData(scenes.labeled, scenes.unlabeled, (low, scenes.held_out[0]))
    (seen,) = both.validation(CPU)
    assert seen.frames.shape[-2:] == (64, 96)


def test_every_method_of_the_table_trains(scene_values, scenes, tmp_path):
    for method in METHODS:
        steps, state, _ = run(scenes, scene_values | {"iterations": 2, "method": method}, tmp_path / method)
        assert state.step == 2
        assert all(math.isfinite(record["total"]) for record in steps)
