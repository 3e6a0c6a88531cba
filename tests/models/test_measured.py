"""Answers within what the reference measured."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.models.measured import DEVIATIONS, FULL_WELL, LEAK, held
from smarthdr_cli.models.merge import READ_FLOOR, TAPER_END


def _pixel(value: float) -> torch.Tensor:
    return torch.full((1, 3, 1, 1), value)


@given(st.floats(0, 16), st.floats(0, 1))
def test_it_stays_within_the_noise_of_what_was_measured(light: float, measured: float) -> None:
    result = float(held(_pixel(light), _pixel(measured))[0, 0, 0, 0])
    noise = ((measured + READ_FLOOR) / FULL_WELL) ** 0.5
    assert result >= measured - DEVIATIONS * noise - 1e-5
    if measured < TAPER_END - 1e-6:
        assert result <= measured + DEVIATIONS * noise + 1e-5
    if abs(light - measured) <= DEVIATIONS * noise * 0.999:
        assert abs(result - light) < 1e-5


def test_a_clipped_channel_is_open_above_and_others_are_not() -> None:
    reference = torch.tensor([1.0, 0.5, 0.02]).view(1, 3, 1, 1)
    result = held(_pixel(8.0), reference).flatten()
    assert result[0] == 8.0
    assert 0.5 < result[1] < 0.55
    assert 0.02 < result[2] < 0.04
    assert float(held(_pixel(0.1), reference).flatten()[0]) > 0.9  # from below it is bounded


def test_outside_the_bounds_a_share_of_the_gradient_is_left() -> None:
    light = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).requires_grad_()
    held(light, _pixel(0.5)).sum().backward()
    torch.testing.assert_close(light.grad.flatten(), torch.tensor([LEAK, 1 + LEAK, LEAK]))
