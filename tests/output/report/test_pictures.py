"""The encoding of HDR pictures, against a decoder written the slow way."""

import base64
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from smarthdr_cli.output.report.pictures import (
    LOW_EV,
    MAX_PIXELS,
    STEPS_PER_EV,
    Reduction,
    pack_indices,
    pack_light,
    thumbnail_uri,
)

pytestmark = pytest.mark.unit


def unpack(text: str, planes: int, height: int, width: int) -> NDArray[np.int64]:
    """Bytes, zigzag, and the predictor pixel by pixel."""
    data = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).astype(int)
    low, high = data.reshape(2, planes, height, width)
    out = np.zeros((planes, height, width), int)
    for plane in range(planes):
        for y in range(height):
            for x in range(width):
                code = int(low[plane, y, x] + 256 * high[plane, y, x])
                residual = -(code + 1) // 2 if code % 2 else code // 2
                left = out[plane, y, x - 1] if x else 0
                above = out[plane, y - 1, x] if y else 0
                corner = out[plane, y - 1, x - 1] if x and y else 0
                out[plane, y, x] = residual + left + above - corner
    return out


def light_of(codes: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(codes > 0, 2.0 ** (LOW_EV + (codes - 1) / STEPS_PER_EV), 0.0)


def test_light_survives_within_half_a_step_at_every_brightness():
    rng = np.random.default_rng(1)
    light = np.exp2(rng.uniform(-13.9, 30, (24, 31, 3))).astype(np.float32)
    light[0, 0], light[0, 1], light[0, 2] = 0.0, -0.5, 2.0**-20
    green, red, blue = unpack(pack_light(light), 3, 24, 31)
    decoded = light_of(np.stack([red + green, green, blue + green], axis=2))
    assert (decoded[0, :3] == 0).all()
    error = np.abs(np.log2(decoded[1:]) - np.log2(light[1:].astype(np.float64)))
    assert error.max() <= 0.5 / STEPS_PER_EV + 1e-4


def test_the_largest_steps_between_neighbours_fit():
    light = np.zeros((6, 6, 3), np.float32)
    light[::2, ::2, 0] = light[1::2, 1::2, 1] = light[::3, 1::2, 2] = np.finfo(np.float32).max
    green, red, blue = unpack(pack_light(light), 3, 6, 6)
    decoded = np.stack([red + green, green, blue + green], axis=2)
    assert ((decoded > 4000) == (light > 0)).all()
    assert (decoded[light == 0] == 0).all()


def test_indices_survive():
    indices = np.random.default_rng(2).integers(0, 256, (9, 14)).astype(np.uint8)
    assert (unpack(pack_indices(indices), 1, 9, 14)[0] == indices).all()


@pytest.mark.parametrize(("height", "width"), [(4000, 6000), (900, 1200), (5304, 7952), (300, 20000), (80, 60)])
def test_pictures_are_reduced_to_the_limit_and_small_ones_left(height: int, width: int):
    reduction = Reduction.of(height, width)
    reduced_width, reduced_height = reduction.size
    assert reduced_width * reduced_height <= MAX_PIXELS
    assert reduced_width * reduced_height >= min(height * width, 0.98 * MAX_PIXELS)
    assert reduced_width / reduced_height == pytest.approx(width / height, rel=0.03)


def test_a_reduction_by_cells_meets_the_reduction_of_the_picture():
    """The reference comes in cells, the result whole: both must show the same place at the same pixel."""
    y, x = np.mgrid[0:307, 0:411].astype(np.float32)
    picture = np.stack([x, y, x + y], axis=2)
    reduction = Reduction.of(307, 411, max_pixels=9000)
    cell = reduction.cell
    padded = np.pad(picture, ((0, -307 % cell), (0, -411 % cell), (0, 0)), mode="edge")
    cells = padded.reshape(padded.shape[0] // cell, cell, padded.shape[1] // cell, cell, 3).mean(axis=(1, 3))
    assert cell == 3
    np.testing.assert_allclose(reduction.reduce_cells(cells), reduction.reduce(picture), atol=0.51)


def test_thumbnails_are_small():
    uri = thumbnail_uri(np.full((774, 1032, 3), 90, np.uint8))
    assert uri.startswith("data:image/jpeg;base64,/9j/")
    assert len(uri) < 20_000
