"""SmartHDR's targets: bi-level masks on pseudo-labels, adaptive thresholds, and SelfHDR's targets as a fill."""

from types import SimpleNamespace

import pytest
import torch

from smarthdr_cli.train.methods import selfhdr
from smarthdr_cli.train.methods.smarthdr import SmartHDR
from smarthdr_cli.train.uncertainty_masks import Thresholds, bilevel_mask


@pytest.fixture
def smarthdr(config_of):
    """A method whose range of sigma ends at 0.5, with further options."""

    def build(**options):
        masks = {"side": 16, "top": 1.0} | options.pop("masks", {})
        method = SmartHDR(config_of(masks=masks, **options))
        method.sigma_range.update(torch.linspace(0.001, 0.5, 64 * 64).view(1, 1, 64, 64))
        return method

    return build


@pytest.mark.parametrize(("patch", "pixel"), [(True, True), (True, False), (False, True), (False, False)])
def test_the_weight_is_the_bilevel_mask(smarthdr, crops, pseudo, patch, pixel):
    method = smarthdr(masks={"patch": patch, "pixel": pixel, "tau_patch": 0.3, "tau_pixel": 0.35})
    target = method.targets(crops, pseudo, None)
    tau = Thresholds(0.3, 0.35)
    expected = torch.cat([
        bilevel_mask(pseudo.sigma[b : b + 1], method.sigma_range, tau, 16, (crops.tops[b], crops.lefts[b]),
                     use_patch=patch, use_pixel=pixel) for b in range(2)
    ])  # fmt: skip
    assert torch.equal(target.weight, expected)
    assert target.coverage["kept"] == expected.mean()
    assert target.coverage["kept_patches"] >= target.coverage["kept"]
    assert (target.coverage["kept"] == 1) == (not patch and not pixel)
    assert torch.equal(target.batch.target, pseudo.radiance)
    assert target.from_teacher


def test_adaptive_thresholds_are_in_sigmas_own_units(smarthdr, crops, pseudo):
    method = smarthdr(masks={"patch": False, "adaptive": True, "quantile": 1.0})
    method.observe_labeled(SimpleNamespace(sigma=torch.full((1, 1, 16, 16), 0.3)), crops.batch)
    assert torch.equal(method.targets(crops, pseudo, None).weight, (pseudo.sigma < 0.3).float())


def test_without_labelled_sigma_adaptive_thresholds_are_the_fixed_ones(smarthdr, crops, pseudo):
    adaptive = smarthdr(masks={"adaptive": True}).targets(crops, pseudo, None)
    assert torch.equal(adaptive.weight, smarthdr().targets(crops, pseudo, None).weight)


def test_observed_sigma_lies_on_the_grid_of_its_scene(smarthdr, crops, pseudo):
    method = smarthdr(pseudo="step")
    before = method.sigma_range.pixels.counts.clone()
    method.observe(pseudo, crops)
    added = method.sigma_range.pixels.counts - before * method.sigma_range.pixels.decay
    assert float(added.sum()) == pytest.approx(pseudo.sigma.numel())
    assert method.sigma_range.patches.decay < 1


def test_a_refresh_replaces_both_ranges(smarthdr):
    maps = [(torch.full((1, 1, 32, 32), 0.02), (0, 0)), (torch.full((1, 1, 16, 16), 0.04), (8, 0))]
    labelled = [(SimpleNamespace(sigma=torch.full((1, 1, 8, 8), 0.1)), None)]
    labels = SimpleNamespace(sigma_maps=lambda: iter(maps), labeled=lambda: iter(labelled))
    for adaptive in (False, True):
        method = smarthdr(masks={"adaptive": adaptive})
        method.refresh(labels)
        assert float(method.sigma_range.pixels.counts.sum()) == 32**2 + 16**2
        assert float(method.sigma_range.patches.counts.sum()) == 4 + 2  # the smaller map lies on two patches
        assert float(method.labeled_range.pixels.counts.sum()) == (64 if adaptive else 0)


def test_masked_pixels_are_filled_with_the_colour_target(smarthdr, crops, pseudo):
    plain = smarthdr().targets(crops, pseudo, None)
    filled = smarthdr(fill="selfhdr").targets(crops, pseudo, None)
    colour = selfhdr.colour_target(crops.batch)
    kept = (plain.weight > 0).expand_as(pseudo.radiance)
    assert torch.equal(filled.batch.target[kept], pseudo.radiance[kept])
    new = (filled.weight > 0) & (plain.weight == 0)
    assert new.any()
    assert (colour.keep[new] > 0).all()
    channels = new.expand_as(pseudo.radiance)
    assert torch.equal(filled.batch.target[channels], colour.radiance[channels])
    assert filled.coverage["kept_filled"] > plain.coverage["kept"] == filled.coverage["kept"]
    assert filled.structure is None


def test_pseudo_labels_fill_the_gaps_of_the_colour_target(smarthdr, crops, pseudo):
    plain = smarthdr().targets(crops, pseudo, None)
    filled = smarthdr(fill="selfhdr-first").targets(crops, pseudo, None)
    colour = selfhdr.colour_target(crops.batch)
    first = (colour.keep > 0).expand_as(pseudo.radiance)
    assert torch.equal(filled.batch.target[first], colour.radiance[first])
    assert torch.equal(filled.batch.target[~first], pseudo.radiance[~first])
    assert torch.equal(filled.weight, torch.maximum(colour.keep, plain.weight))
    assert 0 < float(((colour.keep == 0) & (plain.weight > 0)).float().mean()) < 1
    assert torch.equal(filled.structure, selfhdr.structure_target(crops.batch, colour.radiance).radiance)


def test_statistics_keep_the_keys_of_the_state_file(smarthdr):
    assert smarthdr().statistics().keys() == {"limits", "trusted"}
    assert smarthdr().statistics()["limits"].state_dict().keys() == {"patches", "pixels"}


def test_masks_need_a_range(smarthdr, config_of, crops, pseudo):
    assert smarthdr().masks(pseudo, crops).keys() == {"patch_mask", "pixel_mask"}
    assert SmartHDR(config_of()).masks(pseudo, crops) == {}
