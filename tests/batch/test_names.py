"""Templates, unsafe names, and names that would meet."""

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.batch.names import FIELDS, absolute, check_distinct, check_name, check_template, fill
from smarthdr_cli.errors import UsageError

VALUES = {"first": "IMG_1", "last": "IMG_3", "stem": "IMG_1", "date": "2026-05-06", "n": 7, "camera": "X/T 4"}


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{first}-{last}", "IMG_1-IMG_3"),
        ("{date}/{n:04}_{stem}", "2026-05-06/0007_IMG_1"),
        ("{camera}-{n:03d}", "X_T 4-007"),
        ("a{{b}}{n}", "a{b}7"),
        ("{stem}.merged", "IMG_1.merged"),
    ],
)
def test_templates(template, name):
    check_template(template)
    assert fill(template, VALUES) == name


@pytest.mark.parametrize(
    "template",
    [
        "", "plain", "{date}", "{camera}-{date}", "{frist}", "{first.__class__}", "{first[0]}", "{0}", "{}", "{first",
        "first}", "{first!r}", "{first:>900000000}", "{n:999999999}", "{n:1000}", "{n:x}",
    ],
)  # fmt: skip
def test_templates_that_name_nothing_or_too_much(template):
    with pytest.raises(UsageError, match="--name"):
        check_template(template)


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../a", "a/../../b", "a//b", "a/", ".", "..", "a/./b", "a\\..\\b", "a\nb", "a\x00b", " a", "a ",
     "x" * 256, "é" * 200],
)  # fmt: skip
def test_unsafe_names(name):
    with pytest.raises(UsageError):
        check_name(name)


@pytest.mark.parametrize("template", ["../{n}", "/{n}", "a/../../{n}", "{n}/", "~/../{n}"])
def test_a_template_cannot_leave_the_folder(template):
    check_template(template)
    with pytest.raises(UsageError, match="safe"):
        fill(template, VALUES)


@given(st.dictionaries(st.sampled_from([f for f in FIELDS if f != "n"]), st.text(max_size=80)), st.integers(0, 10**6))
def test_no_value_leaves_the_folder(values, number):
    """Whatever a camera or a file name says, the result is one part of a path, or refused."""
    every = dict.fromkeys(FIELDS, "x") | values | {"n": number}
    for field in FIELDS:
        try:
            name = fill("{" + field + "}", every)
        except UsageError:
            continue
        assert "/" not in name
        assert name not in ("", ".", "..")
        assert (Path("/out") / name).resolve().parent == Path("/out")
        assert not set(name) & set(string.whitespace) - {" "}


def test_values_with_braces_stay_values():
    assert fill("{first}", VALUES | {"first": "{camera}"}) == "{camera}"


def test_two_sets_of_one_name_are_refused():
    with pytest.raises(UsageError, match=r"sets a and b .*--name"):
        check_distinct([("a", Path("/o/x.exr")), ("b", Path("/o/x.exr"))], [])
    with pytest.raises(UsageError, match="two outputs of the set a"):
        check_distinct([("a", Path("/o/x.exr")), ("a", Path("/o/x.exr"))], [])


def test_names_that_are_one_file_elsewhere_are_refused():
    for other in ("/o/X.EXR", "/o/e\u0301.exr"):
        mine = "/o/x.exr" if "X" in other else "/o/\u00e9.exr"
        with pytest.raises(UsageError):
            check_distinct([("a", Path(mine)), ("b", Path(other))], [])


def test_an_output_that_is_an_input_is_refused():
    with pytest.raises(UsageError, match="also an input"):
        check_distinct([("a", Path("/s/x.tif"))], [Path("/s/x.tif")])
    check_distinct([("a", Path("/s/x.exr")), ("b", Path("/s/y.exr"))], [Path("/s/x.tif")])


def test_absolute_takes_dots_away_and_follows_no_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert absolute(tmp_path / "link" / "." / "a" / ".." / "b") == tmp_path / "link" / "b"
