"""Every published layout from a miniature of it; what is wrong with a scene is said with its name and the file's."""

import shutil

import pytest

from smarthdr_cli.data import datasets
from smarthdr_cli.data.datasets import burst_files, find_bursts, find_scenes
from smarthdr_cli.data.synth.export import benchmark_config, write_benchmark
from smarthdr_cli.errors import InputError

EVS = (0.0, 2.0, 4.0)


def names(scene):
    return [path.name for path in scene.frames]


def test_kalantari_as_published(mini):
    for name in ("Training/002", "Training/001", "Test/EXTRA/001"):
        mini.kalantari(name)
    scenes = find_scenes(mini.root)
    assert [(s.name, s.split) for s in scenes] == [
        ("Test/EXTRA/001", "test"), ("Training/001", "train"), ("Training/002", "train")
    ]  # fmt: skip
    for scene in scenes:
        assert names(scene) == ["262A2615.tif", "262A2616.tif", "262A2617.tif"]
        assert scene.evs == EVS
        assert scene.truth == mini.root / scene.name / "HDRImg.hdr"
        assert scene.encoding == "gamma2.2"


def test_kalantari_repacked_flat_is_all_train(mini):
    mini.repacked("001")
    mini.repacked("090")
    scenes = find_scenes(mini.root)
    assert [(s.name, s.split) for s in scenes] == [("001", "train"), ("090", "train")]
    assert names(scenes[0]) == [f"input_{k}_aligned.tif" for k in (1, 2, 3)]
    assert scenes[0].evs == EVS
    assert scenes[0].truth == mini.root / "001" / "ref_hdr_aligned.hdr"


def test_hu_tells_train_from_test_by_number(mini):
    for name in ("001", "085", "086", "100", "101"):
        mini.repacked(name, truth="ref_hdr_aligned_linear")
    scenes = find_scenes(mini.root)
    assert {s.name: s.split for s in scenes} == {
        "001": "train", "085": "train", "086": "test", "100": "test", "101": "train"
    }  # fmt: skip
    assert all(s.truth is not None and s.truth.name == "ref_hdr_aligned_linear.hdr" for s in scenes)


def test_tel(mini):
    mini.tel("Training/scene_0001_1")
    mini.tel("Training/scene_0001_2")
    mini.tel("Test/scene_0007_1")
    scenes = find_scenes(mini.root)
    assert [(s.name, s.split) for s in scenes] == [
        ("Test/scene_0007_1", "test"), ("Training/scene_0001_1", "train"), ("Training/scene_0001_2", "train")
    ]  # fmt: skip
    assert names(scenes[1]) == ["input_1.tif", "input_2.tif", "input_3.tif"]


def test_challenge_takes_one_frame_of_each_moment(mini):
    mini.challenge("Training/001")
    mini.challenge("Test/002")
    scenes = find_scenes(mini.root)
    assert [(s.name, s.split) for s in scenes] == [("Test/002", "test"), ("Training/001", "train")]
    scene = scenes[1]
    assert [p.relative_to(mini.root).as_posix() for p in scene.frames] == [
        f"Training/001_{k}/ldr_img_{k}.tif" for k in (1, 2, 3)
    ]
    assert scene.truth == mini.root / "Training/001_2/hdr_img.hdr"
    assert scene.evs == EVS


@pytest.mark.parametrize(("kind", "encoding"), [("gamma16", "gamma2.2"), ("camera8", "camera")])
def test_our_own_benchmark(mini, bank, kind, encoding):
    for part, count in (("Training", 2), ("Test", 1)):
        write_benchmark(mini.root / part, bank, count, 5, benchmark_config(kind, (48, 64)))
    scenes = find_scenes(mini.root)
    assert [(s.name, s.split) for s in scenes] == [
        ("Test/001", "test"), ("Training/001", "train"), ("Training/002", "train")
    ]  # fmt: skip
    for scene in scenes:
        assert [p.stem for p in scene.frames] == ["1", "2", "3"]
        assert scene.evs is not None
        assert scene.evs[0] == 0
        assert scene.truth is not None
        assert scene.truth.name == "HDRImg.exr"
        assert scene.encoding == encoding


def test_more_than_nine_frames_stay_in_order(mini):
    folder = mini.root / "a"
    mini.frames([folder / f"{k}.tif" for k in range(1, 12)], evs=[float(k) / 2 for k in range(11)])
    (folder / "exposure.txt").write_text(" ".join(str(k / 2) for k in range(11)))
    assert names(find_scenes(mini.root)[0]) == [f"{k}.tif" for k in range(1, 12)]


def test_a_scene_without_truth_is_read_too(mini):
    (mini.kalantari("001") / "HDRImg.hdr").unlink()
    assert find_scenes(mini.root)[0].truth is None


def test_one_scene_is_a_set(mini):
    folder = mini.kalantari("lonely")
    assert [s.name for s in find_scenes(folder)] == ["lonely"]


def test_the_roots_own_name_tells_the_split(mini):
    mini.kalantari("Test/001")
    assert [(s.name, s.split) for s in find_scenes(mini.root / "Test")] == [("001", "test")]


def test_exposures_of_jpegs_from_exif_where_no_file_states_them(mini):
    folder = mini.root / "Training" / "001"
    mini.frames([folder / "b.jpg", folder / "c.jpg", folder / "a.jpg"])
    mini.radiance(folder / "HDRImg.exr")
    (scene,) = find_scenes(mini.root)
    assert names(scene) == ["b.jpg", "c.jpg", "a.jpg"]  # darkest first
    assert scene.evs == pytest.approx(EVS, abs=1e-3)


def test_hidden_files_are_no_frames(mini):
    folder = mini.kalantari("001")
    (folder / "._262A2615.tif").write_bytes(b"\x00\x05\x16\x07")
    (mini.root / ".trash").mkdir()
    shutil.copytree(folder, mini.root / ".trash" / "001")
    assert [s.name for s in find_scenes(mini.root)] == ["001"]
    assert len(find_scenes(mini.root)[0].frames) == 3


def broken(mini, name, harm):
    mini.tel("Training/fine")
    harm(mini.tel(f"Training/{name}"))
    with pytest.raises(InputError) as caught:
        find_scenes(mini.root)
    return str(caught.value)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda f: (f / "input_2.tif").unlink(), "input_2.tif is missing; exposure.txt states 3 exposures"),
        (lambda f: (f / "input_3.tif").unlink(), "input_3.tif is missing; exposure.txt states 3 exposures"),
        (lambda f: (f / "exposure.txt").write_text("0\n2\n"), "3 frames for the 2 exposures of exposure.txt"),
        (lambda f: (f / "exposure.txt").unlink(), "no exposure.txt"),
        (lambda f: (f / "exposure.txt").write_text("0\ntwo\n4\n"), "exposure.txt is not a list of log2 exposures"),
        (lambda f: (f / "exposure.txt").write_text("0\n4\n2\n"),
         "the exposures of exposure.txt do not rise from frame to frame: 0, 4, 2"),
        (lambda f: (f / "exposure.txt").write_text("0\n2\n2\n"),
         "the exposures of exposure.txt do not rise from frame to frame: 0, 2, 2"),
        (lambda f: (f / "exposure.txt").write_text("0\nnan\n2\n"),
         "exposure.txt is not a list of two log2 exposures or more"),
        (lambda f: (f / "exposure.txt").write_bytes(b"\xff\xfe0\x00"), "exposure.txt is not a list of log2 exposures"),
        (lambda f: (f / "input_2.tif").write_bytes(b""), "input_2.tif is empty"),
        (lambda f: (f / "input_2.tif").write_bytes(b"x" * 100),
         "input_2.tif is not a picture; JPEG, PNG, TIFF and RAW are read"),
        (lambda f: [(f / f"input_{k}.tif").unlink() for k in (1, 2, 3)],
         "no frames (.tif, .jpg, .png) beside exposure.txt"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_scene_and_file(mini, harm, said):
    assert broken(mini, "bad", harm) == f"scene Training/bad: {said}"


def test_a_wrong_count_of_camera_names(mini):
    (mini.kalantari("001") / "262A2616.tif").unlink()
    with pytest.raises(InputError, match=r"^scene 001: 2 frames for the 3 exposures of exposure.txt$"):
        find_scenes(mini.root)


def test_the_repack_names_its_own_exposure_file(mini):
    (mini.repacked("001") / "input_exp.txt").unlink()
    with pytest.raises(InputError, match=r"^scene 001: no input_exp.txt$"):
        find_scenes(mini.root)


@pytest.mark.parametrize("lost", ["001_1/ldr_img_1.tif", "001_3/ldr_img_3.tif", "001_2/exposure.txt"])
def test_challenge_with_a_file_lost(mini, lost):
    mini.challenge("001")
    (mini.root / lost).unlink()
    with pytest.raises(InputError, match=f"^scene 001: {lost} is missing$"):
        find_scenes(mini.root)


def test_jpegs_that_state_nothing(mini):
    folder = mini.root / "001"
    mini.frames([folder / f"{k}.png" for k in (1, 2, 3)])
    mini.radiance(folder / "HDRImg.exr")
    with pytest.raises(InputError, match=r"^scene 001: no exposure.txt, and 1.png states no exposure time$"):
        find_scenes(mini.root)


def test_folders_that_hold_no_scene(mini):
    with pytest.raises(InputError, match="does not exist"):
        find_scenes(mini.root)
    mini.root.mkdir()
    with pytest.raises(InputError, match="no scenes"):
        find_scenes(mini.root)
    (mini.root / "file").write_text("")
    with pytest.raises(InputError, match="not a folder"):
        find_scenes(mini.root / "file")


def test_a_users_bursts(mini):
    mini.frames([mini.root / "beach" / f"IMG_{k}.jpg" for k in (3, 2, 1)])
    mini.frames([mini.root / "deep" / "town" / f"{k}.tif" for k in (1, 2)], evs=(0, 2))
    mini.frames([mini.root / "single" / "a.jpg"], evs=(0,))
    mini.frames([mini.root / f"loose{k}.jpg" for k in (1, 2)], evs=(0, 2))
    (mini.root / "beach" / "notes.txt").write_text("sunny")
    (mini.root / "beach" / "broken.jpg").write_bytes(b"")
    mini.radiance(mini.root / "beach" / "merged.exr")
    bursts = find_bursts(mini.root)
    assert [(b.name, b.split, b.evs, b.truth, b.encoding) for b in bursts] == [
        ("beach", "train", None, None, "camera"), ("deep/town", "train", None, None, "camera")
    ]  # fmt: skip
    assert names(bursts[0]) == ["IMG_1.jpg", "IMG_2.jpg", "IMG_3.jpg"]


@pytest.mark.parametrize(("installed", "suffix"), [(True, ".NEF"), (False, ".jpg")])
def test_of_a_raw_and_its_jpeg_one_is_taken(mini, monkeypatch, installed, suffix):
    monkeypatch.setattr(datasets.importlib.util, "find_spec", lambda _: object() if installed else None)
    folder = mini.root / "a"
    mini.frames([folder / f"{k}.jpg" for k in (1, 2)], evs=(0, 2))
    for k in (1, 2):
        (folder / f"{k}.NEF").write_bytes(b"II*\x00" + bytes(60))
    assert names(find_bursts(mini.root)[0]) == [f"1{suffix}", f"2{suffix}"]


def test_a_burst_of_chosen_files(tmp_path):
    scene = burst_files("beach", [tmp_path / "b.jpg", tmp_path / "a.jpg"])
    assert names(scene) == ["a.jpg", "b.jpg"]
    assert (scene.evs, scene.truth, scene.encoding) == (None, None, "camera")


def test_no_bursts(mini):
    with pytest.raises(InputError, match="does not exist"):
        find_bursts(mini.root)
    mini.frames([mini.root / f"{k}.jpg" for k in (1, 2, 3)])
    with pytest.raises(InputError, match="no subfolder with two pictures or more"):
        find_bursts(mini.root)
    with pytest.raises(InputError, match="not a folder"):
        find_bursts(mini.root / "1.jpg")
