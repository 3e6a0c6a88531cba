"""What a step is given: the crops of its number, their motion where it is asked for, nothing searched for twice."""

from dataclasses import replace

import pytest
import torch
from smarthdr_cli.train.feed import given

from smarthdr_cli.data.crops import CropSampler
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.loop import train
from smarthdr_cli.train.methods import fshdr, selfhdr
from smarthdr_cli.train.optical_flow import dense_flows
from smarthdr_cli.train.scene_session import SceneSession
from smarthdr_cli.train.state import new_state

CPU = torch.device("cpu")


@pytest.fixture
def samplers(scenes):
    return CropSampler(scenes.labeled, 32, 2, 4), CropSampler(scenes.unlabeled, 32, 2, 5)


@pytest.mark.parametrize(
    ("more", "early", "late"),
    [
        ({"fill": "none"}, (False, False), (True, False)),
        ({"fill": "selfhdr"}, (False, False), (True, True)),
        ({"fill": "selfhdr-first"}, (False, False), (True, True)),
        ({"method": "smae", "fill": "selfhdr"}, (False, False), (True, False)),
        ({"method": "fshdr"}, (True, False), (True, True)),
        ({"method": "smae", "smae_stage1": True}, (True, False), (True, False)),
        ({"method": "selfhdr", "labelled_first": 0.0}, (True, True), (True, True)),
    ],
)
def test_who_gets_what(scene_values, samplers, more, early, late):
    config = train_config(scene_values | more)
    for step, wanted in ((0, early), (7, late)):
        found = given(*samplers, config, step)
        assert found.labeled is not None
        assert (found.unlabeled is not None, found.flows is not None) == wanted
        assert torch.equal(found.labeled.batch.frames, samplers[0](step).batch.frames)
        if found.flows is not None:
            for ours, wanted_field in zip(found.flows, dense_flows(samplers[1](step).batch), strict=True):
                assert torch.equal(ours, wanted_field)


def test_without_a_sampler_there_are_no_crops(scene_values, samplers):
    found = given(None, samplers[1], train_config(scene_values | {"fill": "selfhdr"}), 7)
    assert found.labeled is None
    assert given(samplers[0], None, train_config(scene_values), 7).unlabeled is None
    meta = found.to(torch.device("meta"))
    assert {field.device.type for field in (meta.unlabeled.batch.frames, *meta.flows)} == {"meta"}
    assert meta.unlabeled == replace(found.unlabeled, batch=meta.unlabeled.batch)


@pytest.mark.parametrize("more", [{"fill": "selfhdr-first"}, {"method": "fshdr"}, {"method": "selfhdr"}])
def test_a_run_does_not_search_again(scene_values, scenes, tmp_path, monkeypatch, more):
    def again(_batch):
        raise AssertionError("searched for motion that was given")

    monkeypatch.setattr(selfhdr, "dense_flows", again)
    monkeypatch.setattr(fshdr, "dense_flows", again)
    config = train_config(scene_values | {"iterations": 5} | more)
    state = new_state(config, CPU)
    train(config, SceneSession(scenes, config, state, tmp_path), tmp_path, state, lambda _: None)
    assert state.step == 5
