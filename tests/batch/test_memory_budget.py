"""Sets are read ahead and written behind only where the memory limit allows it."""

from dataclasses import replace
from pathlib import Path

import pytest

from smarthdr_cli.batch.memory_budget import batch_budget
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.grouping.header import Header

pytestmark = pytest.mark.unit

CPU = FuseOptions(device="cpu")
GB = 2.0**30


def shoot(width, height, frames=3, kind="jpeg"):
    paths = [Path(f"{n}.x") for n in range(frames)]
    return [paths], {path: Header(path, kind=kind, size=(width, height)) for path in paths}


def test_without_a_limit_sets_overlap():
    budget = batch_budget(CPU, *shoot(6000, 4000))
    assert budget.overlap
    assert budget.options == CPU


def test_the_neighbours_of_a_set_reduce_its_limit():
    limited = replace(CPU, max_memory=16 * GB)
    budget = batch_budget(limited, *shoot(6000, 4000))
    assert budget.overlap
    neighbours = 24e6 * (3 * 3 + 34)  # bytes: the codes of a set read ahead, a finished set being written
    assert budget.options.max_memory == pytest.approx(16 * GB - neighbours)
    deep = batch_budget(limited, *shoot(6000, 4000, kind="tiff"))
    assert deep.options.max_memory == pytest.approx(16 * GB - neighbours - 24e6 * 9)


def test_under_a_small_limit_sets_do_not_overlap():
    limited = replace(CPU, max_memory=2.5 * GB)
    budget = batch_budget(limited, *shoot(6000, 4000))
    assert not budget.overlap
    assert budget.options == limited
    assert batch_budget(limited, *shoot(600, 400)).overlap


def test_the_largest_set_counts():
    small, large = shoot(600, 400), shoot(9000, 6000)
    sets = [small[0][0], [p.with_name(f"large-{p.name}") for p in large[0][0]]]
    headers = small[1] | {p.with_name(f"large-{p.name}"): h for p, h in large[1].items()}
    assert not batch_budget(replace(CPU, max_memory=4 * GB), sets, headers).overlap


def test_sets_of_unknown_size_are_ignored():
    limited = replace(CPU, max_memory=GB)
    assert batch_budget(limited, [[Path("a")]], {}).options == limited
    assert batch_budget(limited, [], {}).overlap
