import importlib.util
import sys
from pathlib import Path

import pytest
import torch

# importlib import mode keeps test folders off sys.path: the maker beside these tests is loaded by its file.
spec = importlib.util.spec_from_file_location("batch_shoots", Path(__file__).with_name("made.py"))
module = importlib.util.module_from_spec(spec)
sys.modules["batch_shoots"] = module
spec.loader.exec_module(module)


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """Nothing of the machine's own: no array task, no other weights; one thread, the pictures are small."""
    for name in ("SLURM_ARRAY_TASK_ID", "SMARTHDR_HOME", "SMARTHDR_HUB_REPO", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
