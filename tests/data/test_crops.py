"""Crops: the same for the same seed and step, inside their bands, everywhere in them, of one number of frames."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from smarthdr_cli.data.crops import CropSampler
from smarthdr_cli.data.datasets import find_scenes
from smarthdr_cli.data.prepared import prepare
from smarthdr_cli.data.splits import Part, draw_labels
from smarthdr_cli.errors import InputError


@pytest.fixture
def three(mini, tmp_path):
    """Three labelled scenes of 40x56."""
    for n in (1, 2, 3):
        mini.kalantari(f"{n:03d}", seed=n)
    return prepare([Part(s) for s in find_scenes(mini.root)], tmp_path / "cache", align="none")


def same(a, b):
    assert (a.scenes, a.tops, a.lefts) == (b.scenes, b.tops, b.lefts)
    for name in ("frames", "evs", "valid", "target"):
        first, second = getattr(a.batch, name), getattr(b.batch, name)
        assert (first is None and second is None) or torch.equal(first, second)


def test_a_step_is_a_pure_function(three):
    sampler, other = CropSampler(three, 16, 4, 7), CropSampler(three, 16, 4, 7)
    fifth = sampler(5)
    for step in range(5):
        sampler(step)
    same(fifth, sampler(5))
    same(fifth, other(5))
    assert sampler(6).tops + sampler(6).lefts != fifth.tops + fifth.lefts
    assert CropSampler(three, 16, 4, 8)(5).tops != fifth.tops


def test_a_batch_is_its_crops(three):
    crops = CropSampler(three, 16, 5, 0)(0)
    batch = crops.batch
    assert batch.frames.shape == (5, 3, 3, 16, 16)
    assert batch.valid.shape == (5, 3, 1, 16, 16)
    assert batch.target is not None
    assert batch.target.shape == (5, 3, 16, 16)
    assert batch.evs.tolist() == [[0, -2, 2]] * 5
    assert batch.frames.dtype == batch.evs.dtype == batch.target.dtype == torch.float32
    for n, (scene, top, left) in enumerate(zip(crops.scenes, crops.tops, crops.lefts, strict=True)):
        frames, valid, target = three[scene].crop(top, left, 16, 16)
        assert target is not None
        assert torch.equal(batch.frames[n], frames)
        assert torch.equal(batch.valid[n], valid)
        assert torch.equal(batch.target[n], target)


def test_scenes_take_turns_within_a_batch(three):
    sampler = CropSampler(three, 16, 4, 1)
    counts = np.zeros(3)
    for step in range(60):
        drawn = sampler(step).scenes
        assert len(set(drawn)) == 3
        counts += np.bincount(drawn, minlength=3)
    assert chisquare(counts).pvalue > 1e-3


def test_places_are_uniform_and_stay_in_the_band(mini, tmp_path):
    mini.kalantari("001")
    split = draw_labels(find_scenes(mini.root), 1, 0)
    kept, held = prepare([*split.labeled, *split.held_out], tmp_path / "cache", align="none")
    sampler = CropSampler([kept], 20, 8, 3)
    tops, lefts = zip(*[(c.tops, c.lefts) for c in map(sampler, range(150))], strict=True)
    tops, lefts = np.ravel(tops), np.ravel(lefts)
    assert (tops.min(), tops.max()) == (0, 8)  # 28 rows
    assert (lefts.min(), lefts.max()) == (0, 36)
    assert chisquare(np.bincount(tops, minlength=9)).pvalue > 1e-3
    assert chisquare(np.bincount(lefts, minlength=37)).pvalue > 1e-3
    crops = CropSampler([held], 8, 16, 3)(0)
    assert set(crops.tops) == {30, 31, 32}  # rows 30 to 40


def test_the_grid_of_an_epoch_is_the_published_one(three):
    grid = CropSampler(three, 16, 4, 0).grid(8)
    assert len(grid) == len(set(grid)) == 3 * 4 * 6
    assert all(0 <= top <= 24 and 0 <= left <= 40 and top % 8 == left % 8 == 0 for _, top, left in grid)
    big = [type(three[0])(three[0].part, three[0].folder, three[0].evs, (1000, 1500), three[0].target)]
    assert len(CropSampler(big, 128, 16, 0).grid(64)) == 308  # docs/METHOD.md, section 5


def test_a_band_has_a_grid_of_its_own(mini, tmp_path):
    mini.kalantari("001")
    split = draw_labels(find_scenes(mini.root), 1, 0)
    (held,) = prepare(split.held_out, tmp_path / "cache", align="none")
    assert CropSampler([held], 8, 1, 0).grid(24) == [(0, 30, 0), (0, 30, 24), (0, 30, 48)]


def test_given_places(three):
    sampler = CropSampler(three, 16, 4, 0)
    crops = sampler.at([(2, 3, 4), (0, 24, 40)])
    assert (crops.scenes, crops.tops, crops.lefts) == ((2, 0), (3, 24), (4, 40))
    assert torch.equal(crops.batch.frames[0], three[2].crop(3, 4, 16, 16)[0])


def test_frame_counts_do_not_mix(mini, tmp_path):
    for n in (1, 2, 3):
        mini.kalantari(f"{n:03d}", seed=n)
    folder = mini.root / "two"
    mini.frames([folder / "1.tif", folder / "2.tif"], evs=(0, 2))
    (folder / "exposure.txt").write_text("0\n2\n")
    mini.radiance(folder / "HDRImg.hdr")
    scenes = prepare([Part(s) for s in find_scenes(mini.root)], tmp_path / "cache", align="none")
    sampler = CropSampler(scenes, 16, 2, 0)
    counts = [sampler(step).batch.frames.shape[1] for step in range(200)]
    assert set(counts) == {2, 3}
    assert 25 <= counts.count(2) <= 80  # one scene of four: 50 expected


def test_scenes_without_target(mini, tmp_path):
    mini.kalantari("001")
    mini.kalantari("002", seed=1)
    split = draw_labels(find_scenes(mini.root), 1, 0)
    labeled, unlabeled = (prepare(p, tmp_path / "cache", align="none") for p in (split.labeled, split.unlabeled))
    assert CropSampler(unlabeled, 16, 2, 0)(0).batch.target is None
    with pytest.raises(ValueError, match="with and without a target"):
        CropSampler([*labeled, *unlabeled], 16, 2, 0)
    with pytest.raises(InputError, match=rf"^scene {labeled[0].part.scene.name}: 56x28 pixels hold no crop of 29x29$"):
        CropSampler(labeled, 29, 2, 0)
    for scenes, size, batch in (([], 8, 1), (labeled, 0, 1), (labeled, 8, 0)):
        with pytest.raises(ValueError, match="at least one"):
            CropSampler(scenes, size, batch, 0)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files as Linux lists them")
def test_nothing_stays_open_or_mapped(three):
    sampler = CropSampler(three, 16, 6, 0)
    sampler(0)

    def held():
        maps = Path("/proc/self/maps").read_text().splitlines()
        return len(list(Path("/proc/self/fd").iterdir())), sum(".npy" in line for line in maps)

    before = held()
    for step in range(50):
        sampler(step)
    assert held() == before
    assert before[1] == 0
