"""Which frames are compared with what, and the light that stands in for a reference that cannot say."""

import pytest
import torch

from smarthdr_cli.fusion.reach import Light, Link, links
from smarthdr_cli.models.pairwise import MAX_TRAINED_EV


def linked(*evs):
    return [(link.place, link.anchor) for link in links(torch.tensor([[0.0, *evs]]))]


def test_frames_within_reach_are_compared_with_the_reference():
    assert linked(-3.0, 3.0, 1.0) == [(3, 0.0), (1, 0.0), (2, 0.0)]


def test_frames_beyond_it_hang_on_the_one_before_them_on_their_side():
    assert linked(-6.0, -4.0, -2.0, 2.0, 4.0, 6.0, 8.0) == [
        (3, 0.0), (4, 0.0), (2, 0.0), (5, 0.0), (1, -4.0), (6, 4.0), (7, 6.0),
    ]  # fmt: skip


def test_a_far_frame_alone_on_its_side_hangs_on_the_reference():
    assert linked(-6.0, 2.0) == [(2, 0.0), (1, 0.0)]
    link = links(torch.tensor([[0.0, MAX_TRAINED_EV + 1, 2.0]]))[1]
    assert link.apart == MAX_TRAINED_EV + 1 - 2.0


def test_the_light_is_what_trusted_frames_show():
    reference = torch.full((1, 3, 1, 2), 1.0)  # clipped
    light = Light(reference)
    short = torch.full((1, 3, 1, 2), 0.5)
    light.join(short, -3.0, torch.tensor([1.0, 0.0]).view(1, 1, 1, 2))
    link = Link(1, -5.0, -3.0)
    shown = light.shown_to(torch.full((1, 3, 1, 2), 0.01), link)
    assert shown[..., 0].flatten().tolist() == pytest.approx([0.5] * 3, rel=1e-4)
    # Of the other pixel the clipped reference alone is known: at least 1, and that is what a darker frame is held to.
    assert shown[..., 1].flatten().tolist() == pytest.approx([1 / 8] * 3)
    bright = torch.full((1, 3, 1, 2), 0.125)  # radiance 4: borne out
    assert light.shown_to(bright, link)[..., 1].flatten().tolist() == pytest.approx([4 / 8] * 3)


def test_what_is_not_trusted_is_filled_with_the_light():
    light = Light(torch.full((1, 3, 1, 1), 0.4))
    frame = torch.full((1, 3, 1, 1), 0.9)
    link = Link(1, 1.0, 0.0)
    for trust, wanted in ((0.0, 0.8), (1.0, 0.9), (0.5, 0.85)):
        filled = light.filling(frame, link, torch.full((1, 1, 1, 1), trust))
        assert filled.flatten().tolist() == pytest.approx([wanted] * 3)
