"""A run that was stopped and resumed equals one that was not, bit for bit, on the CPU."""

import json
import os
import shutil
import signal

import pytest
import torch

from smarthdr_cli.train import loop
from smarthdr_cli.train.burst_stream import StreamSession
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.loop import train
from smarthdr_cli.train.methods import METHODS, method_class
from smarthdr_cli.train.pseudo_labels import PseudoStore
from smarthdr_cli.train.run import held_out_batches
from smarthdr_cli.train.scene_session import SceneSession
from smarthdr_cli.train.state import load_train_state, new_state

CPU = torch.device("cpu")
FAST = [("smarthdr", "epoch"), ("smarthdr", "step"), ("smae", "step"), ("fshdr", "epoch")]
SLOW = [(method, pseudo) for method in METHODS for pseudo in ("epoch", "step") if (method, pseudo) not in FAST]
BEYOND = {"batch_made": 2, "views": 2, "weight_cells": 1.0, "replay": 2, "pool": 2}
RUNS = [*((*pair, {}) for pair in FAST), ("smarthdr", "epoch", BEYOND)]
RUNS += [pytest.param(*pair, {}, marks=pytest.mark.slow) for pair in SLOW]


def leaves(content, name=""):
    """Every tensor and number of a nested state by its path."""
    if isinstance(content, dict):
        return {k: v for key in content for k, v in leaves(content[key], f"{name}/{key}").items()}
    if isinstance(content, list | tuple):
        return {k: v for n, value in enumerate(content) for k, v in leaves(value, f"{name}/{n}").items()}
    return {name: content}


def same_state(one, two):
    """Bit for bit, all that a state file holds but the time it took."""
    states = [leaves(torch.load(folder / "state.pt", weights_only=True)) for folder in (one, two)]
    for content in states:
        content.pop("/seconds")
    assert states[0].keys() == states[1].keys()
    different = [k for k, v in states[0].items() if not same(v, states[1][k])]
    assert not different


def same(a, b):
    return torch.equal(a.nan_to_num(), b.nan_to_num()) if isinstance(a, torch.Tensor) else a == b


def on_scenes(data, values, folder, *, stop=None, resume=False):
    config = train_config(values)
    state = load_train_state(folder / "state.pt", config, CPU) if resume else new_state(config, CPU)
    return run(SceneSession(data, config, state, folder), config, state, folder, stop)


def run(session, config, state, folder, stop):
    def on_step(record):
        if record["step"] == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    state = train(config, session, folder, state, lambda _: None, on_step=on_step)
    assert state.step == (stop or config.iterations)
    return state


def log(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "patches_per_second")} for line in lines]


def test_a_resumed_stream_equals_an_uninterrupted_one(values, bank, tmp_path):
    values = values | {"iterations": 12, "pool": 2, "replay": 3, "motion_steps": 3}
    config = train_config(values)
    validation = held_out_batches(bank, 2, 77, CPU, side=32)
    for folder, stops in ((tmp_path / "whole", [None]), (tmp_path / "parts", [7, None])):
        for n, at in enumerate(stops):
            state = load_train_state(folder / "state.pt", config, CPU) if n else new_state(config, CPU)
            run(StreamSession(bank, validation, config, state), config, state, folder, at)
    same_state(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(("method", "pseudo", "more"), RUNS)
def test_a_resumed_run_on_scenes_equals_an_uninterrupted_one(scene_values, scenes, tmp_path, method, pseudo, more):
    """Stopped among the labels, between two refreshes and right where one is due."""
    values = scene_values | {"method": method, "pseudo": pseudo, "smae_stage1": True} | more
    values["masks"] = values["masks"] | {"adaptive": method == "smarthdr"}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    on_scenes(scenes, values, whole)
    for n, stop in enumerate((2, 5, 7, None)):
        on_scenes(scenes, values, parts, stop=stop, resume=n > 0)
    same_state(whole, parts)
    content = torch.load(parts / "state.pt", weights_only=True)
    assert content["step"] == 12
    assert len(leaves(content["optimizer"])) > 20
    assert content["extra"].keys() == method_class(method)(train_config(values)).statistics().keys()
    assert all(float(counts.sum()) > 0 for counts in leaves(content["extra"]).values())


@pytest.mark.parametrize("left", ["partial", pytest.param("all", marks=pytest.mark.slow)])
def test_updates_after_the_last_state_of_a_killed_run_are_repeated(scene_values, scenes, tmp_path, monkeypatch, left):
    """Killed after a refresh and before the next state: the older pseudo-labels are still there."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    values = scene_values | {"validate_every": 2}
    on_scenes(scenes, values, whole)
    on_scenes(scenes, values, parts, stop=5)
    with monkeypatch.context() as killed:
        killed.setattr(loop, "save_state", lambda *_: None)
        killed.setattr(SceneSession, "after_save", lambda _: None)
        on_scenes(scenes, values, parts, stop=10, resume=True)
    store = parts / "pseudo"
    assert sorted(p.name for p in store.iterdir()) == ["000000003", "000000007"]
    if left == "partial":
        (store / "000000007").rename(store / "000000007.partial")
        (store / "000000007.partial" / "0.light.npy").write_bytes(b"half")
    with (parts / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "pha')
    on_scenes(scenes, values, parts, resume=True)
    same_state(whole, parts)
    assert [line["step"] for line in log(parts)] == [2, 4, 6, 8, 10, 12]
    assert log(parts)[3:] == log(whole)[3:]
    assert [p.name for p in store.iterdir()] == ["000000011"]


def test_pseudo_labels_are_made_once_an_epoch(scene_values, scenes, tmp_path, monkeypatch):
    made = []
    real = PseudoStore.refresh
    monkeypatch.setattr(PseudoStore, "refresh", lambda self, *args: (made.append(args[1]), real(self, *args)))
    for n, stop in enumerate((3, 7, 9, None)):
        on_scenes(scenes, scene_values, tmp_path, stop=stop, resume=n > 0)
    assert made == [3, 7, 11]


def test_missing_pseudo_labels_and_those_of_other_scenes_are_made_again(scene_values, scenes, tmp_path):
    on_scenes(scenes, scene_values, tmp_path, stop=5)
    shutil.rmtree(tmp_path / "pseudo")
    on_scenes(scenes, scene_values, tmp_path, stop=6, resume=True)
    store = tmp_path / "pseudo" / "000000003"
    before = {p.name: p.stat().st_mtime_ns for p in store.iterdir()}
    on_scenes(scenes, scene_values, tmp_path, stop=8, resume=True)
    (tmp_path / "pseudo" / "000000007").rename(store)
    reused = PseudoStore(tmp_path / "pseudo", scenes.unlabeled, 16)
    assert reused.reuse(3)
    assert reused.current == store
    for scenes_of, side in ((scenes.unlabeled[::-1], 16), (scenes.unlabeled, 32), (scenes.unlabeled[:1], 16)):
        assert not PseudoStore(tmp_path / "pseudo", scenes_of, side).reuse(3)
    assert set(before) == {f"{n}.{what}.npy" for n in (0, 1) for what in ("light", "sigma", "means")} | {"record.json"}


def test_resuming_a_finished_run_changes_nothing(scene_values, scenes, tmp_path):
    on_scenes(scenes, scene_values, tmp_path)
    before = torch.load(tmp_path / "state.pt", weights_only=True)
    shutil.rmtree(tmp_path / "pseudo")
    on_scenes(scenes, scene_values, tmp_path, resume=True)
    after = torch.load(tmp_path / "state.pt", weights_only=True)
    assert leaves(before["student"]).keys() == leaves(after["student"]).keys()
    assert all(same(v, leaves(after)[k]) for k, v in leaves(before).items() if k != "/seconds")
    assert not (tmp_path / "pseudo").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_repeated_signals_end_a_run_on_scenes_with_its_state_saved(scene_values, scenes, tmp_path, number):
    """More of them arrive while the state is written."""
    config = train_config(scene_values | {"iterations": 10**6, "labelled_first": 0.0})
    state = new_state(config, CPU)
    session = SceneSession(scenes, config, state, tmp_path)
    handler = signal.getsignal(number)
    real = session.before_save

    def before_save(state):
        os.kill(os.getpid(), number)
        real(state)

    session.before_save = before_save
    phases = []

    def on_step(record):
        phases.append(record["phase"])
        if record["step"] == 2:
            os.kill(os.getpid(), number)

    state = train(config, session, tmp_path, state, lambda _: None, on_step=on_step)
    assert phases == ["smarthdr"] * 2
    assert load_train_state(tmp_path / "state.pt", config, CPU).step == 2
    assert signal.getsignal(number) is handler
    with pytest.raises(StopIteration):
        next(session.inputs)


def test_a_run_resumed_under_another_method_gets_its_statistics(scene_values, scenes, tmp_path):
    """The state holds none that smae needs: pseudo-labels and thresholds are made anew."""
    on_scenes(scenes, scene_values, tmp_path, stop=5)
    on_scenes(scenes, scene_values | {"method": "smae"}, tmp_path, stop=6, resume=True)
    extra = torch.load(tmp_path / "state.pt", weights_only=True)["extra"]
    assert extra.keys() == {"threshold"}
    assert all(float(counts.sum()) > 0 for counts in extra["threshold"].values())
