"""Prepared scenes against the truth they were made from; the cache is used, remade and never trusted when broken."""

import json
import os

import numpy as np
import pytest
import torch

from smarthdr_cli.aligned_burst import Window, register
from smarthdr_cli.burst.load import load_burst
from smarthdr_cli.data import prepared as room
from smarthdr_cli.data.datasets import find_bursts, find_scenes
from smarthdr_cli.data.prepared import encode, prepare
from smarthdr_cli.data.splits import Part, draw_labels
from smarthdr_cli.data.synth.export import benchmark_config, write_benchmark
from smarthdr_cli.errors import InputError, OutputError, UsageError


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def whole(scene):
    first, last = scene.rows
    return scene.crop(first, 0, last - first, scene.size[1])


def changed(path):
    """The same content at a later time."""
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 10**9))


def test_codes_keep_the_clip_exact():
    light = np.array([[0.0, 0.25, 0.999999, np.nextafter(np.float32(1), np.float32(0)), 1.0]], np.float32)
    codes = encode(light)
    assert codes.tolist()[0][2:] == [65534, 65534, 65535]
    back = room._decoding()[codes]
    assert back[0, 0] == 0
    assert back[0, 4] == 1
    assert np.allclose(back, light, rtol=4e-5)
    every = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(encode(room._decoding()[every]), every)


def test_a_benchmark_scene_is_its_linear_light(mini, cache):
    mini.kalantari("001")
    (scene,) = find_scenes(mini.root)
    (prepared,) = prepare([Part(scene)], cache, align="none")
    assert prepared.size == mini.size
    assert prepared.evs == (0.0, -2.0, 2.0)  # the reference first, then darkest first
    frames, valid, target = whole(prepared)
    assert frames.shape == (3, 3, *mini.size)
    assert valid.shape == (3, 1, *mini.size)
    assert frames.dtype == valid.dtype == torch.float32
    assert bool((valid == 1).all())
    truth = mini.truth()
    for frame, ev in zip(frames, (2, 0, 4), strict=True):
        expected = np.clip(truth * 2.0**ev, 0, 1).transpose(2, 0, 1)
        assert np.allclose(frame.numpy(), expected, rtol=1e-3, atol=1e-6)
        assert np.array_equal(frame.numpy() == 1, np.round(expected ** (1 / 2.2) * 65535) == 65535)
    assert target is not None
    expected = np.minimum(truth, 1).transpose(2, 0, 1) * 4  # in units of the reference, capped at the short's clip
    assert float(target.max()) == 4
    assert np.allclose(target.numpy(), expected, rtol=0.01, atol=0.01 * expected.max(axis=0))  # RGBE: 1/256


def test_a_crop_is_a_piece_of_the_whole(mini, cache):
    mini.kalantari("001")
    (scene,) = find_scenes(mini.root)
    (prepared,) = prepare([Part(scene)], cache, align="none")
    frames, valid, target = whole(prepared)
    part = prepared.crop(5, 11, 16, 24)
    assert target is not None
    assert part[2] is not None
    assert torch.equal(part[0], frames[..., 5:21, 11:35])
    assert torch.equal(part[1], valid[..., 5:21, 11:35])
    assert torch.equal(part[2], target[..., 5:21, 11:35])


def test_moved_frames_are_as_the_fusion_sees_them(bank, mini, cache, monkeypatch):
    write_benchmark(mini.root, bank, 1, 3, benchmark_config("gamma16", (144, 192)))
    monkeypatch.setattr(room, "_STRIP", 37)
    (scene,) = find_scenes(mini.root)
    (prepared,) = prepare([Part(scene)], cache)
    frames, valid, _ = whole(prepared)
    burst = load_burst(scene.frames, evs=scene.evs, reference=2)
    source = register(burst, response="gamma2.2")
    assert any(source.alignment.moved)
    for place, index in enumerate((1, 0, 2)):
        linear, seen = source.read(index, Window(0, 0, 144, 192))
        assert np.array_equal(valid[place, 0].numpy(), seen)
        assert np.allclose(frames[place].permute(1, 2, 0).numpy(), linear, rtol=2e-3, atol=1e-7)
        assert np.array_equal(frames[place].permute(1, 2, 0).numpy() == 1, linear == 1)


def test_a_camera_scene_has_its_truth_in_the_brightness_of_its_frames(bank, mini, cache):
    write_benchmark(mini.root, bank, 1, 4, benchmark_config("camera8", (96, 128)))
    (scene,) = find_scenes(mini.root)
    (prepared,) = prepare([Part(scene)], cache, align="none", response="srgb")
    frames, _, target = whole(prepared)
    assert target is not None
    ratios = (frames[0] / target)[(target > 0.1) & (target < 0.7) & (frames[0] < 1)]
    assert float(ratios.median()) == pytest.approx(1, abs=0.1)
    assert prepared.target is not None
    gain = json.loads((prepared.target / "record.json").read_text())["gain"]
    assert gain != 1
    assert float(target.max()) <= 2.0 ** -min(prepared.evs) * (1 + 1e-6)


def test_bands_of_one_scene_share_its_frames_and_keep_apart(mini, cache):
    mini.kalantari("001")
    split = draw_labels(find_scenes(mini.root), 1, 0)
    kept, held = prepare([*split.labeled, *split.held_out], cache, align="none")
    assert kept.folder == held.folder
    assert kept.rows == (0, 28)  # of 40 rows, 0.7 and from 0.75
    assert held.rows == (30, 40)
    assert whole(kept)[0].shape[-2:] == (28, 56)
    for scene, top, height in ((kept, 20, 9), (held, 29, 5), (held, 36, 5), (kept, -1, 5), (kept, 0, 0)):
        with pytest.raises(ValueError, match="leaves rows"):
            scene.crop(top, 0, height, 8)
    for left, width in ((-1, 8), (50, 8), (0, 0)):
        with pytest.raises(ValueError, match="leaves rows"):
            kept.crop(0, left, 8, width)


def test_truth_that_is_not_drawn_is_never_opened(mini, cache):
    for n in range(1, 8):
        mini.kalantari(f"{n:03d}", seed=n)
    split = draw_labels(find_scenes(mini.root), 5, 2)
    for part in split.unlabeled:
        truth = mini.root / part.scene.name / "HDRImg.hdr"
        truth.write_bytes(b"rotten")
        truth.chmod(0)
    prepared = prepare([*split.labeled, *split.held_out, *split.unlabeled], cache, align="none")
    assert [whole(scene)[2] is None for scene in prepared] == [False] * 5 + [True] * 2
    part = split.unlabeled[0]
    rotten = next(s for s in find_scenes(mini.root) if s.name == part.scene.name)
    with pytest.raises(InputError, match=f"^scene {rotten.name}: HDRImg.hdr: not a readable Radiance HDR file$"):
        prepare([Part(rotten)], cache, align="none")


def test_another_draw_prepares_no_frame_again(mini, cache, monkeypatch):
    for n in (1, 2, 3):
        mini.kalantari(f"{n:03d}", seed=n)
    scenes = find_scenes(mini.root)
    split = draw_labels(scenes, 1, 0)
    told = []
    first = prepare([*split.labeled, *split.held_out, *split.unlabeled], cache, align="none",
                    on_scene=lambda n, s: told.append((n, s.part.scene.name)))  # fmt: skip
    assert told == [(n + 1, s.part.scene.name) for n, s in enumerate(first)]
    monkeypatch.setattr(room, "register", lambda *_: pytest.fail("prepared again"))
    split = draw_labels(scenes, 3, 0)
    again = prepare([*split.labeled, *split.held_out], cache, align="none")
    assert {s.folder for s in again} == {s.folder for s in first}
    assert all(s.target is not None for s in again)


def test_what_a_scene_depends_on_makes_another_one(mini, cache):
    folder = mini.kalantari("001")

    def made(**options):
        (scene,) = prepare([Part(find_scenes(mini.root)[0])], cache, **{"align": "none"} | options)
        return scene.folder, scene.target

    seen = [made()]
    assert made() == seen[0]
    changed(folder / "262A2616.tif")
    seen.append(made())
    (folder / "exposure.txt").write_text("0\n2\n4.5\n")
    seen.append(made())
    seen.append(made(response="srgb"))
    seen.append(made(align="auto"))
    assert len({frames for frames, _ in seen}) == len(seen)
    changed(folder / "HDRImg.hdr")
    frames, target = made(align="auto")
    assert frames == seen[-1][0]
    assert target != seen[-1][1]


@pytest.mark.parametrize("harm", ["cut", "unreadable", "lost", "no record", "bad record"])
def test_a_damaged_cache_is_remade(mini, cache, harm):
    mini.kalantari("001")
    parts = [Part(find_scenes(mini.root)[0])]
    (before,) = prepare(parts, cache, align="none")
    frames, _, target = whole(before)
    assert before.target is not None
    for folder, name in ((before.folder, "frames.npy"), (before.target, "target.npy")):
        array, record = folder / name, folder / "record.json"
        if harm == "cut":
            array.write_bytes(array.read_bytes()[:-1])
        elif harm == "unreadable":
            array.write_bytes(b"junk")
        elif harm == "lost":
            array.unlink()
        elif harm == "no record":
            record.unlink()
        else:
            record.write_text("{")
    (after,) = prepare(parts, cache, align="none")
    assert after == before
    assert torch.equal(whole(after)[0], frames)
    assert target is not None
    again = whole(after)[2]
    assert again is not None
    assert torch.equal(again, target)


def test_a_crop_of_a_cache_that_is_gone(mini, cache):
    mini.kalantari("001")
    (scene,) = prepare([Part(find_scenes(mini.root)[0])], cache, align="none")
    (scene.folder / "frames.npy").unlink()
    with pytest.raises(InputError, match="gone or damaged"):
        scene.crop(0, 0, 8, 8)


def test_a_users_burst_has_the_reference_fuse_would_choose(mini, cache):
    paths = [mini.root / "beach" / f"{k}.jpg" for k in (1, 2, 3)]
    mini.frames(paths, evs=(0.0, 2.0, 4.0))
    (scene,) = prepare([Part(find_bursts(mini.root)[0])], cache, align="none", response="srgb")
    burst = load_burst(paths)
    assert scene.evs[0] == 0
    assert sorted(scene.evs) == pytest.approx(sorted(burst.evs), abs=1e-3)
    assert scene.target is None
    assert whole(scene)[2] is None


def test_of_a_long_burst_nine_frames_are_kept(mini, cache):
    folder = mini.root / "long"
    mini.frames([folder / f"{k:02d}.tif" for k in range(11)], evs=[k / 2 for k in range(11)])
    (folder / "exposure.txt").write_text("\n".join(str(k / 2) for k in range(11)))
    (scene,) = prepare([Part(find_bursts(mini.root)[0])], cache, align="none", response="gamma2.2")
    assert len(scene.evs) == 9
    assert max(scene.evs) - min(scene.evs) == pytest.approx(5)
    assert list(scene.evs[1:]) == sorted(scene.evs[1:])


def test_the_sidecar_of_a_users_burst_counts(mini, cache):
    folder = mini.root / "a"
    mini.frames([folder / f"{k}.tif" for k in (1, 2)], evs=(0, 2))
    (folder / "exposure.txt").write_text("0\n2\n")
    parts = [Part(find_bursts(mini.root)[0])]
    (first,) = prepare(parts, cache, align="none", response="gamma2.2")
    (folder / "exposure.txt").write_text("0\n2.25\n")
    (second,) = prepare(parts, cache, align="none", response="gamma2.2")
    assert abs(first.evs[1]) == 2
    assert abs(second.evs[1]) == 2.25


def damaged_frame(mini):
    mini.kalantari("a/001")
    path = mini.root / "a/001/262A2616.tif"
    path.write_bytes(path.read_bytes()[:300])
    return r"^scene a/001: 262A2616.tif is cut short"


def lost_frame(mini):
    mini.kalantari("a/001")
    return r"^scene a/001: 262A2616.tif cannot be read: No such file"


def small_truth(mini):
    mini.kalantari("a/001")
    type(mini)(mini.root, (20, 30)).radiance(mini.root / "a/001/HDRImg.hdr")
    return r"^scene a/001: HDRImg.hdr is 30x20, the frames are 56x40$"


def small_frame(mini):
    mini.kalantari("a/001")
    type(mini)(mini.root, (20, 30)).frames([mini.root / "a/001/262A2616.tif"], evs=(2.0,))
    return r"^scene a/001: the frames differ in size"


@pytest.mark.parametrize("harm", [damaged_frame, lost_frame, small_truth, small_frame])
def test_scenes_that_cannot_be_prepared(mini, cache, harm):
    said = harm(mini)
    (scene,) = find_scenes(mini.root)
    if harm is lost_frame:
        scene.frames[1].unlink()
    with pytest.raises(InputError, match=said):
        prepare([Part(scene)], cache, align="none")
    assert not list(cache.glob(".*"))  # nothing half made is left


def test_options_and_a_cache_that_cannot_be(mini, tmp_path):
    mini.kalantari("001")
    parts = [Part(find_scenes(mini.root)[0])]
    with pytest.raises(UsageError, match="--align sideways"):
        prepare(parts, tmp_path / "cache", align="sideways")
    with pytest.raises(UsageError, match="unknown response"):
        prepare(parts, tmp_path / "cache", align="none", response="nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write prepared scenes there"):
        prepare(parts, tmp_path / "file" / "cache", align="none")
