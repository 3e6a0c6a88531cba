"""Prepared scenes against the truth they were made from; the cache is reused, and rebuilt when damaged."""

import json
import os

import numpy as np
import pytest
import torch

from smarthdr_cli.aligned_burst import Window, register
from smarthdr_cli.burst.load import load_burst
from smarthdr_cli.data.datasets import find_bursts, find_scenes
from smarthdr_cli.data.prepared import decode, encode, prepare
from smarthdr_cli.data.splits import SceneBand, draw_split
from smarthdr_cli.data.synth.export import benchmark_config, write_benchmark
from smarthdr_cli.errors import InputError, OutputError, UsageError


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def whole_band(scene):
    first, last = scene.rows
    return scene.crop(first, 0, last - first, scene.size[1])


def touch_later(path):
    """Keep the content, set a later modification time."""
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 10**9))


def test_codes_are_inverted_and_keep_the_clip_exact():
    light = np.array([[0.0, 0.25, 0.999999, np.nextafter(np.float32(1), np.float32(0)), 1.0]], np.float32)
    codes = encode(light)
    assert codes.tolist()[0][2:] == [65534, 65534, 65535]
    back = decode(codes)
    assert back[0, 0] == 0
    assert back[0, 4] == 1
    assert np.allclose(back, light, rtol=4e-5)
    every = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(encode(decode(every)), every)


def test_frames_and_target_of_a_benchmark_scene(folders, cache):
    folders.kalantari("001")
    (scene,) = find_scenes(folders.root)
    (prepared,) = prepare([SceneBand(scene)], cache, align="none")
    assert prepared.size == folders.size
    assert prepared.evs == (0.0, -2.0, 2.0)  # reference first, then from dark to bright
    frames, valid, target = whole_band(prepared)
    assert frames.shape == (3, 3, *folders.size)
    assert valid.shape == (3, 1, *folders.size)
    assert frames.dtype == valid.dtype == torch.float32
    assert bool((valid == 1).all())
    truth = folders.truth()
    for frame, ev in zip(frames, (2, 0, 4), strict=True):
        expected = np.clip(truth * 2.0**ev, 0, 1).transpose(2, 0, 1)
        assert np.allclose(frame.numpy(), expected, rtol=1e-3, atol=1e-6)
        assert np.array_equal(frame.numpy() == 1, np.round(expected ** (1 / 2.2) * 65535) == 65535)
    assert target is not None
    expected = np.minimum(truth, 1).transpose(2, 0, 1) * 4  # in units of the reference, capped at the short's clip
    assert float(target.max()) == 4
    assert np.allclose(target.numpy(), expected, rtol=0.01, atol=0.01 * expected.max(axis=0))  # RGBE: 1/256


def test_a_crop_is_a_part_of_the_scene(folders, cache):
    folders.kalantari("001")
    (scene,) = find_scenes(folders.root)
    (prepared,) = prepare([SceneBand(scene)], cache, align="none")
    frames, valid, target = whole_band(prepared)
    crop = prepared.crop(5, 11, 16, 24)
    assert target is not None
    assert crop[2] is not None
    assert torch.equal(crop[0], frames[..., 5:21, 11:35])
    assert torch.equal(crop[1], valid[..., 5:21, 11:35])
    assert torch.equal(crop[2], target[..., 5:21, 11:35])


def test_handheld_frames_are_registered_as_in_fusion(bank, folders, cache):
    height, width = 288, 160  # more rows than are decoded at a time
    write_benchmark(folders.root, bank, 1, 3, benchmark_config("gamma16", (height, width)))
    (scene,) = find_scenes(folders.root)
    (prepared,) = prepare([SceneBand(scene)], cache)
    frames, valid, _ = whole_band(prepared)
    burst = load_burst(scene.frames, evs=scene.evs, reference=2).burst
    aligned = register(burst, response="gamma2.2").burst
    assert any(aligned.alignment.moved)
    for place, index in enumerate((1, 0, 2)):
        linear, inside = aligned.read(index, Window(0, 0, height, width))
        assert np.array_equal(valid[place, 0].numpy(), inside)
        assert np.allclose(frames[place].permute(1, 2, 0).numpy(), linear, rtol=2e-3, atol=1e-7)
        assert np.array_equal(frames[place].permute(1, 2, 0).numpy() == 1, linear == 1)


def test_the_truth_of_a_camera_scene_is_scaled_to_its_frames(bank, folders, cache):
    write_benchmark(folders.root, bank, 1, 4, benchmark_config("camera8", (96, 128)))
    (scene,) = find_scenes(folders.root)
    (prepared,) = prepare([SceneBand(scene)], cache, align="none", response="srgb")
    frames, _, target = whole_band(prepared)
    assert target is not None
    ratios = (frames[0] / target)[(target > 0.1) & (target < 0.7) & (frames[0] < 1)]
    assert float(ratios.median()) == pytest.approx(1, abs=0.1)
    assert prepared.target is not None
    gain = json.loads((prepared.target / "record.json").read_text())["gain"]
    assert gain != 1
    assert float(target.max()) <= 2.0 ** -min(prepared.evs) * (1 + 1e-6)


def test_bands_of_a_scene_share_its_frames_and_do_not_overlap(folders, cache):
    folders.kalantari("001")
    split = draw_split(find_scenes(folders.root), 1, 0)
    training, held_out = prepare([*split.labeled, *split.held_out], cache, align="none")
    assert training.folder == held_out.folder
    assert training.rows == (0, 28)  # of 40 rows, 0.7 and from 0.75
    assert held_out.rows == (30, 40)
    assert whole_band(training)[0].shape[-2:] == (28, 56)
    for scene, top, height in (
        (training, 20, 9),
        (held_out, 29, 5),
        (held_out, 36, 5),
        (training, -1, 5),
        (training, 0, 0),
    ):
        with pytest.raises(ValueError, match="leaves rows"):
            scene.crop(top, 0, height, 8)
    for left, width in ((-1, 8), (50, 8), (0, 0)):
        with pytest.raises(ValueError, match="leaves rows"):
            training.crop(0, left, 8, width)


def test_truth_without_a_label_is_never_opened(folders, cache):
    for n in range(1, 8):
        folders.kalantari(f"{n:03d}", seed=n)
    split = draw_split(find_scenes(folders.root), 5, 2)
    for part in split.unlabeled:
        truth = folders.root / part.scene.name / "HDRImg.hdr"
        truth.write_bytes(b"rotten")
        truth.chmod(0)
    prepared = prepare([*split.labeled, *split.held_out, *split.unlabeled], cache, align="none")
    assert [whole_band(scene)[2] is None for scene in prepared] == [False] * 5 + [True] * 2
    part = split.unlabeled[0]
    rotten = next(s for s in find_scenes(folders.root) if s.name == part.scene.name)
    with pytest.raises(InputError, match=f"^scene {rotten.name}: HDRImg.hdr: not a readable Radiance HDR file$"):
        prepare([SceneBand(rotten)], cache, align="none")


def test_other_labels_do_not_prepare_frames_again(folders, cache):
    for n in (1, 2, 3):
        folders.kalantari(f"{n:03d}", seed=n)
    scenes = find_scenes(folders.root)
    split = draw_split(scenes, 1, 0)
    progress = []
    first = prepare([*split.labeled, *split.held_out, *split.unlabeled], cache, align="none",
                    on_scene=lambda n, s: progress.append((n, s.band.scene.name)))  # fmt: skip
    assert progress == [(n + 1, s.band.scene.name) for n, s in enumerate(first)]
    written = {s.folder: (s.folder / "frames.npy").stat().st_mtime_ns for s in first}
    split = draw_split(scenes, 3, 0)
    again = prepare([*split.labeled, *split.held_out], cache, align="none")
    assert {s.folder: (s.folder / "frames.npy").stat().st_mtime_ns for s in again} == written
    assert all(s.target is not None for s in again)


def test_every_dependency_of_a_scene_changes_its_folder(folders, cache):
    folder = folders.kalantari("001")

    def prepared(**options):
        (scene,) = prepare([SceneBand(find_scenes(folders.root)[0])], cache, **{"align": "none"} | options)
        return scene.folder, scene.target

    variants = [prepared()]
    assert prepared() == variants[0]
    touch_later(folder / "262A2616.tif")
    variants.append(prepared())
    (folder / "exposure.txt").write_text("0\n2\n4.5\n")
    variants.append(prepared())
    variants.append(prepared(response="srgb"))
    variants.append(prepared(align="auto"))
    assert len({frames for frames, _ in variants}) == len(variants)
    touch_later(folder / "HDRImg.hdr")
    frames, target = prepared(align="auto")
    assert frames == variants[-1][0]
    assert target != variants[-1][1]


@pytest.mark.parametrize("damage", ["cut", "unreadable", "missing", "no record", "bad record"])
def test_a_damaged_cache_is_rebuilt(folders, cache, damage):
    folders.kalantari("001")
    bands = [SceneBand(find_scenes(folders.root)[0])]
    (before,) = prepare(bands, cache, align="none")
    frames, _, target = whole_band(before)
    assert before.target is not None
    for folder, name in ((before.folder, "frames.npy"), (before.target, "target.npy")):
        array, record = folder / name, folder / "record.json"
        if damage == "cut":
            array.write_bytes(array.read_bytes()[:-1])
        elif damage == "unreadable":
            array.write_bytes(b"junk")
        elif damage == "missing":
            array.unlink()
        elif damage == "no record":
            record.unlink()
        else:
            record.write_text("{")
    (after,) = prepare(bands, cache, align="none")
    assert after == before
    assert torch.equal(whole_band(after)[0], frames)
    assert target is not None
    again = whole_band(after)[2]
    assert again is not None
    assert torch.equal(again, target)


def test_a_crop_of_a_removed_cache(folders, cache):
    folders.kalantari("001")
    (scene,) = prepare([SceneBand(find_scenes(folders.root)[0])], cache, align="none")
    (scene.folder / "frames.npy").unlink()
    with pytest.raises(InputError, match="gone or damaged"):
        scene.crop(0, 0, 8, 8)


def test_the_reference_of_a_users_burst_is_the_one_fuse_chooses(folders, cache):
    paths = [folders.root / "beach" / f"{k}.jpg" for k in (1, 2, 3)]
    folders.write_frames(paths, evs=(0.0, 2.0, 4.0))
    (scene,) = prepare([SceneBand(find_bursts(folders.root)[0])], cache, align="none", response="srgb")
    burst = load_burst(paths).burst
    assert scene.evs[0] == 0
    assert sorted(scene.evs) == pytest.approx(sorted(burst.evs), abs=1e-3)
    assert scene.target is None
    assert whole_band(scene)[2] is None


def test_a_long_burst_is_reduced_to_nine_frames_of_the_same_range(folders, cache):
    folder = folders.root / "long"
    folders.write_frames([folder / f"{k:02d}.tif" for k in range(11)], evs=[k / 2 for k in range(11)])
    (folder / "exposure.txt").write_text("\n".join(str(k / 2) for k in range(11)))
    (scene,) = prepare([SceneBand(find_bursts(folders.root)[0])], cache, align="none", response="gamma2.2")
    assert len(scene.evs) == 9
    assert max(scene.evs) - min(scene.evs) == pytest.approx(5)
    assert list(scene.evs[1:]) == sorted(scene.evs[1:])


def test_the_exposure_file_of_a_users_burst_is_a_dependency(folders, cache):
    folder = folders.root / "a"
    folders.write_frames([folder / f"{k}.tif" for k in (1, 2)], evs=(0, 2))
    (folder / "exposure.txt").write_text("0\n2\n")
    bands = [SceneBand(find_bursts(folders.root)[0])]
    (first,) = prepare(bands, cache, align="none", response="gamma2.2")
    (folder / "exposure.txt").write_text("0\n2.25\n")
    (second,) = prepare(bands, cache, align="none", response="gamma2.2")
    assert abs(first.evs[1]) == 2
    assert abs(second.evs[1]) == 2.25


def damaged_frame(folders):
    folders.kalantari("a/001")
    path = folders.root / "a/001/262A2616.tif"
    path.write_bytes(path.read_bytes()[:300])
    return r"^scene a/001: .*262A2616.tif is cut short"


def missing_frame(folders):
    folders.kalantari("a/001")
    return r"^scene a/001: 262A2616.tif cannot be read: No such file"


def small_truth(folders):
    folders.kalantari("a/001")
    type(folders)(folders.root, (20, 30)).write_truth(folders.root / "a/001/HDRImg.hdr")
    return r"^scene a/001: HDRImg.hdr is 30x20, the frames are 56x40$"


def small_frame(folders):
    folders.kalantari("a/001")
    type(folders)(folders.root, (20, 30)).write_frames([folders.root / "a/001/262A2616.tif"], evs=(2.0,))
    return r"^scene a/001: the frames differ in size"


@pytest.mark.parametrize("damage", [damaged_frame, missing_frame, small_truth, small_frame])
def test_errors_name_the_scene_and_leave_no_temporary_folder(folders, cache, damage):
    message = damage(folders)
    (scene,) = find_scenes(folders.root)
    if damage is missing_frame:
        scene.frames[1].unlink()
    with pytest.raises(InputError, match=message):
        prepare([SceneBand(scene)], cache, align="none")
    assert not list(cache.glob(".*"))


def test_invalid_options_and_an_unwritable_cache(folders, tmp_path):
    folders.kalantari("001")
    bands = [SceneBand(find_scenes(folders.root)[0])]
    with pytest.raises(UsageError, match="--align sideways"):
        prepare(bands, tmp_path / "cache", align="sideways")
    with pytest.raises(UsageError, match="unknown response"):
        prepare(bands, tmp_path / "cache", align="none", response="nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write prepared scenes there"):
        prepare(bands, tmp_path / "file" / "cache", align="none")
