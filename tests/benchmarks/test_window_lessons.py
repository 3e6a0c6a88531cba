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
def planned(tmp_path_factory):
    """The example burst up to the network's windows, with its truth twice as bright as the merge."""
    options = FuseOptions(precision="fp32")
    burst = load([f"examples/burst/img{n}.jpg" for n in (1, 2, 3)], options, StageTimer()).burst
    source = register(burst).burst
    with torch.inference_mode():
        plan = load_network(None, torch.device("cpu"), "fp32").plan(source, MemoryBudget(0, 1), False, lambda _: None)
    return plan, source, 2 * plan.merge.image.radiance


def test_a_lesson_repeats_what_the_network_answers_inside_fuse(planned):
    plan, source, truth = planned
    (lesson,) = lessons.record_lessons(plan, source, truth, 1, np.random.default_rng(0))
    frames, states, target, share = lessons.batch_of([lesson])
    rows, columns = truth.shape[0] - lessons.CROP + 1, truth.shape[1] - lessons.CROP + 1
    at = next(
        Window(top, left, lessons.CROP, lessons.CROP)
        for top in range(0, rows, 4)
        for left in range(0, columns, 4)
        if np.allclose(
            truth[top : top + lessons.CROP, left : left + lessons.CROP], target[0].permute(1, 2, 0), rtol=2e-3, atol=1e-4
        )
    )
    network = plan.network
    with torch.inference_mode():
        expected, _, _ = answer(network.model, network.frames(plan.merger.window(at)), network.states(at))
        found, _, _ = answer(network.model, frames, states)
    assert torch.quantile((expected - found).abs().flatten()[::7], 0.99) < 0.02 * expected.abs().mean()
    assert float(share[..., lessons.EDGE : -lessons.EDGE, lessons.EDGE : -lessons.EDGE].max()) > 0.5
    assert float(share[..., : lessons.EDGE, :].max()) == 0


def test_updates_on_a_lesson_lower_its_loss_and_leave_the_motion_stage_alone(planned, tmp_path):
    plan, source, truth = planned
    (recorded,) = lessons.record_lessons(plan, source, truth, 1, np.random.default_rng(0))
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


def test_a_burst_smaller_than_a_lesson_is_an_error(planned):
    plan, source, truth = planned

    class Small:
        class burst:  # noqa: N801
            size = (100, 300)

    with pytest.raises(ValueError, match="at least 192 px"):
        lessons.record_lessons(plan, Small, truth, 1, np.random.default_rng(0))
