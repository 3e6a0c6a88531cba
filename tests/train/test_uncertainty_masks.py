"""Bi-level masks on maps made by hand, and a normalisation that belongs to the set and not to the crop."""

import math

import numpy as np
import pytest
import torch

from smarthdr_cli.train.uncertainty_masks import (
    SigmaRange,
    Thresholds,
    adaptive_thresholds,
    bilevel_mask,
    patch_mask,
    patch_means,
    pixel_mask,
)


def constant(*values, side=64):
    """A map whose patches, in a row, have these sigmas."""
    return torch.cat([torch.full((1, 1, side, side), v) for v in values], dim=-1)


def unit_range(**options):
    """Patch means and pixels from 0.0001 to 1: normalising changes nothing to speak of."""
    return SigmaRange.from_maps([constant(1e-4, 1.0)], high_quantile=1.0, **options)


def test_patches_below_tau_are_kept_whole():
    sigma = constant(0.39, 0.41, 0.1, 0.9)
    sigma[0, 0, 0, 0] = 0.99  # one bad pixel does not lose a patch
    mask = patch_mask(sigma, unit_range())
    assert mask.shape == sigma.shape
    assert [float(p.mean()) for p in mask.split(64, dim=-1)] == [1, 0, 1, 0]


def test_pixels_below_tau_are_kept():
    sigma = torch.tensor([[0.1, 0.39, 0.41], [0.9, 0.2, 1.0]])[None, None]
    assert pixel_mask(sigma, unit_range()).tolist() == [[[[1, 1, 0], [0, 1, 0]]]]


def test_both_levels_and_either_alone():
    sigma = constant(0.1, 0.9)
    sigma[..., :10, :10] = 0.6  # bad pixels in a good patch
    sigma[..., :10, 64:74] = 0.1  # good pixels in a bad patch
    limits = unit_range()
    both = bilevel_mask(sigma, limits)
    wanted = torch.zeros_like(sigma)
    wanted[..., :64] = 1
    wanted[..., :10, :10] = 0
    assert torch.equal(both, wanted)
    assert torch.equal(bilevel_mask(sigma, limits, use_pixel=False), patch_mask(sigma, limits))
    assert torch.equal(bilevel_mask(sigma, limits, use_patch=False), pixel_mask(sigma, limits))
    assert torch.equal(both, patch_mask(sigma, limits) * pixel_mask(sigma, limits))
    assert (bilevel_mask(sigma, limits, use_patch=False, use_pixel=False) == 1).all()
    strict = bilevel_mask(sigma, limits, Thresholds(0.4, 0.05))
    assert strict.sum() == 0


def test_the_crop_is_never_its_own_measure():
    """Four equally good patches stay, and so do four equally bad ones go, whatever their spread within the crop."""
    limits = unit_range()
    good, bad = constant(0.01, 0.011, 0.012, 0.013), constant(0.8, 0.81, 0.82, 0.83)
    assert (bilevel_mask(good, limits) == 1).all()
    assert (bilevel_mask(bad, limits) == 0).all()
    alone, together = bilevel_mask(good, limits), bilevel_mask(torch.cat([good, bad]), limits)
    assert torch.equal(alone, together[:1])  # nor does its batch matter


def test_one_outlier_does_not_stretch_the_range():
    maps = [torch.full((1, 1, 64, 64), 0.02 + 0.0001 * i) for i in range(200)]
    outlier = [*maps[:-1], torch.full((1, 1, 64, 64), 1.0)]
    robust = SigmaRange.from_maps(outlier, high_quantile=0.99)
    paper = SigmaRange.from_maps(outlier, high_quantile=1.0)
    worst = torch.full((1, 1, 64, 64), 0.0395)
    assert (patch_mask(worst, robust) == 0).all()
    assert (patch_mask(worst, paper) == 1).all()


def test_the_range_is_that_of_all_patch_means_and_all_pixels():
    generator = torch.Generator().manual_seed(0)
    maps = [torch.rand(2, 1, 128, 192, generator=generator) ** 4 for _ in range(4)]
    limits = SigmaRange.from_maps(maps, low_quantile=0.05, high_quantile=0.95)
    pixels = torch.cat([m.flatten() for m in maps]).clamp(min=1e-4).numpy()
    low, high = np.quantile(pixels, [0.05, 0.95])
    wanted = ((maps[0] - low) / (high - low)).clamp(0, 1)
    assert torch.allclose(limits.normalise_pixels(maps[0]), wanted.float(), atol=0.005)
    means = np.concatenate([m.numpy().reshape(2, 2, 64, 3, 64).mean(axis=(2, 4)).ravel() for m in maps])
    low, high = np.quantile(means, [0.05, 0.95])
    first = patch_means(maps[0])[0]
    assert torch.allclose(limits.normalise_patches(first), ((first - low) / (high - low)).clamp(0, 1), atol=0.12)
    assert first.shape == (2, 1, 2, 3)


def test_steps_give_the_range_of_a_refresh_when_nothing_is_forgotten():
    maps = [torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(i)) for i in range(5)]
    running = SigmaRange()
    for sigma in maps:
        running.update(sigma)
    whole = SigmaRange.from_maps(maps)
    assert torch.equal(running.state_dict()["pixels"], whole.state_dict()["pixels"])
    assert torch.equal(running.state_dict()["patches"], whole.state_dict()["patches"])


def test_a_running_range_follows_a_teacher_that_improves():
    running, stubborn = SigmaRange(decay=0.9), SigmaRange()
    for step in range(80):
        sigma = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(step)) * (0.5 if step < 20 else 0.05)
        running.update(sigma)
        stubborn.update(sigma)
    middling = torch.full((1, 1, 4, 4), 0.03)
    assert pixel_mask(middling, running).sum() == 0
    assert pixel_mask(middling, stubborn).sum() == 16


def test_the_state_goes_through_a_checkpoint(tmp_path):
    running = SigmaRange(decay=0.99)
    running.update(torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)))
    torch.save(running.state_dict(), tmp_path / "range.pt")
    again = SigmaRange(decay=0.99)
    assert again.empty
    again.load_state_dict(torch.load(tmp_path / "range.pt", weights_only=True))
    assert not again.empty
    sigma = torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(1))
    for one in (running, again):
        one.update(sigma)
    assert torch.equal(bilevel_mask(sigma, running), bilevel_mask(sigma, again))


def test_sizes_that_are_no_multiples_average_what_is_there():
    sigma = torch.full((1, 1, 70, 150), 0.1)
    sigma[..., 64:, 128:] = 0.9  # the corner: 6 x 22 pixels of a patch
    means, _, _ = patch_means(sigma)
    assert means.shape == (1, 1, 2, 3)
    assert means[0, 0].tolist() == [pytest.approx([0.1, 0.1, 0.1]), pytest.approx([0.1, 0.1, 0.9])]
    mask = patch_mask(sigma, unit_range())
    assert (mask[..., 64:, 128:] == 0).all()
    assert mask.sum() == 70 * 150 - 6 * 22


@pytest.mark.parametrize(("top", "left"), [(0, 0), (64, 128), (40, 0), (33, 100), (130, 7)])
def test_a_crop_is_cut_on_the_grid_of_its_scene(top, left):
    scene = torch.rand(1, 1, 320, 320, generator=torch.Generator().manual_seed(3)) * 0.8
    crop = scene[..., top : top + 96, left : left + 96]
    means, rows, columns = patch_means(crop, origin=(top, left))
    for y in range(0, 96, 19):
        for x in range(0, 96, 19):
            py, px = (top + y) // 64, (left + x) // 64
            block = scene[
                0, 0, max(py * 64, top) : min(py * 64 + 64, top + 96), max(px * 64, left) : min(px * 64 + 64, left + 96)
            ]
            seen = rows[0, y] @ means[0, 0] @ columns[0, x]
            assert float(seen) == pytest.approx(float(block.mean()), rel=1e-5)


def test_every_crop_of_a_batch_has_its_own_origin():
    crops = torch.rand(3, 1, 96, 96, generator=torch.Generator().manual_seed(4))
    origins = torch.tensor([[0, 0], [10, 50], [200, 64]])
    limits = unit_range()
    together = patch_mask(crops, limits, 0.5, origin=origins)
    for crop, origin, mask in zip(crops, origins, together, strict=True):
        assert torch.equal(patch_mask(crop[None], limits, 0.5, origin=tuple(origin.tolist()))[0], mask)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_sigma_that_is_no_number_is_dropped_at_both_levels(bad):
    sigma = constant(0.1, 0.1)
    sigma[..., 3, 5] = bad
    sigma[..., 64:] = bad
    limits = unit_range()
    for mask in (
        patch_mask(sigma, limits),
        pixel_mask(sigma, limits),
        bilevel_mask(sigma, limits),
        bilevel_mask(sigma, limits, use_patch=False, use_pixel=False),
        bilevel_mask(sigma, None, Thresholds(0.5, 0.5)),
    ):
        assert mask[..., 3, 5] == 0
        assert (mask[..., 64:] == 0).all()
        assert mask.sum() == 64 * 64 - 1  # its neighbours stay
    limits.update(sigma)
    assert torch.isfinite(limits.normalise_pixels(torch.tensor([0.5])))


def test_adaptive_tau_is_the_quantile_of_labelled_sigma():
    maps = [torch.rand(2, 1, 128, 128, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    maps[0][0, 0, 0, 0] = math.nan
    found = adaptive_thresholds(maps, 0.8)
    pixels = torch.cat([m.flatten() for m in maps])
    assert found.pixel == pytest.approx(float(np.nanquantile(pixels.numpy(), 0.8)), rel=1e-5)
    clean = np.stack([m.numpy().reshape(2, 2, 64, 2, 64) for m in maps])
    assert found.patch == pytest.approx(np.quantile(np.nanmean(clean, axis=(3, 5)), 0.8), rel=1e-5)
    keep = bilevel_mask(maps[1], None, found, use_patch=False)
    assert float(keep.mean()) == pytest.approx(0.8, abs=0.01)
    running = SigmaRange.from_maps(maps).quantile(0.8)
    assert running.pixel == pytest.approx(found.pixel, rel=0.005)
    assert running.patch == pytest.approx(found.patch, rel=0.005)
    with pytest.raises(ValueError, match="no labelled sigma"):
        adaptive_thresholds([])


def test_a_range_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="low_quantile"):
        SigmaRange(low_quantile=0.5, high_quantile=0.5)
    with pytest.raises(ValueError, match="no values seen"):
        pixel_mask(torch.ones(1, 1, 2, 2), SigmaRange())


def test_autocast_does_not_round_the_grid():
    sigma = torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(5))
    with torch.autocast("cpu", torch.bfloat16):
        inside = patch_means(sigma)[0]
    assert torch.equal(inside, patch_means(sigma)[0])
