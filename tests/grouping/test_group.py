"""``group_files`` and ``find_pictures``: every file once, the user's options, and no decoding without doubt."""

import re
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from smarthdr_cli.errors import InputError, UsageError
from smarthdr_cli.grouping.group import find_pictures, group_files
from smarthdr_cli.grouping.result import Skipped
from smarthdr_cli.output.metadata import SOFTWARE
from tests.support.camera_files import Shoot

AEB: dict[str, Any] = {"mode": 2}
MANUAL: dict[str, Any] = {"mode": 1, "bias": 0.0}


def take_bracket(shoot: Shoot, gap: float = 0.2) -> list[Path]:
    return [shoot.wait(gap).take(ev, bias=ev, **AEB) for ev in (0, -2, 2)]


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    for name in ("b10.jpg", "b2.JPG", "a.txt", "._b2.JPG", "x.ARW", "sub/c.tif", ".hidden/d.jpg", "sub.jpg/e.heic"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    names = [str(path.relative_to(tmp_path)) for path in find_pictures(tmp_path)]
    assert names == ["b2.JPG", "b10.jpg", "x.ARW", "sub/c.tif", "sub.jpg/e.heic"]
    assert [path.name for path in find_pictures(tmp_path, recursive=False)] == ["b2.JPG", "b10.jpg", "x.ARW"]


def test_folders_that_cannot_be_searched(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path, message in ((tmp_path / "gone", "does not exist"), (tmp_path / "file", "is not a folder")):
        with pytest.raises(InputError, match=message):
            find_pictures(path)


@pytest.mark.parametrize(("has_rawpy", "kept"), [(True, ".ARW"), (False, ".JPG")])
def test_raw_beside_jpeg_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_rawpy: bool, kept: str
) -> None:
    shoot = Shoot(tmp_path)
    for ev in (0, -2, 2):
        number, clock = shoot.number, shoot.clock
        shoot.take(ev, suffix=".ARW", bias=ev, **AEB)
        shoot.number, shoot.clock = number, clock
        shoot.take(ev, bias=ev, **AEB)
        shoot.wait(0.2)
    if not has_rawpy:
        monkeypatch.setitem(sys.modules, "rawpy", None)
    files = find_pictures(tmp_path)
    grouping = group_files(files)
    assert [p.suffix for s in grouping.sets for p in s.frames] == [kept] * 3
    assert sorted(t.path for t in grouping.twins) == sorted(p for p in files if p.suffix != kept)
    taken = "RAW is taken" if has_rawpy else "JPEG is taken, since rawpy"
    assert grouping.notes[0].startswith(f"3 exposures are there in two formats: the {taken}")


def test_raw_alone_without_rawpy_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    notes = group_files([Shoot(tmp_path).take(0, suffix=".ARW")]).notes
    assert notes == ("1 RAW file needs rawpy to be fused: smarthdr[raw]",)


def test_copies_are_left_out(tmp_path: Path) -> None:
    frames = take_bracket(Shoot(tmp_path))
    for path in frames[:2]:
        shutil.copy(path, path.with_stem(path.stem + " (1)"))
    grouping = group_files(find_pictures(tmp_path))
    assert [list(s.frames) for s in grouping.sets] == [frames]
    assert [t.path.name for t in grouping.twins] == ["IMG_0001 (1).JPG", "IMG_0002 (1).JPG"]
    assert grouping.notes == ("2 files are copies of others and left aside",)


def said(skipped: Skipped) -> str:
    """The reason without the path before it and the next step behind it."""
    assert skipped.reason.startswith(f"{skipped.path} ")
    return re.split("; ", skipped.reason.removeprefix(f"{skipped.path} "))[0]


def test_unreadable_files_are_skipped_with_their_reason(tmp_path: Path) -> None:
    frames = take_bracket(Shoot(tmp_path))
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "film.heic").write_bytes(b"\0\0\0\x18ftypqt  " + bytes(40))
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    grouping = group_files([*find_pictures(tmp_path), frames[0]])  # one is given twice
    assert [list(s.frames) for s in grouping.sets] == [frames]
    assert {s.path.name: said(s) for s in grouping.skipped} == {
        "empty.jpg": "is empty",
        "film.heic": "is a video or another HEIF file",
        "gone.jpg": "is a link, and what it leads to does not exist",
    }


def test_previews_of_smarthdr_are_skipped(tmp_path: Path) -> None:
    path = Shoot(tmp_path).take(0)
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0131] = SOFTWARE
        image.save(tmp_path / "preview.jpg", exif=exif)
    grouping = group_files(find_pictures(tmp_path))
    assert [s.reason for s in grouping.skipped] == [f"{tmp_path / 'preview.jpg'} was written by smarthdr"]


def test_names_of_sets_are_unique(tmp_path: Path) -> None:
    for folder in ("a", "b", "c/b"):
        take_bracket(Shoot(tmp_path / folder))
    grouping = group_files(find_pictures(tmp_path))
    assert [s.name for s in grouping.sets] == ["IMG_0001", "b_IMG_0001", "IMG_0001_2"]


def test_no_image_is_decoded_where_headers_settle_the_sets(tmp_path: Path) -> None:
    shoot = Shoot(tmp_path)
    for _ in range(3):
        take_bracket(shoot)
        shoot.wait(5)
    headers_read, decoded = [], []
    grouping = group_files(
        find_pictures(tmp_path),
        on_file=lambda done, total: headers_read.append((done, total)),
        on_look=lambda done, total: decoded.append((done, total)),
    )
    assert len(grouping.sets) == 3
    assert headers_read == [(done, 9) for done in range(1, 10)]
    assert decoded == []


def test_images_are_decoded_where_exif_is_missing(tmp_path: Path) -> None:
    decoded = []
    files = [Shoot(tmp_path).take(ev, name=f"a{ev}", without_exif=True) for ev in (0, -2, 2)]
    group_files(files, on_look=lambda done, total: decoded.append((done, total)))
    assert decoded == [(3, 3)]


@pytest.mark.parametrize("options", [{"bracket": 1}, {"bracket": 99}, {"gap": -1.0}, {"gap": float("nan")}])
def test_invalid_options(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"^--"):
        group_files([Shoot(tmp_path).take(0)], **options)


def test_a_longest_gap_splits_sets(tmp_path: Path) -> None:
    files = take_bracket(Shoot(tmp_path), gap=1.0)
    assert len(group_files(files).sets) == 1
    assert group_files(files, gap=0.5).sets == ()


def test_a_given_length_is_the_only_length(tmp_path: Path) -> None:
    shoot = Shoot(tmp_path)
    files = take_bracket(shoot, gap=0.1) + take_bracket(shoot, gap=0.1)
    assert [len(s.frames) for s in group_files(files).sets] == [3, 3]
    assert [len(s.frames) for s in group_files(files, bracket=2).sets] == [2, 2, 2]


def test_a_given_length_joins_a_slow_uneven_set(tmp_path: Path) -> None:
    """Twenty to eighty seconds between frames of one view, the two longest exposures taken last."""
    shoot = Shoot(tmp_path)
    gaps, evs = (24, 12, 32, 16, 30, 51, 39, 80), (2, 1.7, 0, -0.4, -2, -2.3, -4, 3.3)
    files = [shoot.wait(gap).take(ev, **MANUAL) for gap, ev in zip(gaps, evs, strict=True)]
    assert [list(s.frames) for s in group_files(files, bracket=8).sets] == [files]


@pytest.mark.parametrize(("evs", "bracket", "gap"), [((-2, 0, 2), None, 3), ((-2, 1.7, 0.3), 3, 12)])
def test_frames_of_different_views_are_no_set(
    tmp_path: Path, evs: tuple[float, ...], bracket: int | None, gap: float
) -> None:
    shoot, files = Shoot(tmp_path), []
    for ev in evs:
        shoot.view += 1
        files.append(shoot.wait(gap).take(ev, **MANUAL))
    assert group_files(files, bracket=bracket).sets == ()


def test_an_unknown_exposure_among_frames_that_cannot_be_decoded(tmp_path: Path) -> None:
    """RAW files without a preview, one of them without an exposure time: no set of them is certain."""
    shoot = Shoot(tmp_path)
    files = [shoot.take(ev, suffix=".ARW", **AEB) for ev in (2, 0, -2, 2, 0, -2)]
    data, exposure_time, other_tag = files[1].read_bytes(), struct.pack(">HH", 0x829A, 5), struct.pack(">HH", 0x829B, 5)
    assert data.count(exposure_time) == 1
    files[1].write_bytes(data.replace(exposure_time, other_tag))
    grouping = group_files(files)
    assert grouping.sets
    assert all(s.ambiguous and s.evs is None for s in grouping.sets)
    assert sorted([p for s in grouping.sets for p in s.frames] + [s.path for s in grouping.singles]) == files
