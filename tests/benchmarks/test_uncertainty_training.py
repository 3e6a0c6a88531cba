"""benchmarks/lib/uncertainty_training.py: the head learns to rank errors, and pixels without truth teach nothing."""

import math

import pytest
import torch

from benchmarks.lib import uncertainty_training as training
from smarthdr_cli.models.uncertainty_head import UncertaintyHead


def sample(number, size=(32, 32), channels=6):
    """A sample whose first feature is the logarithm of the error in its cell."""
    draw = torch.Generator().manual_seed(number)
    h, w = -(-size[0] // 4), -(-size[1] // 4)
    features = torch.randn(channels, h, w, generator=draw)
    level = 10 ** (-2 + features[0].repeat_interleave(4, 0).repeat_interleave(4, 1)[: size[0], : size[1]] / 2)
    error = level * torch.randn(size, generator=draw).abs()
    return training.UncertaintySample(features.half(), error, torch.ones(size, dtype=torch.bool), "good")


@pytest.mark.parametrize("size", [(32, 32), (30, 33)])
def test_a_trained_head_ranks_errors_of_other_bursts(size):
    torch.manual_seed(0)
    head = UncertaintyHead(6, outputs=16)
    losses = []
    samples = [sample(number, size) for number in range(12)]
    training.train_uncertainty_head(head, samples, steps=120, rate=3e-3, on_step=lambda _, loss: losses.append(loss))
    assert sum(losses[-20:]) < sum(losses[:20])
    other = sample(99, size)
    with torch.no_grad():
        sigma = training.predict_log_sigma(head, other.features[None].float())[0, 0, : size[0], : size[1]]
    low, high = (other.error[part].mean() for part in (sigma < sigma.median(), sigma >= sigma.median()))
    assert high > 2 * low


def test_pixels_without_truth_teach_nothing_even_as_nan():
    torch.manual_seed(0)
    heads = [UncertaintyHead(6, outputs=16) for _ in range(2)]
    heads[1].load_state_dict(heads[0].state_dict())
    burst = sample(1)
    known = burst.known.clone()
    known[:16] = False
    for head, filler in zip(heads, (0.0, math.nan), strict=True):
        error = torch.where(known, burst.error, torch.full_like(burst.error, filler))
        training.train_uncertainty_head(
            head, [training.UncertaintySample(burst.features, error, known, "good")], steps=3
        )
    for a, b in zip(heads[0].parameters(), heads[1].parameters(), strict=True):
        assert torch.equal(a, b)


def test_no_samples_are_an_error():
    with pytest.raises(ValueError, match="needs samples"):
        training.train_uncertainty_head(UncertaintyHead(6, outputs=16), [], steps=1)
