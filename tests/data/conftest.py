import pytest
import torch

from smarthdr_cli.data.synth.sources import load_bank
from tests.support.scenes import SceneFolders


@pytest.fixture(scope="session")
def bank():
    """Four procedural scenes."""
    return load_bank(None, procedural=4, seed=5)


@pytest.fixture(autouse=True)
def _one_thread():
    """Images this small are faster with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def folders(tmp_path):
    """Writes scene folders below ``tmp_path / "set"``."""
    return SceneFolders(tmp_path / "set")
