"""Sets into jobs: where each goes, and that none leaves the folder or meets another."""

from pathlib import Path

import pytest
from PIL import Image

from smarthdr_cli.batch.jobs import Job, make_jobs
from smarthdr_cli.batch.settings import Settings, Writing
from smarthdr_cli.errors import UsageError
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.grouping.group import BracketSet
from smarthdr_cli.grouping.header import Header, read_header

PLAIN = Settings(FuseOptions(), Writing())


def bracket(*names, folder="/shoot", **more):
    frames = tuple(Path(folder) / f"{name}.jpg" for name in names)
    return BracketSet(names[0], frames, 1.0, ("because",), more.get("ambiguous", False))


def header(path, **more):
    return Header(Path(path), make="Maker", model="X", timestamp=1778069228.0, **more)


def test_sub_folders_are_kept(tmp_path):
    sets = [bracket("a1", "a3"), bracket("a1", "a3", folder="/shoot/day 2/cam")]
    jobs = make_jobs(sets, tmp_path, "{first}-{last}", PLAIN, {}, Path("/shoot"))
    assert [job.name for job in jobs] == ["a1-a3", "day 2/cam/a1-a3"]
    assert jobs[1].result == tmp_path / "day 2/cam/a1-a3.exr"


def test_without_a_shoot_the_folder_they_share(tmp_path):
    sets = [bracket("a1", folder="/x/one"), bracket("a1", folder="/x/two/deep")]
    assert [j.name for j in make_jobs(sets, tmp_path, "{stem}", PLAIN, {})] == ["one/a1", "two/deep/a1"]


@pytest.mark.parametrize(
    ("moment", "date"),
    [("9999:12:31 23:59:59", "undated"), ("9998:12:31 12:00:00", "9998-12-31"), ("1900:01:02 03:04:05", "1900-01-02")],
)
def test_a_date_beyond_reason_ends_nothing(tmp_path, moment, date):
    """The last second of all, and a fraction that rounds it up."""
    exif = Image.Exif()
    details = exif.get_ifd(0x8769)
    details[0x9003], details[0x9291] = moment, "99999999"
    frame = tmp_path / "a.jpg"
    Image.new("RGB", (32, 32)).save(frame, exif=exif)
    found = BracketSet("a", (frame,), 1.0, (), False)
    (job,) = make_jobs([found], tmp_path / "out", "{date}-{n}", PLAIN, {frame: read_header(frame)})
    assert job.name == f"{date}-0001"


def test_what_a_template_is_filled_with(tmp_path):
    sets = [bracket("a1", "a2", "a3"), bracket("b1", "b2", "b3")]
    headers = {sets[0].frames[0]: header("/shoot/a1.jpg")}
    jobs = make_jobs(sets, tmp_path, "{date}/{camera}_{n}_{first}_{last}_{stem}", PLAIN, headers, Path("/shoot"))
    assert jobs[0].name == "2026-05-06/X_0001_a1_a3_a1"
    assert jobs[1].name == "undated/unknown_0002_b1_b3_b1"
    assert (jobs[0].camera, jobs[0].curve) == ("Maker X", "Maker X jpeg")
    numbered = make_jobs(sets, tmp_path, "{n:06}", PLAIN, {}, Path("/shoot"))
    assert [job.name for job in numbered] == ["000001", "000002"]


def test_two_sets_of_one_name_are_refused(tmp_path):
    sets = [bracket("a1", "a3"), bracket("a1", "a3", folder="/elsewhere")]
    with pytest.raises(UsageError, match="--name"):
        make_jobs(sets, tmp_path, "{date}/{first}", PLAIN, {}, Path("/shoot"))


def test_a_set_named_as_anothers_map_is_refused(tmp_path):
    settings = Settings(FuseOptions(), Writing(preview="png", uncertainty="png"))
    sets = [bracket("a"), bracket("a-uncertainty")]
    with pytest.raises(UsageError, match="sets a and a-uncertainty"):
        make_jobs(sets, tmp_path, "{first}", settings, {}, Path("/shoot"))


def test_an_output_over_an_input_is_refused(tmp_path):
    with pytest.raises(UsageError, match="also an input"):
        make_jobs([bracket("a", "b")], Path("/shoot"), "{first}", Settings(FuseOptions(), Writing("exr", "jpg")), {})


def test_a_link_that_leads_out_is_refused(tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "sub").symlink_to(elsewhere)
    with pytest.raises(UsageError, match="outside"):
        make_jobs([bracket("a", folder="/shoot/sub")], out, "{first}", PLAIN, {}, Path("/shoot"))


def test_a_job_tells_what_it_is():
    job = Job("a", (Path("a.jpg"),), {"result": Path("a.exr")})
    assert job.result == Path("a.exr")
    assert job.curve == ""
