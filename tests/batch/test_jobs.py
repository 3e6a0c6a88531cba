"""The names and paths of sets: from templates, inside the output folder, and no two the same."""

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from smarthdr_cli.batch.batch_options import OutputFiles
from smarthdr_cli.batch.jobs import (
    FIELDS,
    Job,
    absolute,
    check_distinct,
    check_name,
    check_template,
    fill_template,
    make_jobs,
)
from smarthdr_cli.errors import UsageError
from smarthdr_cli.grouping.group import BracketSet
from smarthdr_cli.grouping.header import Header, read_header

pytestmark = pytest.mark.unit

EXR = OutputFiles()


def bracket(*names, folder="/shoot", **more):
    frames = tuple(Path(folder) / f"{name}.jpg" for name in names)
    return BracketSet(names[0], frames, 1.0, ("because",), more.get("ambiguous", False))


def header(path, **more):
    return Header(Path(path), make="Maker", model="X", timestamp=1778069228.0, **more)


def test_sub_folders_of_the_shoot_are_kept(tmp_path):
    sets = [bracket("a1", "a3"), bracket("a1", "a3", folder="/shoot/day 2/cam")]
    jobs = make_jobs(sets, tmp_path, "{first}-{last}", EXR, {}, Path("/shoot"))
    assert [job.name for job in jobs] == ["a1-a3", "day 2/cam/a1-a3"]
    assert jobs[1].result == tmp_path / "day 2/cam/a1-a3.exr"


def test_without_a_shoot_sub_folders_start_at_the_common_folder(tmp_path):
    sets = [bracket("a1", folder="/x/one"), bracket("a1", folder="/x/two/deep")]
    assert [j.name for j in make_jobs(sets, tmp_path, "{stem}", EXR, {})] == ["one/a1", "two/deep/a1"]


@pytest.mark.parametrize(
    ("moment", "date"),
    [("9999:12:31 23:59:59", "undated"), ("9998:12:31 12:00:00", "9998-12-31"), ("1900:01:02 03:04:05", "1900-01-02")],
)
def test_dates_outside_the_calendar_are_undated(tmp_path, moment, date):
    """The last second of year 9999 with a fraction that rounds it up has no date."""
    exif = Image.Exif()
    details = exif.get_ifd(0x8769)
    details[0x9003], details[0x9291] = moment, "99999999"
    frame = tmp_path / "a.jpg"
    Image.new("RGB", (32, 32)).save(frame, exif=exif)
    found = BracketSet("a", (frame,), 1.0, (), False)
    (job,) = make_jobs([found], tmp_path / "out", "{date}-{n}", EXR, {frame: read_header(frame)})
    assert job.name == f"{date}-0001"


def test_fields_of_a_template(tmp_path):
    sets = [bracket("a1", "a2", "a3"), bracket("b1", "b2", "b3")]
    headers = {sets[0].frames[0]: header("/shoot/a1.jpg")}
    jobs = make_jobs(sets, tmp_path, "{date}/{camera}_{n}_{first}_{last}_{stem}", EXR, headers, Path("/shoot"))
    assert jobs[0].name == "2026-05-06/X_0001_a1_a3_a1"
    assert jobs[1].name == "undated/unknown_0002_b1_b3_b1"
    assert (jobs[0].camera, jobs[0].curve) == ("Maker X", "Maker X jpeg")
    numbered = make_jobs(sets, tmp_path, "{n:06}", EXR, {}, Path("/shoot"))
    assert [job.name for job in numbered] == ["000001", "000002"]


def test_two_sets_with_one_name_are_refused(tmp_path):
    sets = [bracket("a1", "a3"), bracket("a1", "a3", folder="/elsewhere")]
    with pytest.raises(UsageError, match="--name"):
        make_jobs(sets, tmp_path, "{date}/{first}", EXR, {}, Path("/shoot"))


def test_a_name_equal_to_the_map_of_another_set_is_refused(tmp_path):
    files = OutputFiles(preview_format="png", uncertainty=True)
    sets = [bracket("a"), bracket("a-uncertainty")]
    with pytest.raises(UsageError, match="sets a and a-uncertainty"):
        make_jobs(sets, tmp_path, "{first}", files, {}, Path("/shoot"))


def test_a_preview_over_a_frame_is_refused(tmp_path):
    with pytest.raises(UsageError, match="also an input"):
        make_jobs([bracket("a", "b")], Path("/shoot"), "{first}", OutputFiles(preview=True), {})


def test_a_link_out_of_the_output_folder_is_refused(tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "sub").symlink_to(elsewhere)
    with pytest.raises(UsageError, match="outside"):
        make_jobs([bracket("a", folder="/shoot/sub")], out, "{first}", EXR, {}, Path("/shoot"))


def test_job_without_exif():
    job = Job("a", (Path("a.jpg"),), {"result": Path("a.exr")})
    assert job.result == Path("a.exr")
    assert job.curve == ""


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
def test_valid_templates(template, name):
    check_template(template)
    assert fill_template(template, VALUES) == name


@pytest.mark.parametrize(
    "template",
    [
        "", "plain", "{date}", "{camera}-{date}", "{frist}", "{first.__class__}", "{first[0]}", "{0}", "{}", "{first",
        "first}", "{first!r}", "{first:>900000000}", "{n:999999999}", "{n:1000}", "{n:x}",
    ],
)  # fmt: skip
def test_invalid_templates(template):
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
def test_templates_that_leave_the_folder(template):
    check_template(template)
    with pytest.raises(UsageError, match="safe"):
        fill_template(template, VALUES)


@given(st.dictionaries(st.sampled_from([f for f in FIELDS if f != "n"]), st.text(max_size=80)), st.integers(0, 10**6))
def test_any_value_is_one_part_of_a_path_or_refused(values, number):
    every = dict.fromkeys(FIELDS, "x") | values | {"n": number}
    for field in FIELDS:
        try:
            name = fill_template("{" + field + "}", every)
        except UsageError:
            continue
        assert "/" not in name
        assert name not in ("", ".", "..")
        assert (Path("/out") / name).resolve().parent == Path("/out")
        assert not set(name) & set(string.whitespace) - {" "}


def test_braces_in_values_are_not_fields():
    assert fill_template("{first}", VALUES | {"first": "{camera}"}) == "{camera}"


def test_two_outputs_at_one_path_are_refused():
    with pytest.raises(UsageError, match=r"sets a and b .*--name"):
        check_distinct([("a", Path("/o/x.exr")), ("b", Path("/o/x.exr"))], [])
    with pytest.raises(UsageError, match="two outputs of the set a"):
        check_distinct([("a", Path("/o/x.exr")), ("a", Path("/o/x.exr"))], [])


def test_names_differing_in_case_or_unicode_form_only_are_refused():
    for other in ("/o/X.EXR", "/o/e\u0301.exr"):
        mine = "/o/x.exr" if "X" in other else "/o/\u00e9.exr"
        with pytest.raises(UsageError):
            check_distinct([("a", Path(mine)), ("b", Path(other))], [])


def test_an_output_at_the_path_of_an_input_is_refused():
    with pytest.raises(UsageError, match="also an input"):
        check_distinct([("a", Path("/s/x.tif"))], [Path("/s/x.tif")])
    check_distinct([("a", Path("/s/x.exr")), ("b", Path("/s/y.exr"))], [Path("/s/x.tif")])


def test_absolute_removes_dots_and_follows_no_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert absolute(tmp_path / "link" / "." / "a" / ".." / "b") == tmp_path / "link" / "b"
