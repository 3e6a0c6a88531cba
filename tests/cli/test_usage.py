"""Command lines that cannot be parsed, and what is suggested instead."""

import doctest

import pytest

from smarthdr_cli.cli import usage
from smarthdr_cli.cli.usage import next_step

from .conftest import Refused, Run

pytestmark = pytest.mark.unit


def test_the_examples() -> None:
    assert doctest.testmod(usage).failed == 0


@pytest.mark.parametrize(
    ("words", "step"),
    [
        (("", "frobnicate"), "smarthdr --help lists the commands"),
        (("", "--frobnicate"), "smarthdr --help lists the commands"),
        (("", "a b.jpg", "c.jpg", "-o", "o.exr"), "to fuse pictures: smarthdr fuse 'a b.jpg' c.jpg -o o.exr"),
        (("", *(f"{n}.jpg" for n in range(9))), "to fuse pictures: smarthdr fuse 0.jpg 1.jpg 2.jpg ... -o out.exr"),
        (("fuse", "a.jpg", "b.jpg"), "name the output, for example: -o out.exr"),
        (("fuse", "a.jpg", "b.jpg", "-o", "o.exr", "--deghost", "x"), "smarthdr fuse --help explains its options"),
        (("fuse", "a.jpg", "-o", "o.exr", "--ev", "1", "-1"),
         "separate the values by commas, without spaces: --ev=1,-1"),
        (("info", "--exposure-times", "1/9", "-2"),
         "separate the values by commas, without spaces: --exposure-times=1/9,-2"),
        (("batch", "shoot", "-o", "m", "--uncertainty", "u.png"),
         "--uncertainty takes no file name in a batch: each set gets its own, beside its result"),
        (("batch", "a", "b"), "smarthdr batch --help explains its options"),
    ],
)  # fmt: skip
def test_the_next_step(words: tuple[str, ...], step: str) -> None:
    assert next_step(*words) == step


def test_an_error_of_parsing_is_one_line(refused: Refused) -> None:
    line = refused(2, "fuse", "a.jpg", "-o", "o.exr", "--deghost", "maybe")
    assert line.startswith("smarthdr: invalid value for '--deghost': 'maybe' is not one of ")


def test_a_group_of_commands_without_one_still_shows_its_help(smarthdr: Run) -> None:
    assert "Usage" in smarthdr("models").stderr + smarthdr("models").stdout
