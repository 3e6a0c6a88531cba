"""The averaged weights against the closed form."""

import math

import pytest
import torch
from smarthdr_cli.train.ema import update_ema, warm_decay
from torch import nn


def test_is_the_weighted_sum_of_all_weights_so_far():
    model = nn.Linear(3, 2)
    start = {name: value.detach().clone() for name, value in model.state_dict().items()}
    average = {name: value.clone() for name, value in start.items()}
    seen, decay = [], 0.9
    for step in range(12):
        with torch.no_grad():
            model.weight.copy_(torch.randn(2, 3, generator=torch.Generator().manual_seed(step)))
        seen.append(model.weight.detach().clone())
        update_ema(average, model, decay)
    wanted = decay**12 * start["weight"] + sum((1 - decay) * decay ** (11 - i) * w for i, w in enumerate(seen))
    assert torch.allclose(average["weight"], wanted, atol=1e-6)
    assert torch.equal(average["bias"], start["bias"])


def test_counters_are_copied():
    model = nn.BatchNorm2d(2)
    average = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.rand(4, 2, 3, 3))
    update_ema(average, model, 0.5)
    assert average["num_batches_tracked"] == 1
    assert torch.allclose(average["running_mean"], model.running_mean / 2)


def test_the_decay_warms_up():
    assert warm_decay(0.999, 0) == pytest.approx(0.1)
    assert warm_decay(0.999, 90) == pytest.approx(0.91)
    assert warm_decay(0.999, 10**6) == 0.999
    decays = [warm_decay(0.99, step) for step in range(2000)]
    assert decays == sorted(decays)


def test_the_closed_form_holds_while_the_decay_warms_up():
    """average_n = start * prod(d) + sum_i w_i (1 - d_i) prod_{j > i} d_j."""
    model = nn.Linear(4, 1, bias=False)
    start = model.weight.detach().clone()
    average = {"weight": start.clone()}
    decays = [warm_decay(0.9, step) for step in range(60)]
    assert decays[0] < decays[-1] < 0.9
    for step, decay in enumerate(decays):
        with torch.no_grad():
            model.weight.copy_(torch.randn(1, 4, generator=torch.Generator().manual_seed(step)))
        update_ema(average, model, decay)
    wanted = start.double() * math.prod(decays)
    for i, decay in enumerate(decays):
        seen = torch.randn(1, 4, generator=torch.Generator().manual_seed(i)).double()
        wanted = wanted + seen * (1 - decay) * math.prod(decays[i + 1 :])
    assert torch.allclose(average["weight"].double(), wanted, atol=1e-6)


def test_decay_0_copies_the_student_and_decay_1_leaves_the_teacher():
    model = nn.Linear(3, 2)
    average = {name: torch.rand_like(value) for name, value in model.state_dict().items()}
    before = {name: value.clone() for name, value in average.items()}
    update_ema(average, model, 1.0)
    assert all(torch.equal(average[name], value) for name, value in before.items())
    update_ema(average, model, 0.0)
    assert all(torch.equal(average[name], value) for name, value in model.state_dict().items())
    assert not any(value.requires_grad for value in average.values())
