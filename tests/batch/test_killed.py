"""Killed twenty times: every file is complete, a new run completes the shoot, and no set is fused twice."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import OpenEXR
import pytest
from PIL import Image

from tests.support.shoots import SIZE, write_shoot

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]

KILLS = 20
SETS = 10
OPTIONS = ("--preview", "--uncertainty", "--skip-existing", "--device", "cpu", "--precision", "fp32", "-q")


def start(shoot, out):
    command = [sys.executable, "-m", "smarthdr_cli", "batch", str(shoot), "-o", str(out), *OPTIONS]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def visible(out):
    return sorted(p for p in out.iterdir() if not p.name.startswith(".")) if out.exists() else []


def records(out):
    """The complete lines; the last one may be torn."""
    text = (out / "results.jsonl").read_text() if (out / "results.jsonl").exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def check_complete(out):
    """Every visible file can be read to its end; every recorded set has its files with the recorded sizes."""
    for path in visible(out):
        if path.suffix == ".exr":
            with OpenEXR.File(str(path)) as file:
                assert file.channels()["RGB"].pixels.shape[:2] == SIZE[::-1]
        elif path.suffix != ".jsonl":
            with Image.open(path) as picture:
                picture.load()
    for record in records(out):
        assert record["status"] == "ok"
        for output in record["outputs"]:
            assert Path(output["path"]).stat().st_size == output["bytes"]


def check_done(out):
    check_complete(out)
    done = [record["name"] for record in records(out)]
    assert len(done) == SETS
    assert len(set(done)) == SETS  # each fused once
    assert len(visible(out)) == 3 * SETS + 1
    assert [p.name for p in out.iterdir() if p.name.startswith(".")] == []


def staging_time(out):
    """When the staging folder was made, ns; 0 if there is none."""
    try:
        return (out / ".smarthdr-batch").stat().st_ctime_ns
    except FileNotFoundError:
        return 0


def wait_for_work(process, out, before):
    """Wait until a set is being written or the process has ended; ``before``: the staging time at its start."""
    deadline = time.monotonic() + 60
    while staging_time(out) in (0, before) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


def test_killed_twenty_times(tmp_path):
    chance = random.Random(20)
    shoot = tmp_path / "shoot"
    write_shoot(shoot, SETS)
    kills, runs, moments = 0, 0, []
    while kills < KILLS:
        out = tmp_path / f"out{runs}"
        runs += 1
        while len(records(out)) < SETS and kills < KILLS:
            before, staged = len(records(out)), staging_time(out)
            process = start(shoot, out)
            wait_for_work(process, out, staged)
            time.sleep(chance.uniform(0, 0.5))
            if process.poll() is None:
                process.kill()
                kills += 1
                moments.append(len(records(out)))
            process.communicate()
            check_complete(out)
            assert len(records(out)) >= before
        process = start(shoot, out)  # not killed
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
        check_done(out)
    assert len(set(moments)) > 4, moments  # killed at different stages
    stamps = {p: p.stat().st_mtime_ns for p in visible(out)}
    process = start(shoot, out)
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert {p: p.stat().st_mtime_ns for p in visible(out)} == stamps  # nothing is written again
