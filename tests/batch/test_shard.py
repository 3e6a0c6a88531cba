"""Parts of a list: disjoint, complete, of like size; and a Slurm array's tasks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.batch.shard import Shard, parse_shard
from smarthdr_cli.errors import UsageError


@given(st.integers(0, 60), st.integers(1, 40))
def test_the_parts_are_the_whole(items, count):
    parts = [Shard(i + 1, count).of(list(range(items))) for i in range(count)]
    assert sorted(x for part in parts for x in part) == list(range(items))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_names_of_the_files():
    assert Shard().results_name == "results.jsonl"
    assert Shard(3, 32).results_name == "results-3-of-32.jsonl"
    assert len({Shard(i, 32).staging_name for i in range(1, 33)} | {Shard().staging_name}) == 33


def test_as_written():
    assert parse_shard("3/32", {}) == Shard(3, 32)
    assert parse_shard(None, {}) == Shard()
    assert parse_shard("all", slurm(4, 1, 8)) == Shard()
    assert parse_shard("1/2", slurm(4, 1, 8)) == Shard(1, 2)


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "-1/4", "1/0", "a/b", "1/2/3", "1.5/4", "²/4", "1/ 4"])
def test_nonsense(text):
    with pytest.raises(UsageError, match="--shard"):
        parse_shard(text, {})


def slurm(task, low, high, step=1):
    count = (high - low) // step + 1
    values = {"ID": task, "COUNT": count, "MIN": low, "MAX": high, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(("low", "high", "step"), [(0, 31, 1), (1, 32, 1), (5, 9, 1), (0, 62, 2), (7, 7, 1)])
def test_a_slurm_array(low, high, step):
    tasks = range(low, high + 1, step)
    found = [parse_shard(None, slurm(task, low, high, step)) for task in tasks]
    assert found == [Shard(i + 1, len(tasks)) for i in range(len(tasks))]


def test_a_slurm_array_without_max_and_step():
    environment = {"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_ARRAY_TASK_MIN": "1"}
    assert parse_shard(None, environment) == Shard(4, 8)


@pytest.mark.parametrize(
    "change",
    [{"ID": "x"}, {"COUNT": "3"}, {"ID": "99"}, {"COUNT": ""}, {"STEP": "3"}],  # an array of 1,4,9 has gaps
)
def test_a_slurm_array_whose_places_are_not_told(change):
    environment = slurm(4, 1, 8) | {f"SLURM_ARRAY_TASK_{name}": value for name, value in change.items()}
    with pytest.raises(UsageError, match="--shard"):
        parse_shard(None, environment)
