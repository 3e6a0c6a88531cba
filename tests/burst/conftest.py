"""Files in the folder of a test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.files import write_dng, write_jpeg


@pytest.fixture
def jpeg(tmp_path: Path) -> Callable[..., Path]:
    """``jpeg("a.jpg", image, block)``: ``write_jpeg`` into the folder of the test."""

    def write(name: str, image: NDArray[np.uint8], block: bytes | None = None, **options: Any) -> Path:
        return write_jpeg(tmp_path / name, image, block, **options)

    return write


@pytest.fixture
def dng(tmp_path: Path) -> Callable[..., Path]:
    """``dng("a.dng", mosaic, ...)``: ``write_dng`` into the folder of the test."""

    def write(name: str, mosaic: NDArray[Any], **options: Any) -> Path:
        return write_dng(tmp_path / name, mosaic, **options)

    return write
