"""One update: the loss goes down, the schedule is followed, a bad batch changes nothing."""

from dataclasses import fields, replace

import torch

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.state import new_state
from smarthdr_cli.train.step import motion_loss, supervised_loss, update

CPU = torch.device("cpu")


def learn(state, batch, config, step):
    state.step = step
    loss = motion_loss if step < config.motion_steps else supervised_loss
    return update(state, *loss(state.student, batch, config), config)


def test_one_batch_is_overfitted(values, batch):
    """40 updates on one burst: the error of the image falls below 80 % of its first value."""
    batch = Batch(*(getattr(batch, f.name)[:1] for f in fields(batch)))
    config = train_config(values | {"learning_rate": 4e-3, "warmup": 3, "iterations": 10**6})
    state = new_state(config, CPU)
    history = [learn(state, batch, config, step) for step in range(40)]
    assert {"reconstruction", "uncertainty", "merged", "motion", "trust", "total", "gradient"} <= set(history[0])
    assert history[-1]["reconstruction"] < 0.8 * history[0]["reconstruction"]
    assert history[-1]["total"] < history[0]["total"]
    with torch.no_grad():
        out = state.student(batch.frames, batch.evs, batch.valid)
        scale = batch.scale_short.view(-1, 1, 1, 1)
        truth = mu_law(batch.target * scale)
        ours, alone = ((mu_law(x * scale) - truth).abs().mean() for x in (out.radiance, batch.frames[:, 0]))
    assert ours < alone


def test_motion_loss_changes_only_the_motion_stage(values, batch):
    config = train_config(values | {"motion_steps": 5, "warmup": 0, "learning_rate": 1e-3})
    state = new_state(config, CPU)
    before = {name: value.clone() for name, value in state.student.state_dict().items()}
    terms = [learn(state, batch, config, step) for step in range(5)]
    assert set(terms[0]) == {"motion", "total", "gradient"}
    changed = {
        name.split(".")[0] for name, value in state.student.state_dict().items() if not torch.equal(value, before[name])
    }
    assert {"encoder", "decoder", "motion_head"} <= changed
    assert not changed & {"verify_in", "verify_head", "refine_in", "residual_head", "judge"}
    assert "reconstruction" in learn(state, batch, config, 5)


def test_a_batch_that_is_not_finite_changes_nothing(values, batch):
    config = train_config(values)
    state = new_state(config, CPU)
    learn(state, batch, config, 0)
    before = {name: value.clone() for name, value in state.student.state_dict().items()}
    bad = replace(batch, target=batch.target * torch.nan)
    named = learn(state, bad, config, 1)
    assert named["total"] != named["total"]
    for name, value in state.student.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_gradients_are_clipped_and_the_rate_follows_the_schedule(values, batch):
    config = train_config(values | {"clip": 1e-4, "learning_rate": 0.01, "warmup": 100})
    state = new_state(config, CPU)
    named = learn(state, batch, config, 9)
    assert named["gradient"] > 1e-4
    for judged in (True, False):  # clipped separately
        named_grads = [
            (n.startswith("judge."), p.grad) for n, p in state.student.named_parameters() if p.grad is not None
        ]
        norm = torch.cat([grad.flatten() for of_judge, grad in named_grads if of_judge == judged]).norm()
        assert 0.99e-4 <= norm <= 1.01e-4
    assert state.optimizer.param_groups[0]["lr"] == 0.01 * 10 / 100


def test_half_precision_gives_nearly_the_same_loss(values, batch):
    config = train_config(values)
    student = new_state(config, CPU).student
    with torch.no_grad():
        full, _ = supervised_loss(student, batch, config)
        half, _ = supervised_loss(student, batch, replace(config, precision="bf16"))
    assert abs(float(full - half)) < 0.05 * abs(float(full)) + 0.01
