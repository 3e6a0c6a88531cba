"""Bursts from processes against bursts from a thread."""

import os
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from smarthdr_cli.errors import MemoryLimitError, UsageError
from smarthdr_cli.train import distributed
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.makers import Makers, Recipe, processes_for, taken
from smarthdr_cli.train.stream import BurstStream

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def same(a, b):
    return all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))


def test_processes_make_what_a_thread_makes_in_any_order_and_number(values, bank):
    config = train_config(values | {"replay": 2, "makers": 0})
    recipe = Recipe(bank, config.synth, config.batch, 4)
    streams = [BurstStream(bank, config, CPU, 4), BurstStream(bank, replace(config, makers=2), CPU, 4)]
    drawn = [[next(stream) for _ in range(7)] for stream in streams]
    scratch = streams[1].makers._scratch.name
    assert Path(scratch).exists()
    for stream in streams:
        stream.close()
    assert all(same(one, two) for one, two in zip(*drawn, strict=True))
    assert not any(tensor.is_shared() for tensor in vars(streams[1].made[0]).values())  # a container has 64 MB
    assert not Path(scratch).exists()
    assert same(streams[1].made[2], recipe.made(2))


@pytest.mark.parametrize("processes", [0, 1])
def test_an_error_while_making_reaches_whoever_asked(values, bank, processes):
    config = train_config(values)
    makers = Makers(Recipe(replace(bank, mips=()), config.synth, 2, 4), processes)
    with pytest.raises(IndexError):
        makers.order(0).result()
    makers.close()


def test_a_process_ended_from_outside_is_said_in_words(values, bank):
    config = train_config(values)
    makers = Makers(Recipe(bank, config.synth, config.batch, 4), 1)
    assert same(taken(makers.order(0), CPU), makers._recipe.made(0))
    (process,) = makers._pool._processes.values()
    process.kill()
    process.join()
    for _ in range(2):  # the first may be told while it waits, the next while it asks
        with pytest.raises(MemoryLimitError, match="makers in the config"):
            taken(makers.order(1), CPU)
    makers.close()


def test_closing_drops_what_was_ordered(values, bank):
    config = train_config(values | {"makers": 0})
    makers = Makers(Recipe(bank, config.synth, config.batch, 4))
    orders = [makers.order(n) for n in range(40)]
    makers.close()
    assert sum(order.cancelled() for order in orders) > 0
    assert all(order.done() for order in orders)


def test_how_many_processes(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert [processes_for(n, CPU) for n in (-1, 0, 3)] == [0, 0, 3]
    assert [processes_for(n, GPU) for n in (-1, 0, 3)] == [15, 0, 3]
    monkeypatch.setattr(distributed, "count", lambda: 4)
    assert processes_for(-1, GPU) == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processes_for(-1, GPU) == 1


def test_fewer_than_leave_it_to_the_machine_is_refused(values):
    with pytest.raises(UsageError, match="makers = -2"):
        train_config(values | {"makers": -2})
