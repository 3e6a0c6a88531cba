"""Every published layout on small scenes; errors have the names of scene and file."""

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.data import datasets
from smarthdr_cli.data.datasets import burst_files, find_bursts, find_scenes, read_exposures, sort_by_exif
from smarthdr_cli.data.synth.export import benchmark_config, write_benchmark
from smarthdr_cli.errors import InputError

EVS = (0.0, 2.0, 4.0)


def names(scene):
    return [path.name for path in scene.frames]


def test_kalantari(folders):
    for name in ("Training/002", "Training/001", "Test/EXTRA/001"):
        folders.kalantari(name)
    scenes = find_scenes(folders.root)
    assert [(s.name, s.split) for s in scenes] == [
        ("Test/EXTRA/001", "test"), ("Training/001", "train"), ("Training/002", "train")
    ]  # fmt: skip
    for scene in scenes:
        assert names(scene) == ["262A2615.tif", "262A2616.tif", "262A2617.tif"]
        assert scene.evs == EVS
        assert scene.truth == folders.root / scene.name / "HDRImg.hdr"
        assert scene.encoding == "gamma2.2"


def test_kalantari_repacked_without_split_folders_is_all_train(folders):
    folders.repacked("001")
    folders.repacked("090")
    scenes = find_scenes(folders.root)
    assert [(s.name, s.split) for s in scenes] == [("001", "train"), ("090", "train")]
    assert names(scenes[0]) == [f"input_{k}_aligned.tif" for k in (1, 2, 3)]
    assert scenes[0].evs == EVS
    assert scenes[0].truth == folders.root / "001" / "ref_hdr_aligned.hdr"


def test_hu_splits_by_scene_number(folders):
    for name in ("001", "085", "086", "100", "101"):
        folders.repacked(name, truth="ref_hdr_aligned_linear")
    scenes = find_scenes(folders.root)
    assert {s.name: s.split for s in scenes} == {
        "001": "train", "085": "train", "086": "test", "100": "test", "101": "train"
    }  # fmt: skip
    assert all(s.truth is not None and s.truth.name == "ref_hdr_aligned_linear.hdr" for s in scenes)


def test_tel(folders):
    folders.tel("Training/scene_0001_1")
    folders.tel("Training/scene_0001_2")
    folders.tel("Test/scene_0007_1")
    scenes = find_scenes(folders.root)
    assert [(s.name, s.split) for s in scenes] == [
        ("Test/scene_0007_1", "test"), ("Training/scene_0001_1", "train"), ("Training/scene_0001_2", "train")
    ]  # fmt: skip
    assert names(scenes[1]) == ["input_1.tif", "input_2.tif", "input_3.tif"]


def test_challenge_takes_one_frame_per_moment(folders):
    folders.challenge("Training/001")
    folders.challenge("Test/002")
    scenes = find_scenes(folders.root)
    assert [(s.name, s.split) for s in scenes] == [("Test/002", "test"), ("Training/001", "train")]
    scene = scenes[1]
    assert [p.relative_to(folders.root).as_posix() for p in scene.frames] == [
        f"Training/001_{k}/ldr_img_{k}.tif" for k in (1, 2, 3)
    ]
    assert scene.truth == folders.root / "Training/001_2/hdr_img.hdr"
    assert scene.evs == EVS


@pytest.mark.parametrize(("kind", "encoding"), [("gamma16", "gamma2.2"), ("camera8", "camera")])
def test_smarthdr_synth(folders, bank, kind, encoding):
    for part, count in (("Training", 2), ("Test", 1)):
        write_benchmark(folders.root / part, bank, count, 5, benchmark_config(kind, (48, 64)))
    scenes = find_scenes(folders.root)
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


def test_frames_are_sorted_by_number(folders):
    folder = folders.root / "a"
    folders.write_frames([folder / f"{k}.tif" for k in range(1, 12)], evs=[float(k) / 2 for k in range(11)])
    (folder / "exposure.txt").write_text(" ".join(str(k / 2) for k in range(11)))
    assert names(find_scenes(folders.root)[0]) == [f"{k}.tif" for k in range(1, 12)]


def test_a_scene_without_truth(folders):
    (folders.kalantari("001") / "HDRImg.hdr").unlink()
    assert find_scenes(folders.root)[0].truth is None


def test_the_root_may_be_a_scene(folders):
    folder = folders.kalantari("lonely")
    assert [s.name for s in find_scenes(folder)] == ["lonely"]


def test_the_name_of_the_root_gives_the_split(folders):
    folders.kalantari("Test/001")
    assert [(s.name, s.split) for s in find_scenes(folders.root / "Test")] == [("001", "test")]


def test_exposures_come_from_exif_where_there_is_no_exposure_file(folders):
    folder = folders.root / "Training" / "001"
    folders.write_frames([folder / "b.jpg", folder / "c.jpg", folder / "a.jpg"])
    folders.write_truth(folder / "HDRImg.exr")
    (scene,) = find_scenes(folders.root)
    assert names(scene) == ["b.jpg", "c.jpg", "a.jpg"]
    assert scene.evs == pytest.approx(EVS, abs=1e-3)


def test_hidden_files_and_folders_are_ignored(folders):
    folder = folders.kalantari("001")
    (folder / "._262A2615.tif").write_bytes(b"\x00\x05\x16\x07")
    (folders.root / ".trash").mkdir()
    shutil.copytree(folder, folders.root / ".trash" / "001")
    assert [s.name for s in find_scenes(folders.root)] == ["001"]
    assert len(find_scenes(folders.root)[0].frames) == 3


def error_after(folders, name, damage):
    folders.tel("Training/fine")
    damage(folders.tel(f"Training/{name}"))
    with pytest.raises(InputError) as caught:
        find_scenes(folders.root)
    return str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
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
         "exposure.txt is not a list of at least two log2 exposures"),
        (lambda f: (f / "exposure.txt").write_bytes(b"\xff\xfe0\x00"), "exposure.txt is not a list of log2 exposures"),
        (lambda f: (f / "input_2.tif").write_bytes(b""),
         "input_2.tif is empty; copy the file again from its source, or leave it out"),
        (lambda f: (f / "input_2.tif").write_bytes(b"x" * 100),
         "input_2.tif is not a picture that smarthdr reads (JPEG, PNG, TIFF or RAW); leave it out"),
        (lambda f: [(f / f"input_{k}.tif").unlink() for k in (1, 2, 3)],
         "no frames (.tif, .jpg, .png) beside exposure.txt"),
    ],
)  # fmt: skip
def test_errors_name_scene_and_file(folders, damage, message):
    assert error_after(folders, "bad", damage) == f"scene Training/bad: {message}"


def test_frames_may_be_numbered_with_gaps(folders):
    folder = folders.tel("001")
    (folder / "input_2.tif").rename(folder / "input_4.tif")
    assert names(find_scenes(folders.root)[0]) == ["input_1.tif", "input_3.tif", "input_4.tif"]


def test_a_missing_frame_with_a_camera_name(folders):
    (folders.kalantari("001") / "262A2616.tif").unlink()
    with pytest.raises(InputError, match=r"^scene 001: 2 frames for the 3 exposures of exposure.txt$"):
        find_scenes(folders.root)


def test_a_missing_exposure_file_of_the_repacked_layout(folders):
    (folders.repacked("001") / "input_exp.txt").unlink()
    with pytest.raises(InputError, match=r"^scene 001: no input_exp.txt$"):
        find_scenes(folders.root)


@pytest.mark.parametrize("lost", ["001_1/ldr_img_1.tif", "001_3/ldr_img_3.tif", "001_2/exposure.txt"])
def test_a_missing_file_of_challenge(folders, lost):
    folders.challenge("001")
    (folders.root / lost).unlink()
    with pytest.raises(InputError, match=f"^scene 001: {lost} is missing$"):
        find_scenes(folders.root)


def test_frames_without_exposure_times(folders):
    folder = folders.root / "001"
    folders.write_frames([folder / f"{k}.png" for k in (1, 2, 3)])
    folders.write_truth(folder / "HDRImg.exr")
    with pytest.raises(InputError, match=r"^scene 001: no exposure.txt, and 1.png states no exposure time$"):
        find_scenes(folders.root)


def test_folders_without_scenes(folders):
    with pytest.raises(InputError, match="does not exist"):
        find_scenes(folders.root)
    folders.root.mkdir()
    with pytest.raises(InputError, match="no scenes"):
        find_scenes(folders.root)
    (folders.root / "file").write_text("")
    with pytest.raises(InputError, match="not a folder"):
        find_scenes(folders.root / "file")


def test_bursts_of_a_user(folders):
    folders.write_frames([folders.root / "beach" / f"IMG_{k}.jpg" for k in (3, 2, 1)])
    folders.write_frames([folders.root / "deep" / "town" / f"{k}.tif" for k in (1, 2)], evs=(0, 2))
    folders.write_frames([folders.root / "single" / "a.jpg"], evs=(0,))
    folders.write_frames([folders.root / f"loose{k}.jpg" for k in (1, 2)], evs=(0, 2))
    (folders.root / "beach" / "notes.txt").write_text("sunny")
    (folders.root / "beach" / "broken.jpg").write_bytes(b"")
    folders.write_truth(folders.root / "beach" / "merged.exr")
    bursts = find_bursts(folders.root)
    assert [(b.name, b.split, b.evs, b.truth, b.encoding) for b in bursts] == [
        ("beach", "train", None, None, "camera"), ("deep/town", "train", None, None, "camera")
    ]  # fmt: skip
    assert names(bursts[0]) == ["IMG_1.jpg", "IMG_2.jpg", "IMG_3.jpg"]


@pytest.mark.parametrize(("installed", "suffix"), [(True, ".NEF"), (False, ".jpg")])
def test_raw_replaces_its_jpeg_where_rawpy_is_installed(folders, monkeypatch, installed, suffix):
    monkeypatch.setattr(datasets.importlib.util, "find_spec", lambda _: object() if installed else None)
    folder = folders.root / "a"
    folders.write_frames([folder / f"{k}.jpg" for k in (1, 2)], evs=(0, 2))
    for k in (1, 2):
        (folder / f"{k}.NEF").write_bytes(b"II*\x00" + bytes(60))
    assert names(find_bursts(folders.root)[0]) == [f"1{suffix}", f"2{suffix}"]


def test_a_burst_of_given_files(tmp_path):
    scene = burst_files("beach", [tmp_path / "b.jpg", tmp_path / "a.jpg"])
    assert names(scene) == ["a.jpg", "b.jpg"]
    assert (scene.evs, scene.truth, scene.encoding) == (None, None, "camera")


def test_folders_without_bursts(folders):
    with pytest.raises(InputError, match="does not exist"):
        find_bursts(folders.root)
    folders.write_frames([folders.root / f"{k}.jpg" for k in (1, 2, 3)])
    with pytest.raises(InputError, match="no subfolder with at least two images"):
        find_bursts(folders.root)
    with pytest.raises(InputError, match="not a folder"):
        find_bursts(folders.root / "1.jpg")


@given(st.sets(st.integers(-600, 600), min_size=2, max_size=9), st.sampled_from(["\n", " ", ", ", "\r\n"]))
def test_exposures_are_relative_to_the_first(tmp_path_factory, tenths, separator):
    values = sorted(tenth / 10 for tenth in tenths)
    path = tmp_path_factory.mktemp("e") / "exposure.txt"
    path.write_bytes(separator.join(f"{v:.2f}" for v in values).encode())
    assert read_exposures(path) == pytest.approx([v - values[0] for v in values], abs=1e-9)


@pytest.mark.parametrize("text", ["", "1", "0 inf", "0 100", "a b", "3 2 1"])
def test_files_that_are_no_list_of_exposures(tmp_path, text):
    path = tmp_path / "exposure.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=r"exposure\.txt"):
        read_exposures(path)


def test_frames_are_sorted_sort_by_exif(folders):
    paths = [folders.root / name for name in ("long.jpg", "short.jpg")]
    folders.write_frames(paths, evs=(3.0, 0.0))
    frames, evs = sort_by_exif(paths)
    assert [p.name for p in frames] == ["short.jpg", "long.jpg"]
    assert evs == pytest.approx((0, 3), abs=1e-3)


def test_equal_exposures_in_exif_are_an_error(folders):
    paths = [folders.root / name for name in ("a.jpg", "b.jpg")]
    folders.write_frames(paths, evs=(2.0, 2.0))
    with pytest.raises(InputError, match="the exposures of the frames' EXIF do not rise"):
        sort_by_exif(paths)
