"""Pseudo-labels by windows, through augmentation, and through the files of an epoch."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from smarthdr_cli.data.augment import Augmentation
from smarthdr_cli.data.crops import CropSampler
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.models.uncertainty_head import SIGMA_MAX, SIGMA_MIN
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.pseudo_labels import (
    EpochLabels,
    PseudoStore,
    predict,
    predict_augmented,
    predict_scene,
    windows,
)
from smarthdr_cli.train.scene_data import whole
from smarthdr_cli.train.state import generator
from smarthdr_cli.train.uncertainty_masks import SigmaRange, Thresholds, bilevel_mask

CPU = torch.device("cpu")
SIDE = 16


class PixelwiseTeacher(nn.Module):
    """A teacher whose output at a pixel depends on that pixel of the brightest and the darkest frame alone."""

    def __init__(self, failure=None):
        super().__init__()
        self.failure = failure

    def forward(self, frames, evs, valid):
        light = frames[:, 1] * torch.exp2(-evs[:, 1]).view(-1, 1, 1, 1)
        sigma = SIGMA_MIN + (SIGMA_MAX - SIGMA_MIN) * frames[:, 2].mean(dim=1, keepdim=True) * valid[:, 2]
        if self.failure is not None:
            light = torch.where(frames[:, :1, 0] < 0.02, self.failure, light)
        return SimpleNamespace(radiance=light, log_sigma=sigma.log())


def expected(scene, failure=None):
    first, last = scene.rows
    frames, valid, _ = scene.crop(first, 0, last - first, scene.size[1])
    out = PixelwiseTeacher(failure)(frames[None], torch.tensor([scene.evs]), valid[None])
    return out.radiance, out.log_sigma.exp()


@pytest.fixture
def store(scenes, tmp_path):
    store = PseudoStore(tmp_path / "pseudo", scenes.unlabeled, SIDE)
    store.refresh(PixelwiseTeacher(), 40, CPU, "fp32")
    return store


@pytest.mark.parametrize(("window", "border"), [(512, 48), (48, 8), (33, 5)])
def test_windows_cover_the_scene_exactly(scenes, window, border):
    scene = scenes.unlabeled[0]
    pseudo = predict_scene(PixelwiseTeacher(), scene, CPU, "fp32", window=window, border=border)
    light, sigma = expected(scene)
    assert torch.equal(pseudo.radiance, light)
    assert torch.equal(pseudo.sigma, sigma)


@pytest.mark.parametrize("length", [1, 31, 416, 417, 512, 513, 4000])
def test_windows_keep_every_pixel_once_and_cover_its_surroundings(length):
    kept = np.zeros(length, int)
    for start, end, first, last in windows(length, 512, 48):
        kept[start:end] += 1
        assert last - first <= 512
        assert first == max(0, start - 48)
        assert last == min(length, end + 48)
    assert (kept == 1).all()


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("flip", [False, True])
def test_restoring_undoes_an_augmentation(flip, turns):
    image = torch.arange(2 * 3 * 5 * 7.0).view(2, 3, 5, 7)
    how = Augmentation(flip, turns, (0, 1, 2))
    assert torch.equal(how.undo_geometry(how.geometry(image)), image)
    assert torch.equal(how.geometry(how.undo_geometry(image)), image)


def test_the_augmentation_of_a_prediction_is_undone(scenes):
    batch = CropSampler(scenes.unlabeled, 32, 2, 0)(0).batch
    out = PixelwiseTeacher()(batch.frames, batch.evs, batch.valid)
    for step in range(12):  # all eight augmentations come
        pseudo = predict_augmented(PixelwiseTeacher(), batch, generator(0, 3, step), "fp32")
        assert torch.equal(pseudo.radiance, out.radiance)
        torch.testing.assert_close(pseudo.sigma, out.log_sigma.exp())
        assert pseudo.means is None


class InconsistentTeacher(PixelwiseTeacher):
    """A teacher that favours the first channel and is brighter towards the right."""

    def forward(self, frames, evs, valid):
        out = super().forward(frames, evs, valid)
        ramp = torch.linspace(1, 1.5, frames.shape[-1])
        return SimpleNamespace(
            radiance=out.radiance * torch.tensor([1.2, 1.0, 0.9]).view(1, 3, 1, 1) * ramp, log_sigma=out.log_sigma
        )


def test_views_of_a_consistent_teacher_change_nothing(scenes):
    batch = CropSampler(scenes.unlabeled, 32, 2, 0)(0).batch
    pseudo, single = (predict(PixelwiseTeacher(), batch, "fp32", views) for views in (4, 1))
    torch.testing.assert_close(pseudo.radiance, single.radiance, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(pseudo.sigma, single.sigma, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("views", [2, 5])
def test_sigma_includes_the_variance_of_the_views(scenes, views):
    """Against the mean and the law of total variance."""
    batch = CropSampler(scenes.unlabeled, 32, 2, 0)(0).batch
    scale = torch.exp2(batch.evs.amin(1)).view(-1, 1, 1, 1)
    tones, sigmas = [], []
    for how in Augmentation.spread(views):
        seen = InconsistentTeacher()(how.colour(batch.frames), batch.evs, how.geometry(batch.valid))
        back = torch.rot90(seen.radiance, -how.turns, (-2, -1))
        back = back.flip(-1) if how.flip else back
        channels = torch.empty_like(back)
        channels[:, list(how.order)] = back
        tones.append(mu_law(channels * scale).numpy())
        sigmas.append(how.undo_geometry(seen.log_sigma.exp()).numpy())
    variance = np.mean(np.square(sigmas), axis=0) + np.var(tones, axis=0).mean(axis=1, keepdims=True)
    pseudo = predict(InconsistentTeacher(), batch, "fp32", views)
    np.testing.assert_allclose(pseudo.sigma, np.sqrt(variance), rtol=1e-3)
    np.testing.assert_allclose(mu_law(pseudo.radiance * scale), np.mean(tones, axis=0), rtol=1e-3, atol=1e-5)
    assert (pseudo.sigma > predict(InconsistentTeacher(), batch, "fp32").sigma).float().mean() > 0.9


def test_a_view_that_is_not_finite_leaves_no_label(scenes):
    batch = CropSampler(scenes.unlabeled, 32, 2, 0)(0).batch
    pseudo = predict(PixelwiseTeacher(failure=math.nan), batch, "fp32", 4)
    assert torch.equal(pseudo.sigma.isnan(), ~torch.isfinite(pseudo.radiance).all(dim=1, keepdim=True))
    assert pseudo.sigma.isnan().any()
    assert not pseudo.sigma.isnan().all()


def test_stored_labels_are_exact_to_half_a_code(scenes, store):
    """Half a code is 7.7e-6 in the mu-law domain; a 12-bit signal has 2.4e-4, the floor of sigma is 1e-4."""
    for number, scene in enumerate(scenes.unlabeled):
        light, sigma = expected(scene)
        grid = CropSampler(scenes.unlabeled, 32, 1, 0)
        for top in (0, 32):
            crops = grid.cut([(number, top, 64)])
            pseudo = store.cut(crops)
            place = (..., slice(top, top + 32), slice(64, 96))
            scale = 2.0 ** min(scene.evs)
            tone = [torch.log1p(5000 * x.double() * scale) / math.log(5001) for x in (pseudo.radiance, light[place])]
            assert (tone[0] - tone[1]).abs().max() < 0.51 / 65535
            assert ((pseudo.radiance - light[place]) * scale).abs().max() < 7e-5
            assert (pseudo.sigma / sigma[place] - 1).abs().max() < 2**-11 * 1.01


def test_labels_are_capped_at_the_shortest_clip(scenes, tmp_path):
    scene = scenes.unlabeled[0]
    bright = PixelwiseTeacher()
    bright.forward = lambda f, e, v: SimpleNamespace(radiance=f[:, 0] * 0 + 100, log_sigma=f[:, 0, :1] * 0 - 3)
    store = PseudoStore(tmp_path, [scene], SIDE)
    store.refresh(bright, 1, CPU, "fp32")
    pseudo = store.cut(CropSampler([scene], 32, 1, 0)(0))
    assert torch.allclose(pseudo.radiance, torch.tensor(2.0 ** -min(scene.evs)))


@pytest.mark.parametrize("patch", [True, False])
@pytest.mark.parametrize("pixel", [True, False])
def test_the_mask_of_a_crop_is_the_crop_of_the_scenes_mask(scenes, store, patch, pixel):
    """Wherever the crop lies on the grid of patches."""
    sigma_range = SigmaRange(patch=SIDE)
    for number in range(len(scenes.unlabeled)):
        sigma_range.update(store.sigma(number))
    tau = Thresholds(0.45, 0.55)
    which = {"use_patch": patch, "use_pixel": pixel}
    sampler = CropSampler(scenes.unlabeled, 32, 2, 5)
    shares = []
    for step in range(6):
        crops = sampler(step)
        pseudo = store.cut(crops)
        kept = bilevel_mask(pseudo.sigma, sigma_range, tau, SIDE, means=pseudo.means, **which)
        for b, (number, top, left) in enumerate(zip(crops.scenes, crops.tops, crops.lefts, strict=True)):
            sigma = store.sigma(number)
            whole = bilevel_mask(sigma, sigma_range, tau, SIDE, **which)
            assert torch.equal(kept[b : b + 1], whole[..., top : top + 32, left : left + 32])
        shares.append(float(kept.mean()))
    assert 0.05 < sum(shares) / 6 < 0.95 or not (patch or pixel)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_predictions_that_are_not_finite_leave_no_label(scenes, tmp_path, bad):
    store = PseudoStore(tmp_path, scenes.unlabeled, SIDE)
    store.refresh(PixelwiseTeacher(bad), 1, CPU, "fp32")
    crops = CropSampler(scenes.unlabeled, 32, 2, 0)(0)
    failed = crops.batch.frames[:, :1, 0] < 0.02
    assert 0 < failed.float().mean() < 1
    at_once = predict_augmented(PixelwiseTeacher(bad), crops.batch, generator(1), "fp32")
    for pseudo in (store.cut(crops), at_once):
        assert torch.equal(pseudo.sigma.isnan(), failed)
        assert (pseudo.radiance.isfinite().all(dim=1, keepdim=True) == ~failed).all()
        kept = bilevel_mask(pseudo.sigma, None, Thresholds(2, 2), SIDE, use_patch=False, use_pixel=False)
        assert torch.equal(kept, (~failed).float())


def test_older_refreshes_stay_until_they_are_removed(scenes, store):
    store.refresh(PixelwiseTeacher(), 44, CPU, "fp32")
    (store.folder / "000000048.partial").mkdir()
    assert sorted(p.name for p in store.folder.iterdir()) == ["000000040", "000000044", "000000048.partial"]
    again = PseudoStore(store.folder, scenes.unlabeled, SIDE)
    again.remove_older()
    assert not again.reuse(48)
    assert again.current is None
    assert again.reuse(40)
    store.remove_older()
    assert [p.name for p in store.folder.iterdir()] == ["000000044"]
    assert not PseudoStore(store.folder, scenes.unlabeled, SIDE).reuse(40)


def test_an_interrupted_refresh_is_not_used(scenes, store, monkeypatch):
    def killed(path, _array):
        raise KeyboardInterrupt(path)

    with monkeypatch.context() as broken:
        broken.setattr(np, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            store.refresh(PixelwiseTeacher(), 44, CPU, "fp32")
    assert not PseudoStore(store.folder, scenes.unlabeled, SIDE).reuse(44)
    (store.path_of(40) / "record.json").unlink()
    assert not PseudoStore(store.folder, scenes.unlabeled, SIDE).reuse(40)


def test_a_band_lies_on_the_grid_of_its_scene(scenes, tmp_path):
    bands = [replace(scene, band=replace(scene.band, top=0.4)) for scene in scenes.unlabeled]
    store = PseudoStore(tmp_path, bands, SIDE)
    store.refresh(PixelwiseTeacher(), 1, CPU, "fp32")
    first, last = bands[0].rows
    assert (first, last) == (26, 64)
    crops = CropSampler(bands, 32, 1, 0).cut([(1, 30, 21)])
    pseudo = store.cut(crops)
    sigma = store.sigma(1)
    torch.testing.assert_close(pseudo.sigma, expected(bands[1])[1][..., 4:36, 21:53], rtol=1e-3, atol=0)
    for y, x in ((0, 0), (1, 10), (2, 11), (17, 11), (18, 31), (31, 31)):
        rows, columns = (slice(max(at // SIDE * SIDE - low, 0), at // SIDE * SIDE + SIDE - low)
                         for at, low in ((30 + y, first), (21 + x, 0)))  # fmt: skip
        assert float(pseudo.means[0, 0, y, x]) == pytest.approx(float(sigma[0, 0, rows, columns].mean()), rel=1e-3)


class TestEpochLabels:
    def labels(self, scenes, store):
        config = train_config({"crop": 32})
        sampler = CropSampler(scenes.unlabeled, 32, 1, 0)
        return EpochLabels(PixelwiseTeacher(), store, scenes.labeled, sampler, config, CPU)

    def test_sigma_maps_are_those_of_all_unlabelled_scenes(self, scenes, store):
        maps = list(self.labels(scenes, store).sigma_maps())
        assert [origin for _, origin in maps] == [(scene.rows[0], 0) for scene in scenes.unlabeled]
        assert all(torch.equal(sigma, store.sigma(number)) for number, (sigma, _) in enumerate(maps))

    def test_labelled_scenes_are_predicted_whole(self, scenes, store):
        for scene, (pseudo, batch) in zip(scenes.labeled, self.labels(scenes, store).labeled(), strict=True):
            assert torch.equal(pseudo.radiance, expected(scene)[0])
            assert torch.equal(batch.frames, whole(scene).frames)

    def test_crops_cover_a_grid(self, scenes, store):
        crops = [crops for _, crops in self.labels(scenes, store).crops()]
        assert len(crops) == len(scenes.unlabeled) * 2 * 3  # of 32 in 64 x 96
