"""A small set of scenes on disk and untrained weights, made once."""

import shutil
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from smarthdr_cli.data.synth.export import benchmark_config, encode_jpeg, write_benchmark
from smarthdr_cli.data.synth.sources import bank_from_images
from smarthdr_cli.models.base import build_model
from smarthdr_cli.models.checkpoint import save_checkpoint

SIZE = (64, 96)


@pytest.fixture(scope="session")
def scene_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two test scenes and a training scene of 16-bit gamma 2.2, as ``smarthdr synth`` writes them. Read-only."""
    root = tmp_path_factory.mktemp("scenes")
    source = np.random.default_rng(2).lognormal(0, 1.2, (64, 128, 3)).astype(np.float32)
    bank = bank_from_images(["noise"], [cv2.GaussianBlur(source, (0, 0), 2)])
    write_benchmark(root / "Training", bank, 1, 3, benchmark_config("gamma16", SIZE))
    write_benchmark(root / "Test", bank, 2, 4, benchmark_config("gamma16", SIZE))
    return root


@pytest.fixture
def scene_set_copy(scene_set: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(scene_set, tmp_path / "scenes"))


@pytest.fixture
def camera_set(scene_set: Path, tmp_path: Path) -> Path:
    """One test scene of JPEGs with EXIF times 1/400, 4/400 and 16/400 s, named c, a, b; no exposure.txt."""
    root = tmp_path / "camera"
    folder, source = root / "Test" / "own", scene_set / "Test" / "001"
    folder.mkdir(parents=True)
    shutil.copy(source / "HDRImg.exr", folder)
    for number, (name, time) in enumerate(zip("cab", (1, 4, 16), strict=True), start=1):
        codes = cv2.imread(str(source / f"{number}.tif"), cv2.IMREAD_UNCHANGED)[..., ::-1]
        jpeg = encode_jpeg((codes // 257).astype(np.uint8), Fraction(time, 400), 95)
        (folder / f"{name}.jpg").write_bytes(jpeg)
    return root


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as training leaves it, with untrained saf weights: a student and another teacher."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    folder.mkdir()
    for name, seed in (("model", 11), ("teacher", 12)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build_model({"name": "saf"})
        record = {"method": "smarthdr", "steps": 0, "config": {"secret": "/a/path"}}
        save_checkpoint(folder / f"{name}.safetensors", model.state_dict(), {"name": "saf"}, record, licence="CC0-1.0")
    return folder
