"""Tone curves against published values, and response tables against numpy's interpolation."""

import doctest
import math

import numpy as np
import pytest

from smarthdr_cli import radiometry
from smarthdr_cli.errors import UsageError
from smarthdr_cli.radiometry import (
    Response,
    assumed_response,
    linear_to_srgb,
    linearize,
    mu_law,
    named_response,
    radiance_per_mu_law,
    resampled,
    srgb_to_linear,
)

pytestmark = pytest.mark.unit


def gamma_response(entries=256, name="auto"):
    grid = np.linspace(0, 1, entries)
    table = np.stack([grid**p for p in (1.8, 2.2, 2.6)]).astype(np.float32)
    return Response(name, table, {})


def interpolated(codes, white, response):
    """Each channel by np.interp in double precision."""
    table = response.table.astype(np.float64)
    grid = np.linspace(0, 1, table.shape[1])
    unit = np.clip(codes.astype(np.float64) / white, 0, 1)
    return np.stack([np.interp(unit[..., c], grid, table[c]) for c in range(3)], axis=-1)


def test_8_bit_codes_are_looked_up():
    response = gamma_response()
    codes = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    linear = linearize(codes, 255, response)
    assert linear.dtype == np.float32
    for channel in range(3):
        assert np.array_equal(linear[..., channel].ravel(), response.table[channel])


@pytest.mark.parametrize("entries", [256, 1024])
@pytest.mark.parametrize("shape", [(7, 9, 3), (160, 200, 3)], ids=["few", "many"])
def test_16_bit_codes_are_interpolated(shape, entries):
    response = gamma_response(entries)
    codes = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    codes[0, :2] = [[0, 0, 0], [65535, 65535, 65535]]
    linear = linearize(codes, 65535, response)
    assert linear.dtype == np.float32
    assert np.abs(linear - interpolated(codes, 65535, response)).max() < 2e-6
    assert linear[0, 0].max() == 0
    assert linear[0, 1].min() == 1


def test_codes_need_not_be_contiguous():
    response = gamma_response()
    for kind, white in ((np.uint8, 255), (np.uint16, 65535)):
        codes = np.random.default_rng(1).integers(0, white + 1, (400, 400, 3)).astype(kind)
        view = codes[3:-5:2, 7:-9:3]
        assert np.array_equal(linearize(view, white, response), linearize(view.copy(), white, response))


def test_floats_are_clipped_at_both_ends():
    response = gamma_response()
    codes = np.array([[[-0.5, 0.5, 2.0]]], np.float32)
    assert np.allclose(linearize(codes, 1.0, response), interpolated(codes, 1.0, response), atol=1e-6)
    assert linearize(codes, 1.0, response)[0, 0, 0] == 0
    assert linearize(codes, 1.0, response)[0, 0, 2] == 1


def test_a_linear_source_keeps_its_values():
    response = Response("linear", np.tile(np.linspace(0, 1, 256, dtype=np.float32), (3, 1)), {})
    codes = np.random.default_rng(2).random((5, 6, 3)).astype(np.float32)
    assert np.array_equal(linearize(codes, 1.0, response), codes)
    wide = np.random.default_rng(3).integers(0, 65536, (200, 200, 3)).astype(np.uint16)
    assert np.abs(linearize(wide, 65535, response) - wide / 65535).max() < 1e-6


def test_a_clip_level_below_the_largest_code_counts_as_1():
    response = gamma_response()
    codes = np.full((4, 4, 3), 60000, np.uint16)
    assert (linearize(codes, 50000, response) == 1).all()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_linear_to_srgb_inverts_srgb_to_linear(kind):
    code = np.linspace(0, 1, 1001, dtype=kind)[None]
    light = srgb_to_linear(code)
    assert light.dtype == linear_to_srgb(light).dtype == kind
    assert np.abs(linear_to_srgb(light) - code).max() < 2e-7


def test_mu_law_and_its_derivative():
    h = np.array([0.0, 1e-4, 0.01, 0.3, 1.0, 4.0])
    expected = [math.log(1 + 5000 * value) / math.log(5001) for value in h]
    assert mu_law(h) == pytest.approx(expected)
    step = 1e-7
    assert radiance_per_mu_law(h) == pytest.approx(step / (mu_law(h + step) - mu_law(h)), rel=1e-3)


def test_the_largest_channel_is_that_of_max():
    light = np.random.default_rng(0).random((5, 7, 3), np.float32)
    assert np.array_equal(radiometry.channel_max(light), light.max(axis=2))


def test_the_assumed_response_is_srgb_for_display_encoding():
    assert np.array_equal(assumed_response("display").table, named_response("srgb").table)
    assert np.array_equal(assumed_response("linear").table, named_response("linear").table)


def test_docstring_examples():
    assert doctest.testmod(radiometry) == (0, 2)


def test_srgb_matches_published_values():
    table = named_response("srgb").table
    # IEC 61966-2-1: the linear segment to code 10, then the power law; 0.214041 at code 0.5 (188 / 255 is 0.502886).
    assert table[0, 10] == pytest.approx(10 / 255 / 12.92, rel=1e-6)
    assert table[1, 188] == pytest.approx(0.502886, abs=1e-6)
    assert named_response("srgb", 4097).table[2, 2048] == pytest.approx(0.214041, abs=1e-6)


def test_gamma_and_linear():
    codes = np.arange(256) / 255
    np.testing.assert_allclose(named_response("gamma2.2").table[0], codes**2.2, atol=1e-7)
    np.testing.assert_allclose(named_response("linear", 4096).table[2], np.arange(4096) / 4095, atol=1e-7)


@pytest.mark.parametrize("name", ["srgb", "gamma2.2", "linear"])
@pytest.mark.parametrize("entries", [256, 4096])
def test_tables_are_monotone_from_0_to_1(name, entries):
    table = named_response(name, entries).table
    assert table.shape == (3, entries)
    assert table.dtype == np.float32
    assert (table[:, 0] == 0).all()
    assert (table[:, -1] == 1).all()
    assert (np.diff(table, axis=1) > 0).all()


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"auto, srgb, gamma2.2, linear"):
        named_response("rec709")


def test_resampling_between_entries():
    response = named_response("gamma2.2")
    unnamed = Response("curve", response.table, {})
    fine = resampled(unnamed, 4096).table[1]
    code = np.linspace(0, 1, 4096)
    above_toe = code > 2 / 255
    np.testing.assert_allclose(fine[above_toe], code[above_toe] ** 2.2, rtol=0.02)
    bright = code > 0.1
    np.testing.assert_allclose(fine[bright], code[bright] ** 2.2, rtol=2e-4)
