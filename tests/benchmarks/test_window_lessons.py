"""benchmarks/lib/window_lessons.py: lessons are what fuse shows the network, and what they teach."""

import numpy as np
import pytest
import torch

from benchmarks.lib import window_lessons as lessons
from smarthdr_cli.aligned_burst import Window, register
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.fusion.fuser import load_network
from smarthdr_cli.fusion.memory_budget import MemoryBudget
from smarthdr_cli.fusion.network_window import answer
from smarthdr_cli.fusion.pipeline import StageTimer, load
from smarthdr_cli.models.base import build_model


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


def test_a_lesson_repeats_what_the_network_answers_inside_fuse(plan, truth):
    rows, columns = np.nonzero(plan.share[: 200 - 48, :200] > 0.5)
    window = Window(4 * int(rows[0]), 4 * int(columns[0]), lessons.CROP, lessons.CROP)
    lesson = lessons.lesson_at(plan, window, truth)
    frames, states, target, share = lessons.batch_of([lesson])
    network = plan.network
    with torch.inference_mode():
        expected, _, _ = answer(network.model, network.frames(plan.merger.window(window)), network.states(window))
        found, _, _ = answer(network.model, frames, states)
    assert torch.quantile((expected - found).abs().flatten()[::7], 0.99) < 0.02 * expected.abs().mean()
    part = truth[window.top : window.top + lessons.CROP, window.left : window.left + lessons.CROP]
    np.testing.assert_allclose(target[0].permute(1, 2, 0), part, rtol=2e-3, atol=1e-4)
    assert float(lesson.share[:, 0, 0]) > 0.5
    assert float(share[..., : lessons.EDGE, :].max()) == 0


def test_lessons_lie_where_frames_are_at_odds(plan, truth):
    recorded = lessons.record_lessons(plan, truth, 3, np.random.default_rng(0))
    assert len(recorded) == 3
    for lesson in recorded:
        assert float(lesson.share.max()) > 0.5
        assert lesson.truth.shape == (3, lessons.CROP, lessons.CROP)


def test_updates_on_a_lesson_lower_its_loss_and_leave_the_motion_stage_alone(plan, truth, tmp_path):
    (recorded,) = lessons.record_lessons(plan, truth, 1, np.random.default_rng(0))
    recorded.save(tmp_path / "lesson.pt")
    lesson = lessons.Lesson.load(tmp_path / "lesson.pt")
    old = plan.network.model
    model = build_model({**vars(old.config), "evidence": True})
    model.load_state_dict(model.extend_state(old.state_dict()))
    optimizer = torch.optim.Adam([p for name in lessons.LEARNS for p in getattr(model, name).parameters()], lr=1e-3)
    losses = []
    for _ in range(8):
        loss, terms = lessons.lesson_loss(model, [lesson], "fp32")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(terms["l1"])
    assert losses[-1] < 0.9 * losses[0]
    for name in ("encoder", "decoder", "motion_head"):
        for a, b in zip(getattr(model, name).parameters(), getattr(old, name).parameters(), strict=True):
            assert torch.equal(a, b)


def test_a_burst_smaller_than_a_lesson_is_an_error(plan):
    with pytest.raises(ValueError, match="at least 192 px"):
        lessons.record_lessons(plan, np.ones((100, 300, 3), np.float32), 1, np.random.default_rng(0))
