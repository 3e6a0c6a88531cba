"""Counters, roll-overs, natural order, and pauses between exposures."""

from pathlib import Path

import pytest

from smarthdr_cli.errors import InputError
from smarthdr_cli.grouping.files import find_pictures, natural
from smarthdr_cli.grouping.header import Header
from smarthdr_cli.grouping.names import order_keys, parse_name, rolled_over, steps
from smarthdr_cli.grouping.sequence import pauses


def in_order(stems: list[str]) -> list[str]:
    return [stem for _, stem in sorted(zip(order_keys(stems), stems, strict=True))]


def test_natural_order() -> None:
    assert sorted(["b10", "B2", "b1", "a", "b02x"], key=natural) == ["a", "b1", "B2", "b02x", "b10"]


@pytest.mark.parametrize("stem", ["²³", "x٣", "", "12345678901234567890", "١٢"])
def test_digits_of_other_kinds_are_no_numbers(stem: str) -> None:
    natural(stem)
    parse_name(stem)


def test_a_counter_is_the_last_number() -> None:
    assert parse_name("DSC_0011") == parse_name("dsc_0011")
    assert (parse_name("DSC_0011").number, parse_name("IMG_1234-edit").number) == (11, 1234)
    assert parse_name("20260506_120001").number is not None
    assert parse_name("PXL_20260506120001").number is None


def test_what_follows_the_roll_over_comes_last() -> None:
    assert in_order(["DSC00001", "DSC09999", "DSC00002", "DSC09998"]) == [
        "DSC09998",
        "DSC09999",
        "DSC00001",
        "DSC00002",
    ]
    assert in_order(["IMG_10000", "IMG_9999"]) == ["IMG_9999", "IMG_10000"]
    assert in_order(["x2", "x10", "x1"]) == ["x1", "x2", "x10"]


@pytest.mark.parametrize(
    ("numbers", "rolls"),
    [([9999, 1], True), ([9998, 2, 3], True), ([1, 2, 9000], False), ([9999, 9998], False), ([], False)],
)
def test_roll_over(numbers: list[int], rolls: bool) -> None:
    assert rolled_over(numbers) is rolls


def test_a_full_card_is_no_roll_over() -> None:
    assert not rolled_over(list(range(1, 10000)))


def test_steps() -> None:
    assert steps(["a1", "a2", "a4", "b5", "c", "a9999"]) == [1, 2, None, None, None]
    assert steps(["DSC09999", "DSC00001", "DSC00003"]) == [1, 2]


def header(start: float | None, time: float, resolution: float = 0.01, offset: float | None = None) -> Header:
    return Header(Path("x.jpg"), start=start, time=time, resolution=resolution, offset=offset)


def test_a_pause_is_from_the_end_to_the_start() -> None:
    assert pauses([header(0, 30), header(30.5, 1), header(33, 0.01)]) == pytest.approx([0.5, 1.5])
    assert pauses([header(0, 1), header(None, 1), header(9, 1)]) == [None, None]


def test_a_clock_that_would_overlap_exposures_states_their_ends() -> None:
    """2 s, 8 s, 30 s one after another, stamped when they ended."""
    assert pauses([header(2, 2), header(10.5, 8), header(41, 30)]) == pytest.approx([0.5, 0.5])


def test_offsets_count_only_where_all_frames_have_one() -> None:
    assert pauses([header(7200, 1, offset=7200.0), header(3602, 1, offset=3600.0)]) == pytest.approx([1.0])
    assert pauses([header(7200, 1, offset=7200.0), header(7202, 1)]) == pytest.approx([1.0])


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    for name in ("b10.jpg", "b2.JPG", "a.txt", "._b2.JPG", "x.ARW", "sub/c.tif", ".hidden/d.jpg", "sub.jpg/e.heic"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    shown = [str(path.relative_to(tmp_path)) for path in find_pictures(tmp_path)]
    assert shown == ["b2.JPG", "b10.jpg", "x.ARW", "sub/c.tif", "sub.jpg/e.heic"]
    assert [path.name for path in find_pictures(tmp_path, recursive=False)] == ["b2.JPG", "b10.jpg", "x.ARW"]


def test_folders_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path, said in ((tmp_path / "gone", "does not exist"), (tmp_path / "file", "is not a folder")):
        with pytest.raises(InputError, match=said):
            find_pictures(path)
