"""Networks are built once, and their results are those of ``fuse``; what is missing is reported at the start."""

import numpy as np
import pytest
import torch

from smarthdr_cli.batch.batch_options import BatchOptions
from smarthdr_cli.batch.jobs import Job
from smarthdr_cli.batch.settings import Settings
from smarthdr_cli.batch.worker import NetworkCache, Worker, WorkerConfig
from smarthdr_cli.errors import ModelError, UsageError
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.fusion.pipeline import fuse
from tests.support.shoots import write_shoot


def test_the_network_is_built_once_and_results_are_those_of_fuse(tmp_path):
    networks, options = NetworkCache(), FuseOptions(device="cpu", precision="fp32")
    networks.prepare(options)
    worker = Worker(WorkerConfig(Settings(options), BatchOptions(), tmp_path / ".stage", "model"), networks)
    for files in write_shoot(tmp_path, 2):
        task = worker.fuse(worker.read(Job("a", tuple(files), {"result": tmp_path / "a.exr"})))
        expected = fuse(files, device="cpu", precision="fp32")
        assert np.array_equal(task.result.radiance, expected.radiance)
        assert np.array_equal(task.result.uncertainty, expected.uncertainty)
        assert {"read", "align", "response", "fuse", "convert"} <= set(task.timer.seconds)
    assert len(networks) == 1
    assert networks.open(None, torch.device("cpu"), "fp32") is networks.open(None, torch.device("cpu"), "fp32")


def test_what_is_missing_is_reported_before_any_set():
    with pytest.raises(ModelError):
        NetworkCache().prepare(FuseOptions(weights="nowhere"))
    with pytest.raises(UsageError):
        NetworkCache().prepare(FuseOptions(device="tpu"))
    with pytest.raises(UsageError):
        NetworkCache().prepare(FuseOptions(deghost="off", precision="int8"))
    networks = NetworkCache()
    networks.prepare(FuseOptions(deghost="off", device="cpu"))
    assert len(networks) == 0
