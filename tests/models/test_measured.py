"""Answers within what the reference measured."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.models.merge import (
    CHANNEL_TAPER_END,
    CHANNEL_TAPER_START,
    GRADIENT_LEAK,
    READ_FLOOR,
    STRICT_NOISE,
    clamp_to_reference_strict,
)


def _pixel(value: float) -> torch.Tensor:
    return torch.full((1, 3, 1, 1), value)


@given(st.floats(0, 16), st.floats(0, 1))
def test_it_stays_within_the_noise_of_what_was_measured(light: float, measured: float) -> None:
    result = float(clamp_to_reference_strict(_pixel(light), _pixel(measured))[0, 0, 0, 0])
    deviations, well = STRICT_NOISE
    slack = deviations * ((measured + READ_FLOOR) / well) ** 0.5
    assert result >= measured - slack - 1e-5
    if measured < CHANNEL_TAPER_START:
        assert result <= measured + slack + 1e-5
    if measured > CHANNEL_TAPER_END and light > measured:
        assert abs(result - light) < 1e-5 * max(1, light)
    if abs(light - measured) <= slack * 0.999:
        assert abs(result - light) < 1e-5


def test_a_clipped_channel_is_open_above_and_others_are_not() -> None:
    reference = torch.tensor([1.0, 0.5, 0.02]).view(1, 3, 1, 1)
    result = clamp_to_reference_strict(_pixel(8.0), reference).flatten()
    assert result[0] == 8.0
    assert 0.5 < result[1] < 0.55
    assert 0.02 < result[2] < 0.04
    assert float(clamp_to_reference_strict(_pixel(0.1), reference).flatten()[0]) > 0.9  # from below it is bounded


def test_it_gives_its_bound_up_without_a_step() -> None:
    levels = torch.linspace(0.5, 0.9, 401).view(1, 1, 1, -1).expand(1, 3, 1, -1)
    result = clamp_to_reference_strict(torch.full_like(levels, 2.0), levels)[0, 0, 0]
    assert (result.diff().abs() < 0.03).all()
    assert (result.diff() > 0).sum() > 280


def test_outside_the_bounds_a_share_of_the_gradient_is_left() -> None:
    light = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).requires_grad_()
    clamp_to_reference_strict(light, _pixel(0.5)).sum().backward()
    torch.testing.assert_close(light.grad.flatten(), torch.tensor([GRADIENT_LEAK, 1 + GRADIENT_LEAK, GRADIENT_LEAK]))
