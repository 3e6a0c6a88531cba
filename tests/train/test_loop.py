"""The loop: what it leaves in its folder, how it stops, and how it goes on."""

import errno
import json
import os
import random
import signal
from dataclasses import fields

import pytest
import torch
from smarthdr_cli.train.clock import Clock
from smarthdr_cli.train.score import score

from smarthdr_cli.errors import InputError, OutputError, UsageError
from smarthdr_cli.train.burst_stream import BurstStream, StreamSession
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.loop import train as train_session
from smarthdr_cli.train.run import held_out_batches
from smarthdr_cli.train.state import load_train_state, new_state, save_state

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def validation(bank):
    return held_out_batches(bank, 2, 77, CPU, side=32)


def train(config, bank, validation, folder, state, on_log, **how):
    return train_session(config, StreamSession(bank, validation, config, state), folder, state, on_log, **how)


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a) and a.keys() == b.keys()


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
    assert same(again.student.state_dict(), state.student.state_dict())
    assert same(again.teacher.state_dict(), state.teacher.state_dict())
    assert not same(state.teacher.state_dict(), state.student.state_dict())


def test_resuming_goes_on_counting(values, bank, validation, tmp_path):
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


def test_minutes_end_a_run(values, bank, validation, tmp_path):
    config = train_config(values | {"iterations": 10**6})
    state = new_state(config, CPU)
    assert train(config, bank, validation, tmp_path, state, lambda _: None, clock=Clock(1e-6)).step == 1


def test_the_rate_follows_the_clock_into_the_update(values, bank, validation, tmp_path, monkeypatch):
    config = train_config(values | {"iterations": 4, "learning_rate": 1e-3})
    clock, paces = Clock(60, 30), iter([1.0, 1.0, 0.5, 0.25])
    monkeypatch.setattr(Clock, "pace", lambda self, seconds: next(paces) if 0 <= seconds < 600 else None)
    state, rates = new_state(config, CPU), []
    train(config, bank, validation, tmp_path, state, lambda _: None, clock=clock,
          on_step=lambda _: rates.append(state.optimizer.param_groups[0]["lr"]))  # fmt: skip
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 2.5e-4])
    state = load_train_state(tmp_path / "state.pt", config, CPU)
    assert state.pace == 1.0  # the next sitting has a clock of its own


def test_an_error_on_the_way_still_saves(values, bank, validation, tmp_path):
    config = train_config(values)

    def broken(_):
        raise ValueError("the log is full")

    with pytest.raises(ValueError, match="log is full"):
        train(config, bank, validation, tmp_path, new_state(config, CPU), broken)
    assert load_train_state(tmp_path / "state.pt", config, CPU).step == 3


def test_a_compact_state_goes_on_from_nearly_the_same_weights(values, tmp_path):
    config = train_config(values)
    state = new_state(config, CPU)
    for name, compact in (("full.pt", False), ("compact.pt", True)):
        save_state(tmp_path / name, state, config, compact=compact)
    assert (tmp_path / "compact.pt").stat().st_size < 0.7 * (tmp_path / "full.pt").stat().st_size
    taken = load_train_state(tmp_path / "compact.pt", config, CPU)
    for name, value in state.teacher.state_dict().items():
        found = taken.teacher.state_dict()[name]
        assert found.dtype == value.dtype
        torch.testing.assert_close(found, value, rtol=2**-8, atol=1e-30)
        torch.testing.assert_close(taken.student.state_dict()[name], found)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_a_state_is_replaced_whole_or_not_at_all(values, tmp_path, monkeypatch, error):
    config = train_config(values)
    state = new_state(config, CPU)
    path = tmp_path / "state.pt"
    save_state(path, state, config)
    good = path.read_bytes()

    def broken(_file):
        raise error

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises((KeyboardInterrupt, OutputError)) as caught:
        save_state(path, state, config)
    assert path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [path]
    assert isinstance(error, KeyboardInterrupt) or f"cannot write {path}: no space left" in str(caught.value)


def test_what_it_began_with_is_kept_in_the_state(values, tmp_path):
    config = train_config(values)
    state = new_state(config, CPU)
    state.init = {"name": "a.safetensors", "sha256": "12", "licence": "CC0-1.0"}
    save_state(tmp_path / "state.pt", state, config)
    assert load_train_state(tmp_path / "state.pt", config, CPU).init == state.init


@pytest.mark.parametrize(
    "cut", ["", '{"step": 4, "total', "not json\n", '{"total": 1}\n', '{"step": 5}\n', '{"step": 4}']
)
def test_the_log_goes_on_from_the_state(values, bank, validation, tmp_path, cut):
    """Lines after it and what a kill cut short, are dropped; those before are left alone, byte for byte."""
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


def test_a_state_that_cannot_be_taken_up_is_an_input_error(values, tmp_path):
    config = train_config(values)
    path = tmp_path / "state.pt"
    with pytest.raises(InputError, match="no training state"):
        load_train_state(path, config, CPU)
    for content in (b"", b"text", b"PK\x03\x04 half a zip"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a training state"):
            load_train_state(path, config, CPU)
    save_state(path, new_state(config, CPU), config)
    other = train_config(values | {"model": {"name": "saf", "refine": 16}})
    with pytest.raises(InputError, match="not a training state of this model"):
        load_train_state(path, other, CPU)
    torch.save([1, 2], path)
    with pytest.raises(InputError):
        load_train_state(path, config, CPU)


def test_a_flipped_bit_is_found_wherever_it_is(values, tmp_path):
    config, path, dice = train_config(values), tmp_path / "state.pt", random.Random(0)
    save_state(path, new_state(config, CPU), config)
    good = path.read_bytes()
    for _ in range(200):
        data = bytearray(good)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
        with pytest.raises(InputError) as caught:
            load_train_state(path, config, CPU)
        assert str(caught.value).startswith(f"{path}: not a training state, or a damaged one; restore the file")


def test_a_state_of_before_there_was_a_checksum_is_taken_up(values, tmp_path):
    """It has none of its own, but its archive has those of its parts."""
    config, path = train_config(values), tmp_path / "state.pt"
    state = new_state(config, CPU)
    save_state(path, state, config)
    torch.save(torch.load(path, weights_only=True), path)
    taken = load_train_state(path, config, CPU)
    assert same(taken.student.state_dict(), state.student.state_dict())
    value = next(v for v in state.teacher.state_dict().values() if v.ndim == 1)
    data, there = path.read_bytes(), value.numpy().tobytes()
    path.write_bytes(data.replace(there, bytes([there[0] ^ 1]) + there[1:]))
    assert path.read_bytes() != data
    with pytest.raises(InputError, match="a damaged one"):
        load_train_state(path, config, CPU)


class Forged:
    """What torch takes for an attack, and advises to load in spite of it."""

    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize(
    "changes",
    [
        {"step": -1}, {"step": "5"}, {"step": True}, {"seconds": "long"}, {"student": []}, {"teacher": None},
        {"optimizer": 3}, {"extra": [1]}, {"init": "saf-base"}, {"student": {}}, {"extra": Forged()},
    ],
)  # fmt: skip
def test_a_state_with_parts_of_other_types_is_refused(values, tmp_path, capsys, changes):
    config, path = train_config(values), tmp_path / "state.pt"
    save_state(path, new_state(config, CPU), config)
    torch.save(torch.load(path, weights_only=True) | changes, path)
    with pytest.raises(InputError, match="restore the file from a copy, or begin another run") as caught:
        load_train_state(path, config, CPU)
    assert str(caught.value).startswith(f"{path}: not a training state")
    assert "weights_only" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_one_seed_is_one_student(values):
    a, b, c = (new_state(train_config(values | {"seed": s}), CPU) for s in (1, 1, 2))
    assert same(a.student.state_dict(), b.student.state_dict())
    assert not same(a.student.state_dict(), c.student.state_dict())
    assert same(a.teacher.state_dict(), a.student.state_dict())
    assert all(a.teacher.state_dict()[n].data_ptr() != v.data_ptr() for n, v in a.student.state_dict().items())


def test_a_stream_repeats_with_its_seed_and_replays(values, bank):
    config = train_config(values | {"replay": 3})
    streams = [BurstStream(bank, config, CPU, seed) for seed in (4, 4, 5)]
    drawn = [[next(s) for _ in range(6)] for s in streams]
    for s in streams:
        s.close()
    for one, two in zip(drawn[0], drawn[1], strict=True):
        for field in fields(one):
            assert torch.equal(getattr(one, field.name), getattr(two, field.name))
    assert not torch.equal(drawn[0][0].frames, drawn[2][0].frames)
    levels = [round(float(b.target.sum()), 2) for b in drawn[0]]  # no flip, turn or colour order changes a sum
    assert len(set(levels)) == 2
    assert levels[0] == levels[1] == levels[2]


def test_validation_scores_pictures_in_the_short_scale(values, validation):
    config = train_config(values)
    state = new_state(config, CPU)
    scores = score(state.teacher, validation)
    wanted = []
    for batch in validation:
        for b in range(len(batch.frames)):
            scale = float(2.0 ** batch.evs[b].min())
            a, t = (torch.log1p(5000 * x * scale) / 8.517393171418904 for x in (batch.frames[b, 0], batch.target[b]))
            wanted.append(-10 * torch.log10((a - t).square().mean().clamp(min=1e-5)))
    assert scores["reference"] == pytest.approx(float(torch.stack(wanted).mean()), abs=1e-3)
    assert set(scores) == {"psnr_mu", "reference", "merged"}


def test_a_seed_below_0_is_refused(values):
    with pytest.raises(UsageError, match="seed must not be below 0"):
        train_config(values | {"seed": -1})
