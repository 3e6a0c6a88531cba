"""Streams of synthetic bursts: repeatable, the same from processes as from a thread, and made from labels."""

import multiprocessing
import time
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from smarthdr_cli import system
from smarthdr_cli.data.synth.sources import bank_from_images
from smarthdr_cli.data.synth.sprites import write_sprite
from smarthdr_cli.errors import MemoryLimitError, UsageError
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.train import distributed
from smarthdr_cli.train.burst_stream import (
    BatchFactory,
    BatchWorkers,
    BurstStream,
    label_stream,
    result,
    scene_truth,
    source_image,
    stream_bank,
    worker_processes,
)
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.pseudo_labels import PseudoStore
from tests.support.people import rectangle_sprite

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def same(a, b):
    return all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))


def test_a_stream_repeats_with_its_seed_and_replays(values, bank):
    config = train_config(values | {"replay": 3})
    streams = [BurstStream(bank, config, CPU, seed) for seed in (4, 4, 5)]
    drawn = [[next(stream) for _ in range(6)] for stream in streams]
    for stream in streams:
        stream.close()
    assert all(same(one, two) for one, two in zip(drawn[0], drawn[1], strict=True))
    assert not torch.equal(drawn[0][0].frames, drawn[2][0].frames)
    levels = [round(float(batch.target.sum()), 2) for batch in drawn[0]]  # no augmentation changes a sum
    assert len(set(levels)) == 2
    assert levels[0] == levels[1] == levels[2]


def test_processes_make_the_batches_of_a_thread_in_any_order_and_number(values, bank):
    config = train_config(values | {"replay": 2, "makers": 0})
    factory = BatchFactory(bank, config.synth, config.batch, 4)
    streams = [BurstStream(bank, config, CPU, 4), BurstStream(bank, replace(config, makers=2), CPU, 4)]
    drawn = [[next(stream) for _ in range(7)] for stream in streams]
    scratch = streams[1].workers.scratch
    assert scratch.exists()
    for stream in streams:
        stream.close()
    assert all(same(one, two) for one, two in zip(*drawn, strict=True))
    assert not any(tensor.is_shared() for tensor in vars(streams[1].batches[0]).values())  # a container has 64 MB
    assert not scratch.exists()
    assert same(streams[1].batches[2], factory.make(2))


def test_people_reach_the_processes(values, bank):
    populated = replace(bank, people=(rectangle_sprite(),))
    config = train_config(values | {"synth": values["synth"] | {"variety": {"people": 1.0}}})
    factory = BatchFactory(populated, config.synth, 2, 4)
    workers = BatchWorkers(factory, 1)
    made = result(workers.submit(0), CPU)
    workers.close()
    assert same(made, factory.make(0))
    assert not torch.equal(made.frames, replace(factory, bank=bank).make(0).frames)


def test_a_bank_with_people_needs_bursts_that_show_them(values, tmp_path):
    write_sprite(tmp_path / "0000.npz", rectangle_sprite())
    config = train_config(values)
    assert len(stream_bank(None, tmp_path, config).people) == 1
    assert stream_bank(None, None, config).people == ()
    without = train_config(values | {"synth": values["synth"] | {"variety": {"people": 0.0}}})
    with pytest.raises(UsageError, match=r"synth\.variety\.people is 0"):
        stream_bank(None, tmp_path, without)


@pytest.mark.parametrize("processes", [0, 1])
def test_an_error_while_making_a_batch_is_raised_by_its_result(values, bank, processes):
    config = train_config(values)
    workers = BatchWorkers(BatchFactory(replace(bank, mips=()), config.synth, 2, 4), processes)
    with pytest.raises(IndexError):
        result(workers.submit(0), CPU)
    workers.close()


def test_a_worker_killed_by_the_system_is_a_memory_error(values, bank):
    config = train_config(values)
    factory = BatchFactory(bank, config.synth, config.batch, 4)
    before = set(multiprocessing.active_children())
    workers = BatchWorkers(factory, 1)
    assert same(result(workers.submit(0), CPU), factory.make(0))
    (process,) = set(multiprocessing.active_children()) - before
    process.kill()
    process.join()
    for _ in range(2):  # the error may come with the result, and then comes with the submission
        with pytest.raises(MemoryLimitError, match="makers in the config"):
            result(workers.submit(1), CPU)
    workers.close()


def test_closing_cancels_what_was_submitted(values, bank):
    config = train_config(values | {"makers": 0})
    workers = BatchWorkers(BatchFactory(bank, config.synth, config.batch, 4))
    futures = [workers.submit(n) for n in range(40)]
    workers.close()
    assert sum(future.cancelled() for future in futures) > 0
    assert all(future.done() for future in futures)


TRAINER = """
import time
import torch
from smarthdr_cli.train.burst_stream import BatchFactory, BatchWorkers, result
from smarthdr_cli.train.config import train_config
config = train_config(values)
workers = BatchWorkers(BatchFactory(bank, config.synth, config.batch, 4), 2)
result(workers.submit(0), torch.device("cpu"))
sender.send(str(workers.scratch))
time.sleep(1000)
"""


def test_workers_end_with_a_trainer_that_is_killed(processes, values, bank):
    receiver, sender = processes.Pipe(duplex=False)
    trainer = processes.Process(target=exec, args=(TRAINER, {"values": values, "bank": bank, "sender": sender}))
    trainer.start()
    assert receiver.poll(100)
    scratch = Path(receiver.recv())
    assert scratch.exists()
    trainer.kill()
    trainer.join()
    deadline = time.monotonic() + 60
    while scratch.exists() and time.monotonic() < deadline:  # a worker removes it and ends
        time.sleep(0.05)
    assert not scratch.exists()


def test_worker_processes_share_the_cores(monkeypatch):
    monkeypatch.setattr(system, "usable_cores", lambda: 16)
    assert [worker_processes(n, CPU) for n in (-1, 0, 3)] == [0, 0, 3]
    assert [worker_processes(n, GPU) for n in (-1, 0, 3)] == [15, 0, 3]
    monkeypatch.setattr(distributed, "local_world_size", lambda: 4)
    assert worker_processes(-1, GPU) == 3
    monkeypatch.setattr(system, "usable_cores", lambda: 1)
    assert worker_processes(-1, GPU) == 1


def test_fewer_workers_than_minus_1_are_an_error(values):
    with pytest.raises(UsageError, match="makers = -2"):
        train_config(values | {"makers": -2})


class ShortFrame(nn.Module):
    """A teacher that predicts the short frame."""

    def forward(self, frames, evs, valid):
        light = frames[:, 1] * torch.exp2(-evs[:, 1]).view(-1, 1, 1, 1)
        return SimpleNamespace(radiance=light, log_sigma=torch.zeros_like(light[:, :1]))


@pytest.fixture
def config(scene_values):
    return train_config(scene_values | {"batch_made": 2, "replay": 2, "pool": 3})


@pytest.fixture
def empty_store(scenes, tmp_path):
    return PseudoStore(tmp_path / "empty", scenes.unlabeled, 16)


@pytest.fixture
def store(scenes, tmp_path):
    store = PseudoStore(tmp_path / "pseudo", scenes.unlabeled, 16)
    store.refresh(ShortFrame(), 4, CPU, "fp32")
    return store


def label_bursts(scenes, store, config, first, step, count, **options):
    stream = label_stream(scenes.labeled, scenes.unlabeled, store, config, CPU, first, step, **options)
    try:
        return stream.bank, [next(stream) for _ in range(count)]
    finally:
        stream.close()


def names(scenes):
    return {scene.band.scene.name for scene in scenes}


def test_sources_are_truths_and_pseudo_labels_once_there_are_some(scenes, store, empty_store, config):
    bank, _ = label_bursts(scenes, empty_store, config, 0, 0, 0)
    assert set(bank.names) == names(scenes.labeled)
    bank, _ = label_bursts(scenes, store, config, 4, 4, 0)
    assert set(bank.names) == names(scenes.labeled) | names(scenes.unlabeled)
    assert len(bank) == len(scenes.labeled) + len(scenes.unlabeled)


def test_a_source_holds_the_radiance_of_its_label(scenes, store, config):
    bank, _ = label_bursts(scenes, store, config, 4, 4, 0)
    for number, scene in enumerate(scenes.unlabeled):
        frames, _, _ = scene.crop(scene.rows[0], 0, scene.rows[1] - scene.rows[0], scene.size[1])
        torch.testing.assert_close(mu_law(store.light(number)), mu_law(frames[1]), rtol=0, atol=2e-5)
        expected = bank_from_images(["x"], [source_image(store.light(number))]).mips[0][0]
        assert torch.equal(bank.mips[0][bank.names.index(scene.band.scene.name)], expected)
    scene = scenes.labeled[0]
    expected = bank_from_images(["x"], [source_image(scene_truth(scene))]).mips[0][0]
    assert torch.equal(bank.mips[0][bank.names.index(scene.band.scene.name)], expected)


def test_the_number_of_sources_is_limited(scenes, store, config):
    drawn = [label_bursts(scenes, store, config, first, first, 0, max_sources=2)[0].names for first in range(4, 14)]
    assert all(len(sources) == 2 for sources in drawn)
    assert len({frozenset(sources) for sources in drawn}) > 1


def test_bursts_from_labels_know_their_motion(scenes, store, config):
    _, (batch,) = label_bursts(scenes, store, config, 4, 4, 1)
    assert batch.frames.shape == (2, 3, 3, config.crop, config.crop)
    assert batch.flow.abs().max() > 0
    assert batch.target is not None


def test_a_label_stream_started_later_gives_the_same_batches(scenes, store, config):
    _, whole = label_bursts(scenes, store, config, 4, 4, 7)
    _, rest = label_bursts(scenes, store, config, 4, 8, 3)
    for one, other in zip(whole[4:], rest, strict=True):
        assert torch.equal(one.frames, other.frames)
        assert torch.equal(one.target, other.target)
    _, newer = label_bursts(scenes, store, config, 8, 8, 1)
    assert not torch.equal(newer[0].frames, whole[0].frames)


def test_large_labels_are_reduced_by_averaging():
    light = torch.rand(3, 1500, 2048, generator=torch.Generator().manual_seed(0))
    image = source_image(light)
    assert image.shape == (750, 1024, 3)
    np.testing.assert_allclose(image, light.view(3, 750, 2, 1024, 2).mean((2, 4)).permute(1, 2, 0), rtol=1e-5)
    assert source_image(light[:, :40, :50]).shape == (40, 50, 3)
