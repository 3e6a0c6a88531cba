"""Bursts from processes against bursts from a thread."""

import time
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from smarthdr_cli.train.makers import Makers, Recipe, processes_for, taken

from smarthdr_cli import system
from smarthdr_cli.errors import MemoryLimitError, UsageError
from smarthdr_cli.train import distributed
from smarthdr_cli.train.burst_stream import BurstStream
from smarthdr_cli.train.config import train_config

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


TRAINER = """
import time
import torch
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.makers import Makers, Recipe, taken
config = train_config(values)
makers = Makers(Recipe(bank, config.synth, config.batch, 4), 2)
taken(makers.order(0), torch.device("cpu"))
told.send(makers._scratch.name)
time.sleep(1000)
"""


def test_makers_end_with_a_trainer_that_is_killed(processes, values, bank):
    mine, told = processes.Pipe(duplex=False)
    trainer = processes.Process(target=exec, args=(TRAINER, {"values": values, "bank": bank, "told": told}))
    trainer.start()
    assert mine.poll(100)
    scratch = Path(mine.recv())
    assert scratch.exists()
    trainer.kill()
    trainer.join()
    late = time.monotonic() + 60
    while scratch.exists() and time.monotonic() < late:  # a maker clears it away and ends
        time.sleep(0.05)
    assert not scratch.exists()


def test_how_many_processes(monkeypatch):
    monkeypatch.setattr(system, "usable_cores", lambda: 16)
    assert [processes_for(n, CPU) for n in (-1, 0, 3)] == [0, 0, 3]
    assert [processes_for(n, GPU) for n in (-1, 0, 3)] == [15, 0, 3]
    monkeypatch.setattr(distributed, "count_here", lambda: 4)
    assert processes_for(-1, GPU) == 3
    monkeypatch.setattr(system, "usable_cores", lambda: 1)
    assert processes_for(-1, GPU) == 1


def test_only_the_processes_of_this_machine_share_it(monkeypatch):
    assert distributed.count_here() == 1
    monkeypatch.setattr(distributed, "_grouped", lambda: True)
    monkeypatch.setattr(distributed, "count", lambda: 8)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert distributed.count_here() == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert distributed.count_here() == 4


def test_fewer_than_leave_it_to_the_machine_is_refused(values):
    with pytest.raises(UsageError, match="makers = -2"):
        train_config(values | {"makers": -2})
