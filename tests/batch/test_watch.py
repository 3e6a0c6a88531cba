"""Watching a folder: brackets are fused once they are complete, each once, and Ctrl-C ends it."""

from fractions import Fraction

import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from smarthdr_cli.batch.batch_options import BatchOptions, EngineOptions, OutputFiles, Shard, WatchOptions
from smarthdr_cli.batch.results import read_results
from smarthdr_cli.batch.run import Callbacks
from smarthdr_cli.batch.settings import Settings
from smarthdr_cli.batch.watch import check_watch_options, watch_shoot
from smarthdr_cli.errors import InputError, UsageError
from smarthdr_cli.fusion.fuse_options import FuseOptions
from tests.support.shoots import TIMES, write_bracket

STATIC = FuseOptions(deghost="off", align="none", response="srgb", device="cpu")


class Watch:
    """A folder, and what happens in it second by second; after the last second comes Ctrl-C."""

    def __init__(self, folder):
        self.shoot, self.out = folder / "tethered", folder / "out"
        self.shoot.mkdir()
        self.records, self.notes, self.done_at, self.second = [], [], {}, 0

    def on_record(self, record):
        self.records.append(record)
        self.done_at[record["name"]] = self.second

    def __call__(self, events=None, *, seconds=30, settle=3.0, files=None, **options):
        """Watch for ``seconds``; ``events``: second to what happens then. Returns the tally's counts."""

        def sleep(_seconds):
            self.second += 1
            if self.second in (events or {}):
                events[self.second]()
            if self.second >= seconds:
                raise KeyboardInterrupt

        self.second = 0
        settings = Settings(STATIC, files or OutputFiles())
        callbacks = Callbacks(self.on_record, self.notes.append)
        options = BatchOptions(**options)
        return watch_shoot(self.shoot, self.out, settings, options, callbacks, settle=settle, sleep=sleep).counts

    def results(self):
        return sorted(path.stem for path in self.out.glob("*.exr"))


def write_bracket_with_biases(folder):
    """A bracket whose EXIF states the bias of each frame, as cameras do in automatic bracketing."""
    paths = write_bracket(folder, 0)
    for path, bias in zip(paths, (-2, 0, 2), strict=True):
        with Image.open(path) as image:
            exif = image.getexif()
            exif.get_ifd(0x8769)[0x9204] = IFDRational(bias, 1)
            image.save(path, exif=exif, quality=95)
    return paths


@pytest.fixture
def watch(tmp_path):
    return Watch(tmp_path)


def test_brackets_are_fused_as_they_arrive_each_once(watch):
    write_bracket(watch.shoot, 0)
    events = {10: lambda: write_bracket(watch.shoot, 1), 20: lambda: write_bracket(watch.shoot, 2)}
    assert watch(events) == {"ok": 3}
    assert watch.done_at == {"IMG_0001-IMG_0003": 3, "IMG_0004-IMG_0006": 13, "IMG_0007-IMG_0009": 23}
    assert len(watch.records) == 3
    assert [record["name"] for record in read_results(watch.out / "results.jsonl")] == list(watch.done_at)


def test_a_bracket_waits_for_its_last_frame(watch):
    """The frames of a slow transfer come two seconds apart: the folder is never quiet for three."""
    paths = write_bracket(watch.shoot, 0)
    contents = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    events = {2 * k + 1: lambda k=k: paths[k].write_bytes(contents[k]) for k in range(3)}
    assert watch(events) == {"ok": 1}
    assert watch.done_at == {"IMG_0001-IMG_0003": 8}


def test_a_file_that_still_grows_is_not_read(watch):
    *_, last = write_bracket(watch.shoot, 0)
    whole = last.read_bytes()
    last.write_bytes(whole[:500])
    events = {k: lambda k=k: last.write_bytes(whole[: 500 + 100 * k]) for k in (2, 4)} | {
        6: lambda: last.write_bytes(whole)
    }
    assert watch(events) == {"ok": 1}
    assert watch.done_at == {"IMG_0001-IMG_0003": 9}


def test_a_set_that_lacks_a_frame_waits_for_it(watch):
    middle = write_bracket_with_biases(watch.shoot)[1]
    content = middle.read_bytes()
    middle.unlink()
    assert watch({10: lambda: middle.write_bytes(content)}) == {"ok": 1}
    assert watch.done_at == {"IMG_0001-IMG_0003": 13}


def test_what_was_left_alone_is_named_at_the_end(watch):
    write_bracket_with_biases(watch.shoot)[1].unlink()
    assert watch(seconds=10) == {}
    (note,) = watch.notes
    assert note.startswith("IMG_0001: not fused, ")
    assert "the frame between them, of bias 0, is missing" in note
    assert watch(seconds=10, ambiguous="merge") == {"ok": 1}


def test_a_bracket_that_grows_after_it_was_fused_is_fused_again_and_said(watch):
    times = (*TIMES, Fraction(1, 6), Fraction(2, 3))
    paths = write_bracket(watch.shoot, 0, times=times)
    late = {path: path.read_bytes() for path in paths[3:]}
    for path in late:
        path.unlink()
    events = {15: lambda: [path.write_bytes(data) for path, data in late.items()]}
    assert watch(events) == {"ok": 2}
    assert watch.results() == ["IMG_0001-IMG_0003", "IMG_0001-IMG_0005"]
    assert any("fused again as 5 frames" in note for note in watch.notes)


def test_a_failure_stops_nothing_and_is_not_repeated(watch):
    broken = write_bracket(watch.shoot, 0)[1]
    broken.write_bytes(broken.read_bytes()[:-300])
    events = {10: lambda: write_bracket(watch.shoot, 1)}
    assert watch(events) == {"failed": 1, "ok": 1}
    assert watch(seconds=8, fail_fast=True) == {"failed": 1}  # a later watch tries it once more


def test_results_in_the_watched_folder_are_no_frames(watch):
    watch.out = watch.shoot / "merged"
    write_bracket(watch.shoot, 0)
    assert watch(files=OutputFiles(preview=True, report=True)) == {"ok": 1}
    assert (watch.out / "index.html").is_file()


def test_an_empty_folder_waits_and_a_missing_one_is_an_error(watch):
    assert watch(seconds=8) == {}
    assert not watch.out.exists()
    watch.shoot.rmdir()
    with pytest.raises(InputError, match="does not exist"):
        watch()


def test_ctrl_c_during_a_fusion_leaves_whole_sets(watch):
    write_bracket(watch.shoot, 0)
    write_bracket(watch.shoot, 1)

    def interrupt(_record):
        raise KeyboardInterrupt

    watch.on_record = interrupt
    with pytest.raises(KeyboardInterrupt):
        watch()
    assert "IMG_0001-IMG_0003" in watch.results()
    assert not [path for path in watch.out.iterdir() if path.name.startswith(".")]
    assert (watch.out / "results.jsonl").is_file()


@pytest.mark.parametrize(
    ("options", "engine", "words"),
    [
        (BatchOptions(common_exposure=True), EngineOptions(), "--common-exposure needs all brackets"),
        (BatchOptions(common_ev=-3.0), EngineOptions(), "--common-exposure needs all brackets"),
        (BatchOptions(retry_failed=True), EngineOptions(), "--retry-failed needs"),
        (BatchOptions(shard=Shard(1, 2)), EngineOptions(), "--shard needs"),
        (BatchOptions(name="{n:04}"), EngineOptions(), "{n} in --name needs"),
        (BatchOptions(), EngineOptions("ray"), "--engine ray needs"),
        (BatchOptions(), EngineOptions(workers=2), "leave out --workers"),
    ],
)
def test_options_that_need_the_whole_shoot(options, engine, words):
    check_watch_options(WatchOptions(), options, engine)
    with pytest.raises(UsageError, match=words):
        check_watch_options(WatchOptions(watch=True), options, engine)


def test_settle_belongs_to_watch():
    check_watch_options(WatchOptions(watch=True, settle=2.0), BatchOptions(), EngineOptions())
    with pytest.raises(UsageError, match="--settle belongs to --watch"):
        check_watch_options(WatchOptions(settle=2.0), BatchOptions(), EngineOptions())
