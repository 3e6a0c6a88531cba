"""Whole runs in this process: what is written, recorded, skipped and refused, and that one failure stays one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import OpenEXR
import pytest
import tifffile
from PIL import Image

from smarthdr_cli.batch.batch_options import BatchOptions, OutputFiles, Shard
from smarthdr_cli.batch.run import Callbacks, run_batch
from smarthdr_cli.batch.settings import Settings
from smarthdr_cli.errors import InputError, ModelError, OutputError, UsageError
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.grouping.group import BracketSet
from smarthdr_cli.output.write import ResultFormat
from tests.support.shoots import SIZE, scene, write_bracket, write_shoot

STATIC = FuseOptions(deghost="off", align="none", response="srgb", device="cpu")


class Run:
    """A shoot of three brackets, and runs over it in one output folder."""

    def __init__(self, folder, count=3):
        self.shoot, self.out = folder / "shoot", folder / "out"
        self.brackets = write_shoot(self.shoot, count)
        self.records, self.notes = [], []

    def sets(self):
        return [BracketSet(paths[0].stem, tuple(paths), 1.0, ("made so",), False) for paths in self.brackets]

    def __call__(self, *, sets=None, out=None, fuse=STATIC, files=None, **options):
        """The statuses of the sets in the order of their names."""
        self.records, self.notes = [], []
        settings = Settings(fuse, files or OutputFiles(preview=True, uncertainty=True))
        callbacks = Callbacks(self.records.append, self.notes.append)
        sets = self.sets() if sets is None else sets
        self.tally = run_batch(
            sets, out or self.out, settings, BatchOptions(**options), callbacks=callbacks, shoot=self.shoot
        )
        return [record["status"] for record in sorted(self.records, key=lambda r: r["name"])]

    def lines(self, name="results.jsonl"):
        return [json.loads(line) for line in (self.out / name).read_text().splitlines()]

    def names(self):
        return sorted(p.relative_to(self.out).as_posix() for p in self.out.rglob("*") if p.is_file())

    def failure(self):
        """The error of the first set that failed."""
        return next(record["error"] for record in self.records if record["status"] == "failed")


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def exr(path):
    with OpenEXR.File(str(path)) as file:
        return np.asarray(file.channels()["RGB"].pixels, np.float32)


def test_files_and_records_of_a_run(run):
    assert run() == ["ok"] * 3
    base = "IMG_0001-IMG_0003"
    assert [n for n in run.names() if n.startswith(base)] == [f"{base}-uncertainty.png", f"{base}.exr", f"{base}.jpg"]
    assert len(run.names()) == 10
    assert run.lines() == sorted(run.records, key=lambda r: r["name"])
    record = run.records[0]
    truth = scene(0)
    exposed = (truth < 3) & (truth > 0.02)
    assert np.median(exr(run.out / f"{base}.exr")[exposed] / truth[exposed]) == pytest.approx(1, abs=0.01)
    with Image.open(run.out / f"{base}.jpg") as image:
        assert image.size == SIZE
    assert [Path(o["path"]).stat().st_size for o in record["outputs"]] == [o["bytes"] for o in record["outputs"]]
    assert [e["ev"] for e in record["inputs"]] == [-2.0, 0.0, 2.0]
    assert all(len(e["sha256"]) == 64 for e in record["inputs"])
    assert {"read", "align", "response", "merge", "convert", "write"} <= set(record["seconds"])
    assert record["peak_memory"] > 50e6
    assert 0 < record["uncertainty"]["mean"] <= record["uncertainty"]["p99"] <= 1
    assert record["changed_share"] is None  # there is no network
    assert record["reasons"] == ["made so"]
    assert run.tally.counts == {"ok": 3}


def test_a_run_with_the_network(run):
    assert run(fuse=FuseOptions(device="cpu", precision="fp32")) == ["ok"] * 3
    assert all(0 <= record["changed_share"] <= 1 for record in run.records)
    assert run.records[0]["model"]["sha256"] == run.records[0]["settings"]["model"]


def test_one_bad_file_fails_its_set_alone(run):
    run.brackets[1][1].write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    run.brackets[2][0].unlink()
    assert run() == ["ok", "failed", "failed"]
    first, second = (next(r for r in run.records if r["name"].startswith(f"IMG_000{n}")) for n in (4, 7))
    assert first["error"]["code"] == 3
    assert first["error"]["type"] == "DamagedFileError"
    assert "IMG_0005.jpg" in first["error"]["message"]
    assert "IMG_0007.jpg does not exist" in second["error"]["message"]
    assert len(run.names()) == 4
    assert run.tally.counts == {"ok": 1, "failed": 2}


def test_a_crash_fails_its_set_alone(run, monkeypatch):
    from smarthdr_cli import aligned_burst

    real = aligned_burst.align_burst

    def broken(burst, *arguments, **options):
        if burst.frames[0].path.name == "IMG_0004.jpg":
            raise ZeroDivisionError("a fault\nin the code")
        if burst.frames[0].path.name == "IMG_0007.jpg":
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return real(burst, *arguments, **options)

    monkeypatch.setattr(aligned_burst, "align_burst", broken)
    assert run() == ["ok", "failed", "failed"]
    errors = {r["name"][:8]: r["error"] for r in run.records}
    assert errors["IMG_0004"] == {
        "code": 1, "type": "ZeroDivisionError", "message": "crashed (ZeroDivisionError: a fault in the code)"
    }  # fmt: skip
    assert errors["IMG_0007"]["code"] == 6


def test_fail_fast(run):
    run.brackets[0][0].write_bytes(b"")
    run(fail_fast=True)
    assert run.tally.stopped
    assert run.tally.counts["failed"] == 1
    assert len(run.records) < 3


def test_retry_failed_fuses_failed_sets_only(run):
    good = run.brackets[1][1].read_bytes()
    run.brackets[1][1].write_bytes(b"")
    run()
    before = {p: (run.out / p).stat().st_mtime_ns for p in run.names() if p.endswith(".exr")}
    run.brackets[1][1].write_bytes(good)
    assert run(retry_failed=True) == ["ok"]
    assert run.records[0]["name"] == "IMG_0004-IMG_0006"
    assert all((run.out / p).stat().st_mtime_ns == before[p] for p in before)
    assert run(retry_failed=True) == []
    assert [line["status"] for line in run.lines() if line["name"] == "IMG_0004-IMG_0006"] == ["failed", "ok"]


def test_existing_outputs_are_refused_before_any_set_is_read(run, monkeypatch):
    run()
    before = run.lines()
    monkeypatch.setattr("smarthdr_cli.batch.worker.load", None)  # reading would fail
    with pytest.raises(OutputError, match=r"exists already \(and 8 more outputs\).*--skip-existing"):
        run()
    assert run.lines() == before


def test_done_sets_are_skipped_without_being_fused(run, monkeypatch):
    run()
    written_at = {p: (run.out / p).stat().st_mtime_ns for p in run.names()}
    monkeypatch.setattr("smarthdr_cli.batch.worker.fuse_loaded", None)
    assert run(skip_existing=True) == ["skipped"] * 3
    assert {p: (run.out / p).stat().st_mtime_ns for p in run.names()} == written_at
    assert len(run.lines()) == 3  # skipped sets get no second line


def test_without_records_the_metadata_of_results_counts(run, monkeypatch):
    run()
    (run.out / "results.jsonl").unlink()
    monkeypatch.setattr("smarthdr_cli.batch.worker.fuse_loaded", None)
    assert run(skip_existing=True) == ["skipped"] * 3
    line = run.lines()[0]
    assert line["settings"]["model"] == "none"
    assert len(line["inputs"][0]["sha256"]) == 64
    assert run(skip_existing=True) == ["skipped"] * 3
    assert len(run.lines()) == 3


@pytest.mark.parametrize("form", get_args(ResultFormat))
def test_every_format_is_skipped_and_fused_again_by_the_same_rules(run, form):
    files = OutputFiles(form, preview_format="tif" if form == "tif" else "jpg")
    assert run(files=files) == ["ok"] * 3
    assert run(files=files, skip_existing=True) == ["skipped"] * 3
    assert run(files=files, skip_existing=True, fuse=replace(STATIC, colorspace="acescg")) == ["failed"] * 3
    assert "colorspace default, now acescg" in run.failure()["message"]
    assert run.failure()["code"] == 5
    both = {"skip_existing": True, "overwrite": True}
    assert run(files=files, fuse=replace(STATIC, colorspace="acescg"), **both) == ["ok"] * 3
    assert run(files=files, fuse=replace(STATIC, colorspace="acescg"), **both) == ["skipped"] * 3
    if form == "tif":
        result, preview = (tifffile.imread(run.out / f"IMG_0001-IMG_0003{m}.tif") for m in ("", "-preview"))
        assert (result.dtype, preview.dtype) == (np.float32, np.uint16)


@pytest.mark.parametrize("form", ["exr", "hdr", "tif"])
def test_the_precision_is_part_of_the_settings(run, form):
    """Also where ``auto`` chose it."""
    network = FuseOptions(align="none", response="srgb", device="cpu", precision="fp32")
    first, files = run.sets()[:1], OutputFiles(form)
    assert run(sets=first, fuse=network, files=files) == ["ok"]
    assert run.records[0]["settings"]["precision"] == "fp32"
    assert run(sets=first, fuse=network, files=files, skip_existing=True) == ["skipped"]
    again = replace(network, precision="bf16")
    assert run(sets=first, fuse=again, files=files, skip_existing=True) == ["failed"]
    assert "precision fp32, now bf16" in run.failure()["message"]


def test_records_of_older_versions_without_the_precision_are_skipped(run):
    run(files=OutputFiles("hdr"))
    lines = run.lines()
    for line in lines:
        del line["settings"]["precision"]
    (run.out / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(files=OutputFiles("hdr"), skip_existing=True) == ["skipped"] * 3


def test_a_radiance_file_without_a_record_is_not_replaced(run):
    run(files=OutputFiles("hdr"))
    (run.out / "results.jsonl").unlink()
    assert run(files=OutputFiles("hdr"), skip_existing=True) == ["failed"] * 3
    assert "nothing says what it was made from" in run.failure()["message"]


def test_changed_inputs_are_detected(run):
    run()
    write_bracket(run.shoot, 1, light=scene(99))
    assert run(skip_existing=True) == ["skipped", "failed", "skipped"]
    assert "made from other inputs" in run.failure()["message"]
    assert run(skip_existing=True, overwrite=True) == ["skipped", "ok", "skipped"]
    assert run(skip_existing=True) == ["skipped"] * 3


@pytest.mark.parametrize("keep_records", [True, False])
@pytest.mark.parametrize("cut", [1, 1000, 20_000])
def test_a_truncated_result_is_detected(run, keep_records, cut):
    run()
    path = run.out / "IMG_0004-IMG_0006.exr"
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    if not keep_records:
        (run.out / "results.jsonl").unlink()
    assert run(skip_existing=True) == ["skipped", "failed", "skipped"]
    assert path.read_bytes() == data[:-cut]  # not replaced without --overwrite
    assert run(skip_existing=True, overwrite=True) == ["skipped", "ok", "skipped"]
    assert len(path.read_bytes()) == pytest.approx(len(data), rel=0.01)


@pytest.mark.parametrize("keep_records", [True, False])
def test_a_missing_or_damaged_preview_is_written_again(run, keep_records):
    run()
    (run.out / "IMG_0001-IMG_0003.jpg").unlink()
    heat = run.out / "IMG_0004-IMG_0006-uncertainty.png"
    heat.write_bytes(heat.read_bytes()[:500])
    if not keep_records:
        (run.out / "results.jsonl").unlink()
    assert run(skip_existing=True) == ["ok", "ok", "skipped"]
    assert run(skip_existing=True) == ["skipped"] * 3


def test_a_preview_wanted_later_is_written(run):
    run(files=OutputFiles())
    assert run(skip_existing=True) == ["ok"] * 3
    assert run(skip_existing=True, files=OutputFiles()) == ["skipped"] * 3


def test_files_of_others_are_not_replaced(run):
    run.out.mkdir()
    for name in ("IMG_0001-IMG_0003.exr", "IMG_0004-IMG_0006.jpg"):
        (run.out / name).write_bytes(b"precious")
    assert run(skip_existing=True) == ["failed", "failed", "ok"]
    assert all("nothing says" in r["error"]["message"] or "cannot be read" in r["error"]["message"]
               for r in run.records if r["status"] == "failed")  # fmt: skip
    assert (run.out / "IMG_0001-IMG_0003.exr").read_bytes() == b"precious"
    assert (run.out / "IMG_0004-IMG_0006.jpg").read_bytes() == b"precious"
    assert run(overwrite=True) == ["ok"] * 3


def test_ambiguous_sets_are_skipped_unless_merge_is_given(run):
    sets = run.sets()
    sets[1] = replace(sets[1], ambiguous=True, reasons=("it is a riddle",))
    assert run(sets=sets) == ["ok", "ambiguous", "ok"]
    assert next(r for r in run.records if r["status"] == "ambiguous")["reasons"] == ["it is a riddle"]
    assert run.tally.counts == {"ok": 2, "ambiguous": 1}
    assert run(sets=sets, skip_existing=True, ambiguous="merge") == ["skipped", "ok", "skipped"]


def test_shards_fuse_their_parts_and_know_the_records_of_all(run):
    assert run(shard=Shard(1, 2)) == ["ok", "ok"]
    assert run(shard=Shard(2, 2)) == ["ok"]
    assert [len(run.lines(f"results-{n}-of-2.jsonl")) for n in (1, 2)] == [2, 1]
    assert run(skip_existing=True) == ["skipped"] * 3
    assert not (run.out / "results.jsonl").read_text()  # the records of the shards count


def test_what_is_refused_before_any_work(run, tmp_path):
    with pytest.raises(InputError, match="no brackets to fuse"):
        run(sets=[])
    with pytest.raises(UsageError, match="--name"):
        run(name="same")
    with pytest.raises(UsageError, match="safe name"):
        run(name="../{first}")
    with pytest.raises(UsageError, match="folder of its own"):
        run(out=run.shoot)
    with pytest.raises(ModelError):
        run(fuse=FuseOptions(weights="nowhere"))
    with pytest.raises(InputError, match=r"camera\.toml does not exist"):
        run(fuse=replace(STATIC, response=str(tmp_path / "camera.toml")))
    with pytest.raises(UsageError, match="unknown response 'sgrb'"):
        run(fuse=replace(STATIC, response="sgrb"))
    assert not run.out.exists()
    run.out.write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        run()


def test_a_full_disk_fails_its_set_and_leaves_no_files(run, monkeypatch):
    from smarthdr_cli.batch import worker

    real = worker.write_file

    def full(role, fused, path, options):
        if "IMG_0004" in path.name:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return real(role, fused, path, options)

    monkeypatch.setattr(worker, "write_file", full)
    assert run() == ["ok", "failed", "ok"]
    assert [n for n in run.names() if "IMG_0004" in n or "smarthdr" in n] == []


def test_stages_of_a_killed_run_are_removed(run):
    stage = run.out / ".smarthdr-batch" / "0123456789abcdef"
    stage.mkdir(parents=True)
    (stage / "half.exr").write_bytes(b"half")
    run()
    assert sorted(p.name for p in run.out.iterdir() if p.name.startswith(".")) == []


def test_sub_folders_and_unusual_names(run):
    odd = run.shoot / "-tag ü" / "a b"
    files = write_bracket(odd, 5)
    renamed = [f.rename(f.with_name(f"-{k} é%s{{x}}.jpg")) for k, f in enumerate(files)]
    run.brackets = [renamed]
    assert run() == ["ok"]
    assert "-tag ü/a b/-0 é%s{x}--2 é%s{x}.exr" in run.names()
    assert run(skip_existing=True) == ["skipped"]
