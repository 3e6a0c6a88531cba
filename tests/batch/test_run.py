"""Whole runs in this process: what is written, recorded, skipped, refused, and how one failure stays one."""

import json
from dataclasses import replace
from pathlib import Path

import batch_shoots as made
import numpy as np
import OpenEXR
import pytest
import tifffile
from PIL import Image

from smarthdr_cli.batch.run import Batch, Told, run_batch
from smarthdr_cli.batch.settings import Settings, Writing
from smarthdr_cli.batch.shard import Shard
from smarthdr_cli.errors import InputError, ModelError, OutputError, UsageError
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.grouping.group import BracketSet

PHYSICS = FuseOptions(deghost="off", align="none", response="srgb", device="cpu")


class Run:
    """A shoot of three brackets and the runs over it."""

    def __init__(self, folder, count=3):
        self.shoot, self.out = folder / "shoot", folder / "out"
        self.files = made.write_shoot(self.shoot, count)
        self.records, self.notes = [], []
        self.options = Batch(Settings(PHYSICS, Writing(preview="jpg", uncertainty="png")), self.out)

    def sets(self):
        return [BracketSet(f[0].stem, tuple(f), 1.0, ("made so",), False) for f in self.files]

    def __call__(self, *, sets=None, fuse=None, writing=None, **options):
        settings = self.options.settings
        settings = replace(settings, fuse=fuse or settings.fuse, writing=writing or settings.writing)
        self.records, self.notes = [], []
        told = Told(self.records.append, self.notes.append)
        batch = replace(self.options, settings=settings, **options)
        self.tally = run_batch(self.sets() if sets is None else sets, batch, told, self.shoot)
        return self.statuses()

    def statuses(self):
        return [record["status"] for record in sorted(self.records, key=lambda r: r["name"])]

    def lines(self, name="results.jsonl"):
        return [json.loads(line) for line in (self.out / name).read_text().splitlines()]

    def names(self):
        return sorted(p.relative_to(self.out).as_posix() for p in self.out.rglob("*") if p.is_file())


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def exr(path):
    with OpenEXR.File(str(path)) as file:
        return np.asarray(file.channels()["RGB"].pixels, np.float32)


def test_a_run_writes_what_it_says(run):
    assert run() == ["ok"] * 3
    base = "IMG_0001-IMG_0003"
    assert [n for n in run.names() if n.startswith(base)] == [f"{base}-uncertainty.png", f"{base}.exr", f"{base}.jpg"]
    assert len(run.names()) == 10
    assert run.lines() == sorted(run.records, key=lambda r: r["name"])
    record = run.records[0]
    truth = made.scene(0)
    seen = (truth < 3) & (truth > 0.02)
    assert np.median(exr(run.out / f"{base}.exr")[seen] / truth[seen]) == pytest.approx(1, abs=0.01)
    with Image.open(run.out / f"{base}.jpg") as picture:
        assert picture.size == made.SIZE
    assert [Path(o["path"]).stat().st_size for o in record["outputs"]] == [o["bytes"] for o in record["outputs"]]
    assert [e["ev"] for e in record["inputs"]] == [-2.0, 0.0, 2.0]
    assert all(len(e["sha256"]) == 64 for e in record["inputs"])
    assert {"read", "align", "response", "merge", "convert", "write"} <= set(record["seconds"])
    assert record["peak_memory"] > 50e6
    assert 0 < record["uncertainty"]["mean"] <= record["uncertainty"]["p99"] <= 1
    assert record["changed_share"] is None  # there is no network
    assert record["reasons"] == ["made so"]
    assert run.tally.counts == {"ok": 3}


def test_with_the_network_the_changed_share_is_told_and_it_is_built_once(run, monkeypatch):
    from smarthdr_cli.fusion import fuser

    built = []
    real = fuser.load_network
    monkeypatch.setattr(fuser, "load_network", lambda *a: built.append(a) or real(*a))
    assert run(fuse=FuseOptions(device="cpu", precision="fp32")) == ["ok"] * 3
    assert len(built) == 1
    assert all(0 <= record["changed_share"] <= 1 for record in run.records)
    assert run.records[0]["model"]["sha256"] == run.records[0]["settings"]["model"]


def test_one_bad_file_fails_its_set_alone(run):
    run.files[1][1].write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    run.files[2][0].unlink()
    assert run() == ["ok", "failed", "failed"]
    first, second = (next(r for r in run.records if r["name"].startswith(f"IMG_000{n}")) for n in (4, 7))
    assert first["error"]["code"] == 3
    assert first["error"]["type"] == "InputError"
    assert "IMG_0005.jpg" in first["error"]["message"]
    assert second["error"]["message"] == "IMG_0007.jpg does not exist"
    assert len(run.names()) == 4
    assert run.tally.counts == {"ok": 1, "failed": 2}


def test_a_crash_of_ours_fails_its_set_alone(run, monkeypatch):
    from smarthdr_cli import aligned_burst

    real = aligned_burst.align_burst

    def broken(burst, *arguments, **options):
        if burst.frames[0].path.name == "IMG_0004.jpg":
            raise ZeroDivisionError("a fault\nof ours")
        if burst.frames[0].path.name == "IMG_0007.jpg":
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return real(burst, *arguments, **options)

    monkeypatch.setattr(aligned_burst, "align_burst", broken)
    assert run() == ["ok", "failed", "failed"]
    errors = {r["name"][:8]: r["error"] for r in run.records}
    assert errors["IMG_0004"] == {
        "code": 1, "type": "ZeroDivisionError", "message": "crashed (ZeroDivisionError: a fault of ours)"
    }  # fmt: skip
    assert errors["IMG_0007"]["code"] == 6


def test_fail_fast(run):
    run.files[0][0].write_bytes(b"")
    run(fail_fast=True)
    assert run.tally.stopped
    assert run.tally.counts["failed"] == 1
    assert len(run.records) < 3


def test_retry_failed_does_those_alone(run):
    good = run.files[1][1].read_bytes()
    run.files[1][1].write_bytes(b"")
    run()
    before = {p: (run.out / p).stat().st_mtime_ns for p in run.names() if p.endswith(".exr")}
    run.files[1][1].write_bytes(good)
    assert run(retry_failed=True) == ["ok"]
    assert run.records[0]["name"] == "IMG_0004-IMG_0006"
    assert all((run.out / p).stat().st_mtime_ns == before[p] for p in before)
    assert run(retry_failed=True) == []
    assert [line["status"] for line in run.lines() if line["name"] == "IMG_0004-IMG_0006"] == ["failed", "ok"]


def test_what_is_there_is_refused_before_any_work(run, monkeypatch):
    run()
    before = run.lines()
    monkeypatch.setattr("smarthdr_cli.batch.session.load", None)  # nothing may be read
    with pytest.raises(OutputError, match=r"exists already, and 8 more .*--skip-existing"):
        run()
    assert run.lines() == before


def test_a_set_that_is_done_is_skipped_without_being_fused(run, monkeypatch):
    run()
    made_at = {p: (run.out / p).stat().st_mtime_ns for p in run.names()}
    monkeypatch.setattr("smarthdr_cli.batch.session.fuse_loaded", None)
    assert run(skip_existing=True) == ["skipped"] * 3
    assert {p: (run.out / p).stat().st_mtime_ns for p in run.names()} == made_at
    assert len(run.lines()) == 3  # no line is added for what is known


def test_the_results_themselves_say_what_they_are(run, monkeypatch):
    """Without results.jsonl the EXR and the TIFF speak for themselves."""
    run()
    (run.out / "results.jsonl").unlink()
    monkeypatch.setattr("smarthdr_cli.batch.session.fuse_loaded", None)
    assert run(skip_existing=True) == ["skipped"] * 3
    line = run.lines()[0]
    assert line["settings"]["model"] == "none"
    assert len(line["inputs"][0]["sha256"]) == 64
    assert run(skip_existing=True) == ["skipped"] * 3
    assert len(run.lines()) == 3


@pytest.mark.parametrize("form", ["exr", "hdr", "tif"])
def test_every_format_is_skipped_and_done_again_by_the_same_rules(run, form):
    writing = Writing(form, "tif" if form == "tif" else "jpg")
    assert run(writing=writing) == ["ok"] * 3
    assert run(writing=writing, skip_existing=True) == ["skipped"] * 3
    assert run(writing=writing, skip_existing=True, fuse=replace(PHYSICS, colorspace="acescg")) == ["failed"] * 3
    assert "colorspace default, now acescg" in run.records[0]["error"]["message"]
    assert run.records[0]["error"]["code"] == 5
    both = {"skip_existing": True, "overwrite": True}
    assert run(writing=writing, fuse=replace(PHYSICS, colorspace="acescg"), **both) == ["ok"] * 3
    assert run(writing=writing, fuse=replace(PHYSICS, colorspace="acescg"), **both) == ["skipped"] * 3
    if form == "tif":
        result, preview = (tifffile.imread(run.out / f"IMG_0001-IMG_0003{m}.tif") for m in ("", "-preview"))
        assert (result.dtype, preview.dtype) == (np.float32, np.uint16)


@pytest.mark.parametrize("form", ["exr", "hdr", "tif"])
def test_another_precision_is_another_picture(run, form):
    """The network's arithmetic is part of the settings, also where ``auto`` chose it."""
    network = FuseOptions(align="none", response="srgb", device="cpu", precision="fp32")
    first, writing = run.sets()[:1], Writing(form)
    assert run(sets=first, fuse=network, writing=writing) == ["ok"]
    assert run.records[0]["settings"]["precision"] == "fp32"
    assert run(sets=first, fuse=network, writing=writing, skip_existing=True) == ["skipped"]
    again = replace(network, precision="bf16")
    assert run(sets=first, fuse=again, writing=writing, skip_existing=True) == ["failed"]
    assert "precision fp32, now bf16" in run.records[0]["error"]["message"]


def test_results_from_before_the_precision_was_a_setting_are_skipped(run):
    """A line without it is taken at its word; a file that states it elsewhere is asked."""
    run(writing=Writing("hdr"))
    lines = run.lines()
    for line in lines:
        del line["settings"]["precision"]
    (run.out / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(writing=Writing("hdr"), skip_existing=True) == ["skipped"] * 3


def test_without_a_record_a_radiance_file_is_anybodys(run):
    run(writing=Writing("hdr"))
    (run.out / "results.jsonl").unlink()
    assert run(writing=Writing("hdr"), skip_existing=True) == ["failed"] * 3
    assert "nothing says what it was made from" in run.records[0]["error"]["message"]


def test_changed_inputs_are_seen(run):
    run()
    made.write_bracket(run.shoot, 1, light=made.scene(99))
    assert run(skip_existing=True) == ["skipped", "failed", "skipped"]
    error = next(r["error"] for r in run.records if r["status"] == "failed")
    assert "made from other inputs" in error["message"]
    assert run(skip_existing=True, overwrite=True) == ["skipped", "ok", "skipped"]
    assert run(skip_existing=True) == ["skipped"] * 3


@pytest.mark.parametrize("keep_results", [True, False])
@pytest.mark.parametrize("cut", [1, 1000, 20_000])
def test_a_result_cut_short_is_seen(run, keep_results, cut):
    run()
    path = run.out / "IMG_0004-IMG_0006.exr"
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    if not keep_results:
        (run.out / "results.jsonl").unlink()
    assert run(skip_existing=True) == ["skipped", "failed", "skipped"]
    assert path.read_bytes() == data[:-cut]  # somebody may have wanted it so
    assert run(skip_existing=True, overwrite=True) == ["skipped", "ok", "skipped"]
    assert len(path.read_bytes()) == pytest.approx(len(data), rel=0.01)


@pytest.mark.parametrize("keep_results", [True, False])
def test_a_preview_that_is_missing_or_damaged_is_made_again(run, keep_results):
    run()
    (run.out / "IMG_0001-IMG_0003.jpg").unlink()
    heat = run.out / "IMG_0004-IMG_0006-uncertainty.png"
    heat.write_bytes(heat.read_bytes()[:500])
    if not keep_results:
        (run.out / "results.jsonl").unlink()
    assert run(skip_existing=True) == ["ok", "ok", "skipped"]
    assert run(skip_existing=True) == ["skipped"] * 3


def test_a_preview_asked_for_later_is_made(run):
    run(writing=Writing())
    assert run(skip_existing=True) == ["ok"] * 3
    assert run(skip_existing=True, writing=Writing()) == ["skipped"] * 3


def test_somebody_elses_file_stays(run):
    run.out.mkdir()
    for name in ("IMG_0001-IMG_0003.exr", "IMG_0004-IMG_0006.jpg"):
        (run.out / name).write_bytes(b"precious")
    assert run(skip_existing=True) == ["failed", "failed", "ok"]
    assert all("nothing says" in r["error"]["message"] or "cannot be read" in r["error"]["message"]
               for r in run.records if r["status"] == "failed")  # fmt: skip
    assert (run.out / "IMG_0001-IMG_0003.exr").read_bytes() == b"precious"
    assert (run.out / "IMG_0004-IMG_0006.jpg").read_bytes() == b"precious"
    assert run(overwrite=True) == ["ok"] * 3


def test_ambiguous_sets_are_left_alone_unless_told(run):
    sets = run.sets()
    sets[1] = replace(sets[1], ambiguous=True, reasons=("it is a riddle",))
    assert run(sets=sets) == ["ok", "ambiguous", "ok"]
    assert next(r for r in run.records if r["status"] == "ambiguous")["reasons"] == ["it is a riddle"]
    assert run.tally.counts == {"ok": 2, "ambiguous": 1}
    assert run(sets=sets, skip_existing=True, ambiguous="merge") == ["skipped", "ok", "skipped"]


def test_shards_do_their_part_and_know_of_each_other(run):
    assert run(shard=Shard(1, 2)) == ["ok", "ok"]
    assert run(shard=Shard(2, 2)) == ["ok"]
    assert [len(run.lines(f"results-{n}-of-2.jsonl")) for n in (1, 2)] == [2, 1]
    assert run(skip_existing=True) == ["skipped"] * 3
    assert not (run.out / "results.jsonl").read_text()  # what the shards wrote is known


def test_nothing_to_do_and_nothing_that_works_is_said_first(run, tmp_path):
    with pytest.raises(InputError, match="no sets"):
        run(sets=[])
    with pytest.raises(UsageError, match="--name"):
        run(name="same")
    with pytest.raises(UsageError, match="safe name"):
        run(name="../{first}")
    with pytest.raises(UsageError, match="folder of their own"):
        run(out=run.shoot)
    with pytest.raises(ModelError):
        run(fuse=FuseOptions(weights="nowhere"))
    with pytest.raises(InputError, match=r"camera\.toml does not exist"):
        run(fuse=replace(PHYSICS, response=str(tmp_path / "camera.toml")))
    with pytest.raises(UsageError, match="unknown response 'sgrb'"):
        run(fuse=replace(PHYSICS, response="sgrb"))
    assert not run.out.exists()
    run.out.write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        run()


def test_a_full_disk_fails_the_set_and_leaves_nothing(run, monkeypatch):
    from smarthdr_cli.batch import worker

    real = worker.write_result

    def full(fused, path, **options):
        if "IMG_0004" in path.name:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return real(fused, path, **options)

    monkeypatch.setattr(worker, "write_result", full)
    assert run() == ["ok", "failed", "ok"]
    assert [n for n in run.names() if "IMG_0004" in n or "smarthdr" in n] == []


def test_what_a_killed_run_left_is_cleared_away(run):
    left = run.out / ".smarthdr-batch" / "0123456789abcdef"
    left.mkdir(parents=True)
    (left / "half.exr").write_bytes(b"half")
    run()
    assert sorted(p.name for p in run.out.iterdir() if p.name.startswith(".")) == []


def test_sub_folders_and_strange_names(run):
    odd = run.shoot / "-tag ü" / "a b"
    files = made.write_bracket(odd, 5)
    renamed = [f.rename(f.with_name(f"-{k} é%s{{x}}.jpg")) for k, f in enumerate(files)]
    run.files = [renamed]
    assert run() == ["ok"]
    assert "-tag ü/a b/-0 é%s{x}--2 é%s{x}.exr" in run.names()
    assert run(skip_existing=True) == ["skipped"]
