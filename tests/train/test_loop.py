"""The loop: what it leaves in its folder, how it stops and resumes; the time budget and the teacher's average."""

import json
import math
import os
import signal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from smarthdr_cli.train.burst_stream import StreamSession
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.loop import TimeBudget, ema_decay, update_ema
from smarthdr_cli.train.loop import train as train_session
from smarthdr_cli.train.run import held_out_batches
from smarthdr_cli.train.state import load_train_state, new_state
from tests.support.training import same_weights

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def validation(bank):
    return held_out_batches(bank, 2, 77, CPU, side=32)


def train(config, bank, validation, folder, state, on_log, **options):
    return train_session(config, StreamSession(bank, validation, config, state), folder, state, on_log, **options)


def test_a_run_leaves_its_metrics_and_state(values, bank, validation, tmp_path):
    config = train_config(values)
    logged = []
    state = train(config, bank, validation, tmp_path / "run", new_state(config, CPU), logged.append)
    assert state.step == 6
    assert state.seconds > 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines == logged
    assert [line["step"] for line in lines] == [3, 6]
    assert {"validation_psnr_mu", "merged", "validation_merged", "patches_per_second"} <= set(lines[0])
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["metrics.jsonl", "state.pt"]
    again = load_train_state(tmp_path / "run" / "state.pt", config, CPU)
    assert again.step == 6
    assert same_weights(again.student.state_dict(), state.student.state_dict())
    assert same_weights(again.teacher.state_dict(), state.teacher.state_dict())
    assert not same_weights(state.teacher.state_dict(), state.student.state_dict())


def test_resuming_continues_steps_and_seconds(values, bank, validation, tmp_path):
    config = train_config(values | {"iterations": 2})
    train(config, bank, validation, tmp_path, new_state(config, CPU), lambda _: None)
    longer = train_config(values | {"iterations": 5})
    state = load_train_state(tmp_path / "state.pt", longer, CPU)
    seconds = state.seconds
    moments = {id(p): s["exp_avg"].clone() for p, s in state.optimizer.state.items()}
    assert moments
    state = train(longer, bank, validation, tmp_path, state, lambda _: None)
    assert state.step == 5
    assert state.seconds > seconds
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [2, 3, 5]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_with_its_state_saved(values, bank, validation, tmp_path, number):
    config = train_config(values | {"iterations": 10**6, "validate_every": 2})
    handler = signal.getsignal(number)
    state = train(config, bank, validation, tmp_path, new_state(config, CPU), lambda _: os.kill(os.getpid(), number))
    assert state.step == 2
    assert load_train_state(tmp_path / "state.pt", config, CPU).step == 2
    assert signal.getsignal(number) is handler


def test_a_time_budget_ends_a_run(values, bank, validation, tmp_path):
    config = train_config(values | {"iterations": 10**6})
    state = new_state(config, CPU)
    assert train(config, bank, validation, tmp_path, state, lambda _: None, budget=TimeBudget(1e-6)).step == 1


def test_the_rate_of_an_update_follows_the_time_budget(values, bank, validation, tmp_path, monkeypatch):
    config = train_config(values | {"iterations": 4, "learning_rate": 1e-3})
    budget, scales = TimeBudget(60, 30), iter([1.0, 1.0, 0.5, 0.25])
    monkeypatch.setattr(TimeBudget, "lr_scale", lambda _budget, seconds: next(scales) if 0 <= seconds < 600 else None)
    state, rates = new_state(config, CPU), []
    train(config, bank, validation, tmp_path, state, lambda _: None, budget=budget,
          on_step=lambda _: rates.append(state.optimizer.param_groups[0]["lr"]))  # fmt: skip
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 2.5e-4])
    state = load_train_state(tmp_path / "state.pt", config, CPU)
    assert state.lr_scale == 1.0  # of a resumed run, which has its own budget


def test_a_run_that_fails_saves_its_state(values, bank, validation, tmp_path):
    config = train_config(values)

    def broken(_):
        raise ValueError("the log is full")

    with pytest.raises(ValueError, match="log is full"):
        train(config, bank, validation, tmp_path, new_state(config, CPU), broken)
    assert load_train_state(tmp_path / "state.pt", config, CPU).step == 3


@pytest.mark.parametrize(
    "cut", ["", '{"step": 4, "total', "not json\n", '{"total": 1}\n', '{"step": 5}\n', '{"step": 4}']
)
def test_resuming_drops_log_lines_after_the_state(values, bank, validation, tmp_path, cut):
    """So are lines cut short by a kill; those before the state stay byte for byte."""
    config = train_config(values | {"iterations": 3, "validate_every": 3})
    train(config, bank, validation, tmp_path, new_state(config, CPU), lambda _: None)
    path = tmp_path / "metrics.jsonl"
    before = path.read_text()
    path.write_text(before + cut)
    longer = train_config(values | {"iterations": 4})
    train(longer, bank, validation, tmp_path, load_train_state(tmp_path / "state.pt", longer, CPU), lambda _: None)
    lines = path.read_text().splitlines(keepends=True)
    assert lines[0] == before
    assert [json.loads(line)["step"] for line in lines] == [3, 4]


def test_without_minutes_a_budget_never_expires():
    assert not TimeBudget().expired(1e12)
    assert TimeBudget().lr_scale(1e12) == 1.0


def test_the_rate_falls_over_the_cooldown():
    budget = TimeBudget(10, 4)
    seconds = [0, 359, 360, 420, 480, 540, 600, 700]
    expected = np.interp(seconds, [0, 360, 600], [1, 1, 0])
    assert [budget.lr_scale(s) for s in seconds] == pytest.approx(expected.tolist())
    assert [budget.expired(s) for s in (599, 600, 601)] == [False, False, True]


def test_without_cooldown_the_rate_stays():
    assert TimeBudget(1).lr_scale(59) == TimeBudget(1).lr_scale(3600) == 1.0


@given(st.floats(0.01, 1e4), st.floats(0, 1), st.floats(0, 1e6), st.floats(0, 1e6))
def test_the_rate_never_rises(minutes, fraction, first, second):
    budget = TimeBudget(minutes, minutes * fraction)
    early, late = sorted([first, second])
    assert 0 <= budget.lr_scale(late) <= budget.lr_scale(early) <= 1


@pytest.mark.parametrize(("minutes", "cooldown"), [(None, 1), (1, 2), (5, -1), (5, float("nan"))])
def test_a_cooldown_longer_than_the_minutes_is_an_error(minutes, cooldown):
    with pytest.raises(ValueError, match="longer than the time budget"):
        TimeBudget(minutes, cooldown)


def test_integer_buffers_are_copied_into_the_average():
    model = nn.BatchNorm2d(2)
    average = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.rand(4, 2, 3, 3))
    update_ema(average, model, 0.5)
    assert average["num_batches_tracked"] == 1
    assert torch.allclose(average["running_mean"], model.running_mean / 2)


def test_the_ema_decay_warms_up():
    assert ema_decay(0.999, 0) == pytest.approx(0.1)
    assert ema_decay(0.999, 90) == pytest.approx(0.91)
    assert ema_decay(0.999, 10**6) == 0.999
    decays = [ema_decay(0.99, step) for step in range(2000)]
    assert decays == sorted(decays)


def test_the_average_equals_its_closed_form_while_the_decay_warms_up():
    """average_n = start * prod(d) + sum_i w_i (1 - d_i) prod_{j > i} d_j."""
    model = nn.Linear(4, 1, bias=False)
    start = model.weight.detach().clone()
    average = {"weight": start.clone()}
    decays = [ema_decay(0.9, step) for step in range(60)]
    assert decays[0] < decays[-1] < 0.9
    for step, decay in enumerate(decays):
        with torch.no_grad():
            model.weight.copy_(torch.randn(1, 4, generator=torch.Generator().manual_seed(step)))
        update_ema(average, model, decay)
    expected = start.double() * math.prod(decays)
    for i, decay in enumerate(decays):
        seen = torch.randn(1, 4, generator=torch.Generator().manual_seed(i)).double()
        expected = expected + seen * (1 - decay) * math.prod(decays[i + 1 :])
    assert torch.allclose(average["weight"].double(), expected, atol=1e-6)


def test_decay_0_copies_the_student_and_decay_1_keeps_the_teacher():
    model = nn.Linear(3, 2)
    average = {name: torch.rand_like(value) for name, value in model.state_dict().items()}
    before = {name: value.clone() for name, value in average.items()}
    update_ema(average, model, 1.0)
    assert all(torch.equal(average[name], value) for name, value in before.items())
    update_ema(average, model, 0.0)
    assert all(torch.equal(average[name], value) for name, value in model.state_dict().items())
    assert not any(value.requires_grad for value in average.values())
