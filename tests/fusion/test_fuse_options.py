"""The texts that options take, and the words that they allow."""

from dataclasses import replace

import pytest

from smarthdr_cli.burst.scan import MAX_PIXELS
from smarthdr_cli.colorspace import OUTPUT_SPACES
from smarthdr_cli.errors import UsageError
from smarthdr_cli.fusion.fuse_options import (
    FuseOptions,
    check_options,
    parse_evs,
    parse_memory,
    parse_pixels,
    parse_reference,
    parse_times,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "size"),
    [("800M", 800 * 2**20), ("3G", 3 * 2**30), ("2.5GiB", 2.5 * 2**30), ("3gb", 3 * 2**30), ("4096", 4096),
     (" 1T ", 2**40), ("5K", 5120)],
)  # fmt: skip
def test_memory(text: str, size: float) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "G", "three", "3X", "-3G", "0", "inf", "nan", "3 GG"])
def test_memory_that_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--max-memory"):
        parse_memory(text)


def test_reference() -> None:
    assert parse_reference("auto") == "auto"
    assert parse_reference("12") == 12
    for text in ("0", "-1", "1.5", "", "²", "one"):
        with pytest.raises(UsageError, match="--reference"):
            parse_reference(text)


def test_exposures() -> None:
    assert parse_evs("-2,0,+2.5") == (-2.0, 0.0, 2.5)
    assert parse_times("1/100,0.25s") == (0.01, 0.25)


def test_the_limit_of_pixels_in_the_help_is_the_real_one() -> None:
    assert parse_pixels("250M") == MAX_PIXELS


def test_the_words_of_colorspace_are_the_output_spaces() -> None:
    for name in OUTPUT_SPACES:
        check_options(FuseOptions(colorspace=name))  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["align", "deghost", "exposure_check", "gains", "colorspace", "anchor", "precision"])
def test_unknown_words_are_refused(option: str) -> None:
    check_options(FuseOptions())
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} maybe: use "):
        check_options(replace(FuseOptions(), **{option: "maybe"}))
