"""Time gaps between exposures, file counters with their roll-over, and natural order."""

from pathlib import Path

import pytest

from smarthdr_cli.grouping.header import Header
from smarthdr_cli.grouping.sequence import (
    counter_steps,
    natural_key,
    parse_file_name,
    rolls_over,
    sort_keys,
    time_gaps,
)

pytestmark = pytest.mark.unit


def header(timestamp: float | None, time: float, utc_offset: float | None = None) -> Header:
    return Header(Path("x.jpg"), timestamp=timestamp, time=time, clock_step=0.01, utc_offset=utc_offset)


def in_order(stems: list[str]) -> list[str]:
    return [stem for _, stem in sorted(zip(sort_keys(stems), stems, strict=True))]


def test_a_gap_is_from_the_end_of_an_exposure_to_the_start_of_the_next() -> None:
    assert time_gaps([header(0, 30), header(30.5, 1), header(33, 0.01)]) == pytest.approx([0.5, 1.5])
    assert time_gaps([header(0, 1), header(None, 1), header(9, 1)]) == [None, None]


def test_exposures_that_would_overlap_are_stamped_at_their_end() -> None:
    """30 s, then 2 s; the second is stamped 2.5 s after the first."""
    assert time_gaps([header(30, 30), header(32.5, 2)]) == pytest.approx([0.5])
    assert time_gaps([header(0, 2), header(2.5, 30)]) == pytest.approx([0.5])  # and here at their start


def test_gaps_that_grow_with_the_next_exposure_are_stamped_at_their_end() -> None:
    """2 s, 8 s and 30 s; nothing overlaps under either reading."""
    assert time_gaps([header(2, 2), header(10.5, 8), header(41, 30)]) == pytest.approx([0.5, 0.5])


def test_utc_offsets_count_only_where_every_frame_has_one() -> None:
    assert time_gaps([header(7200, 1, 7200.0), header(3602, 1, 3600.0)]) == pytest.approx([1.0])
    assert time_gaps([header(7200, 1, 7200.0), header(7202, 1)]) == pytest.approx([1.0])


def test_natural_order_ignores_case_and_counts_digits_by_value() -> None:
    assert sorted(["b10", "B2", "b1", "a", "b02x"], key=natural_key) == ["a", "b1", "B2", "b02x", "b10"]


@pytest.mark.parametrize("stem", ["²³", "x٣", "", "12345678901234567890", "١٢"])
def test_digits_of_other_scripts_are_no_numbers(stem: str) -> None:
    natural_key(stem)
    parse_file_name(stem)


def test_the_counter_is_the_last_number_of_at_most_six_digits() -> None:
    assert parse_file_name("DSC_0011") == parse_file_name("dsc_0011")
    assert (parse_file_name("DSC_0011").number, parse_file_name("IMG_1234-edit").number) == (11, 1234)
    assert parse_file_name("20260506_120001").number == 120001
    assert parse_file_name("PXL_20260506120001").number is None


def test_files_after_a_roll_over_follow_those_before_it() -> None:
    names = ["DSC00001", "DSC09999", "DSC00002", "DSC09998"]
    assert in_order(names) == ["DSC09998", "DSC09999", "DSC00001", "DSC00002"]
    assert in_order(["IMG_10000", "IMG_9999"]) == ["IMG_9999", "IMG_10000"]
    assert in_order(["x2", "x10", "x1"]) == ["x1", "x2", "x10"]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([9999, 1], True),
        ([9998, 2, 3], True),
        ([1, 2, 9000], False),
        ([9999, 9998], False),
        ([], False),
        (range(1, 10000), False),  # a full card
    ],
)
def test_roll_over(numbers: list[int], expected: bool) -> None:
    assert rolls_over(numbers) is expected


def test_counter_steps() -> None:
    assert counter_steps(["a1", "a2", "a4", "b5", "c", "a9999"]) == [1, 2, None, None, None]
    assert counter_steps(["DSC09999", "DSC00001", "DSC00003"]) == [1, 2]
