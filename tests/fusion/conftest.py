import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """One torch thread: a second one does not pay for images this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
