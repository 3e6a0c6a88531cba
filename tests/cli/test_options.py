"""Values that the command line takes as text."""

import pytest

from smarthdr_cli.cli.options import parse_memory, parse_reference, parse_size
from smarthdr_cli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [(None, None), ("800M", 800 * 2**20), ("3G", 3 * 2**30), ("2.5GiB", 2.5 * 2**30), ("3gb", 3 * 2**30),
     ("4096", 4096), (" 1T ", 2**40), ("5K", 5120)],
)  # fmt: skip
def test_memory(text: str | None, size: float | None) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "G", "three", "3X", "-3G", "0", "inf", "nan", "3 GG"])
def test_memory_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="--max-memory"):
        parse_memory(text)


def test_reference() -> None:
    assert parse_reference("auto") == "auto"
    assert parse_reference("12") == 12
    for text in ("0", "-1", "1.5", "", "²", "one"):
        with pytest.raises(UsageError, match="--reference"):
            parse_reference(text)


def test_size() -> None:
    assert parse_size("640x480") == (480, 640)
    assert parse_size("64X64") == (64, 64)
    for text in ("640", "640x", "x480", "63x64", "640x480x3", "²x64", "-64x64"):
        with pytest.raises(UsageError, match="--size"):
            parse_size(text)
