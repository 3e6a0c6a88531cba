"""Memory: neighbours only where they fit, errors as records."""

from dataclasses import replace
from pathlib import Path

import pytest

from smarthdr_cli.batch.failure import failure
from smarthdr_cli.batch.memory_budget import budget
from smarthdr_cli.errors import InputError, MemoryLimitError, OutputError
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.grouping.header import Header

CPU = FuseOptions(device="cpu")
GB = 2.0**30


def shoot(width, height, frames=3, kind="jpeg"):
    paths = [Path(f"{n}.x") for n in range(frames)]
    return [paths], {path: Header(path, kind=kind, size=(width, height)) for path in paths}


def test_without_a_limit_there_are_neighbours():
    found = budget(CPU, *shoot(6000, 4000))
    assert found.overlap
    assert found.options == CPU


def test_a_large_limit_is_shared_with_them():
    limited = replace(CPU, max_memory=16 * GB)
    found = budget(limited, *shoot(6000, 4000))
    assert found.overlap
    held = 24e6 * (3 * 3 + 34)  # a set's codes read ahead, a finished one being written
    assert found.options.max_memory == pytest.approx(16 * GB - held)
    deep = budget(limited, *shoot(6000, 4000, kind="tiff"))
    assert deep.options.max_memory == pytest.approx(16 * GB - held - 24e6 * 9)


def test_a_small_limit_is_kept_by_doing_one_after_the_other():
    limited = replace(CPU, max_memory=2.5 * GB)
    found = budget(limited, *shoot(6000, 4000))
    assert not found.overlap
    assert found.options == limited
    assert budget(limited, *shoot(600, 400)).overlap


def test_the_largest_set_decides():
    small, large = shoot(600, 400), shoot(9000, 6000)
    sets = [small[0][0], [p.with_name(f"large-{p.name}") for p in large[0][0]]]
    headers = small[1] | {p.with_name(f"large-{p.name}"): h for p, h in large[1].items()}
    assert not budget(replace(CPU, max_memory=4 * GB), sets, headers).overlap


def test_headers_that_say_nothing_are_no_obstacle():
    limited = replace(CPU, max_memory=GB)
    assert budget(limited, [[Path("a")]], {}).options == limited
    assert budget(limited, [], {}).overlap


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("a.jpg\nis damaged"), 3, "a.jpg is damaged"),
        (OutputError("no space"), 5, "no space"),
        (MemoryLimitError("raise it"), 6, "raise it"),
        (MemoryError(), 6, "out of memory"),
        (KeyError("x"), 1, "crashed (KeyError: 'x')"),
    ],
)
def test_errors_as_records(error, code, message):
    found = failure(error)
    assert (found["code"], found["message"]) == (code, message)
