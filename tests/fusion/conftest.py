import importlib.util
import sys
from pathlib import Path

import pytest
import torch

# importlib import mode keeps test folders off sys.path: the maker beside these tests is loaded by its file.
spec = importlib.util.spec_from_file_location("fusion_bursts", Path(__file__).with_name("made.py"))
module = importlib.util.module_from_spec(spec)
sys.modules["fusion_bursts"] = module
spec.loader.exec_module(module)


@pytest.fixture(autouse=True)
def _one_thread():
    """Pictures this small are not worth a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
