"""``smarthdr doctor``: facts are true, broken parts have a line and the exit code of fuse, and nothing crashes it."""

import hashlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smarthdr_cli.doctor import selftest
from smarthdr_cli.models.weights import weights_dir

from .conftest import Run, parse

NAME = "saf-base"


@pytest.fixture(autouse=True)
def _no_hub_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def doctor(smarthdr: Run) -> Callable[[int], tuple[dict[str, Any], str]]:
    """``doctor(code)``: (JSON object, stderr) of a run that has to end with ``code``; stderr is one line on failure."""

    def run(code: int) -> tuple[dict[str, Any], str]:
        result = smarthdr("doctor", "--json")
        assert result.exit_code == code, (result.exit_code, result.stderr)
        found = parse(result.stdout)
        assert (found["ok"], found["exit_code"]) == (code == 0, code)
        assert len(result.stderr.splitlines()) == (code != 0)
        return found, result.stderr

    return run


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A self-test that passes at once."""
    passed = selftest.SelfTest(50.0, 0.1, {"model": {"name": NAME}, "device": "cpu", "precision": "fp32"})
    monkeypatch.setattr(selftest, "self_test", lambda: passed)


def test_facts_are_true(doctor: Any) -> None:
    found, _ = doctor(0)
    assert found["problems"] == []
    assert found["versions"]["python"] == sys.version.split()[0]
    assert found["versions"]["libraries"]["numpy"] == np.__version__
    assert found["versions"]["libraries"]["opencv-python"] == metadata.version("opencv-python")
    (default,) = [entry for entry in found["weights"] if entry["default"]]
    assert (default["name"], default["state"], default["licence"]) == (NAME, "verified", "CC0-1.0")
    whole = (weights_dir() / f"{NAME}.safetensors").read_bytes()
    assert default["sha256"] == hashlib.sha256(whole).hexdigest()
    assert found["cpu"]["cores"] == os.cpu_count()
    assert found["cpu"]["bf16_gain"] > 0
    assert 0 < found["memory"]["available"] <= found["memory"]["total"]
    assert found["selftest"]["psnr_mu"] > 45
    assert found["selftest"]["model"] == NAME
    assert {"raw", "ray", "tensorboard", "distributed"} == set(found["extras"])


@pytest.mark.usefixtures("quick")
def test_the_table_for_people(smarthdr: Run) -> None:
    result = smarthdr("doctor")
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0].startswith("ok  smarthdr ")
    assert {line.split()[0] for line in lines} <= {"ok", "-"}
    assert any(f"{NAME} (default)" in line and "verified, sha256 " in line for line in lines)
    assert lines[-1].split()[1] == "self-test"


def copy_weights(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped weights and their manifest in a SMARTHDR_HOME; returns the folder."""
    folder = home / "weights"
    folder.mkdir(parents=True)
    for name in ("manifest.toml", f"{NAME}.safetensors"):
        (folder / name).write_bytes((weights_dir() / name).read_bytes())
    monkeypatch.setenv("SMARTHDR_HOME", str(home))
    return folder


@pytest.mark.parametrize("damage", ["bit", "cut", "manifest"])
def test_damaged_weights(doctor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    folder = copy_weights(tmp_path / "home", monkeypatch)
    name = "manifest.toml" if damage == "manifest" else f"{NAME}.safetensors"
    data = bytearray((folder / name).read_bytes())
    if damage == "bit":
        data[-9] ^= 1
    (folder / name).write_bytes(data if damage == "bit" else data[: len(data) // 2])
    found, message = doctor(4)
    assert name in message
    assert any(name in problem for problem in found["problems"])
    assert found["selftest"]["psnr_mu"] is None
    if damage == "bit":
        assert [entry["state"] for entry in found["weights"] if entry["name"] == "saf-base"] == ["damaged"]
    assert found["versions"]["libraries"]["torch"]  # the other sections are complete


@pytest.mark.usefixtures("quick")
def test_damaged_weights_of_another_name_do_not_stop_fusing(
    doctor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_weights(tmp_path / "home", monkeypatch)
    (folder / "mine.safetensors").write_bytes(b"no tensors")
    found, _ = doctor(0)
    assert {entry["name"]: entry["state"] for entry in found["weights"]} == {
        NAME: "verified", "gfhdr-base": "verified", "mine": "damaged",
    }  # fmt: skip
    assert "mine.safetensors" in found["problems"][0]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("how", ["absent", "broken"])
def test_without_rawpy(doctor: Any, smarthdr: Run, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "absent":
        monkeypatch.setitem(sys.modules, "rawpy", None)
    else:
        load = importlib.import_module

        def broken(name: str) -> Any:
            if name == "rawpy":
                raise OSError("libraw.so.23: cannot open shared object file")
            return load(name)

        monkeypatch.setattr(importlib, "import_module", broken)
    found, _ = doctor(0)
    assert found["extras"]["raw"]["version"] is None
    (line,) = [line for line in smarthdr("doctor").stdout.splitlines() if "rawpy" in line]
    assert line.startswith("-   rawpy")
    assert "pip install 'smarthdr[raw]'" in line
    assert ("libraw.so.23" in line) == (how == "broken")


def test_without_opencv() -> None:
    """In its own process: everything that imports OpenCV fails, and the report is complete."""
    code = "import sys\nsys.modules['cv2'] = None\nfrom smarthdr_cli.cli.app import app\napp(['doctor', '--json'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("smarthdr: fusing does not work here: ModuleNotFoundError")
    found = json.loads(done.stdout)
    assert found["versions"]["libraries"]["opencv-python"] is None
    assert "opencv-python: is not installed" in found["problems"]
    assert found["versions"]["libraries"]["numpy"] == np.__version__


@pytest.mark.usefixtures("quick")
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder here that nobody can write")
def test_a_cache_that_cannot_be_written(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name in ("HOME", "SMARTHDR_HOME"):
        monkeypatch.setenv(name, "/proc/self/nobody")
        found, _ = doctor(0)
        assert (found["cache"]["writable"], found["cache"]["bytes"]) == (False, 0)
        assert found["cache"]["folder"].startswith("/proc/self/nobody")


@pytest.mark.usefixtures("quick")
def test_the_cache_and_its_size(doctor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMARTHDR_HOME", str(tmp_path))
    (tmp_path / "cache" / "a").mkdir(parents=True)
    (tmp_path / "cache" / "a" / "x").write_bytes(bytes(5000))
    (tmp_path / "cache" / "loop").symlink_to(tmp_path / "cache")
    found, _ = doctor(0)
    assert found["cache"]["folder"] == str(tmp_path / "cache")
    assert found["cache"]["bytes"] == 5000
    assert found["cache"]["writable"] is True


def test_no_folder_for_temporary_files(doctor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    _, message = doctor(5)
    assert "no temporary file can be written" in message


def test_a_wrong_fusion(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fuse = selftest.fuse

    def fuse_darker(*arguments: Any, **options: Any) -> Any:
        result = fuse(*arguments, deghost="off", **options)
        result.radiance[:] *= 0.8
        return result

    monkeypatch.setattr(selftest, "fuse", fuse_darker)
    found, message = doctor(1)
    assert "the self-test's result is off" in message
    assert found["selftest"]["problem"] in message


def test_memory_that_runs_out(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted() -> None:
        raise MemoryError

    monkeypatch.setattr(selftest, "self_test", exhausted)
    assert "out of memory" in doctor(6)[1]


@pytest.mark.usefixtures("quick")
def test_the_hub_as_configured(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMARTHDR_HUB_REPO", "somebody/weights@v1.2")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found, _ = doctor(0)
    assert found["hub"] | {"home": None} == {
        "repository": "somebody/weights", "revision": "v1.2", "offline": True, "home": None,
    }  # fmt: skip
    monkeypatch.setenv("SMARTHDR_HUB_REPO", "somebody/weights@main")
    found, _ = doctor(0)
    assert "SMARTHDR_HUB_REPO" in found["problems"][0]
