"""The levels of a pyramid, what is handed on between them, and cells folded against torch's own."""

import torch

from smarthdr_cli.models.saf_layers import Motion, fold, pyramid, upsample


def test_the_pyramid_ends_below_16_cells():
    shapes = [tuple(level.shape[-2:]) for level in pyramid(torch.rand(1, 3, 256, 192))]
    assert shapes == [(8, 6), (16, 12), (32, 24), (64, 48)] or shapes == [(16, 12), (32, 24), (64, 48)]
    assert 8 <= min(shapes[0]) < 16
    finer = [tuple(level.shape[-2:]) for level in pyramid(torch.rand(1, 3, 256, 192), 1)]
    assert finer == [*shapes, (128, 96), (256, 192)]
    assert len(pyramid(torch.rand(1, 3, 256, 192), 2)) == len(shapes) + 1


def test_a_state_brought_up_keeps_its_motion_in_pixels():
    state = upsample(Motion(torch.full((1, 2, 4, 5), 1.5), torch.ones(1, 1, 4, 5), torch.zeros(1, 3, 4, 5)), 2)
    assert (state.flow == 3).all()
    assert state.flow.shape[-2:] == state.logit.shape[-2:] == state.hidden.shape[-2:] == (8, 10)


def test_folding_is_pixel_unshuffle():
    planes = torch.rand(2, 3, 12, 20, generator=torch.Generator().manual_seed(3))
    assert torch.equal(fold(planes), torch.nn.functional.pixel_unshuffle(planes, 4))
