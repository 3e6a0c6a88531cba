"""Runs on prepared scenes: every method and switch does what it says, with either network."""

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
from smarthdr_cli.train import scene_session as room
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.ema import warm_decay
from smarthdr_cli.train.loop import train
from smarthdr_cli.train.scene_session import SceneData, SceneSession
from smarthdr_cli.train.state import new_state

CPU = torch.device("cpu")
GFHDR = {"name": "gfhdr", "dim": 12, "blocks": 1, "depth": 2, "heads": 2, "squeeze": 4, "drop_path": 0.5}


def run(data, values, folder, watch=lambda _session, _state: None):
    """All steps of a run, their terms by step, and the state; ``watch`` looks after each."""
    config = train_config(values)
    state = new_state(config, CPU)
    session = SceneSession(data, config, state, folder)
    steps = []

    def told(record):
        steps.append(record)
        watch(session, state)

    train(config, session, folder, state, lambda _: None, on_step=told)
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
def test_each_method_has_its_phases_and_terms(scene_values, scenes, tmp_path, more, labelled, then):
    steps, state, _ = run(scenes, scene_values | {"iterations": 6, "labelled_first": 0.5} | more, tmp_path)
    first = 0 if more["method"] == "selfhdr" else 6 if more["method"] == "supervised" else 3
    assert [s["phase"] for s in steps] == ["labelled"] * first + [more["method"]] * (6 - first)
    for n, record in enumerate(steps):
        assert all(math.isfinite(v) for k, v in record.items() if k != "phase")
        wanted = labelled if n < 3 else then
        assert wanted <= record.keys()
        assert wanted or not any(k.startswith(("unlabeled", "kept", "made")) for k in record)
        assert {"reconstruction", "uncertainty", "merged", "gradient"} <= record.keys()
        assert all(0 <= v <= 1 for k, v in record.items() if k.startswith("kept"))
    assert state.step == 6


def test_masks_that_are_off_keep_all(scene_values, scenes, tmp_path):
    for patch, pixel in ((True, True), (False, False)):
        more = {"masks": {"side": 16, "patch": patch, "pixel": pixel, "tau_patch": 0.2, "tau_pixel": 0.2}}
        steps, _, _ = run(scenes, scene_values | {"labelled_first": 0.0, "iterations": 2} | more, tmp_path / str(patch))
        assert all((s["kept"] == 1) != patch for s in steps)


def test_adaptive_thresholds_come_from_labelled_scenes(scene_values, scenes, tmp_path):
    """A tau of the greatest labelled sigma keeps nearly all that is unlabelled, one of the least nothing."""
    kept = {}
    for quantile in (0.0, 1.0):
        masks = {"side": 16, "adaptive": True, "quantile": quantile}
        values = scene_values | {"labelled_first": 0.0, "iterations": 2, "masks": masks, "learning_rate": 0.0}
        steps, _, session = run(scenes, values, tmp_path / str(quantile))
        kept[quantile] = steps[-1]["kept"]
        pixels = sum(s.size[0] * s.size[1] for s in scenes.labeled)
        assert float(session.trusted.pixels.counts.sum()) == pixels
        assert float(session.limits.pixels.counts.sum()) == sum(s.size[0] * s.size[1] for s in scenes.unlabeled)
    assert kept[0.0] < 0.05
    assert kept[1.0] > 0.5


def test_a_copied_teacher_is_the_student_and_an_averaged_one_follows_it(scene_values, scenes, tmp_path):
    def equal(_session, state):
        student = state.student.state_dict()
        assert all(torch.equal(v, student[k]) for k, v in state.teacher.state_dict().items())

    run(scenes, scene_values | {"teacher": "copy", "iterations": 5}, tmp_path / "copy", equal)
    config = train_config(scene_values)
    average = tensors(new_state(config, CPU).teacher)

    def closed(_session, state):
        decay = warm_decay(config.ema, state.step - 1)
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
    found = []
    for frames in (2, 4):
        root = tmp_path_factory.mktemp(f"frames{frames}")
        write_benchmark(root, bank, 1, 9 + frames, benchmark_config("gamma16", (48, 64), frames))
        found += prepare(draw_split(find_scenes(root), 0, 0).unlabeled, prepared_cache, align="none")
    return tuple(found)


@pytest.mark.parametrize(
    "method", ["smarthdr", *(pytest.param(m, marks=pytest.mark.slow) for m in ("smae", "fshdr", "selfhdr"))]
)
def test_bursts_of_different_lengths_go_into_one_run(scene_values, scenes, other_counts, tmp_path, method):
    data = replace(scenes, unlabeled=(*scenes.unlabeled[:1], *other_counts))
    lengths = set()
    real = SceneSession._aim

    class Counting(SceneSession):
        def _aim(self, state, crops, *others):
            lengths.add(crops.batch.frames.shape[1])
            return real(self, state, crops, *others)

    config = train_config(scene_values | {"method": method, "labelled_first": 0.0})
    state = new_state(config, CPU)
    train(config, Counting(data, config, state, tmp_path), tmp_path, state, lambda _: None)
    assert lengths == {2, 3, 4}
    assert state.step == 12


@pytest.mark.parametrize(("method", "pseudo"), [("supervised", "epoch"), ("smarthdr", "epoch"), ("smarthdr", "step")])
def test_gfhdr_learns_by_the_same_session(scene_values, scenes, tmp_path, method, pseudo):
    """Its layers are dropped at random in the student, never in the teacher."""
    values = scene_values | {"model": GFHDR, "iterations": 2, "labelled_first": 0.0, "method": method, "pseudo": pseudo}
    before = tensors(new_state(train_config(values), CPU).student)
    batch = CropSampler(scenes.labeled, 32, 2, 0)(0).batch

    def watch(_session, state):
        assert state.student.training
        assert not any(m.training for m in state.teacher.modules())
        with torch.no_grad():
            seen = [[room.pseudo_of(m, batch, torch.Generator().manual_seed(1), "fp32").radiance for _ in range(6)]
                    for m in (state.teacher, state.student)]  # fmt: skip
        assert all(torch.equal(x, seen[0][0]) for x in seen[0])
        assert not all(torch.equal(x, seen[1][0]) for x in seen[1])

    with torch.random.fork_rng():
        steps, state, _ = run(scenes, values, tmp_path, watch)
    assert all(math.isfinite(s["total"]) and s["gradient"] > 0 for s in steps)
    changed = [name for name, value in state.student.state_dict().items() if not torch.equal(value, before[name])]
    assert len(changed) > 0.9 * len(before)
    assert ("unlabeled_reconstruction" in steps[0]) == (method == "smarthdr")


def test_gfhdr_names_what_it_cannot_take_and_what_it_had_stays(scene_values, scenes, other_counts, tmp_path):
    data = replace(scenes, unlabeled=other_counts[:1])
    with pytest.raises(UsageError, match="gfhdr takes three frames; the bursts have 2"):
        run(data, scene_values | {"model": GFHDR, "iterations": 2, "labelled_first": 0.5}, tmp_path)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 1


def test_dropped_layers_are_drawn_for_the_step_alone(scene_values, scenes, tmp_path):
    """Whatever else draws from torch's own random numbers, a run is the same and leaves them as they were."""
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        values = scene_values | {"model": GFHDR, "iterations": 2, "method": "supervised"}
        found.append(tensors(run(scenes, values, tmp_path / str(seed))[1].student))
        assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(v, found[1][k]) for k, v in found[0].items())


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
