"""Gradients and MS-SSIM against plain formulas and scikit-image, masked and not."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import train_pictures as made

from smarthdr_cli.models.tone import mu_law
from smarthdr_cli.train.perceptual import POWERS, gradient, ms_ssim, scales, ssim_maps

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
    assert ms_ssim(brighter, picture, torch.ones(1)) > 1e-4


def test_one_scale_is_scikit_images_ssim():
    from skimage.metrics import structural_similarity

    predicted, target = made.pair(21, 18)  # room for one scale
    assert scales(21, 18) == (sum(POWERS),)
    a, b = tones(predicted, target)
    options = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    whole = [[structural_similarity(x.numpy(), y.numpy(), full=True, **options)[1][5:-5, 5:-5].mean()
              for x, y in zip(i, j, strict=True)] for i, j in zip(a, b, strict=True)]  # fmt: skip
    luminance, structure = ssim_maps(a, b)
    assert (luminance * structure).mean(dim=(2, 3)).numpy() == pytest.approx(np.array(whole), abs=2e-4)
    wanted = 1 - (np.array(whole) ** sum(POWERS)).mean()
    assert float(ms_ssim(predicted, target, SCALE)) == pytest.approx(wanted, abs=2e-4)


def test_several_scales_are_the_product_of_powers():
    """A plain twin with scipy's filter at each scale."""
    from scipy.ndimage import correlate1d

    predicted, target = made.pair(96, 112)
    a, b = (x.double().numpy() for x in tones(predicted, target))
    place = np.arange(-5, 6)
    kernel = np.exp(-(place**2) / 4.5)
    kernel /= kernel.sum()

    def blur(x):
        return correlate1d(correlate1d(x, kernel, axis=2), kernel, axis=3)[..., 5:-5, 5:-5]

    product = np.ones((2, 3))
    powers = np.array(POWERS[:4]) / sum(POWERS[:4]) * sum(POWERS)
    for number, power in enumerate(powers):
        ma, mb = blur(a), blur(b)
        va, vb, cov = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
        value = (2 * cov + 9e-4) / (va + vb + 9e-4)
        if number == 3:
            value = value * (2 * ma * mb + 1e-4) / (ma**2 + mb**2 + 1e-4)
        product *= value.mean(axis=(2, 3)) ** power
        a, b = (x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).mean(axis=(3, 5)) for x in (a, b))
    assert scales(96, 112) == pytest.approx(tuple(powers))
    assert float(ms_ssim(predicted, target, SCALE)) == pytest.approx(1 - product.mean(), abs=1e-4)


def test_the_number_of_scales_follows_the_size():
    assert [len(scales(n, 400)) for n in (11, 21, 22, 43, 44, 128, 175, 176, 4000)] == [1, 1, 2, 2, 3, 4, 4, 5, 5]
    assert scales(500, 500) == POWERS
    assert sum(scales(50, 50)) == pytest.approx(sum(POWERS))
    with pytest.raises(ValueError, match="at least 11x11"):
        scales(10, 30)
    with pytest.raises(ValueError, match="two pixels"):
        gradient(torch.ones(1, 3, 1, 9), torch.ones(1, 3, 1, 9), torch.ones(1))


@pytest.mark.parametrize("loss", [gradient, ms_ssim], ids=["gradient", "ms_ssim"])
def test_masked_pixels_do_not_exist(loss):
    predicted, target = made.pair()
    made.check_masked_pixels_do_not_exist(lambda p, t, k: loss(p, t, SCALE, k), predicted, target, made.hole(predicted))


@pytest.mark.parametrize("loss", [gradient, ms_ssim], ids=["gradient", "ms_ssim"])
def test_weights_scale_the_term_and_ones_change_nothing(loss):
    predicted, target = made.pair()
    ones = torch.ones_like(predicted[:, :1])
    plain = float(loss(predicted, target, SCALE))
    assert plain > 0.01
    assert float(loss(predicted, target, SCALE, ones)) == pytest.approx(plain, rel=1e-5)
    assert float(loss(predicted, target, SCALE, ones * 0.25)) == pytest.approx(plain / 4, rel=1e-4)
    alone = loss(predicted[1:], target[1:], SCALE[1:])
    ones[0] = 0
    assert float(loss(predicted, target, SCALE, ones)) == pytest.approx(float(alone), rel=1e-5)


def test_only_windows_without_masked_pixels_count():
    predicted, target = made.pair(21, 60)
    keep = torch.ones_like(predicted[:, :1])
    keep[..., 30:] = 0
    wanted = ms_ssim(predicted[..., :30], target[..., :30], SCALE)
    assert float(ms_ssim(predicted, target, SCALE, keep)) == pytest.approx(float(wanted), rel=1e-4)


def test_a_scale_without_windows_leaves_its_power_to_the_others():
    predicted, target = made.pair(44, 44)  # three scales; the mask leaves room for the first alone
    keep = torch.zeros_like(predicted[:, :1])
    keep[..., 3:18, 5:20] = 1
    a, b = tones(predicted, target)
    _, structure = ssim_maps(a[..., 3:18, 5:20], b[..., 3:18, 5:20])
    wanted = 1 - (structure.mean(dim=(2, 3)).clamp(min=1e-3) ** sum(POWERS)).mean()  # some are negative
    assert float(ms_ssim(predicted, target, SCALE, keep)) == pytest.approx(float(wanted), rel=1e-3)


def test_opposite_structure_has_finite_gradients():
    picture = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    leaf = (1 - picture).requires_grad_()
    value = ms_ssim(leaf, picture, torch.ones(1))
    value.backward()
    assert 0.9 < value < 1.01
    assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("loss", [gradient, ms_ssim], ids=["gradient", "ms_ssim"])
def test_descent_finds_the_target(loss):
    predicted, target = made.pair()
    leaf = predicted.clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=0.02)
    first = float(loss(predicted, target, SCALE))
    for _ in range(60):
        optimizer.zero_grad()
        loss(leaf, target, SCALE).backward()
        optimizer.step()
    assert float(loss(leaf.detach(), target, SCALE)) < 0.5 * first


def test_the_coarsest_scale_carries_the_luminance():
    flat = torch.full((1, 3, 44, 44), 0.2)
    assert ms_ssim(flat, flat * 4, torch.ones(1)) > 1e-3
    assert F.l1_loss(ssim_maps(flat, flat * 4)[1], torch.ones(1, 3, 34, 34)) < 1e-2
