"""Matrices between colour spaces against published ones."""

import numpy as np
import pytest

from smarthdr_cli.colorspace import (
    ACESCG,
    ADOBE_RGB,
    D50,
    DISPLAY_P3,
    PROPHOTO,
    REC709,
    REC2020,
    ColorSpace,
    conversion,
    convert_rgb,
)

pytestmark = pytest.mark.unit

# IEC 61966-2-1 / ITU-R BT.709; Adobe RGB (1998) 4.3.5.3; SMPTE RP 177 for Display P3; ITU-R BT.2020.
TO_XYZ = {
    REC709: [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]],
    ADOBE_RGB: [[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]],
    DISPLAY_P3: [[0.48657, 0.26567, 0.19822], [0.22897, 0.69174, 0.07929], [0.0, 0.04511, 1.04394]],
    REC2020: [[0.63696, 0.14462, 0.16888], [0.26270, 0.67800, 0.05930], [0.0, 0.02807, 1.06099]],
    PROPHOTO: [[0.79767, 0.13519, 0.03135], [0.28804, 0.71187, 0.00009], [0.0, 0.0, 0.82521]],
}


@pytest.mark.parametrize("space", TO_XYZ, ids=lambda space: space.name)
def test_to_xyz_matches_the_published_matrix(space: ColorSpace) -> None:
    np.testing.assert_allclose(space.to_xyz(), TO_XYZ[space], atol=3e-4)


def test_rec709_to_rec2020_matches_bt2087() -> None:
    published = [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
    np.testing.assert_allclose(conversion(REC709, REC2020), published, atol=6e-5)


def test_rec709_to_acescg_matches_the_aces_transform() -> None:
    # OpenColorIO's ACES configuration, "Linear Rec.709 (sRGB)" to ACEScg, Bradford adaptation.
    published = [
        [0.6130974024, 0.3395231462, 0.0473794514],
        [0.0701937225, 0.9163538791, 0.0134523985],
        [0.0206155929, 0.1095697729, 0.8698146342],
    ]
    np.testing.assert_allclose(conversion(REC709, ACESCG), published, atol=1e-4)


def test_srgb_to_d50_matches_the_icc_colorants() -> None:
    # The colorants of the ICC's own sRGB profile (sRGB2014), adapted by Bradford to D50.
    colorants = [[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]]
    unit = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    xyz_d50 = ColorSpace("xyz", (*REC709.chromaticities[:3], D50), camera_to_xyz=unit)
    np.testing.assert_allclose(conversion(REC709, xyz_d50), colorants, atol=4e-4)


@pytest.mark.parametrize("source", [REC709, ADOBE_RGB, PROPHOTO, ACESCG], ids=lambda space: space.name)
def test_white_is_kept_and_the_reverse_is_the_inverse(source: ColorSpace) -> None:
    forward = conversion(source, REC2020)
    np.testing.assert_allclose(forward.sum(1), 1, atol=1e-9)
    np.testing.assert_allclose(forward @ conversion(REC2020, source), np.eye(3), atol=1e-9)


@pytest.mark.parametrize("source", [REC709, DISPLAY_P3, PROPHOTO])
@pytest.mark.parametrize("target", [REC709, REC2020, ACESCG])
def test_pictures_are_converted_by_the_matrix_and_back(source: ColorSpace, target: ColorSpace) -> None:
    rgb = np.random.default_rng(0).exponential(1.0, (40, 60, 3)).astype(np.float32)
    converted = convert_rgb(rgb, source, target)
    expected = rgb.astype(np.float64) @ conversion(source, target).T
    np.testing.assert_allclose(converted, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(convert_rgb(converted, target, source), rgb, rtol=1e-4, atol=1e-4)


def test_white_is_kept_and_negatives_are_not_clipped() -> None:
    rgb = np.array([[[2.0, 2.0, 2.0], [0.0, 1.0, 0.0]]], np.float32)
    converted = convert_rgb(rgb, REC2020, REC709)
    np.testing.assert_allclose(converted[0, 0], 2.0, rtol=1e-5)
    assert converted[0, 1, 0] < -0.5


def test_a_picture_may_be_converted_in_place() -> None:
    rgb = np.random.default_rng(0).exponential(1.0, (40, 60, 3)).astype(np.float32)
    expected = convert_rgb(rgb, REC709, ACESCG)
    assert convert_rgb(rgb, REC709, ACESCG, out=rgb) is rgb
    np.testing.assert_array_equal(rgb, expected)
    assert convert_rgb(rgb, REC709, REC709) is rgb
