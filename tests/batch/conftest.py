import pytest
import torch


@pytest.fixture(autouse=True)
def _isolated(monkeypatch):
    """No array task, weights or cluster of this machine; one thread, since the images are small."""
    for name in ("SLURM_ARRAY_TASK_ID", "SMARTHDR_HOME", "SMARTHDR_HUB_REPO", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
