"""Running quantiles against numpy's, bi-level masks on hand-made maps, and normalisation over the whole set."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smarthdr_cli.train.uncertainty_masks import (
    LogHistogram,
    SigmaRange,
    Thresholds,
    bilevel_mask,
    patch_mask,
    patch_means,
    pixel_mask,
)

pytestmark = pytest.mark.unit
BIN = (1e4) ** (1 / 2048)


@settings(max_examples=40)
@given(st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=60), st.floats(0, 1))
def test_a_quantile_equals_numpys_up_to_a_bin(values, q):
    """numpy's definitions differ by one value; ours lies between the two neighbours, up to a bin."""
    histogram = LogHistogram()
    histogram.update(torch.tensor(values))
    low, high = (np.quantile(values, q, method=m) for m in ("lower", "higher"))
    low = np.sort(values)[max(0, math.ceil(q * len(values)) - 1)] if q else low
    assert min(low, high) / BIN**1.01 <= histogram.quantile(q) <= max(low, high) * BIN**1.01


def test_counts_depend_on_neither_pieces_nor_order():
    values = torch.exp(torch.randn(50_000, generator=torch.Generator().manual_seed(0)) - 4).clamp(1e-4, 1)
    whole, parts, shuffled = LogHistogram(), LogHistogram(), LogHistogram()
    whole.update(values)
    for part in values.split(777):
        parts.update(part)
    for part in values.flip(0).split(501):
        shuffled.update(part)
    assert torch.equal(whole.counts, parts.counts)
    assert torch.equal(whole.counts, shuffled.counts)
    for q in (0.01, 0.4, 0.85, 0.99):
        assert whole.quantile(q) == pytest.approx(float(values.quantile(q)), rel=0.005)


def test_non_finite_values_are_left_out_and_outliers_fill_the_end_bins():
    histogram = LogHistogram(0.01, 1.0, bins=10)
    histogram.update(torch.tensor([math.nan, math.inf, -math.inf, 5.0, -3.0, 0.0, 0.1001]))
    assert histogram.counts.sum() == 4
    assert histogram.counts[0] == 2
    assert histogram.counts[-1] == 1
    assert histogram.quantile(0) == pytest.approx(0.01)
    assert histogram.quantile(1) == pytest.approx(1.0)


def test_decay_forgets_old_values():
    histogram = LogHistogram(decay=0.5)
    histogram.update(torch.full((8,), 0.5))
    for _ in range(3):
        histogram.update(torch.full((1,), 0.01))
    assert float(histogram.counts.sum()) == 8 / 8 + 1 / 4 + 1 / 2 + 1
    assert histogram.quantile(0.3) == pytest.approx(0.01, rel=0.01)


def test_a_histogram_survives_a_checkpoint(tmp_path):
    histogram = LogHistogram(decay=0.9)
    for seed in range(3):
        histogram.update(torch.rand(100, generator=torch.Generator().manual_seed(seed)))
    torch.save(histogram.state_dict(), tmp_path / "state.pt")
    again = LogHistogram(decay=0.9)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for one in (histogram, again):
        one.update(torch.full((5,), 0.3))
    assert torch.equal(histogram.counts, again.counts)
    with pytest.raises(ValueError, match="do not fit"):
        LogHistogram(bins=16).load_state_dict(histogram.state_dict())


def test_an_empty_histogram_has_no_quantile():
    histogram = LogHistogram()
    assert histogram.empty
    with pytest.raises(ValueError, match="empty histogram"):
        histogram.quantile(0.5)
    histogram.update(torch.tensor([0.5]))
    assert not histogram.empty
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        histogram.quantile(1.5)
    for bad in ((0.0, 1.0, 8, 1.0), (1.0, 0.5, 8, 1.0), (0.1, 1.0, 1, 1.0), (0.1, 1.0, 8, 0.0)):
        with pytest.raises(ValueError, match="needs"):
            LogHistogram(bad[0], bad[1], bins=bad[2], decay=bad[3])


def constant(*values, side=64):
    """A map whose patches, in a row, have these sigmas."""
    return torch.cat([torch.full((1, 1, side, side), v) for v in values], dim=-1)


def unit_range(**options):
    """Patch means and pixels from 0.0001 to 1: normalising changes nothing to speak of."""
    return SigmaRange.from_maps([constant(1e-4, 1.0)], high_quantile=1.0, **options)


def test_patches_below_tau_are_kept():
    sigma = constant(0.39, 0.41, 0.1, 0.9)
    sigma[0, 0, 0, 0] = 0.99  # one bad pixel does not lose a patch
    mask = patch_mask(sigma, unit_range())
    assert mask.shape == sigma.shape
    assert [float(p.mean()) for p in mask.split(64, dim=-1)] == [1, 0, 1, 0]


def test_pixels_below_tau_are_kept():
    sigma = torch.tensor([[0.1, 0.39, 0.41], [0.9, 0.2, 1.0]])[None, None]
    assert pixel_mask(sigma, unit_range()).tolist() == [[[[1, 1, 0], [0, 1, 0]]]]


def test_either_level_alone_and_both_together():
    sigma = constant(0.1, 0.9)
    sigma[..., :10, :10] = 0.6  # bad pixels in a good patch
    sigma[..., :10, 64:74] = 0.1  # good pixels in a bad patch
    sigma_range = unit_range()
    both = bilevel_mask(sigma, sigma_range)
    expected = torch.zeros_like(sigma)
    expected[..., :64] = 1
    expected[..., :10, :10] = 0
    assert torch.equal(both, expected)
    assert torch.equal(bilevel_mask(sigma, sigma_range, use_pixel=False), patch_mask(sigma, sigma_range))
    assert torch.equal(bilevel_mask(sigma, sigma_range, use_patch=False), pixel_mask(sigma, sigma_range))
    assert torch.equal(both, patch_mask(sigma, sigma_range) * pixel_mask(sigma, sigma_range))
    assert (bilevel_mask(sigma, sigma_range, use_patch=False, use_pixel=False) == 1).all()
    strict = bilevel_mask(sigma, sigma_range, Thresholds(0.4, 0.05))
    assert strict.sum() == 0


def test_a_mask_does_not_depend_on_the_spread_within_the_crop():
    """Four similar good patches stay and four similar bad ones go, whatever their spread."""
    sigma_range = unit_range()
    good, bad = constant(0.01, 0.011, 0.012, 0.013), constant(0.8, 0.81, 0.82, 0.83)
    assert (bilevel_mask(good, sigma_range) == 1).all()
    assert (bilevel_mask(bad, sigma_range) == 0).all()
    alone, together = bilevel_mask(good, sigma_range), bilevel_mask(torch.cat([good, bad]), sigma_range)
    assert torch.equal(alone, together[:1])  # nor does its batch matter


def test_one_outlier_does_not_stretch_the_range():
    maps = [torch.full((1, 1, 64, 64), 0.02 + 0.0001 * i) for i in range(200)]
    outlier = [*maps[:-1], torch.full((1, 1, 64, 64), 1.0)]
    robust = SigmaRange.from_maps(outlier, high_quantile=0.99)
    paper = SigmaRange.from_maps(outlier, high_quantile=1.0)
    worst = torch.full((1, 1, 64, 64), 0.0395)
    assert (patch_mask(worst, robust) == 0).all()
    assert (patch_mask(worst, paper) == 1).all()


def test_normalisation_uses_quantiles_of_all_patch_means_and_pixels():
    generator = torch.Generator().manual_seed(0)
    maps = [torch.rand(2, 1, 128, 192, generator=generator) ** 4 for _ in range(4)]
    sigma_range = SigmaRange.from_maps(maps, low_quantile=0.05, high_quantile=0.95)
    pixels = torch.cat([m.flatten() for m in maps]).clamp(min=1e-4).numpy()
    low, high = np.quantile(pixels, [0.05, 0.95])
    expected = ((maps[0] - low) / (high - low)).clamp(0, 1)
    assert torch.allclose(sigma_range.normalise_pixels(maps[0]), expected.float(), atol=0.005)
    means = np.concatenate([m.numpy().reshape(2, 2, 64, 3, 64).mean(axis=(2, 4)).ravel() for m in maps])
    low, high = np.quantile(means, [0.05, 0.95])
    first = patch_means(maps[0])[0]
    assert torch.allclose(sigma_range.normalise_patches(first), ((first - low) / (high - low)).clamp(0, 1), atol=0.12)
    assert first.shape == (2, 1, 2, 3)


def test_updates_without_decay_equal_a_refresh():
    maps = [torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(i)) for i in range(5)]
    running = SigmaRange()
    for sigma in maps:
        running.update(sigma)
    whole = SigmaRange.from_maps(maps)
    assert torch.equal(running.state_dict()["pixels"], whole.state_dict()["pixels"])
    assert torch.equal(running.state_dict()["patches"], whole.state_dict()["patches"])


def test_a_decaying_range_follows_an_improving_teacher():
    running, stubborn = SigmaRange(decay=0.9), SigmaRange()
    for step in range(80):
        sigma = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(step)) * (0.5 if step < 20 else 0.05)
        running.update(sigma)
        stubborn.update(sigma)
    middling = torch.full((1, 1, 4, 4), 0.03)
    assert pixel_mask(middling, running).sum() == 0
    assert pixel_mask(middling, stubborn).sum() == 16


def test_a_range_survives_a_checkpoint(tmp_path):
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


def test_cut_patches_are_averaged_over_their_own_pixels():
    sigma = torch.full((1, 1, 70, 150), 0.1)
    sigma[..., 64:, 128:] = 0.9  # the corner: 6 x 22 pixels of a patch
    means, _, _ = patch_means(sigma)
    assert means.shape == (1, 1, 2, 3)
    assert means[0, 0].tolist() == [pytest.approx([0.1, 0.1, 0.1]), pytest.approx([0.1, 0.1, 0.9])]
    mask = patch_mask(sigma, unit_range())
    assert (mask[..., 64:, 128:] == 0).all()
    assert mask.sum() == 70 * 150 - 6 * 22


@pytest.mark.parametrize(("top", "left"), [(0, 0), (64, 128), (40, 0), (33, 100), (130, 7)])
def test_patches_of_a_crop_lie_on_the_grid_of_its_scene(top, left):
    scene = torch.rand(1, 1, 320, 320, generator=torch.Generator().manual_seed(3)) * 0.8
    crop = scene[..., top : top + 96, left : left + 96]
    means, rows, columns = patch_means(crop, origin=(top, left))
    for y in range(0, 96, 19):
        for x in range(0, 96, 19):
            py, px = (top + y) // 64, (left + x) // 64
            block = scene[
                0, 0, max(py * 64, top) : min(py * 64 + 64, top + 96), max(px * 64, left) : min(px * 64 + 64, left + 96)
            ]
            mean = rows[0, y] @ means[0, 0] @ columns[0, x]
            assert float(mean) == pytest.approx(float(block.mean()), rel=1e-5)


def test_every_crop_of_a_batch_has_its_own_origin():
    crops = torch.rand(3, 1, 96, 96, generator=torch.Generator().manual_seed(4))
    origins = torch.tensor([[0, 0], [10, 50], [200, 64]])
    sigma_range = unit_range()
    together = patch_mask(crops, sigma_range, 0.5, origin=origins)
    for crop, origin, mask in zip(crops, origins, together, strict=True):
        assert torch.equal(patch_mask(crop[None], sigma_range, 0.5, origin=tuple(origin.tolist()))[0], mask)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_sigma_is_dropped_at_both_levels(bad):
    sigma = constant(0.1, 0.1)
    sigma[..., 3, 5] = bad
    sigma[..., 64:] = bad
    sigma_range = unit_range()
    for mask in (
        patch_mask(sigma, sigma_range),
        pixel_mask(sigma, sigma_range),
        bilevel_mask(sigma, sigma_range),
        bilevel_mask(sigma, sigma_range, use_patch=False, use_pixel=False),
        bilevel_mask(sigma, None, Thresholds(0.5, 0.5)),
    ):
        assert mask[..., 3, 5] == 0
        assert (mask[..., 64:] == 0).all()
        assert mask.sum() == 64 * 64 - 1  # its neighbours stay
    sigma_range.update(sigma)
    assert torch.isfinite(sigma_range.normalise_pixels(torch.tensor([0.5])))


def test_invalid_and_empty_ranges_are_errors():
    with pytest.raises(ValueError, match="low_quantile"):
        SigmaRange(low_quantile=0.5, high_quantile=0.5)
    with pytest.raises(ValueError, match="empty histogram"):
        pixel_mask(torch.ones(1, 1, 2, 2), SigmaRange())


def test_patch_means_are_exact_under_autocast():
    sigma = torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(5))
    with torch.autocast("cpu", torch.bfloat16):
        inside = patch_means(sigma)[0]
    assert torch.equal(inside, patch_means(sigma)[0])


def test_quantiles_of_a_range_are_numpys():
    """Over labelled crops they are the adaptive tau, in sigma's own units."""
    maps = [torch.rand(2, 1, 128, 128, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    maps[0][0, 0, 0, 0] = math.nan
    tau = SigmaRange.from_maps(maps).quantile(0.8)
    pixels = torch.cat([m.flatten() for m in maps])
    assert tau.pixel == pytest.approx(float(np.nanquantile(pixels.numpy(), 0.8)), rel=0.005)
    patches = np.stack([m.numpy().reshape(2, 2, 64, 2, 64) for m in maps])
    assert tau.patch == pytest.approx(np.quantile(np.nanmean(patches, axis=(3, 5)), 0.8, method="higher"), rel=0.005)
    assert float(bilevel_mask(maps[1], None, tau, use_patch=False).mean()) == pytest.approx(0.8, abs=0.01)
