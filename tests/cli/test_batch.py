"""``smarthdr batch`` on the command line: its output, its exit codes, and continuing an interrupted run."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from smarthdr_cli.cli.app import app
from tests.support.files import random_scene
from tests.support.shoots import write_bracket, write_shoot

from .conftest import Refused, Run, messages

FAST = ("--deghost", "off", "--align", "none", "--response", "srgb", "--device", "cpu")


@pytest.fixture(autouse=True)
def _no_array(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_ARRAY_TASK_ID", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def shoot(tmp_path: Path) -> Path:
    """Three brackets in one folder."""
    write_shoot(tmp_path / "shoot", 3)
    return tmp_path / "shoot"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "merged"


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_shoot(smarthdr: Run, shoot: Path, out: Path) -> None:
    result = smarthdr("batch", shoot, "-o", out, "--preview", "--uncertainty", *FAST)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("3 ok; ")
    assert "of which the fusion waited" in result.stderr
    names = sorted(p.name for p in out.iterdir())
    assert names[:3] == ["IMG_0001-IMG_0003-uncertainty.png", "IMG_0001-IMG_0003.exr", "IMG_0001-IMG_0003.jpg"]
    assert len(names) == 10


def test_json_prints_the_lines_of_results_jsonl(smarthdr: Run, shoot: Path, out: Path) -> None:
    result = smarthdr("batch", shoot, "-o", out, "--json", *FAST)
    assert result.exit_code == 0
    assert lines(result.stdout) == lines((out / "results.jsonl").read_text())
    again = smarthdr("batch", shoot, "-o", out, "--json", "--skip-existing", *FAST)
    assert [r["status"] for r in lines(again.stdout)] == ["skipped"] * 3


def test_quiet_and_verbose(smarthdr: Run, shoot: Path, out: Path) -> None:
    assert smarthdr("batch", shoot, "-o", out, "-q", *FAST).stderr == ""
    loud = smarthdr("batch", shoot, "-o", out, "-v", "--overwrite", *FAST)
    assert "IMG_0001-IMG_0003: ok, " in loud.stderr
    assert smarthdr("batch", shoot, "-o", out, "-q", "-v").exit_code == 2


def test_a_failed_set_is_reported_and_the_exit_code_is_7(smarthdr: Run, shoot: Path, out: Path) -> None:
    path = shoot / "IMG_0005.jpg"
    path.write_bytes(path.read_bytes()[:-300])  # cut short behind a valid header
    result = smarthdr("batch", shoot, "-o", out, *FAST)
    assert result.exit_code == 7
    stderr = messages(result)
    assert stderr[0].startswith(f"failed: IMG_0004-IMG_0006: {path} is ")
    assert stderr[0].endswith("; copy the file again from its source, or leave it out (exit 3)")
    assert stderr[-1] == f"smarthdr: 1 of 3 sets failed; {out / 'results.jsonl'} says why"
    assert len(list(out.glob("*.exr"))) == 2
    stopped = smarthdr("batch", shoot, "-o", out, "--overwrite", "--fail-fast", *FAST)
    assert stopped.exit_code == 7
    assert "stopped at the first" in stopped.stderr
    write_bracket(shoot, 1)
    assert smarthdr("batch", shoot, "-o", out, "--retry-failed", "--json", *FAST).stdout.count("\n") == 1


def test_sets_from_a_file_and_from_stdin(smarthdr: Run, shoot: Path, out: Path, tmp_path: Path) -> None:
    listed = [
        {"name": "one", "frames": [str(shoot / f"IMG_000{n}.jpg") for n in (1, 2, 3)]},
        {"name": "two", "frames": [str(shoot / f"IMG_000{n}.jpg") for n in (4, 5)], "ambiguous": True,
         "reasons": ["a riddle"]},
    ]  # fmt: skip
    text = "".join(json.dumps(entry) + "\n" for entry in listed)
    (tmp_path / "sets.jsonl").write_text(text)
    result = smarthdr("batch", "--sets", tmp_path / "sets.jsonl", "-o", out, "--name", "{stem}", *FAST)
    assert result.exit_code == 0
    assert "skipped as ambiguous: two: a riddle" in result.stderr
    assert sorted(p.name for p in out.glob("*.exr")) == ["one.exr"]
    arguments = ["batch", "--sets", "-", "-o", str(tmp_path / "all"), "--ambiguous", "merge", "--name", "{stem}", *FAST]
    merged = CliRunner().invoke(app, arguments, input=text)
    assert merged.exit_code == 0
    assert sorted(p.name for p in (tmp_path / "all").glob("*.exr")) == ["one.exr", "two.exr"]


def test_results_inside_the_shoot_are_not_taken_for_frames(smarthdr: Run, shoot: Path) -> None:
    out = shoot / "merged"
    assert smarthdr("batch", shoot, "-o", out, "--preview", *FAST).exit_code == 0
    again = smarthdr("batch", shoot, "-o", out, "--preview", "--skip-existing", "--json", *FAST)
    assert [r["status"] for r in lines(again.stdout)] == ["skipped"] * 3


def test_shards_from_slurm(smarthdr: Run, shoot: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ID": "2", "COUNT": "2", "MIN": "1", "MAX": "2", "STEP": "1"}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    result = smarthdr("batch", shoot, "-o", out, *FAST)
    assert result.exit_code == 0
    assert "shard 2 of 2" in result.stderr
    assert [r["name"] for r in lines((out / "results-2-of-2.jsonl").read_text())] == ["IMG_0004-IMG_0006"]
    other = smarthdr("batch", shoot, "-o", out, "--shard", "1/2", *FAST)
    assert other.exit_code == 0
    assert len(list(out.glob("*.exr"))) == 3


@pytest.mark.parametrize(
    ("code", "options", "message"),
    [
        (2, ("--sets", "x.jsonl"), "either a folder of frames or --sets"),
        (2, ("--name", "same"), "--name same: it needs"),
        (2, ("--name", "../{first}"), "no safe name"),
        (2, ("--name", "{nonsense}"), "is not known"),
        (2, ("--shard", "4/3"), "--shard 4/3"),
        (2, ("--address", "auto"), "--address belongs to --engine ray"),
        (2, ("--num-gpus", "1"), "--num-gpus belongs to --engine ray"),
        (2, ("--format", "hdr", "--float"), "--float is an option of .exr, not of .hdr"),
        (2, ("--common-exposure", "--anchor", "short"), "exclude each other"),
        (2, ("--common-ev", "nan"), "--common-ev nan"),
        (2, ("--ev", "1,2", "--exposure-times", "1,2"), "exclude each other"),
        (2, ("--max-memory", "lots"), "--max-memory lots"),
        (2, ("--device", "tpu"), "unknown device"),
        (3, ("--response", "missing.toml"), "missing.toml does not exist"),
        (4, ("--deghost", "auto", "--weights", "nowhere"), "no weights are called"),
    ],
)
def test_options_refused_before_any_work(
    refused: Refused, shoot: Path, out: Path, code: int, options: tuple[str, ...], message: str
) -> None:
    assert message in refused(code, "batch", shoot, "-o", out, "-q", *FAST, *options)
    assert not list(out.glob("*.exr")) if out.exists() else True


def test_folders_and_sets_that_are_refused(refused: Refused, shoot: Path, out: Path, tmp_path: Path) -> None:
    assert "either a folder" in refused(2, "batch", "-o", out)
    assert "--bracket and --gap" in refused(2, "batch", "--sets", "x.jsonl", "-o", out, "--gap", 2)
    assert "does not exist" in refused(3, "batch", tmp_path / "missing", "-o", out)
    (tmp_path / "empty").mkdir()
    line = refused(3, "batch", tmp_path / "empty", "-o", out, "-q")
    assert line.startswith(f"smarthdr: no pictures in {tmp_path / 'empty'}; give the folder that holds the frames")
    single = tmp_path / "single"
    single.mkdir()
    (single / "a.jpg").write_bytes((shoot / "IMG_0001.jpg").read_bytes())
    line = refused(3, "batch", single, "-o", out, "-q")
    assert line.startswith(
        f"smarthdr: no brackets in {single} (0 sets, 1 single frame); smarthdr group {single} says why"
    )
    assert "folder of its own" in refused(2, "batch", shoot, "-o", shoot, "-q")
    out.write_text("a file")
    assert "cannot write in" in refused(5, "batch", shoot, "-o", out, "-q", *FAST)


def test_a_second_run_needs_skip_existing_or_overwrite(smarthdr: Run, refused: Refused, shoot: Path, out: Path) -> None:
    assert smarthdr("batch", shoot, "-o", out, *FAST).exit_code == 0
    assert "--skip-existing to continue" in refused(5, "batch", shoot, "-o", out, "-q", *FAST)


def test_a_set_of_two_scenes_is_ambiguous(smarthdr: Run, out: Path, tmp_path: Path) -> None:
    """The times of capture make a bracket of it, and only the pixels tell."""
    shoot = tmp_path / "mixed"
    for number in range(2):
        write_bracket(shoot, number, light=random_scene(seed=number))
    other = write_bracket(tmp_path / "other", 0, light=random_scene(seed=7))
    (shoot / "IMG_0003.jpg").write_bytes(other[2].read_bytes())
    names = [[f"IMG_000{n}.jpg" for n in (1, 2, 3)], [f"IMG_000{n}.jpg" for n in (4, 5, 6)]]
    sets = [{"name": f"set{k}", "frames": [str(shoot / name) for name in frames]} for k, frames in enumerate(names)]
    (tmp_path / "sets.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in sets))
    arguments = ("batch", "--sets", tmp_path / "sets.jsonl", "-o", out, "--name", "{stem}", *FAST)
    result = smarthdr(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    mixed, whole = lines(result.stdout)
    assert (mixed["status"], whole["status"]) == ("ambiguous", "ok")
    assert mixed["reasons"][0].startswith("these frames may not show one scene: IMG_0003.jpg")
    assert [path.name for path in out.glob("*.exr")] == ["set1.exr"]
    assert "1 ambiguous, 1 ok; " in result.stderr
    assert smarthdr(*arguments, "--ambiguous", "merge", "--skip-existing").exit_code == 0
    assert sorted(path.name for path in out.glob("*.exr")) == ["set0.exr", "set1.exr"]


def test_a_name_for_the_preview_of_a_batch_is_refused(refused: Refused, shoot: Path, out: Path) -> None:
    line = refused(2, "batch", shoot, "-o", out, "--preview", "out.jpg")
    assert line.endswith("; --preview takes no file name in a batch: each set gets its own, beside its result")


SLOW = """
import sys, time
from pathlib import Path
from smarthdr_cli.fusion.static_merge import StaticFuser
merge, marker = StaticFuser.fuse, Path(sys.argv.pop(1))

def slow(*arguments, **options):
    result = merge(*arguments, **options)
    if marker.exists():  # the second set
        marker.with_suffix(".now").touch()
        time.sleep(60)
    marker.touch()
    return result

StaticFuser.fuse = slow
from smarthdr_cli.cli.app import app
app(sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminated"])
def test_an_interrupted_batch_is_continued(
    smarthdr: Run, shoot: Path, out: Path, tmp_path: Path, number: signal.Signals
) -> None:
    arguments = ["batch", str(shoot), "-o", str(out), *FAST]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(tmp_path / "started"), *arguments], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 100
    while not (tmp_path / "started.now").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    while not list(out.glob("*.exr")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.splitlines()[-1] == (
        f"smarthdr: interrupted; nothing was left half-written, and what is finished stays in {out}: the same command "
        "with --skip-existing continues"
    )
    assert sorted(p.name for p in out.iterdir()) == ["IMG_0001-IMG_0003.exr", "results.jsonl"]
    result = smarthdr(*arguments, "--skip-existing", "--json")
    assert [r["status"] for r in sorted(lines(result.stdout), key=lambda r: str(r["name"]))] == ["skipped", "ok", "ok"]


def wait_until(condition: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


def test_watch_fuses_what_arrives_and_ctrl_c_ends_it(shoot: Path, out: Path) -> None:
    """A process of its own: the signal comes while it waits, and the exit code is that of what was fused."""
    command = [sys.executable, "-m", "smarthdr_cli", "batch", shoot, "-o", out, "--watch", "--settle", "1", *FAST]
    process = subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: len(list(out.glob("*.exr"))) == 3)
        write_bracket(shoot, 3)
        wait_until(lambda: len(list(out.glob("*.exr"))) == 4)
        wait_until(lambda: len((out / "results.jsonl").read_text().splitlines()) == 4)
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, stderr
    assert stderr.splitlines()[0] == f"note: watching {shoot}; Ctrl-C ends it"
    assert stderr.splitlines()[-1].startswith("4 ok; ")


def test_watch_needs_a_folder(refused: Refused, shoot: Path, out: Path) -> None:
    assert "--watch waits for frames in a folder" in refused(2, "batch", "--sets", "-", "-o", out, "--watch")
    assert "--settle belongs to --watch" in refused(2, "batch", shoot, "-o", out, "--settle", "2")
