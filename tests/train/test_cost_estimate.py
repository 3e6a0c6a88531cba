"""The cost of a run: counted right, and measured on updates that leave nothing behind."""

import tempfile
from types import SimpleNamespace

import pytest
import torch

from smarthdr_cli.data.splits import Split
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.cost_estimate import MAX_TIMING_SECONDS, TIMED_UPDATES, scene_run_cost, time_updates
from smarthdr_cli.train.scene_data import PreparedRun

CPU = torch.device("cpu")


class Clocked:
    """A session whose updates take given times, by a clock of its own."""

    patches = 1

    def __init__(self, seconds):
        self.seconds, self.now, self.steps = seconds, 0.0, []

    def clock(self):
        return self.now

    def step(self, state):
        self.now += self.seconds[len(self.steps)]
        self.steps.append(state.step)
        return {}

    def phase(self, step):
        return "labelled" if step < 100 else "smarthdr"


def test_the_time_of_an_update_is_the_median_without_the_first():
    state = SimpleNamespace(step=100)
    session = Clocked([4.0, 1.0, 3.0])
    cost = time_updates(session, state, 77, session.clock)
    assert cost == {"phase": "smarthdr", "steps": 77, "seconds_per_update": 2.0}
    assert session.steps == [100, 101, 102]
    assert len(session.steps) == TIMED_UPDATES


def test_slow_updates_are_timed_once():
    state = SimpleNamespace(step=0)
    slow = Clocked([MAX_TIMING_SECONDS + 1] * 9)
    assert time_updates(slow, state, 5, slow.clock)["seconds_per_update"] == MAX_TIMING_SECONDS + 1
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
def test_phases_refreshes_and_validations_are_counted(
    scenes, scene_values, tmp_path, monkeypatch, more, phases, refresh, times
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    config = train_config(scene_values | more)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    cost = scene_run_cost(PreparedRun(config, Split((), (), ()), scenes, None, (), {}), CPU)
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
