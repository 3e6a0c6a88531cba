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
from smarthdr_cli.train import pseudo_labels as room
from smarthdr_cli.train import uncertainty_masks
from smarthdr_cli.train.draws import generator
from smarthdr_cli.train.pseudo_labels import PseudoStore, predict_scene, pseudo_of, views_of

CPU = torch.device("cpu")
SIDE = 16


class Known(nn.Module):
    """A teacher whose answer at a pixel is known: what the brightest and the darkest frame show there."""

    def __init__(self, spoil=None):
        super().__init__()
        self.spoil = spoil

    def forward(self, frames, evs, valid):
        light = frames[:, 1] * torch.exp2(-evs[:, 1]).view(-1, 1, 1, 1)
        sigma = SIGMA_MIN + (SIGMA_MAX - SIGMA_MIN) * frames[:, 2].mean(dim=1, keepdim=True) * valid[:, 2]
        if self.spoil is not None:
            light = torch.where(frames[:, :1, 0] < 0.02, self.spoil, light)
        return SimpleNamespace(radiance=light, log_sigma=sigma.log())


def expected(scene, spoil=None):
    first, last = scene.rows
    frames, valid, _ = scene.crop(first, 0, last - first, scene.size[1])
    out = Known(spoil)(frames[None], torch.tensor([scene.evs]), valid[None])
    return out.radiance, out.log_sigma.exp()


@pytest.fixture
def store(scenes, tmp_path):
    made = PseudoStore(tmp_path / "pseudo", scenes.unlabeled, SIDE)
    made.refresh(Known(), 40, CPU, "fp32")
    return made


@pytest.mark.parametrize(("window", "border"), [(512, 48), (48, 8), (33, 5)])
def test_windows_make_up_the_scene(scenes, monkeypatch, window, border):
    monkeypatch.setattr(room, "WINDOW", window)
    monkeypatch.setattr(room, "BORDER", border)
    scene = scenes.unlabeled[0]
    found = predict_scene(Known(), scene, CPU, "fp32")
    light, sigma = expected(scene)
    assert torch.equal(found.radiance, light)
    assert torch.equal(found.sigma, sigma)


@pytest.mark.parametrize("length", [1, 31, 416, 417, 512, 513, 4000])
def test_every_pixel_is_kept_once_and_seen_with_its_surroundings(length):
    kept = np.zeros(length, int)
    for start, end, first, last in room._windows(length):
        kept[start:end] += 1
        assert last - first <= room.WINDOW
        assert first == max(0, start - room.BORDER)
        assert last == min(length, end + room.BORDER)
    assert (kept == 1).all()


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("flip", [False, True])
def test_what_an_augmentation_did_is_undone(flip, turns):
    image = torch.arange(2 * 3 * 5 * 7.0).view(2, 3, 5, 7)
    how = Augmentation(flip, turns, (0, 1, 2))
    assert torch.equal(how.undo_geometry(how.geometry(image)), image)
    assert torch.equal(how.geometry(how.undo_geometry(image)), image)


def test_labels_made_at_a_step_lie_where_their_crop_does(scenes):
    batch = CropSampler(scenes.unlabeled, 32, 2, 0)(0).batch
    out = Known()(batch.frames, batch.evs, batch.valid)
    for step in range(12):  # all eight augmentations come
        found = pseudo_of(Known(), batch, generator(0, 3, step), "fp32")
        assert torch.equal(found.radiance, out.radiance)
        torch.testing.assert_close(found.sigma, out.log_sigma.exp())
        assert found.means is None


class Partial(Known):
    """A teacher who favours the channel that comes first and is brighter where the picture begins."""

    def forward(self, frames, evs, valid):
        out = super().forward(frames, evs, valid)
        ramp = torch.linspace(1, 1.5, frames.shape[-1])
        return SimpleNamespace(
            radiance=out.radiance * torch.tensor([1.2, 1.0, 0.9]).view(1, 3, 1, 1) * ramp, log_sigma=out.log_sigma
        )


def test_views_of_a_teacher_that_agrees_with_itself_change_nothing(scenes):
    batch = CropSampler(scenes.unlabeled, 32, 2, 0)(0).batch
    found, single = (views_of(Known(), batch, "fp32", views) for views in (4, 1))
    torch.testing.assert_close(found.radiance, single.radiance, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found.sigma, single.sigma, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("views", [2, 5])
def test_where_views_differ_sigma_says_so(scenes, views):
    """Against the mean and the law of total variance, written out."""
    batch = CropSampler(scenes.unlabeled, 32, 2, 0)(0).batch
    scale = torch.exp2(batch.evs.amin(1)).view(-1, 1, 1, 1)
    tones, sigmas = [], []
    for how in Augmentation.spread(views):
        seen = Partial()(how.colour(batch.frames), batch.evs, how.geometry(batch.valid))
        back = torch.rot90(seen.radiance, -how.turns, (-2, -1))
        back = back.flip(-1) if how.flip else back
        channels = torch.empty_like(back)
        channels[:, list(how.order)] = back
        tones.append(mu_law(channels * scale).numpy())
        sigmas.append(how.undo_geometry(seen.log_sigma.exp()).numpy())
    variance = np.mean(np.square(sigmas), axis=0) + np.var(tones, axis=0).mean(axis=1, keepdims=True)
    found = views_of(Partial(), batch, "fp32", views)
    np.testing.assert_allclose(found.sigma, np.sqrt(variance), rtol=1e-3)
    np.testing.assert_allclose(mu_law(found.radiance * scale), np.mean(tones, axis=0), rtol=1e-3, atol=1e-5)
    assert (found.sigma > views_of(Partial(), batch, "fp32").sigma).float().mean() > 0.9


def test_a_view_that_fails_leaves_no_label(scenes):
    batch = CropSampler(scenes.unlabeled, 32, 2, 0)(0).batch
    found = views_of(Known(spoil=math.nan), batch, "fp32", 4)
    assert torch.equal(found.sigma.isnan(), ~torch.isfinite(found.radiance).all(dim=1, keepdim=True))
    assert found.sigma.isnan().any()
    assert not found.sigma.isnan().all()


def test_sixteen_bits_cost_next_to_nothing(scenes, store):
    """Half a code of the mu-law domain: 7.7e-6, where a 12-bit signal has 2.4e-4 and the judge's floor is 1e-4."""
    for number, scene in enumerate(scenes.unlabeled):
        light, sigma = expected(scene)
        grid = CropSampler(scenes.unlabeled, 32, 1, 0)
        for top in (0, 32):
            crops = grid.cut([(number, top, 64)])
            found = store.cut(crops)
            place = (..., slice(top, top + 32), slice(64, 96))
            scale = 2.0 ** min(scene.evs)
            tone = [torch.log1p(5000 * x.double() * scale) / math.log(5001) for x in (found.radiance, light[place])]
            assert (tone[0] - tone[1]).abs().max() < 0.51 / 65535
            assert ((found.radiance - light[place]) * scale).abs().max() < 7e-5
            assert (found.sigma / sigma[place] - 1).abs().max() < 2**-11 * 1.01


def test_labels_beyond_the_shortest_clip_are_cut_off_as_truth_is(scenes, tmp_path):
    scene = scenes.unlabeled[0]
    bright = Known()
    bright.forward = lambda f, e, v: SimpleNamespace(radiance=f[:, 0] * 0 + 100, log_sigma=f[:, 0, :1] * 0 - 3)
    store = PseudoStore(tmp_path, [scene], SIDE)
    store.refresh(bright, 1, CPU, "fp32")
    found = store.cut(CropSampler([scene], 32, 1, 0)(0))
    assert torch.allclose(found.radiance, torch.tensor(2.0 ** -min(scene.evs)))


@pytest.mark.parametrize("patch", [True, False])
@pytest.mark.parametrize("pixel", [True, False])
def test_a_crops_mask_is_the_crop_of_the_scenes_mask(scenes, store, patch, pixel):
    """Wherever the crop lies on the grid of patches, and under every augmentation."""
    limits = uncertainty_masks.SigmaRange(patch=SIDE)
    for number in range(len(scenes.unlabeled)):
        limits.update(store.sigma(number))
    tau = uncertainty_masks.Thresholds(0.45, 0.55)
    which = {"use_patch": patch, "use_pixel": pixel}
    sampler = CropSampler(scenes.unlabeled, 32, 2, 5)
    shares = []
    for step in range(6):
        crops = sampler(step)
        found = store.cut(crops)
        kept = uncertainty_masks.bilevel_mask(found.sigma, limits, tau, SIDE, means=found.means, **which)
        for b, (number, top, left) in enumerate(zip(crops.scenes, crops.tops, crops.lefts, strict=True)):
            sigma = store.sigma(number)
            whole = uncertainty_masks.bilevel_mask(sigma, limits, tau, SIDE, **which)
            assert torch.equal(kept[b : b + 1], whole[..., top : top + 32, left : left + 32])
        shares.append(float(kept.mean()))
    assert 0.05 < sum(shares) / 6 < 0.95 or not (patch or pixel)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_where_the_teacher_fails_there_is_no_label(scenes, tmp_path, bad):
    store = PseudoStore(tmp_path, scenes.unlabeled, SIDE)
    store.refresh(Known(bad), 1, CPU, "fp32")
    crops = CropSampler(scenes.unlabeled, 32, 2, 0)(0)
    lost = crops.batch.frames[:, :1, 0] < 0.02
    assert 0 < lost.float().mean() < 1
    at_once = pseudo_of(Known(bad), crops.batch, generator(1), "fp32")
    for found in (store.cut(crops), at_once):
        assert torch.equal(found.sigma.isnan(), lost)
        assert (found.radiance.isfinite().all(dim=1, keepdim=True) == ~lost).all()
        kept = uncertainty_masks.bilevel_mask(
            found.sigma, None, uncertainty_masks.Thresholds(2, 2), SIDE, use_patch=False, use_pixel=False
        )
        assert torch.equal(kept, (~lost).float())


def test_a_newer_refresh_leaves_the_older_until_it_is_saved(scenes, store):
    store.refresh(Known(), 44, CPU, "fp32")
    (store.folder / "000000048.partial").mkdir()
    assert sorted(p.name for p in store.folder.iterdir()) == ["000000040", "000000044", "000000048.partial"]
    again = PseudoStore(store.folder, scenes.unlabeled, SIDE)
    again.tidy()
    assert not again.take(48)
    assert again.made is None
    assert again.take(40)
    store.tidy()
    assert [p.name for p in store.folder.iterdir()] == ["000000044"]
    assert not PseudoStore(store.folder, scenes.unlabeled, SIDE).take(40)


def test_a_refresh_is_there_when_it_is_whole(scenes, store, monkeypatch):
    def killed(path, _array):
        raise KeyboardInterrupt(path)

    with monkeypatch.context() as broken:
        broken.setattr(room.np, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            store.refresh(Known(), 44, CPU, "fp32")
    assert not PseudoStore(store.folder, scenes.unlabeled, SIDE).take(44)
    (store.at(40) / "record.json").unlink()
    assert not PseudoStore(store.folder, scenes.unlabeled, SIDE).take(40)


def test_a_band_of_a_scene_lies_on_the_scenes_grid(scenes, tmp_path):
    bands = [replace(scene, band=replace(scene.band, top=0.4)) for scene in scenes.unlabeled]
    store = PseudoStore(tmp_path, bands, SIDE)
    store.refresh(Known(), 1, CPU, "fp32")
    first, last = bands[0].rows
    assert (first, last) == (26, 64)
    crops = CropSampler(bands, 32, 1, 0).cut([(1, 30, 21)])
    found = store.cut(crops)
    sigma = store.sigma(1)
    torch.testing.assert_close(found.sigma, expected(bands[1])[1][..., 4:36, 21:53], rtol=1e-3, atol=0)
    for y, x in ((0, 0), (1, 10), (2, 11), (17, 11), (18, 31), (31, 31)):
        rows, columns = (slice(max(at // SIDE * SIDE - low, 0), at // SIDE * SIDE + SIDE - low)
                         for at, low in ((30 + y, first), (21 + x, 0)))  # fmt: skip
        assert float(found.means[0, 0, y, x]) == pytest.approx(float(sigma[0, 0, rows, columns].mean()), rel=1e-3)
