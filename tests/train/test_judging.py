"""A judge that learns from lessons alone: what is unknown, and that it comes to rank errors."""

import math

import pytest
import torch

from smarthdr_cli.models.uncertainty_head import UncertaintyHead
from smarthdr_cli.train.judging import Lesson, judged, teach


def made(number: int, size: tuple[int, int] = (32, 32), channels: int = 6) -> Lesson:
    """Features whose first channel says how large the error of a cell is."""
    draw = torch.Generator().manual_seed(number)
    h, w = -(-size[0] // 4), -(-size[1] // 4)
    features = torch.randn(channels, h, w, generator=draw)
    level = 10 ** (-2 + features[0].repeat_interleave(4, 0).repeat_interleave(4, 1)[: size[0], : size[1]] / 2)
    error = level * torch.randn(size, generator=draw).abs()
    return Lesson(features.half(), error, torch.ones(size, dtype=torch.bool), "good")


@pytest.mark.parametrize("size", [(32, 32), (30, 33)])
def test_it_comes_to_rank_errors_it_has_not_seen(size):
    torch.manual_seed(0)
    judge = UncertaintyHead(6, outputs=16)
    losses = []
    teach(judge, [made(n, size) for n in range(12)], steps=120, rate=3e-3, on_step=lambda _, loss: losses.append(loss))
    assert sum(losses[-20:]) < sum(losses[:20])
    fresh = made(99, size)
    with torch.no_grad():
        sigma = judged(judge, fresh.features[None].float())[0, 0, : size[0], : size[1]]
    low, high = (fresh.error[part].mean() for part in (sigma < sigma.median(), sigma >= sigma.median()))
    assert high > 2 * low


def test_what_is_unknown_teaches_nothing_not_even_as_nan():
    torch.manual_seed(0)
    judges = [UncertaintyHead(6, outputs=16) for _ in range(2)]
    judges[1].load_state_dict(judges[0].state_dict())
    lesson = made(1)
    known = lesson.known.clone()
    known[:16] = False
    for judge, filler in zip(judges, (0.0, math.nan), strict=True):
        error = torch.where(known, lesson.error, torch.full_like(lesson.error, filler))
        teach(judge, [Lesson(lesson.features, error, known, "good")], steps=3)
    for a, b in zip(judges[0].parameters(), judges[1].parameters(), strict=True):
        assert torch.equal(a, b)


def test_without_lessons_there_is_nothing_to_learn():
    with pytest.raises(ValueError, match="lessons"):
        teach(UncertaintyHead(6, outputs=16), [], steps=1)
