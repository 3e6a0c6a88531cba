"""Sets on disk, twins and copies, tiny pictures, and the answers to what is asked of group_files."""

import io
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from PIL.TiffImagePlugin import IFDRational

from smarthdr_cli.errors import InputError, UsageError
from smarthdr_cli.grouping import exposure_pattern, group, thumbnails
from smarthdr_cli.grouping.group import BracketSet, find_pictures, group_files, read_sets
from smarthdr_cli.grouping.header import Header, read_header
from smarthdr_cli.grouping.likelihood import pause_score
from smarthdr_cli.grouping.streams import without_twins

from .shoot import Camera, Shoot, orders, picture

AEB: dict[str, Any] = {"mode": 2}
ONE = BracketSet("a1", (Path("d/a1.jpg"), Path("d/a2.jpg")), 0.93, ("0.2 s apart",), False, (0.0, -2.0))


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), "utf-8")
    return path


def test_sets_survive_the_way_to_disk_and_back(tmp_path: Path) -> None:
    other = BracketSet("b", (Path("ü \udcff.jpg"),), 0.4, (), True)
    path = write(tmp_path / "s.jsonl", ONE.to_dict(), "", {"kind": "single", "file": "x"}, other.to_dict())
    assert read_sets(path) == [ONE, other]


def test_sets_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(ONE.to_dict())))
    assert read_sets(Path("-")) == [ONE]


def test_a_line_by_hand_needs_frames_only(tmp_path: Path) -> None:
    found = read_sets(write(tmp_path / "s.jsonl", {"frames": ["x/a.jpg", "x/b.jpg"]}))
    assert found == [BracketSet("a", (Path("x/a.jpg"), Path("x/b.jpg")), 1.0, (), False, None)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"frames": ["a.jpg"', "line 2: not JSON, or cut short"),
        ("[" * 100_000, "line 2: not JSON, or cut short"),
        ("[1]", "line 2: not a JSON object"),
        ("{}", "a set needs frames"),
        ('{"frames": []}', "a set needs frames"),
        ('{"frames": [1]}', "a set needs frames"),
        ('{"frames": ["a", "a"]}', "names a frame twice"),
        ('{"frames": ["a\\u0000"]}', "no file name"),
        ('{"frames": ["a\\ud800"]}', "no file name"),
        ('{"frames": ["b"], "name": "x\\ud800"}', "without a slash"),
        ('{"frames": ["b"], "name": "x/y"}', "without a slash"),
        ('{"frames": ["b"], "confidence": 2}', "confidence"),
        ('{"frames": ["b"], "confidence": NaN}', "confidence"),
        ('{"frames": ["b"], "confidence": true}', "confidence"),
        (f'{{"frames": ["b"], "confidence": {10**400}}}', "confidence"),
        ('{"frames": ["b"], "ambiguous": 1}', "ambiguous"),
        ('{"frames": ["b"], "reasons": "x"}', "reasons"),
        ('{"frames": ["b"], "evs": [1, 2]}', "evs"),
        ('{"frames": ["b"], "evs": [1e999]}', "evs"),
        (f'{{"frames": ["b"], "evs": [-{10**400}]}}', "evs"),
        ('{"frames": ["b"], "name": "a1"}', "line 2: the set a1 stands on line 1 already"),
        ('{"kind": "sett", "frames": ["b"]}', "'sett' is not known"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(InputError, match=r"^s\.jsonl, line 2") as caught:
        read_sets(write(tmp_path / "s.jsonl", ONE.to_dict(), line))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_hold_no_sets(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for path, said in (
        (tmp_path / "gone", "cannot be read"),
        (tmp_path / "bytes", "not UTF-8"),
        (tmp_path, "cannot be read"),
        (write(tmp_path / "none", {"kind": "skipped", "file": "x"}), "holds no sets"),
    ):
        with pytest.raises(InputError, match=said):
            read_sets(path)


def test_one_unknown_exposure_among_frames_that_cannot_be_decoded(tmp_path: Path) -> None:
    """A bracket by EXIF of RAW files that hold no picture: none is compared, and none is sure."""
    shoot = Shoot(tmp_path)
    files = [shoot.take(ev, suffix=".ARW", **AEB) for ev in (2, 0, -2, 2, 0, -2)]
    data, (known, silent) = files[1].read_bytes(), (struct.pack(">HH", 0x829A, 5), struct.pack(">HH", 0x829B, 5))
    assert data.count(known) == 1
    files[1].write_bytes(data.replace(known, silent))
    found = group_files(files)
    assert found.sets
    assert all(one.ambiguous and one.evs is None for one in found.sets)
    assert sorted([p for one in found.sets for p in one.frames] + [one.path for one in found.singles]) == files


@given(st.text(max_size=200))
def test_any_text_is_sets_or_an_input_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text(text, "utf-8", errors="replace")
    with pytest.raises(InputError):
        read_sets(path)


def _pair(folder: Path) -> list[Path]:
    """Three exposures, each as RAW and as JPEG."""
    shoot = Shoot(folder)
    for ev in (0, -2, 2):
        number, clock = shoot.number, shoot.clock
        shoot.take(ev, suffix=".ARW", bias=ev, **AEB)
        shoot.number, shoot.clock = number, clock
        shoot.take(ev, bias=ev, **AEB)
        shoot.wait(0.2)
    return find_pictures(folder)


@pytest.mark.parametrize(("raw", "kept"), [(True, ".ARW"), (False, ".JPG")])
def test_raw_beside_jpeg_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: bool, kept: str) -> None:
    files = _pair(tmp_path)
    monkeypatch.setattr(group, "reads_raw", lambda: raw)
    found = group_files(files)
    assert [p.suffix for s in found.sets for p in s.frames] == [kept] * 3
    assert sorted(t.path for t in found.twins) == sorted(p for p in files if p.suffix != kept)
    assert [(t.of.stem, t.of.suffix) for t in found.twins] == [(t.path.stem, kept) for t in found.twins]
    said = "3 exposures are there in two formats: the " + ("RAW is taken" if raw else "JPEG is taken, since rawpy")
    assert found.notes[0].startswith(said)


def test_one_stem_at_two_moments_is_two_frames(tmp_path: Path) -> None:
    shoot = Shoot(tmp_path)
    shoot.take(0, name="a", suffix=".ARW")
    shoot.wait(30).take(0, name="a")
    headers = [read_header(path) for path in find_pictures(tmp_path)]
    assert without_twins(headers, raw=True)[1] == []


def test_copies_are_left_aside(tmp_path: Path) -> None:
    shoot = Shoot(tmp_path)
    frames = [shoot.wait(0.2).take(ev, bias=ev, **AEB) for ev in (0, -2, 2)]
    for path in frames[:2]:
        shutil.copy(path, path.with_stem(path.stem + " (1)"))
    found = group_files(find_pictures(tmp_path))
    assert [list(s.frames) for s in found.sets] == [frames]
    assert [(t.path.name, t.of) for t in found.twins] == [
        ("IMG_0001 (1).JPG", frames[0]),
        ("IMG_0002 (1).JPG", frames[1]),
    ]
    assert found.notes == ("2 files are copies of others and left aside",)


def test_what_cannot_be_read_is_skipped_with_its_reason(tmp_path: Path) -> None:
    shoot = Shoot(tmp_path)
    frames = [shoot.wait(0.2).take(ev, bias=ev, **AEB) for ev in (0, -2, 2)]
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "film.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    found = group_files([*find_pictures(tmp_path), frames[0]])  # one named twice
    assert [list(s.frames) for s in found.sets] == [frames]
    assert {s.path.name: s.reason for s in found.skipped} == {
        "empty.jpg": "empty.jpg is empty",
        "film.heic": "film.heic is a HEIF/HEIC or video file; JPEG, PNG, TIFF and RAW are read",
        "gone.jpg": "gone.jpg does not exist",
    }


def test_our_own_previews_are_no_frames(tmp_path: Path) -> None:
    from smarthdr_cli.output.metadata import SOFTWARE

    path = Shoot(tmp_path).take(0)
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0131] = SOFTWARE
        image.save(tmp_path / "preview.jpg", exif=exif)
    found = group_files(find_pictures(tmp_path))
    assert [s.reason for s in found.skipped] == ["preview.jpg was written by smarthdr"]


def test_names_are_distinct_and_the_first_frames(tmp_path: Path) -> None:
    for folder in ("a", "b", "c/b"):
        shoot = Shoot(tmp_path / folder)
        for ev in (0, -2, 2):
            shoot.wait(0.2).take(ev, bias=ev, **AEB)
    found = group_files(find_pictures(tmp_path))
    assert [s.name for s in found.sets] == ["IMG_0001", "b_IMG_0001", "IMG_0001_2"]


def test_headers_alone_settle_a_bracket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shoot = Shoot(tmp_path)
    for _ in range(3):
        for ev in (0, -2, 2):
            shoot.wait(0.2).take(ev, bias=ev, **AEB)
        shoot.wait(5)

    def refuse(_header: Any) -> None:
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr(group, "tiny", refuse)
    told: list[tuple[int, int]] = []
    found = group_files(find_pictures(tmp_path), on_file=lambda done, every: told.append((done, every)))
    assert len(found.sets) == 3
    assert told == [(n, 9) for n in range(1, 10)]


@pytest.mark.parametrize("options", [{"bracket": 1}, {"bracket": 99}, {"gap": -1.0}, {"gap": float("nan")}])
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"^--"):
        group_files([Shoot(tmp_path).take(0)], **options)


def test_a_gap_splits(tmp_path: Path) -> None:
    shoot = Shoot(tmp_path)
    files = [shoot.wait(1.0).take(ev, bias=ev, **AEB) for ev in (0, -2, 2)]
    assert len(group_files(files).sets) == 1
    assert group_files(files, gap=0.5).sets == ()


def test_a_bracket_of_other_length_is_not_made(tmp_path: Path) -> None:
    shoot = Shoot(tmp_path)
    files = [shoot.wait(0.1).take(ev, bias=ev, **AEB) for ev in (0, -2, 2, 0, -2, 2)]
    assert [len(s.frames) for s in group_files(files).sets] == [3, 3]
    assert [len(s.frames) for s in group_files(files, bracket=2).sets] == [2, 2, 2]


def test_without_a_camera_word_pictures_that_differ_split(tmp_path: Path) -> None:
    shoot, by_hand = Shoot(tmp_path), {"mode": 1, "bias": 0.0}
    files = []
    for ev in (-2, 0, 2):
        shoot.view += 1
        files.append(shoot.wait(3).take(ev, **by_hand))
    assert group_files(files).sets == ()
    shoot.view = 9
    files = [shoot.wait(3).take(ev, **by_hand) for ev in (-2, 0, 2)]
    assert [list(s.frames) for s in group_files(files).sets] == [files]


def test_pictures_that_cannot_be_decoded_leave_it_open(tmp_path: Path) -> None:
    shoot = Shoot(tmp_path)
    files = [shoot.wait(3).take(ev, mode=1, bias=0.0, suffix=".NEF") for ev in (-2, 0, 2)]
    found = group_files(files).sets
    assert [(list(s.frames), s.ambiguous, s.reasons[-1]) for s in found] == [(files, True, "the evidence is thin")]


def grey(seed: int, ev: float, shift: int = 0) -> thumbnails.Tiny:
    return thumbnails.tiny_of(np.asarray(picture(seed, ev, shift).convert("L")))


@pytest.mark.parametrize("ev", [-3.0, -1.0, 1.0, 2.0])
@pytest.mark.parametrize("shift", [-5, 0, 4])
def test_likeness_sees_neither_exposure_nor_a_small_shift(ev: float, shift: int) -> None:
    found = thumbnails.compare(grey(1, 0), grey(1, ev, shift))
    assert found.same is not None
    assert found.same > 0.9
    assert found.ev == pytest.approx(ev, abs=0.25)


def test_damage_is_not_talked_about(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Not by Pillow's warnings, which are errors here, nor by libjpeg on its own."""
    rng = np.random.default_rng(0)
    whole = Shoot(tmp_path).take(0).read_bytes()
    seen = 0
    for number in range(150):
        data = np.frombuffer(whole, np.uint8).copy()
        data[rng.integers(0, len(data), 20)] = rng.integers(0, 256, 20)
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(data[: rng.integers(100, len(data))] if number % 4 == 0 else data)
        seen += thumbnails.tiny(Header(path, bytes=len(data), size=(96, 64))) is not None
    assert 0 < seen < 150
    assert capfd.readouterr() == ("", "")


def test_png_and_tiff_can_be_looked_at(tmp_path: Path) -> None:
    for name in ("a.png", "a.tif"):
        picture(1, 0).save(tmp_path / name)
        seen = thumbnails.tiny(read_header(tmp_path / name))
        assert seen is not None
        assert thumbnails.compare(seen, grey(1, 0)).same == pytest.approx(1, abs=0.01)


def test_other_views_are_unlike() -> None:
    likes = [thumbnails.compare(grey(a, 0), grey(b, 1)).same for a in range(6) for b in range(6, 10)]
    assert [same for same in likes if same is None or same > 0.75] == []
    assert float(np.median([same for same in likes if same is not None])) < 0.5


def test_black_white_and_walls_say_nothing() -> None:
    black, white = (thumbnails.tiny_of(np.full((64, 96), code, np.uint8)) for code in (0, 255))
    wall = thumbnails.tiny_of(np.full((64, 96), 100, np.uint8))
    for other in (black, white, wall):
        assert thumbnails.compare(wall, other).same is None
    assert thumbnails.compare(black, white).ev > 10


def badge(seed: int) -> Image.Image:
    """A graphic: a disc on a plain ground, three squares on the disc, all in colours of the seed's own."""
    rng = np.random.default_rng(seed)

    def colour() -> tuple[int, ...]:
        return tuple(int(value) for value in rng.integers(0, 256, 3))

    image = Image.new("RGB", (96, 64), colour())
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 4, 76, 60), fill=colour())
    for _ in range(3):
        x, y, side = (int(rng.integers(*bounds)) for bounds in ((28, 60), (12, 44), (3, 16)))
        draw.rectangle((x, y, x + side, y + side), fill=colour())
    return image


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("stated", [False, True], ids=["no EXIF", "the same EXIF"])
def test_graphics_of_one_layout_are_no_certain_set(tmp_path: Path, count: int, stated: bool) -> None:
    """Named img1, img2 and on, all of their folder; without EXIF, or with the same 1/100 s in each."""
    certain = []
    exif = Image.Exif()
    if stated:
        exif.get_ifd(0x8769)[0x829A] = IFDRational(1, 100)
    for number in range(60):
        files = []
        for index in range(count):
            files.append(tmp_path / str(number) / f"img{index + 1}.png")
            files[-1].parent.mkdir(exist_ok=True)
            badge(1000 * count + 10 * number + index).save(files[-1], exif=exif)
        certain += [(number, s.confidence, s.reasons) for s in group_files(files).sets if not s.ambiguous]
    assert certain == []


@pytest.mark.parametrize("seed", range(6))
def test_different_views_are_no_certain_set_whatever_else_is_said(tmp_path: Path, seed: int) -> None:
    """The camera calls three frames a bracket, their times and exposures agree, and sets of three are asked for."""
    shoot = Shoot(tmp_path)
    files = []
    for number, ev in enumerate((0, -2, 2, 0)):
        shoot.view = 10 * seed + number
        said = AEB if number < 3 else {"mode": 0}
        files.append(shoot.wait(0.2).take(ev, bias=ev, shown=0, name=f"img{number + 1}", **said))
    found = group_files(files, bracket=3).sets
    assert [(s.confidence < 0.6, s.ambiguous) for s in found] == [(True, True)] * len(found)
    assert all(any("the pictures differ" in reason for reason in s.reasons) for s in found)


def test_one_view_keeps_its_confidence(tmp_path: Path) -> None:
    """The same shoot of one view, and the same files without EXIF."""
    for plain, least in ((False, 0.95), (True, 0.6)):
        shoot = Shoot(tmp_path / str(plain))
        files = [shoot.wait(0.2).take(ev, bias=ev, plain=plain, name=f"img{ev + 3}", **AEB) for ev in (-2, 0, 2)]
        (found,) = group_files(files).sets
        assert list(found.frames) == files
        assert found.confidence > least
        assert not found.ambiguous


@pytest.mark.parametrize("count", [3, 5, 7, 9])
@pytest.mark.parametrize("order", ["-0+", "+0-", "0-+", "0-+-+"])
def test_known_orders_have_names(count: int, order: str) -> None:
    seen = exposure_pattern.judge(orders(count, 1.0)[order])
    assert seen.order
    assert seen.regular
    assert (seen.levels, seen.repeats) == (count, 0)


def test_orders_of_no_camera_have_none() -> None:
    assert [exposure_pattern.judge(evs).order for evs in ([-2, 2, 0], [0, 2, -1, 1, -2], [0, 0, 2, 4])] == ["", "", ""]


def test_repeats_cost_unless_they_come_in_turn() -> None:
    once, turn, again = ([-2, 0, 2], [-2, -2, 0, 0, 2, 2], [-2, 0, 2, -2, 0, 2])
    assert exposure_pattern.judge(once).score > exposure_pattern.judge(turn).score > exposure_pattern.judge(again).score
    assert exposure_pattern.judge([1, 1.1, 0.95]).score == -np.inf


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=20), st.floats(-5, 5))
def test_a_pattern_does_not_see_the_common_exposure(evs: list[float], offset: float) -> None:
    rounded = [round(ev, 1) for ev in evs]
    assert exposure_pattern.judge(rounded) == exposure_pattern.judge([ev + round(offset, 1) for ev in rounded])


@given(st.floats(0, 599), st.floats(0, 599))
def test_a_longer_pause_never_speaks_more_for_a_set(one: float, two: float) -> None:
    assert pause_score(min(one, two)) >= pause_score(max(one, two))


def test_a_camera_whose_frames_are_all_alike_is_read_once(tmp_path: Path) -> None:
    """Ten thousand equal exposures in a row must not take the square of their number."""
    from time import perf_counter

    from smarthdr_cli.grouping.segmentation import group_row

    shoot = Shoot(tmp_path, Camera())
    header = read_header(shoot.take(0, bias=0.0, mode=0))
    from dataclasses import replace

    row = [replace(header, start=header.start + n * 0.1, path=tmp_path / f"I{n:05d}.JPG") for n in range(10_000)]  # type: ignore[operator]
    begun = perf_counter()
    found = group_row(row, bracket=None, gap=None, whole_folder=True, tinies=lambda _: [])
    assert len(found) == 10_000
    assert perf_counter() - begun < 20


def test_a_told_length_holds_a_slow_uneven_set_together(tmp_path: Path) -> None:
    """Twenty to eighty seconds between frames of one view, the two longest exposures taken last."""
    shoot, by_hand = Shoot(tmp_path), {"mode": 1, "bias": 0.0}
    pauses, evs = (24, 12, 32, 16, 30, 51, 39, 80), (2, 1.7, 0, -0.4, -2, -2.3, -4, 3.3)
    files = [shoot.wait(pause).take(ev, **by_hand) for pause, ev in zip(pauses, evs, strict=True)]  # type: ignore[arg-type]
    assert [list(s.frames) for s in group_files(files, bracket=8).sets] == [files]


def test_a_told_length_does_not_join_views(tmp_path: Path) -> None:
    shoot, by_hand = Shoot(tmp_path), {"mode": 1, "bias": 0.0}
    files = []
    for ev in (-2, 1.7, 0.3):
        shoot.view += 1
        files.append(shoot.wait(12).take(ev, **by_hand))  # type: ignore[arg-type]
    assert group_files(files, bracket=3).sets == ()
