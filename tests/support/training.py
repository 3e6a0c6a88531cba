"""Images and brackets for training tests, the property that all masked losses share, comparison of weights."""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from smarthdr_cli.data.synth.export import encode_jpeg

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def pair(height: int = 48, width: int = 56, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Prediction and target (2, 3, H, W): smooth images with some noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, 2, 3, height // 4, width // 4, generator=generator)
    images = torch.nn.functional.interpolate(coarse.flatten(0, 1), size=(height, width), mode="bilinear").view(
        2, 2, 3, height, width
    )
    images = images + 0.1 * torch.rand(images.shape, generator=generator)
    return images[0] * 2, images[1] * 2


def hole(predicted: Tensor) -> Tensor:
    """A mask with a block missing and one pixel far from it."""
    keep = torch.ones_like(predicted[:, :1])
    keep[:, :, 4:9, 6:15] = 0
    keep[0, :, 30, 40] = 0
    return keep


def same_weights(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Whether two state dicts are equal bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def check_masked_pixels_do_not_exist(loss: Loss, predicted: Tensor, target: Tensor, keep: Tensor) -> None:
    """Value and gradient do not depend on masked pixels of either image, and masked pixels get no gradient."""
    hidden = (keep == 0).expand_as(predicted)
    results = []
    for bad in (0.3, math.nan, math.inf, -math.inf, 1e30):
        leaf = torch.where(hidden, torch.full_like(predicted, bad), predicted).requires_grad_()
        value = loss(leaf, torch.where(hidden, torch.full_like(target, bad), target), keep)
        (gradient,) = torch.autograd.grad(value, leaf)
        assert (gradient[hidden] == 0).all(), bad
        assert gradient.abs().sum() > 0
        assert torch.isfinite(gradient).all()
        results.append((value.detach(), gradient))
    for value, gradient in results[1:]:
        assert torch.allclose(value, results[0][0], rtol=1e-5), value
        assert torch.allclose(gradient, results[0][1], rtol=1e-3, atol=1e-7)
    assert loss(predicted, predicted.detach(), keep) == 0
    all_masked = loss(predicted.clone().requires_grad_(), target, torch.zeros_like(keep))
    assert all_masked == 0
    nan = torch.where(keep > 0, keep, torch.full_like(keep, math.nan))
    assert torch.allclose(loss(predicted, target, nan), loss(predicted, target, keep))


def bracket(
    folder: Path, seed: int = 0, evs: tuple[int, ...] = (-2, 0, 2), size: tuple[int, int] = (64, 96), start: int = 0
) -> None:
    """JPEGs of a still scene with EXIF, as a camera leaves them."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    light = cv2.resize(rng.uniform(0.02, 0.8, (8, 12, 3)).astype(np.float32), size[::-1])
    for n, ev in enumerate(evs):
        codes = np.round(np.clip(light * 2.0**ev, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)
        path = folder / f"IMG_{start + n:04d}.jpg"
        path.write_bytes(encode_jpeg(codes, Fraction(1, 60) * Fraction(2) ** ev, 95))
