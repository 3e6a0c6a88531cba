import numpy as np
import pytest

from smarthdr_cli.colorspace import ACESCG, DISPLAY_P3, PROPHOTO, REC709, REC2020, conversion, convert_rgb
from smarthdr_cli.output.convert import to_colorspace


@pytest.mark.parametrize("source", [REC709, DISPLAY_P3, PROPHOTO])
@pytest.mark.parametrize("target", [REC709, REC2020, ACESCG])
def test_matches_the_matrix_in_double_and_returns(make_fused, source, target):
    fused = make_fused(colorspace=source)
    out = to_colorspace(fused, target)
    assert out.colorspace == target
    expected = fused.radiance.astype(np.float64) @ conversion(source, target).T
    np.testing.assert_allclose(out.radiance, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(to_colorspace(out, source).radiance, fused.radiance, rtol=1e-4, atol=1e-4)


def test_white_stays_and_negatives_are_kept(make_fused):
    rgb = np.array([[[2.0, 2.0, 2.0], [0.0, 1.0, 0.0]]], np.float32)
    out = to_colorspace(make_fused(rgb, colorspace=REC2020), REC709).radiance
    np.testing.assert_allclose(out[0, 0], 2.0, rtol=1e-5)
    assert out[0, 1, 0] < -0.5


def test_in_place_and_nothing_to_do(fused):
    assert to_colorspace(fused, REC709) is fused
    rgb = fused.radiance.copy()
    expected = convert_rgb(rgb, REC709, ACESCG)
    assert convert_rgb(rgb, REC709, ACESCG, out=rgb) is rgb
    np.testing.assert_array_equal(rgb, expected)
