"""What a run would cost: counted right, measured on updates that leave nothing behind."""

import tempfile
from types import SimpleNamespace

import pytest
import torch
from smarthdr_cli.train.scene_run import Plan

from smarthdr_cli.data.splits import Split
from smarthdr_cli.train import cost_estimate
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.cost_estimate import LONG, UPDATES, rehearse_scenes

CPU = torch.device("cpu")


class Clocked:
    """A session whose updates take what is said, by a clock of its own."""

    patches = 1

    def __init__(self, seconds, monkeypatch):
        self.seconds, self.now, self.steps = seconds, 0.0, []
        monkeypatch.setattr(cost_estimate.time, "perf_counter", lambda: self.now)

    def step(self, state):
        self.now += self.seconds[len(self.steps)]
        self.steps.append(state.step)
        return {}

    def phase(self, step):
        return "labelled" if step < 100 else "smarthdr"


def test_an_update_takes_what_most_do(monkeypatch):
    state = SimpleNamespace(step=100)
    session = Clocked([9.0, 1.0, 5.0, 2.0], monkeypatch)
    assert cost_estimate._phase(session, state, 77) == {"phase": "smarthdr", "steps": 77, "seconds_per_update": 2.0}
    assert session.steps == [100, 101, 102, 103]
    assert len(session.steps) == UPDATES


def test_slow_updates_are_not_repeated_for_long(monkeypatch):
    state = SimpleNamespace(step=0)
    slow = Clocked([LONG + 1] * 9, monkeypatch)
    assert cost_estimate._phase(slow, state, 5)["seconds_per_update"] == LONG + 1
    assert slow.steps == [0]


@pytest.mark.parametrize(
    ("more", "phases", "refresh", "times"),
    [
        ({}, [("labelled", 3), ("smarthdr", 9)], 4, 3),
        ({"pseudo": "step"}, [("labelled", 3), ("smarthdr", 9)], 0, 0),
        ({"refresh": 0}, [("labelled", 3), ("smarthdr", 9)], 15, 1),  # 2 scenes of 3x5 crops, 2 at a time
        ({"method": "smae", "smae_stage1": True}, [("labelled", 3), ("smae", 9)], 4, 3),
        ({"method": "fshdr"}, [("labelled", 3), ("fshdr", 9)], 12, 1),
        ({"method": "selfhdr"}, [("selfhdr", 12)], 0, 0),
        ({"method": "supervised"}, [("labelled", 12)], 0, 0),
        ({"labelled_first": 0.0}, [("smarthdr", 12)], 4, 3),
    ],
)
def test_what_is_counted(scenes, scene_values, tmp_path, monkeypatch, more, phases, refresh, times):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    config = train_config(scene_values | more)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    cost = rehearse_scenes(Plan(config, Split((), (), ()), scenes, None, (), {}), CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert [(phase["phase"], phase["steps"]) for phase in cost["phases"]] == phases
    assert (cost["refresh"], cost["pseudo_labels"]["times"]) == (refresh, times)
    assert cost["validation"]["times"] == 2
    assert cost["validation"]["seconds"] > 0
    assert (cost["pseudo_labels"]["seconds"] > 0) <= (times > 0)
    parts = sum(phase["steps"] * phase["seconds_per_update"] for phase in cost["phases"])
    parts += sum(cost[name]["times"] * cost[name]["seconds"] for name in ("pseudo_labels", "validation"))
    assert cost["seconds"] == pytest.approx(parts)
    assert list(tmp_path.glob("smarthdr-*")) == []
