"""Source codes to linear light, against numpy's interpolation code by code."""

import numpy as np
import pytest

from smarthdr_cli.linear import Alignment, Response, linearize


def curve(entries=256, name="auto"):
    grid = np.linspace(0, 1, entries)
    table = np.stack([grid**p for p in (1.8, 2.2, 2.6)]).astype(np.float32)
    return Response(name, table, {})


def twin(codes, white, response):
    """Every channel through its table, by np.interp in double precision."""
    table = response.table.astype(np.float64)
    grid = np.linspace(0, 1, table.shape[1])
    unit = np.clip(codes.astype(np.float64) / white, 0, 1)
    return np.stack([np.interp(unit[..., c], grid, table[c]) for c in range(3)], axis=-1)


def test_eight_bits_go_through_the_table_exactly():
    response = curve()
    codes = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    found = linearize(codes, 255, response)
    assert found.dtype == np.float32
    for channel in range(3):
        assert np.array_equal(found[..., channel].ravel(), response.table[channel])


@pytest.mark.parametrize("entries", [256, 1024])
@pytest.mark.parametrize("shape", [(7, 9, 3), (160, 200, 3)], ids=["few", "many"])
def test_sixteen_bits_are_interpolated_between_entries(shape, entries):
    response = curve(entries)
    codes = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    codes[0, :2] = [[0, 0, 0], [65535, 65535, 65535]]
    found = linearize(codes, 65535, response)
    assert found.dtype == np.float32
    assert np.abs(found - twin(codes, 65535, response)).max() < 2e-6
    assert found[0, 0].max() == 0
    assert found[0, 1].min() == 1


def test_a_view_that_is_not_contiguous_reads_the_same():
    response = curve()
    for kind, white in ((np.uint8, 255), (np.uint16, 65535)):
        codes = np.random.default_rng(1).integers(0, white + 1, (400, 400, 3)).astype(kind)
        part = codes[3:-5:2, 7:-9:3]
        assert np.array_equal(linearize(part, white, response), linearize(part.copy(), white, response))


def test_floats_are_clipped_at_both_ends():
    response = curve()
    codes = np.array([[[-0.5, 0.5, 2.0]]], np.float32)
    assert np.allclose(linearize(codes, 1.0, response), twin(codes, 1.0, response), atol=1e-6)
    assert linearize(codes, 1.0, response)[0, 0, 0] == 0
    assert linearize(codes, 1.0, response)[0, 0, 2] == 1


def test_a_linear_source_keeps_its_values():
    response = Response("linear", np.tile(np.linspace(0, 1, 256, dtype=np.float32), (3, 1)), {})
    codes = np.random.default_rng(2).random((5, 6, 3)).astype(np.float32)
    assert np.array_equal(linearize(codes, 1.0, response), codes)
    wide = np.random.default_rng(3).integers(0, 65536, (200, 200, 3)).astype(np.uint16)
    assert np.abs(linearize(wide, 65535, response) - wide / 65535).max() < 1e-6


def test_a_clip_level_below_the_largest_code_counts_as_1():
    response = curve()
    codes = np.full((4, 4, 3), 60000, np.uint16)
    assert (linearize(codes, 50000, response) == 1).all()


def test_identity_alignment_moves_nothing():
    alignment = Alignment.identity(3)
    assert alignment.homographies.shape == (3, 3, 3)
    assert (alignment.homographies == np.eye(3)).all()
    assert alignment.moved == (False, False, False)
