"""Gradients against plain formulas, masked and not."""

import math

import numpy as np
import pytest
import torch
import train_pictures as made

from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.train.perceptual import gradient

SCALE = torch.tensor([0.25, 0.5])


def tones(*pictures):
    return [mu_law(p * SCALE.view(-1, 1, 1, 1)) for p in pictures]


def test_gradients_are_forward_differences_at_every_scale():
    predicted, target = made.pair(40, 48)
    a, b = (x.double().numpy() for x in tones(predicted, target))
    terms = []
    for _ in range(3):
        terms += [np.abs(np.diff(a, axis=axis) - np.diff(b, axis=axis)).mean() for axis in (2, 3)]
        a, b = (x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).mean(axis=(3, 5)) for x in (a, b))
    assert float(gradient(predicted, target, SCALE, levels=3)) == pytest.approx(np.mean(terms), rel=1e-4)


def test_a_shift_of_tone_has_no_gradient():
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) + 0.2
    brighter = (torch.expm1((mu_law(picture) + 0.05) * math.log1p(5000))) / 5000
    assert gradient(brighter, picture, torch.ones(1)) < 1e-6


def test_a_single_row_has_no_gradients():
    with pytest.raises(ValueError, match="two pixels"):
        gradient(torch.ones(1, 3, 1, 9), torch.ones(1, 3, 1, 9), torch.ones(1))


def test_masked_pixels_do_not_exist():
    predicted, target = made.pair()
    made.check_masked_pixels_do_not_exist(
        lambda p, t, k: gradient(p, t, SCALE, k), predicted, target, made.hole(predicted)
    )


def test_weights_scale_the_term_and_ones_change_nothing():
    predicted, target = made.pair()
    ones = torch.ones_like(predicted[:, :1])
    plain = float(gradient(predicted, target, SCALE))
    assert plain > 0.01
    assert float(gradient(predicted, target, SCALE, ones)) == pytest.approx(plain, rel=1e-5)
    assert float(gradient(predicted, target, SCALE, ones * 0.25)) == pytest.approx(plain / 4, rel=1e-4)
    alone = gradient(predicted[1:], target[1:], SCALE[1:])
    ones[0] = 0
    assert float(gradient(predicted, target, SCALE, ones)) == pytest.approx(float(alone), rel=1e-5)


def test_descent_finds_the_target():
    predicted, target = made.pair()
    leaf = predicted.clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=0.02)
    first = float(gradient(predicted, target, SCALE))
    for _ in range(60):
        optimizer.zero_grad()
        gradient(leaf, target, SCALE).backward()
        optimizer.step()
    assert float(gradient(leaf.detach(), target, SCALE)) < 0.5 * first
