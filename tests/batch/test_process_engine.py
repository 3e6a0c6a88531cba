"""A batch in processes of this machine: how many, the same files as in one, and what happens when one dies."""

import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from smarthdr_cli.batch.batch_options import BatchOptions, EngineOptions, OutputFiles
from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.process_engine import BYTES_PER_PROCESS, ProcessPool, process_count
from smarthdr_cli.batch.run import Callbacks, run_batch
from smarthdr_cli.batch.settings import Settings
from smarthdr_cli.batch.worker import WorkerConfig
from smarthdr_cli.errors import ModelError
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.grouping.group import BracketSet
from smarthdr_cli.grouping.header import Header
from tests.support.shoots import write_shoot

STATIC = FuseOptions(deghost="off", align="none", response="srgb", device="cpu")


def bracket_sets(brackets):
    return [BracketSet(paths[0].stem, tuple(paths), 1.0, ("made so",), False) for paths in brackets]


@pytest.mark.parametrize(
    ("sets", "size", "cores", "free", "limit", "wanted"),
    [
        (100, (640, 427), 8, 64e9, None, 8),
        (100, (6000, 4000), 8, 64e9, None, 1),  # these keep the cores of one process busy
        (100, None, 8, 64e9, None, 1),  # nobody knows how large they are
        (9, (640, 427), 8, 64e9, None, 1),  # two would hardly have started
        (10, (640, 427), 8, 64e9, None, 2),
        (100, (640, 427), 8, 3.1e9, None, 2),
        (100, (640, 427), 8, 1e8, None, 1),
        (100, (640, 427), 8, None, None, 8),
        (100, (640, 427), 1, 64e9, None, 1),
        (100, (640, 427), 8, 64e9, 2e9, 1),
    ],
)
def test_how_many_processes_a_shoot_is_worth(monkeypatch, sets, size, cores, free, limit, wanted):
    monkeypatch.setattr("smarthdr_cli.batch.process_engine.usable_cores", lambda: cores)
    monkeypatch.setattr("smarthdr_cli.batch.process_engine.physical_memory", lambda: (free, free))
    assert BYTES_PER_PROCESS == 1.5e9
    jobs = [Job(str(n), (Path(f"{n}.jpg"),), {}) for n in range(sets)]
    headers = {job.files[0]: Header(job.files[0], size=size) for job in jobs}
    assert process_count(jobs, headers, FuseOptions(max_memory=limit)) == wanted


def test_processes_write_what_one_process_writes(tmp_path):
    sets = bracket_sets(write_shoot(tmp_path / "shoot", 3))
    settings = Settings(STATIC, OutputFiles(preview=True))
    written, recorded = [], []
    for workers in (1, 2):
        out, records = tmp_path / str(workers), []
        callbacks = Callbacks(records.append)
        tally = run_batch(sets, out, settings, engine=EngineOptions(workers=workers), callbacks=callbacks)
        assert tally.counts == {"ok": 3}
        written.append({path.name: path.read_bytes() for path in out.iterdir() if path.suffix != ".jsonl"})
        recorded.append({record["name"]: (record["inputs"], record["settings"]) for record in records})
        lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
        assert lines == records
        assert (workers == 1) == ({record["pid"] for record in records} == {os.getpid()})
    assert written[0] == written[1]
    assert recorded[0] == recorded[1]


def test_what_is_missing_is_reported_before_anything_is_written(tmp_path):
    sets = bracket_sets(write_shoot(tmp_path / "shoot", 2))
    weights = tmp_path / "empty.safetensors"
    weights.write_bytes(b"")
    settings = Settings(FuseOptions(weights=str(weights), device="cpu"), OutputFiles())
    with pytest.raises(ModelError):
        run_batch(sets, tmp_path / "out", settings, engine=EngineOptions(workers=2))
    assert not (tmp_path / "out").exists()


def test_a_set_that_cannot_be_read_fails_alone(tmp_path):
    brackets = write_shoot(tmp_path / "shoot", 3)
    brackets[1][0].write_bytes(b"\xff\xd8\xff\xe0 no picture")
    tally = run_batch(
        bracket_sets(brackets), tmp_path / "out", Settings(STATIC, OutputFiles()), engine=EngineOptions(workers=2)
    )
    assert tally.counts == {"ok": 2, "failed": 1}


class Deadly(Job):
    """A set whose process dies when it is given it: ``times``, counted in files of a folder."""

    def __reduce__(self):
        return partial(die, Path(self.camera), Job(self.name, self.files, self.outputs), int(self.kind)), ()


def die(folder, job, times):
    if len(list(folder.iterdir())) < times:
        (folder / str(len(list(folder.iterdir())))).touch()
        os._exit(9)
    return job


@pytest.mark.parametrize(("times", "status"), [(1, "ok"), (9, "failed")])
def test_a_process_that_dies(tmp_path, times, status):
    """Its set is done again in a process of its own, and what was in flight beside it as well."""
    deaths, out = tmp_path / "deaths", tmp_path / "out"
    deaths.mkdir()
    out.mkdir()
    jobs = [
        Job(f"{n}", tuple(paths), {"result": out / f"{n}.exr"})
        for n, paths in enumerate(write_shoot(tmp_path / "shoot", 4))
    ]
    jobs[1] = Deadly(jobs[1].name, jobs[1].files, jobs[1].outputs, str(deaths), str(times))
    config = WorkerConfig(Settings(STATIC, OutputFiles()), BatchOptions(), out / ".smarthdr-batch", "none")
    records = {}
    tally = ProcessPool(2).run(jobs, config, lambda record: records.update({record["name"]: record}), {})
    assert {name: record["status"] for name, record in records.items()} == dict.fromkeys("0123", "ok") | {"1": status}
    assert tally.counts["ok"] == (4 if status == "ok" else 3)
    if status == "failed":
        assert "died twice" in records["1"]["error"]["message"]
    assert sorted(path.name for path in out.glob("*.exr")) == [
        f"{n}.exr" for n in "0123" if records[n]["status"] == "ok"
    ]


def test_processes_share_the_memory(tmp_path):
    pool = ProcessPool(4)
    assert pool.share_of(replace(STATIC, max_memory=8e9)).max_memory == 2e9
    assert pool.share_of(STATIC).max_memory is None
    pool.close()
