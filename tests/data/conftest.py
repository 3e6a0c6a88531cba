import pytest

from smarthdr_cli.data.scenes import load_bank


@pytest.fixture(scope="session")
def bank():
    """Four procedural scenes."""
    return load_bank(None, procedural=4, seed=5)
