"""The command's own process: exit codes, what is printed and what is registered all get out before it ends."""

import os
import subprocess
import sys

import pytest

START = "import sys, atexit; from smarthdr_cli.cli.process import keep_freed_memory, leave; "


def run(code: str, **how: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True, timeout=60, **how)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    ("given", "status", "said"), [("None", 0, ""), ("0", 0, ""), ("7", 7, ""), ("130", 130, ""), ("'why'", 1, "why\n")]
)
def test_the_status_is_that_of_system_exit(given: str, status: int, said: str) -> None:
    done = run(f"print('result'); leave({given})")
    assert (done.returncode, done.stdout, done.stderr) == (status, "result\n", said)


def test_what_was_registered_is_done_and_nothing_after() -> None:
    done = run("atexit.register(print, 'registered'); leave(0); print('never')")
    assert done.stdout == "registered\n"


def test_output_that_cannot_be_written_is_no_success() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        plain = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
        program = START + "print(1); leave(0)"
        done = subprocess.run([sys.executable, "-c", program], stdout=full, timeout=60, env=plain)
    assert done.returncode == 120


def test_memory_is_kept_without_harm() -> None:
    assert run("keep_freed_memory(); x = [bytes(50_000_000) for _ in range(3)]; print(len(x))").stdout == "3\n"


def test_the_command_ends_so() -> None:
    program = "from smarthdr_cli.cli.app import main; main()"
    done = subprocess.run([sys.executable, "-c", program, "--version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.startswith("smarthdr ")
    missing = [sys.executable, "-m", "smarthdr_cli", "info", "missing.jpg"]
    assert subprocess.run(missing, capture_output=True, timeout=60).returncode == 3
