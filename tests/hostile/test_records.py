"""What earlier runs are believed to have left: notes of moves, records, weights, training states."""

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tifffile
import torch

from smarthdr_cli.batch.transaction import stage_key
from smarthdr_cli.models.base import build_model
from smarthdr_cli.models.checkpoint import save_checkpoint
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.state import new_state, save_state

from . import corpus
from .conftest import OFF, STATED

NAME = "img0-img2"  # of the one set, as the frames are called
Batch = Callable[..., Any]


@pytest.fixture
def shoot(tmp_path: Path) -> Path:
    """One bracket, three frames whose names say that they belong together."""
    folder = tmp_path / "shoot"
    folder.mkdir()
    for number, ev in enumerate(corpus.EVS):
        (folder / f"img{number}.jpg").write_bytes(corpus.READ["plain.jpg"](ev))
    return folder


@pytest.fixture
def batch(smarthdr: Any, shoot: Path, tmp_path: Path) -> Batch:
    """``batch(*options, code=0)``: the bracket fused into out; returns what was printed."""

    def run(*options: object, code: int = 0) -> Any:
        given = ("batch", shoot, "-o", tmp_path / "out", "--ambiguous", "merge", *STATED, *OFF, *options)
        result = smarthdr(*given)
        assert result.exit_code == code, result.stderr
        return result

    return run


def note(moves: object, status: str = "failed") -> str:
    return json.dumps({"moves": moves, "record": {"name": "x", "status": status}})


@pytest.mark.parametrize("key", ["x", stage_key(NAME)])
def test_a_forged_note_moves_nothing_out(batch: Batch, tmp_path: Path, key: str) -> None:
    stage = tmp_path / "out" / ".smarthdr-batch" / key
    stage.mkdir(parents=True)
    (tmp_path / "victim.txt").write_text("precious")
    (tmp_path / "victim.exr").write_text("precious")
    (stage / "p").write_text("forged")
    (stage / "victim.exr").write_text("forged")
    (stage / "commit.json").write_text(note({"p": "../victim.txt", "victim.exr": "../victim.exr"}))
    result = batch("--format", "hdr", code=0 if key == "x" else 7)
    assert (tmp_path / "victim.txt").read_text() == (tmp_path / "victim.exr").read_text() == "precious"
    assert (stage / "p").read_text() == "forged"
    assert f"{stage} is left alone" in result.stderr
    assert (f"failed: {NAME}: {stage} holds something" in result.stderr) == (key != "x")


@pytest.mark.parametrize(
    "text",
    ["[]", "3", "\0" * 100, note([]), note(3), note({"a.exr": 3}), note({"a\0.exr": "a\0.exr"}, "?"), "[" * 99999],
)
def test_a_note_of_another_form_is_reported_and_the_run_goes_on(batch: Batch, tmp_path: Path, text: str) -> None:
    stage = tmp_path / "out" / ".smarthdr-batch" / stage_key(NAME)
    stage.mkdir(parents=True)
    (stage / "commit.json").write_text(text)
    result = batch()
    assert f"note: {stage / 'commit.json'} is ignored: " in result.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"{NAME}.exr", "results.jsonl"]


def test_a_linked_staging_folder_is_refused(batch: Batch, tmp_path: Path) -> None:
    (tmp_path / "photos" / "holiday").mkdir(parents=True)
    (tmp_path / "photos" / "holiday" / "a.jpg").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".smarthdr-batch").symlink_to(tmp_path / "photos")
    assert f"{tmp_path / 'out' / '.smarthdr-batch'} is where smarthdr batch writes" in batch(code=5).stderr
    assert (tmp_path / "photos" / "holiday" / "a.jpg").read_text() == "precious"


@pytest.mark.parametrize("name", [".smarthdr-batch/{first}", "a/.SmartHDR-batch-1-of-2/{first}", ".smarthdr-{first}"])
def test_results_are_not_named_as_what_a_run_keeps_for_itself(batch: Batch, tmp_path: Path, name: str) -> None:
    assert "choose another --name" in batch("--name", name, code=2).stderr
    assert not (tmp_path / "out").exists()


LIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "outputs are a number": lambda line: line | {"outputs": 3},
    "outputs are numbers": lambda line: line | {"outputs": [3]},
    "a path is a number": lambda line: line | {"outputs": [{"path": 3, "bytes": 4}]},
    "bytes are text": lambda line: line | {"outputs": [{"path": "img0-img2.exr", "bytes": "4"}]},
    "outputs are missing": lambda line: {key: line[key] for key in line if key != "outputs"},
    "inputs are an object": lambda line: line | {"inputs": {}},
    "an input has no digest": lambda line: line | {"inputs": [{"file": "img0.jpg"}]},
    "seconds are text": lambda line: line | {"seconds": {"read": "long"}},
    "seconds are beyond reason": lambda line: line | {"seconds": {"read": 10**400}},
    "seconds are a list": lambda line: line | {"seconds": [1]},
    "the time is a number": lambda line: line | {"finished": 3},
    "the status is unknown": lambda line: line | {"status": "perfect"},
    "the name is a list": lambda line: line | {"name": []},
    "the name leads out": lambda line: line | {"name": "../img0-img2"},
    "the error is a number": lambda line: line | {"status": "failed", "error": 3},
    "the error has no message": lambda line: line | {"status": "failed", "error": {"code": 3}},
    "the reasons are numbers": lambda line: line | {"status": "ambiguous", "reasons": [3]},
    "the uncertainty is a number": lambda line: line | {"uncertainty": 0.01},
    "the uncertainty is text": lambda line: line | {"uncertainty": {"mean": "0.01"}},
    "the warnings are a number": lambda line: line | {"warnings": 3},
    "infinite": lambda line: line | {"anchor_ev": float("inf")},
    "a list": lambda line: [line],
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("form", ["exr", "hdr"])
def test_a_line_that_is_no_record_counts_as_absent(batch: Batch, tmp_path: Path, lie: str, form: str) -> None:
    """A result that states its origin is known all the same; of one that cannot, nothing is known any more."""
    batch("--format", form)
    path = tmp_path / "out" / "results.jsonl"
    line = json.loads(path.read_text())
    path.write_text("\n" + json.dumps(LIES[lie](line)) + "\n")
    result = batch("--format", form, "--skip-existing", "-v", "--json", code=0 if form == "exr" else 7)
    assert result.stderr.count(f"note: {path}, line 2 counts as absent: it is not ") == 1
    assert json.loads(result.stdout)["status"] == ("skipped" if form == "exr" else "failed")
    path.write_text(json.dumps(line) + "\n" + json.dumps(LIES[lie](line)) + "\n")
    again = batch("--format", form, "--skip-existing", "-v", "--json")
    assert json.loads(again.stdout)["status"] == "skipped"  # as the line before it says


@pytest.mark.parametrize("lie", LIES)
def test_the_index_lists_no_line_that_is_no_record(batch: Batch, tmp_path: Path, lie: str) -> None:
    batch("--report")
    path = tmp_path / "out" / "results.jsonl"
    line = json.loads(path.read_text())
    path.write_text(json.dumps(line) + "\n" + json.dumps(LIES[lie](line | {"name": "other"})) + "\n")
    batch("--report", "--skip-existing")
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert page.count('<li class="set ') == 1
    assert f'<a href="{NAME}.html">{NAME}</a>' in page


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000, "\0", "\ud800", "sub/x"])
def test_the_index_survives_names_that_no_file_has(batch: Batch, tmp_path: Path, name: str) -> None:
    batch("--report")
    path = tmp_path / "out" / "results.jsonl"
    line = json.loads(path.read_text())
    path.write_text(json.dumps(line) + "\n" + json.dumps(line | {"name": name}) + "\n")
    batch("--report", "--skip-existing")
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert page.count('<li class="set ') == 2
    assert page.count(".html") == 2  # links of the picture and of the name of the one set that has a page


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize(("name", "code"), [("results-1-of-2.jsonl", 0), (f"{NAME}.exr", 7)])
def test_a_pipe_among_the_results_is_not_waited_for(shoot: Path, tmp_path: Path, name: str, code: int) -> None:
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / name)
    given = ("batch", shoot, "-o", tmp_path / "out", "--ambiguous", "merge", "--skip-existing", *STATED, *OFF)
    done = subprocess.run([sys.executable, "-m", "smarthdr_cli", *given], capture_output=True, text=True, timeout=100)
    assert done.returncode == code, done.stderr
    assert (f"{tmp_path / 'out' / name} exists already and is not a regular file" in done.stderr) == (code == 7)


def without_a_record(out: Path, ending: str) -> Path:
    (out / "results.jsonl").unlink()
    return out / f"{NAME}.{ending}"


@pytest.mark.parametrize("ending", ["exr", "tif"])
@pytest.mark.parametrize("options", [(), ("--uncertainty-format", "exr", "--embed-uncertainty")], ids=["plain", "more"])
def test_a_result_without_a_record_is_read_to_its_end(
    batch: Batch, tmp_path: Path, capfd: pytest.CaptureFixture[str], ending: str, options: tuple[str, ...]
) -> None:
    """What the libraries print of damage is no line of JSON, and nothing on stderr."""
    if ending == "tif":
        options = options[:2]
    given = ("--format", ending, *options, "--skip-existing", "--json")
    batch(*given)
    path = without_a_record(tmp_path / "out", ending)
    assert json.loads(batch(*given).stdout)["status"] == "skipped"
    without_a_record(tmp_path / "out", ending)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 9 // 10])
    (line,) = map(json.loads, batch(*given, code=7).stdout.splitlines())
    assert line["error"]["code"] == 5
    assert capfd.readouterr() == ("", "")


def test_a_result_that_claims_gigabytes_costs_none(batch: Batch, tmp_path: Path) -> None:
    batch("--format", "tif")
    path = without_a_record(tmp_path / "out", "tif")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for tag in ("ImageLength", "RowsPerStrip"):
            tiff.pages.first.tags[tag].overwrite(1 << 22)
    tracemalloc.start()
    batch("--format", "tif", "--skip-existing", code=7)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 256 << 20


def test_a_record_of_an_older_version_counts(batch: Batch, tmp_path: Path) -> None:
    """It had fewer parts: no waiting, no memory, no warnings."""
    batch("--format", "hdr")
    path = tmp_path / "out" / "results.jsonl"
    line = json.loads(path.read_text())
    kept = ("name", "status", "inputs", "outputs", "settings", "host", "pid", "finished")
    path.write_text(json.dumps({key: line[key] for key in kept}) + "\n")
    result = batch("--format", "hdr", "--skip-existing", "--json", "-v")
    assert json.loads(result.stdout)["status"] == "skipped"
    assert "absent" not in result.stderr


def test_a_loop_of_links_is_no_frame(batch: Batch, shoot: Path, tmp_path: Path) -> None:
    (shoot / "loop.jpg").symlink_to("loop.jpg")
    (shoot / "there.jpg").symlink_to("back.jpg")
    (shoot / "back.jpg").symlink_to("there.jpg")
    result = batch()
    for name in ("loop.jpg", "there.jpg", "back.jpg"):
        assert f"note: {shoot / name} is a link, and what it leads to does not exist" in result.stderr
    assert (tmp_path / "out" / f"{NAME}.exr").is_file()


def test_folders_that_are_loops_of_links_are_refused_in_one_line(refused: Any, shoot: Path, tmp_path: Path) -> None:
    for name in ("out", "shoot2"):
        (tmp_path / name).symlink_to(name)
    assert str(tmp_path / "out") in refused(5, "batch", shoot, "-o", tmp_path / "out", "-q", *STATED, *OFF)
    assert "shoot2" in refused(3, "batch", tmp_path / "shoot2", "-o", tmp_path / "results", "-q", *STATED, *OFF)


TINY = {"name": "saf", "encoder": 8, "motion": 8, "hidden": 4, "match": 4, "verify": 8, "refine": 8}


@pytest.mark.parametrize("command", ["fuse", "batch"])
def test_weights_that_make_no_picture(refused: Any, shoot: Path, tmp_path: Path, command: str) -> None:
    path = tmp_path / "wild.safetensors"
    state = {name: torch.full_like(value, 1e30) for name, value in build_model(TINY).state_dict().items()}
    save_checkpoint(path, state, TINY)
    inputs, output = (sorted(shoot.iterdir()), "o.exr") if command == "fuse" else ([shoot], "out")
    given = ("-o", tmp_path / output, "--weights", path, *STATED, "--device", "cpu")
    assert f"{path}: not usable weights: " in refused(4, command, *inputs, *given)


def test_weights_with_a_flipped_bit(refused: Any, shoot: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_checkpoint(path, build_model(TINY).state_dict(), TINY)
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    given = ("fuse", *sorted(shoot.iterdir()), "-o", tmp_path / "o.exr", "--weights", path, *STATED)
    assert f"{path}: damaged: its contents do not match the checksum" in refused(4, *given)
    assert "checksum" in refused(4, "models", "show", path)


@pytest.mark.parametrize("damage", ["flipped", "options", "text"])
def test_a_training_state_that_lies(refused: Any, tmp_path: Path, damage: str) -> None:
    config, path = train_config({"model": TINY}), tmp_path / "run" / "state.pt"
    path.parent.mkdir()
    save_state(path, new_state(config, torch.device("cpu")), config)
    if damage == "options":
        torch.save(torch.load(path, weights_only=True) | {"config": '{"batch": "many"}'}, path)
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data if damage == "flipped" else b"a text")
    line = refused(3, "train", "-o", path.parent, "--resume", "--iterations", 1, "--device", "cpu")
    assert f"{path}: " in line
    assert "restore the file from a copy" in line
    assert "weights_only" not in line
