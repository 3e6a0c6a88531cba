"""Cores, memory and the end of the process, with and without support of the system."""

import os
import subprocess
import sys

import pytest

from smarthdr_cli.system import peak_memory, physical_memory, usable_cores

START = "import sys, atexit; from smarthdr_cli.system import exit_process, keep_freed_memory; "


def run(code: str, **how: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True, timeout=60, **how)  # type: ignore[call-overload,no-any-return]


def test_cores_by_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    assert usable_cores() == 2


@pytest.mark.parametrize(("stated", "usable"), [(6, 6), (None, 1)])
def test_all_cores_without_affinity(monkeypatch: pytest.MonkeyPatch, stated: int | None, usable: int) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: stated)
    assert usable_cores() == usable


def test_available_memory_is_at_most_the_total() -> None:
    total, available = physical_memory()
    assert total is None or total > 100e6
    assert available is None or (total is not None and 0 < available <= total)


def test_the_peak_includes_allocated_memory() -> None:
    program = "from smarthdr_cli.system import peak_memory; before = peak_memory(); block = b'x' * 300_000_000; "
    assert float(run(program + "print(peak_memory() - before)").stdout) > 250e6


def test_a_reset_lowers_the_peak() -> None:
    program = (
        "from smarthdr_cli.system import peak_memory, reset_peak_memory; block = b'x' * 300_000_000; del block; "
        "before = peak_memory(); reset_peak_memory(); print(before - peak_memory())"
    )
    difference = float(run(program).stdout)
    if difference == 0:
        pytest.skip("this kernel has no /proc/self/clear_refs, or ignores what is written to it")
    assert difference > 250e6


def test_the_peak_is_in_bytes() -> None:
    assert 10e6 < peak_memory() < 1e12


@pytest.mark.parametrize(
    ("code", "status", "stderr"), [("None", 0, ""), ("0", 0, ""), ("7", 7, ""), ("130", 130, ""), ("'why'", 1, "why\n")]
)
def test_the_exit_status_is_that_of_system_exit(code: str, status: int, stderr: str) -> None:
    done = run(f"print('result'); exit_process({code})")
    assert (done.returncode, done.stdout, done.stderr) == (status, "result\n", stderr)


def test_atexit_functions_run_and_nothing_after() -> None:
    done = run("atexit.register(print, 'registered'); exit_process(0); print('never')")
    assert done.stdout == "registered\n"


def test_output_that_cannot_be_written_gives_120() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        plain = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
        program = START + "print(1); exit_process(0)"
        done = subprocess.run([sys.executable, "-c", program], stdout=full, timeout=60, env=plain)
    assert done.returncode == 120


def test_allocations_after_keeping_freed_memory() -> None:
    assert run("keep_freed_memory(); x = [bytes(50_000_000) for _ in range(3)]; print(len(x))").stdout == "3\n"


def test_the_command_ends_this_way() -> None:
    program = "from smarthdr_cli.cli.app import main; main()"
    done = subprocess.run([sys.executable, "-c", program, "--version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.startswith("smarthdr ")
    missing = [sys.executable, "-m", "smarthdr_cli", "info", "missing.jpg"]
    assert subprocess.run(missing, capture_output=True, timeout=60).returncode == 3
