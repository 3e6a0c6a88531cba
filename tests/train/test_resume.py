"""A run that was stopped goes on bit for bit as one that was not, on the CPU."""

import json
import os
import shutil
import signal

import pytest
import torch

from smarthdr_cli.train import loop
from smarthdr_cli.train import scene_session as room
from smarthdr_cli.train.burst_stream import StreamSession
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.loop import train
from smarthdr_cli.train.run import held_out_batches
from smarthdr_cli.train.scene_session import SceneSession
from smarthdr_cli.train.state import load_train_state, new_state

CPU = torch.device("cpu")
METHODS = [("smarthdr", "epoch"), ("made", "epoch"), ("smarthdr", "step"), ("smae", "step"), ("fshdr", "epoch")]
SLOW = [("smae", "epoch"), ("fshdr", "step"), *((m, p) for m in ("selfhdr", "supervised") for p in ("epoch", "step"))]
METHODS += [pytest.param(*pair, marks=pytest.mark.slow) for pair in SLOW]


def leaves(content, name=""):
    """Every tensor and number of a nested state by its path."""
    if isinstance(content, dict):
        return {k: v for key in content for k, v in leaves(content[key], f"{name}/{key}").items()}
    if isinstance(content, list | tuple):
        return {k: v for n, value in enumerate(content) for k, v in leaves(value, f"{name}/{n}").items()}
    return {name: content}


def same_state(one, two):
    """Bit for bit, all that a state file holds but the time it took."""
    found = [leaves(torch.load(folder / "state.pt", weights_only=True)) for folder in (one, two)]
    for content in found:
        content.pop("/seconds")
    assert found[0].keys() == found[1].keys()
    different = [k for k, v in found[0].items() if not same(v, found[1][k])]
    assert not different


def same(a, b):
    return torch.equal(a.nan_to_num(), b.nan_to_num()) if isinstance(a, torch.Tensor) else a == b


def on_scenes(data, values, folder, *, stop=None, resume=False):
    config = train_config(values)
    state = load_train_state(folder / "state.pt", config, CPU) if resume else new_state(config, CPU)
    return run(SceneSession(data, config, state, folder), config, state, folder, stop)


def run(session, config, state, folder, stop):
    def told(record):
        if record["step"] == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    state = train(config, session, folder, state, lambda _: None, on_step=told)
    assert state.step == (stop or config.iterations)
    return state


def log(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "patches_per_second")} for line in lines]


def test_a_stream_goes_on_as_it_would_have(values, bank, tmp_path):
    values = values | {"iterations": 12, "pool": 2, "replay": 3, "motion_steps": 3}
    config = train_config(values)
    validation = held_out_batches(bank, 2, 77, CPU, side=32)
    for folder, stops in ((tmp_path / "whole", [None]), (tmp_path / "parts", [7, None])):
        for n, at in enumerate(stops):
            state = load_train_state(folder / "state.pt", config, CPU) if n else new_state(config, CPU)
            run(StreamSession(bank, validation, config, state), config, state, folder, at)
    same_state(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(("method", "pseudo"), METHODS)
def test_scenes_go_on_as_they_would_have(scene_values, scenes, tmp_path, method, pseudo):
    """Stopped among the labels, between two refreshes and right where one is due."""
    values = scene_values | {"method": method, "pseudo": pseudo, "smae_stage1": True}
    if method == "made":
        method = "smarthdr"
        values |= {"method": method, "batch_made": 2, "views": 2, "weight_cells": 1.0, "replay": 2, "pool": 2}
    values["masks"] = values["masks"] | {"adaptive": method == "smarthdr"}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    on_scenes(scenes, values, whole)
    for n, stop in enumerate((2, 5, 7, None)):
        on_scenes(scenes, values, parts, stop=stop, resume=n > 0)
    same_state(whole, parts)
    content = torch.load(parts / "state.pt", weights_only=True)
    assert content["step"] == 12
    assert len(leaves(content["optimizer"])) > 20
    seen = sum(float(v.sum()) for v in leaves(content["extra"]).values())
    assert (seen > 0) == (method in ("smarthdr", "smae", "fshdr"))


@pytest.mark.parametrize("left", ["partial", pytest.param("all", marks=pytest.mark.slow)])
def test_what_a_killed_run_had_done_since_its_state_is_done_again(scene_values, scenes, tmp_path, monkeypatch, left):
    """Killed after a refresh and before the next state: the older pseudo-labels are there still."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    values = scene_values | {"validate_every": 2}
    on_scenes(scenes, values, whole)
    on_scenes(scenes, values, parts, stop=5)
    with monkeypatch.context() as killed:
        killed.setattr(loop, "save_state", lambda *_: None)
        killed.setattr(room.SceneSession, "saved", lambda _: None)
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


def test_pseudo_labels_are_made_once_an_epoch_and_never_twice(scene_values, scenes, tmp_path, monkeypatch):
    made = []
    real = room.PseudoStore.refresh
    monkeypatch.setattr(room.PseudoStore, "refresh", lambda self, *args: (made.append(args[1]), real(self, *args)))
    for n, stop in enumerate((3, 7, 9, None)):
        on_scenes(scenes, scene_values, tmp_path, stop=stop, resume=n > 0)
    assert made == [3, 7, 11]


def test_pseudo_labels_that_are_gone_or_of_other_scenes_are_made_again(scene_values, scenes, tmp_path):
    on_scenes(scenes, scene_values, tmp_path, stop=5)
    shutil.rmtree(tmp_path / "pseudo")
    on_scenes(scenes, scene_values, tmp_path, stop=6, resume=True)
    store = tmp_path / "pseudo" / "000000003"
    before = {p.name: p.stat().st_mtime_ns for p in store.iterdir()}
    on_scenes(scenes, scene_values, tmp_path, stop=8, resume=True)
    other = room.SceneData(scenes.labeled, scenes.unlabeled[::-1], scenes.held_out)
    (tmp_path / "pseudo" / "000000007").rename(store)
    taken = room.PseudoStore(tmp_path / "pseudo", scenes.unlabeled, 16)
    assert taken.take(3)
    assert taken.made == store
    for scenes_of, side in ((other.unlabeled, 16), (scenes.unlabeled, 32), (scenes.unlabeled[:1], 16)):
        assert not room.PseudoStore(tmp_path / "pseudo", scenes_of, side).take(3)
    assert set(before) == {f"{n}.{what}.npy" for n in (0, 1) for what in ("light", "sigma", "means")} | {"record.json"}


def test_a_run_that_is_finished_does_nothing_more(scene_values, scenes, tmp_path):
    on_scenes(scenes, scene_values, tmp_path)
    before = torch.load(tmp_path / "state.pt", weights_only=True)
    shutil.rmtree(tmp_path / "pseudo")
    on_scenes(scenes, scene_values, tmp_path, resume=True)
    after = torch.load(tmp_path / "state.pt", weights_only=True)
    assert leaves(before["student"]).keys() == leaves(after["student"]).keys()
    assert all(same(v, leaves(after)[k]) for k, v in leaves(before).items() if k != "/seconds")
    assert not (tmp_path / "pseudo").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_a_run_on_scenes(scene_values, scenes, tmp_path, number):
    """Also a second and a third one that come while the state is written."""
    config = train_config(scene_values | {"iterations": 10**6, "labelled_first": 0.0})
    state = new_state(config, CPU)
    session = SceneSession(scenes, config, state, tmp_path)
    handler = signal.getsignal(number)
    real = session.saving

    def saving(state):
        os.kill(os.getpid(), number)
        real(state)

    session.saving = saving
    told = []

    def on_step(record):
        told.append(record["phase"])
        if record["step"] == 2:
            os.kill(os.getpid(), number)

    state = train(config, session, tmp_path, state, lambda _: None, on_step=on_step)
    assert told == ["smarthdr"] * 2
    assert load_train_state(tmp_path / "state.pt", config, CPU).step == 2
    assert signal.getsignal(number) is handler
    assert session.coming._pool._shutdown
