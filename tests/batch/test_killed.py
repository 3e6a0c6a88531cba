"""Killed without warning, twenty times: what is there is whole, a re-run completes it, nothing is done twice."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import batch_shoots as made
import OpenEXR
import pytest
from PIL import Image

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
    """Whole lines alone: the last may be torn."""
    text = (out / "results.jsonl").read_text() if (out / "results.jsonl").exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def check_whole(out):
    """Every file that shows can be read to its end; every set recorded has all of its files as they were recorded."""
    for path in visible(out):
        if path.suffix == ".exr":
            with OpenEXR.File(str(path)) as file:
                assert file.channels()["RGB"].pixels.shape[:2] == made.SIZE[::-1]
        elif path.suffix != ".jsonl":
            with Image.open(path) as picture:
                picture.load()
    for record in records(out):
        assert record["status"] == "ok"
        for output in record["outputs"]:
            assert Path(output["path"]).stat().st_size == output["bytes"]


def check_done(out):
    check_whole(out)
    done = [record["name"] for record in records(out)]
    assert len(done) == SETS
    assert len(set(done)) == SETS  # each fused once, however often the run was killed
    assert len(visible(out)) == 3 * SETS + 1
    assert [p.name for p in out.iterdir() if p.name.startswith(".")] == []


def stage_made(out):
    """When the folder of what is being written was made; 0 where there is none."""
    try:
        return (out / ".smarthdr-batch").stat().st_ctime_ns
    except FileNotFoundError:
        return 0


def wait_for_work(process, out, left):
    """Until a set is being written, or the process has ended; ``left``: what the last one left behind."""
    patience = time.monotonic() + 60
    while stage_made(out) in (0, left) and process.poll() is None and time.monotonic() < patience:
        time.sleep(0.002)


def test_killed_twenty_times(tmp_path):
    chance = random.Random(20)
    shoot = tmp_path / "shoot"
    made.write_shoot(shoot, SETS)
    kills, runs, moments = 0, 0, []
    while kills < KILLS:
        out = tmp_path / f"out{runs}"
        runs += 1
        while len(records(out)) < SETS and kills < KILLS:
            before, left = len(records(out)), stage_made(out)
            process = start(shoot, out)
            wait_for_work(process, out, left)
            time.sleep(chance.uniform(0, 0.5))
            if process.poll() is None:
                process.kill()
                kills += 1
                moments.append(len(records(out)))
            process.communicate()
            check_whole(out)
            assert len(records(out)) >= before
        process = start(shoot, out)  # and let it be
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        check_done(out)
    assert len(set(moments)) > 4, moments  # they did fall at different moments
    stamps = {p: p.stat().st_mtime_ns for p in visible(out)}
    process = start(shoot, out)
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert {p: p.stat().st_mtime_ns for p in visible(out)} == stamps  # nothing was left to do
