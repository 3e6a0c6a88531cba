import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from smarthdr_cli.data.scenes import load_bank
from smarthdr_cli.data.synth import SynthConfig, make_batch

# The pictures of these tests, under a name of their own: other folders have a made.py too.
spec = importlib.util.spec_from_file_location("train_pictures", Path(__file__).with_name("made.py"))
assert spec is not None
assert spec.loader is not None
sys.modules["train_pictures"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["train_pictures"])

TINY = {"name": "saf", "encoder": 8, "motion": 12, "hidden": 4, "match": 4, "verify": 12, "refine": 12}
SYNTH = {"height": 32, "width": 32, "objects": 1, "frames": [3]}


@pytest.fixture(scope="session")
def bank():
    """Two procedural scenes."""
    return load_bank(None, procedural=2, seed=5)


@pytest.fixture(scope="session")
def values():
    """A run that takes seconds."""
    return {"model": TINY, "synth": SYNTH, "batch": 2, "iterations": 6, "validate_every": 3, "validation_bursts": 2,
            "precision": "fp32", "pool": 4, "replay": 2, "motion_steps": 0, "warmup": 1}  # fmt: skip


@pytest.fixture(scope="session")
def batch(bank):
    """Two bursts of 48 pixels."""
    config = SynthConfig(height=48, width=48, objects=2)
    return make_batch(bank, config, torch.Generator().manual_seed(1), 2)


@pytest.fixture(autouse=True)
def _one_thread():
    """Pictures this small are not worth a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
