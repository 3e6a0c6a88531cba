"""benchmarks/lib/window_training.py: samples are what fuse shows the network, and what they teach."""

import numpy as np
import pytest
import torch

from benchmarks.lib import window_training as training
from smarthdr_cli.aligned_burst import Window, register
from smarthdr_cli.errors import InputError
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.fusion.fuser import load_network
from smarthdr_cli.fusion.memory_budget import MemoryBudget
from smarthdr_cli.fusion.network_window import answer
from smarthdr_cli.fusion.pipeline import StageTimer, load
from smarthdr_cli.models.weights import find_weights
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.loop import train
from smarthdr_cli.train.run import start_state


@pytest.fixture(scope="module")
def plan():
    """The example burst up to the network's windows."""
    burst = load([f"examples/burst/img{n}.jpg" for n in (1, 2, 3)], FuseOptions(), StageTimer()).burst
    fuser = load_network(None, torch.device("cpu"), "fp32")
    with torch.inference_mode():
        return fuser.plan(register(burst).burst, MemoryBudget(0, 1), False, lambda _: None)


@pytest.fixture
def truth(plan):
    return 2 * plan.merge.image.radiance


def test_a_sample_repeats_what_the_network_answers_inside_fuse(plan, truth):
    rows, columns = np.nonzero(plan.share[: 200 - 48, :200] > 0.5)
    window = Window(4 * int(rows[0]), 4 * int(columns[0]), training.CROP, training.CROP)
    sample = training.sample_at(plan, window, truth)
    frames, states, batch, weight = training.batch_of([sample])
    network = plan.network
    with torch.inference_mode():
        seen = network.frames(network.merger.window(window))
        expected, _, _ = answer(network.model, seen, network.states(window))
        found, _, _ = answer(network.model, frames, states)
    assert torch.quantile((expected - found).abs().flatten()[::7], 0.99) < 0.02 * expected.abs().mean()
    part = truth[window.top : window.top + training.CROP, window.left : window.left + training.CROP]
    clip = 1 / float(network.merger.model.exposures.min())
    np.testing.assert_allclose(batch.target[0].permute(1, 2, 0), np.minimum(part, clip), rtol=2e-3, atol=1e-4)
    assert float(sample.share[:, 0, 0]) > 0.5
    assert float(weight[..., : training.EDGE, :].max()) == 0


def test_samples_lie_where_frames_are_at_odds(plan, truth):
    recorded = training.record_samples(plan, truth, 3, np.random.default_rng(0))
    assert len(recorded) == 3
    for sample in recorded:
        assert float(sample.share.max()) > 0.5
        assert sample.truth.shape == (3, training.CROP, training.CROP)


def test_a_run_learns_from_a_folder_and_goes_on_from_its_state(plan, truth, tmp_path):
    samples = tmp_path / "samples"
    samples.mkdir()
    (recorded,) = training.record_samples(plan, truth, 1, np.random.default_rng(0))
    recorded.save(samples / "0-0.pt")
    model = {**vars(plan.network.model.config), "noise_inputs": True}
    values = {"model": model, "batch": 1, "precision": "fp32", "weight_square": 40.0, "weight_merged": 0.2,
              "learning_rate": 2e-4, "warmup": 1, "ema": 0.5, "validate_every": 8}  # fmt: skip
    records = []
    for updates in (8, 16):
        config = train_config(values | {"iterations": updates})
        state = start_state(
            tmp_path, config, torch.device("cpu"), resume=updates > 8, init=str(find_weights("saf-base"))
        )
        session = training.WindowSession(training.SampleFolder(samples), [samples / "0-0.pt"], config, state.student)
        if not records:
            records.append(session.validate(state))
        state = train(config, session, tmp_path, state, records.append)
    assert [record["step"] for record in records[1:]] == [8, 16]
    errors = [records[0]["reconstruction"], *(record["validation_reconstruction"] for record in records[1:])]
    assert errors[0] > errors[1] > errors[2]
    old = plan.network.model
    for name in ("encoder", "decoder", "motion_head"):  # which were frozen
        learned = getattr(state.teacher, name).parameters()
        for a, b in zip(learned, getattr(old, name).parameters(), strict=True):
            torch.testing.assert_close(a, b)


def test_a_burst_smaller_than_a_sample_and_an_empty_folder_are_errors(plan, tmp_path):
    with pytest.raises(ValueError, match="at least 192 px"):
        training.record_samples(plan, np.ones((100, 300, 3), np.float32), 1, np.random.default_rng(0))
    with pytest.raises(InputError, match="no samples"):
        training.SampleFolder(tmp_path)
