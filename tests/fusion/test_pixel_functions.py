"""Which implementation of the per-pixel functions runs, in processes of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import smarthdr_cli
from smarthdr_cli.fusion.pixel_functions import kernel_choice

PACKAGE = Path(smarthdr_cli.__file__).parent
CHOICE = "from smarthdr_cli.fusion.pixel_functions import kernel_choice; print(*kernel_choice(), sep='|')"
NOWHERE = f"{os.devnull}/folder"  # can be neither created nor written


def start(code: str, root: Path = PACKAGE.parent, **variables: str) -> "subprocess.Popen[str]":
    """Python running ``code`` with the package of ``root``."""
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"} | variables
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code], env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, cwd=root,
    )  # fmt: skip


def output(process: "subprocess.Popen[str]") -> list[str]:
    """The fields of what the process printed."""
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-2000:]
    return out.strip().split("|")


def test_the_loops_are_compiled_here() -> None:
    assert kernel_choice().kernel == "compiled"


def test_a_numba_that_cannot_be_loaded_leaves_numpy(tmp_path: Path) -> None:
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text("raise ImportError('Numba needs NumPy 9.9 or less')")
    paths = os.pathsep.join((str(tmp_path), str(PACKAGE.parent)))
    kernel, reason, _ = output(start(CHOICE, PYTHONPATH=paths))
    assert kernel == "numpy"
    assert reason == "numba cannot be loaded (ImportError: Numba needs NumPy 9.9 or less)"


def test_a_fusion_on_numpy_says_so_and_is_as_good() -> None:
    code = (
        "from smarthdr_cli.doctor.selftest import self_test; test = self_test(device='cpu');"
        "print(test.report['kernel'], test.psnr_mu, sep='|')"
    )
    (on_numpy, quality), (compiled, reference) = (output(start(code, NUMBA_DISABLE_JIT=flag)) for flag in ("1", "0"))
    assert (on_numpy, compiled) == ("numpy", "compiled")
    assert float(quality) == pytest.approx(float(reference), abs=0.1)


@pytest.mark.slow
def test_no_cache_folder_costs_time_and_not_the_run(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / PACKAGE.name / "fusion" / "__pycache__").write_text("a file, so no folder for a cache")
    homes = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), NOWHERE)
    assert output(start(CHOICE, tmp_path, NUMBA_CACHE_DIR="", **homes)) == ["compiled", "", "None"]


@pytest.mark.slow
def test_a_full_disk_costs_time_and_not_the_run(tmp_path: Path) -> None:
    full = "import os\ndef replace(*_): raise OSError(28, 'No space left on device')\nos.replace = replace\n"
    kernel, reason, _ = output(start(full + CHOICE, NUMBA_CACHE_DIR=str(tmp_path)))
    assert (kernel, reason) == ("compiled", "")


@pytest.mark.slow
def test_first_runs_at_the_same_time_do_not_disturb_one_another(tmp_path: Path) -> None:
    running = [start(CHOICE, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(3)]
    chosen = [output(process) for process in running]
    assert {(kernel, reason) for kernel, reason, _ in chosen} == {("compiled", "")}
    assert {Path(cache).is_relative_to(tmp_path) for *_, cache in chosen} == {True}
