"""A small benchmark on disk and untrained weights, made once."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from smarthdr_cli.data.synth.export import benchmark_config, write_benchmark
from smarthdr_cli.data.synth.sources import bank_from_images
from smarthdr_cli.models.base import build_model
from smarthdr_cli.models.checkpoint import save_checkpoint

SIZE = (64, 96)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two test scenes and a training scene of 16-bit gamma 2.2, as smarthdr synth writes them. Not to be changed."""
    root = tmp_path_factory.mktemp("scenes")
    source = np.random.default_rng(2).lognormal(0, 1.2, (64, 128, 3)).astype(np.float32)
    bank = bank_from_images(["noise"], [cv2.GaussianBlur(source, (0, 0), 2)])
    write_benchmark(root / "Training", bank, 1, 3, benchmark_config("gamma16", SIZE))
    write_benchmark(root / "Test", bank, 2, 4, benchmark_config("gamma16", SIZE))
    return root


@pytest.fixture
def scenes(made: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(made, tmp_path / "scenes"))


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as training leaves it: saf untrained as the student, and another as the teacher."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    folder.mkdir()
    for name, seed in (("model", 11), ("teacher", 12)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build_model({"name": "saf"})
        record = {"method": "smarthdr", "steps": 0, "config": {"secret": "/a/path"}}
        save_checkpoint(folder / f"{name}.safetensors", model.state_dict(), {"name": "saf"}, record, licence="CC0-1.0")
    return folder
