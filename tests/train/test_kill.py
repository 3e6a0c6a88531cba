"""A run killed at any moment resumes without a difference."""

import random
import time

import pytest
import torch

from smarthdr_cli.models.checkpoint import load_model

RUN = """
import torch
torch.set_num_threads(1)
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.loop import train
from smarthdr_cli.train.run import write_weights
from smarthdr_cli.train.scene_session import SceneSession
from smarthdr_cli.train.state import load_train_state, new_state

config = train_config(values)
begun = (folder / "state.pt").exists()
device = torch.device("cpu")
state = load_train_state(folder / "state.pt", config, device) if begun else new_state(config, device)
session = SceneSession(data, config, state, folder)
begin.set()
train(config, session, folder, state, lambda _: None)
write_weights(folder / "model.safetensors", state.student, config, {}, None, "", {})
"""


def flat(content):
    if isinstance(content, dict):
        return [v for key in sorted(content, key=str) for v in flat(content[key])]
    if isinstance(content, list):
        return [v for value in content for v in flat(value)]
    return [content]


def killed_again_and_again(processes, values, data, tmp_path, times, seed):
    """A run that writes its state after every short update, killed ``times`` times and then finished."""
    values = values | {
        "iterations": max(12, 3 * times),
        "save_minutes": 0.0,
        "validate_every": 5,
        "pseudo": "epoch",
        "refresh": 3,
    }
    rng = random.Random(seed)
    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()

    def start(folder):
        begin = processes.Event()
        process = processes.Process(
            target=exec, args=(RUN, {"folder": folder, "data": data, "values": values, "begin": begin})
        )
        process.start()
        return process, begin

    steps = [0]
    for _ in range(times):
        process, begin = start(folders[1])
        assert begin.wait(100)
        time.sleep(rng.uniform(0, 2.0 / times**0.5))
        process.kill()
        process.join()
        state = folders[1] / "state.pt"
        if state.exists():
            steps.append(torch.load(state, weights_only=True)["step"])
        if (folders[1] / "model.safetensors").exists():
            load_model(folders[1] / "model.safetensors")
    assert steps == sorted(steps)  # what was saved is never lost
    for folder in folders:
        process, _ = start(folder)
        process.join()
        assert process.exitcode == 0
    uninterrupted, killed = (torch.load(f / "state.pt", weights_only=True) for f in folders)
    del uninterrupted["seconds"], killed["seconds"]
    for a, b in zip(flat(uninterrupted), flat(killed), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    assert (folders[0] / "model.safetensors").read_bytes() == (folders[1] / "model.safetensors").read_bytes()
    left = {p.name for p in folders[1].iterdir()} - {p.name for p in folders[0].iterdir()}
    assert all(name.startswith(".smarthdr-") for name in left)  # killed while it was written
    assert len(left) <= times
    return steps


def test_a_few_kills_change_nothing(processes, scene_values, scenes, tmp_path):
    killed_again_and_again(processes, scene_values, scenes, tmp_path, 2, 1)


@pytest.mark.slow
def test_twenty_kills_change_nothing(processes, scene_values, scenes, tmp_path):
    steps = killed_again_and_again(processes, scene_values, scenes, tmp_path, 20, 2)
    assert len(set(steps)) > 5
