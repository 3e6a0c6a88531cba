"""Bursts made from labels and pseudo-labels: their sources, and that they can be taken up anywhere."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from smarthdr_cli.data.synth.sources import bank_from_images
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.train import made as room
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.made import made_bursts, source, truth
from smarthdr_cli.train.pseudo_labels import PseudoStore

CPU = torch.device("cpu")


class Darkest(nn.Module):
    """A teacher who believes the short frame."""

    def forward(self, frames, evs, valid):
        light = frames[:, 1] * torch.exp2(-evs[:, 1]).view(-1, 1, 1, 1)
        return SimpleNamespace(radiance=light, log_sigma=torch.zeros_like(light[:, :1]))


@pytest.fixture
def config(scene_values):
    return train_config(scene_values | {"batch_made": 2, "replay": 2, "pool": 3})


@pytest.fixture
def empty(scenes, tmp_path):
    return PseudoStore(tmp_path / "empty", scenes.unlabeled, 16)


@pytest.fixture
def store(scenes, tmp_path):
    kept = PseudoStore(tmp_path / "pseudo", scenes.unlabeled, 16)
    kept.refresh(Darkest(), 4, CPU, "fp32")
    return kept


def bursts(scenes, store, config, first, step, count):
    stream = made_bursts(scenes.labeled, scenes.unlabeled, store, config, CPU, first, step)
    try:
        return stream.bank, [next(stream) for _ in range(count)]
    finally:
        stream.close()


def names(parts):
    return {scene.band.scene.name for scene in parts}


def test_truths_come_first_and_labels_once_there_are_some(scenes, store, empty, config):
    without, _ = bursts(scenes, empty, config, 0, 0, 0)
    assert set(without.names) == names(scenes.labeled)
    bank, _ = bursts(scenes, store, config, 4, 4, 0)
    assert set(bank.names) == names(scenes.labeled) | names(scenes.unlabeled)
    assert len(bank) == len(scenes.labeled) + len(scenes.unlabeled)


def test_a_source_is_what_was_labelled(scenes, store, config):
    bank, _ = bursts(scenes, store, config, 4, 4, 0)
    for number, scene in enumerate(scenes.unlabeled):
        frames, _, _ = scene.crop(scene.rows[0], 0, scene.rows[1] - scene.rows[0], scene.size[1])
        torch.testing.assert_close(mu_law(store.light(number)), mu_law(frames[1]), rtol=0, atol=2e-5)
        wanted = bank_from_images(["x"], [source(store.light(number))]).mips[0][0]
        assert torch.equal(bank.mips[0][bank.names.index(scene.band.scene.name)], wanted)
    scene = scenes.labeled[0]
    wanted = bank_from_images(["x"], [source(truth(scene))]).mips[0][0]
    assert torch.equal(bank.mips[0][bank.names.index(scene.band.scene.name)], wanted)


def test_no_more_than_so_many_sources_are_held(scenes, store, config, monkeypatch):
    monkeypatch.setattr(room, "SOURCES", 2)
    drawn = [bursts(scenes, store, config, first, first, 0)[0].names for first in range(4, 14)]
    assert all(len(found) == 2 for found in drawn)
    assert len({frozenset(found) for found in drawn}) > 1


def test_bursts_know_their_motion_and_fit_the_run(scenes, store, config):
    _, (batch,) = bursts(scenes, store, config, 4, 4, 1)
    assert batch.frames.shape == (2, 3, 3, config.crop, config.crop)
    assert batch.flow is not None
    assert batch.flow.abs().max() > 0
    assert batch.target is not None


def test_a_stream_taken_up_later_is_the_same(scenes, store, config):
    _, whole = bursts(scenes, store, config, 4, 4, 7)
    _, rest = bursts(scenes, store, config, 4, 8, 3)
    for one, other in zip(whole[4:], rest, strict=True):
        assert torch.equal(one.frames, other.frames)
        assert torch.equal(one.target, other.target)
    _, newer = bursts(scenes, store, config, 8, 8, 1)
    assert not torch.equal(newer[0].frames, whole[0].frames)


def test_large_labels_are_made_smaller_keeping_their_light():
    draw = torch.Generator().manual_seed(0)
    light = torch.rand(3, 1500, 2048, generator=draw)
    small = source(light)
    assert small.shape == (750, 1024, 3)
    np.testing.assert_allclose(small, light.view(3, 750, 2, 1024, 2).mean((2, 4)).permute(1, 2, 0), rtol=1e-5)
    assert source(light[:, :40, :50]).shape == (40, 50, 3)
