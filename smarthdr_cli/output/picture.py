"""JPEG and PNG by way of memory: Pillow, writing a file itself, ignores a write the disk cut short."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def save_picture(path: Path, pixels: NDArray[np.unsignedinteger[Any]], kind: str, **options: Any) -> None:
    """Write (H, W, 3) uint8 ``pixels`` to ``path`` as ``kind`` ("JPEG", "PNG") with Pillow's ``options``.

    Raises OSError when not every byte could be written.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    with path.open("wb") as file:
        file.write(buffer.getbuffer())
