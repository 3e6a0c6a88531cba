"""Crops: a function of seed and step, uniform within their bands, one number of frames per batch; and read-ahead."""

import threading
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from smarthdr_cli.data.crops import CropSampler, Prefetch
from smarthdr_cli.data.datasets import find_scenes
from smarthdr_cli.data.prepared import prepare
from smarthdr_cli.data.splits import SceneBand, draw_split
from smarthdr_cli.errors import InputError


@pytest.fixture
def scenes(folders, tmp_path):
    """Three labelled scenes of 40x56."""
    for n in (1, 2, 3):
        folders.kalantari(f"{n:03d}", seed=n)
    return prepare([SceneBand(s) for s in find_scenes(folders.root)], tmp_path / "cache", align="none")


def assert_same(a, b):
    assert (a.scenes, a.tops, a.lefts) == (b.scenes, b.tops, b.lefts)
    for name in ("frames", "evs", "valid", "target"):
        first, second = getattr(a.batch, name), getattr(b.batch, name)
        assert (first is None and second is None) or torch.equal(first, second)


def test_crops_are_a_function_of_seed_and_step(scenes):
    sampler, other = CropSampler(scenes, 16, 4, 7), CropSampler(scenes, 16, 4, 7)
    fifth = sampler(5)
    for step in range(5):
        sampler(step)
    assert_same(fifth, sampler(5))
    assert_same(fifth, other(5))
    assert sampler(6).tops + sampler(6).lefts != fifth.tops + fifth.lefts
    assert CropSampler(scenes, 16, 4, 8)(5).tops != fifth.tops


def test_a_batch_holds_the_crops_of_its_scenes(scenes):
    crops = CropSampler(scenes, 16, 5, 0)(0)
    batch = crops.batch
    assert batch.frames.shape == (5, 3, 3, 16, 16)
    assert batch.valid.shape == (5, 3, 1, 16, 16)
    assert batch.target is not None
    assert batch.target.shape == (5, 3, 16, 16)
    assert batch.evs.tolist() == [[0, -2, 2]] * 5
    assert batch.frames.dtype == batch.evs.dtype == batch.target.dtype == torch.float32
    for n, (index, top, left) in enumerate(zip(crops.scenes, crops.tops, crops.lefts, strict=True)):
        frames, valid, target = scenes[index].crop(top, left, 16, 16)
        assert target is not None
        assert torch.equal(batch.frames[n], frames)
        assert torch.equal(batch.valid[n], valid)
        assert torch.equal(batch.target[n], target)


def test_scenes_are_uniform_and_do_not_repeat_within_a_batch(scenes):
    sampler = CropSampler(scenes, 16, 4, 1)
    counts = np.zeros(3)
    for step in range(60):
        drawn = sampler(step).scenes
        assert len(set(drawn)) == 3
        counts += np.bincount(drawn, minlength=3)
    assert chisquare(counts).pvalue > 1e-3


def test_positions_are_uniform_within_the_band(folders, tmp_path):
    folders.kalantari("001")
    split = draw_split(find_scenes(folders.root), 1, 0)
    training, held_out = prepare([*split.labeled, *split.held_out], tmp_path / "cache", align="none")
    sampler = CropSampler([training], 20, 8, 3)
    tops, lefts = zip(*[(c.tops, c.lefts) for c in map(sampler, range(150))], strict=True)
    tops, lefts = np.ravel(tops), np.ravel(lefts)
    assert (tops.min(), tops.max()) == (0, 8)  # 28 rows
    assert (lefts.min(), lefts.max()) == (0, 36)
    assert chisquare(np.bincount(tops, minlength=9)).pvalue > 1e-3
    assert chisquare(np.bincount(lefts, minlength=37)).pvalue > 1e-3
    crops = CropSampler([held_out], 8, 16, 3)(0)
    assert set(crops.tops) == {30, 31, 32}  # rows 30 to 40


def test_the_grid_of_an_epoch_has_the_published_number_of_crops(scenes):
    grid = CropSampler(scenes, 16, 4, 0).grid(8)
    assert len(grid) == len(set(grid)) == 3 * 4 * 6
    assert all(0 <= top <= 24 and 0 <= left <= 40 and top % 8 == left % 8 == 0 for _, top, left in grid)
    full_size = [replace(scenes[0], size=(1000, 1500))]
    assert len(CropSampler(full_size, 128, 16, 0).grid(64)) == 308  # docs/METHOD.md, section 5


def test_the_grid_begins_at_the_corner_of_the_band(folders, tmp_path):
    folders.kalantari("001")
    split = draw_split(find_scenes(folders.root), 1, 0)
    (held_out,) = prepare(split.held_out, tmp_path / "cache", align="none")
    assert CropSampler([held_out], 8, 1, 0).grid(24) == [(0, 30, 0), (0, 30, 24), (0, 30, 48)]


def test_crops_at_given_positions(scenes):
    sampler = CropSampler(scenes, 16, 4, 0)
    crops = sampler.cut([(2, 3, 4), (0, 24, 40)])
    assert (crops.scenes, crops.tops, crops.lefts) == ((2, 0), (3, 24), (4, 40))
    assert torch.equal(crops.batch.frames[0], scenes[2].crop(3, 4, 16, 16)[0])


def test_scenes_of_a_batch_have_the_same_number_of_frames(folders, tmp_path):
    for n in (1, 2, 3):
        folders.kalantari(f"{n:03d}", seed=n)
    folder = folders.root / "two"
    folders.write_frames([folder / "1.tif", folder / "2.tif"], evs=(0, 2))
    (folder / "exposure.txt").write_text("0\n2\n")
    folders.write_truth(folder / "HDRImg.hdr")
    scenes = prepare([SceneBand(s) for s in find_scenes(folders.root)], tmp_path / "cache", align="none")
    sampler = CropSampler(scenes, 16, 2, 0)
    counts = [sampler(step).batch.frames.shape[1] for step in range(200)]
    assert set(counts) == {2, 3}
    assert 25 <= counts.count(2) <= 80  # one scene of four: 50 expected


def test_invalid_samplers(folders, tmp_path):
    folders.kalantari("001")
    folders.kalantari("002", seed=1)
    split = draw_split(find_scenes(folders.root), 1, 0)
    labeled, unlabeled = (prepare(p, tmp_path / "cache", align="none") for p in (split.labeled, split.unlabeled))
    assert CropSampler(unlabeled, 16, 2, 0)(0).batch.target is None
    with pytest.raises(ValueError, match="with and without a target"):
        CropSampler([*labeled, *unlabeled], 16, 2, 0)
    with pytest.raises(InputError, match=rf"^scene {labeled[0].band.scene.name}: 56x28 pixels hold no crop of 29x29$"):
        CropSampler(labeled, 29, 2, 0)
    for scenes, size, batch in (([], 8, 1), (labeled, 0, 1), (labeled, 8, 0)):
        with pytest.raises(ValueError, match="at least one"):
            CropSampler(scenes, size, batch, 0)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files as Linux lists them")
def test_no_file_stays_open_or_mapped(scenes):
    sampler = CropSampler(scenes, 16, 6, 0)
    sampler(0)

    def open_files():
        maps = Path("/proc/self/maps").read_text().splitlines()
        return len(list(Path("/proc/self/fd").iterdir())), sum(".npy" in line for line in maps)

    before = open_files()
    for step in range(50):
        sampler(step)
    assert open_files() == before
    assert before[1] == 0


@pytest.mark.parametrize("workers", [1, 4])
def test_steps_come_in_order(workers):
    def make(step):
        time.sleep(0.02 if step % 3 == 0 else 0)
        return step * step

    with Prefetch(make, 5, ahead=4, workers=workers) as steps:
        assert list(islice(steps, 10)) == [step * step for step in range(5, 15)]


def wait_for(made, count):
    """Wait until ``count`` steps are made, and 50 ms longer for a surplus one."""
    end = time.monotonic() + 10
    while len(made) < count and time.monotonic() < end:
        time.sleep(0.005)
    time.sleep(0.05)


def test_no_more_steps_than_asked_for_are_made_ahead():
    made = []
    with Prefetch(lambda step: made.append(step) or step, ahead=3, workers=2) as steps:
        wait_for(made, 3)
        assert sorted(made) == [0, 1, 2]
        next(steps)
        wait_for(made, 4)
        assert sorted(made) == [0, 1, 2, 3]


def test_steps_are_made_while_none_is_requested():
    made = []

    def make(step):
        made.append(step)
        return step

    with Prefetch(make, ahead=4) as steps:
        next(steps)
        wait_for(made, 5)
        assert made == [0, 1, 2, 3, 4]


def test_an_exception_is_raised_in_its_turn_and_ends_the_iteration():
    def make(step):
        if step == 2:
            raise RuntimeError("step 2")
        return step

    steps = Prefetch(make, ahead=4)
    assert [next(steps), next(steps)] == [0, 1]
    with pytest.raises(RuntimeError, match="step 2"):
        next(steps)
    assert list(steps) == []


def test_close_joins_the_threads_and_cancels_pending_steps():
    before = threading.active_count()
    made = []

    def make(step):
        time.sleep(0.05)
        made.append(step)

    steps = Prefetch(make, ahead=8)
    next(steps)
    steps.close()
    assert threading.active_count() == before
    assert len(made) <= 3
    assert list(steps) == []
    steps.close()


def test_invalid_prefetch_options():
    for options in ({"ahead": 0}, {"workers": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            Prefetch(lambda step: step, **options)
