"""Shards of a list, the place of a task in a Slurm array, the files of a set, options that exclude each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.batch.batch_options import EngineOptions, OutputFiles, Shard, parse_shard, slurm_shard
from smarthdr_cli.errors import UsageError

pytestmark = pytest.mark.unit


@given(st.integers(0, 60), st.integers(1, 40))
def test_shards_are_disjoint_complete_and_of_equal_size(items, count):
    parts = [Shard(i + 1, count).of(list(range(items))) for i in range(count)]
    assert sorted(x for part in parts for x in part) == list(range(items))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_each_shard_has_its_own_files():
    assert Shard().results_name == "results.jsonl"
    assert Shard(3, 32).results_name == "results-3-of-32.jsonl"
    assert len({Shard(i, 32).staging_name for i in range(1, 33)} | {Shard().staging_name}) == 33


def test_parse_shard():
    assert parse_shard("3/32") == Shard(3, 32)
    assert parse_shard("all") == Shard()


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "-1/4", "1/0", "a/b", "1/2/3", "1.5/4", "²/4", "1/ 4"])
def test_parse_shard_rejects_other_text(text):
    with pytest.raises(UsageError, match="--shard"):
        parse_shard(text)


def slurm(task, low, high, step=1):
    """The environment of a task of ``sbatch --array=low-high:step``."""
    count = (high - low) // step + 1
    values = {"ID": task, "COUNT": count, "MIN": low, "MAX": high, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(("low", "high", "step"), [(0, 31, 1), (1, 32, 1), (5, 9, 1), (0, 62, 2), (7, 7, 1)])
def test_tasks_of_a_slurm_array_are_its_shards_in_order(low, high, step):
    tasks = range(low, high + 1, step)
    shards = [slurm_shard(slurm(task, low, high, step)) for task in tasks]
    assert shards == [Shard(i + 1, len(tasks)) for i in range(len(tasks))]


def test_slurm_array_without_max_and_step():
    environment = {"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_ARRAY_TASK_MIN": "1"}
    assert slurm_shard(environment) == Shard(4, 8)


def test_everything_outside_a_slurm_array():
    assert slurm_shard({}) == Shard()


@pytest.mark.parametrize(
    "change",
    [{"ID": "x"}, {"COUNT": "3"}, {"ID": "99"}, {"COUNT": ""}, {"STEP": "3"}],  # an array of 1,4,9 has gaps
)
def test_slurm_array_with_gaps_is_refused(change):
    environment = slurm(4, 1, 8) | {f"SLURM_ARRAY_TASK_{name}": value for name, value in change.items()}
    with pytest.raises(UsageError, match="--shard"):
        slurm_shard(environment)


def test_files_of_a_set(tmp_path):
    base = tmp_path / "a.b"
    assert OutputFiles().paths(base) == {"result": tmp_path / "a.b.exr"}
    paths = OutputFiles("tif", preview_format="tif", uncertainty=True).paths(base)
    assert [path.name for path in paths.values()] == ["a.b-uncertainty.png", "a.b-preview.tif", "a.b.tif"]
    assert list(paths)[-1] == "result"  # it is moved last: once it exists, so do the others
    assert OutputFiles(preview=True).paths(base)["preview"].name == "a.b.jpg"
    assert OutputFiles(uncertainty_format="exr").paths(base)["uncertainty"].name == "a.b-uncertainty.exr"
    assert [path.name for path in OutputFiles(report=True).paths(base).values()] == ["a.b.html", "a.b.exr"]


@pytest.mark.parametrize("option", [{"address": "auto"}, {"num_cpus": 0}, {"num_gpus": 1}])
def test_options_of_ray_need_its_engine(option):
    with pytest.raises(UsageError, match=f"--{next(iter(option)).replace('_', '-')} belongs to --engine ray"):
        EngineOptions(**option)
    EngineOptions("ray", **option)
