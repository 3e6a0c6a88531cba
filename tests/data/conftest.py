import pytest
import torch

from smarthdr_cli.data.scenes import load_bank


@pytest.fixture(scope="session")
def bank():
    """Four procedural scenes."""
    return load_bank(None, procedural=4, seed=5)


@pytest.fixture(autouse=True)
def _one_thread():
    """Pictures this small are not worth a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
