"""ICC profiles by LittleCMS."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from smarthdr_cli.colorspace import ACESCG, PROPHOTO, REC709, REC2020
from smarthdr_cli.output.icc_profile import matrix_profile

pytestmark = pytest.mark.unit


def through_lcms(profile, rgb):
    """8-bit RGB to sRGB by LittleCMS, relative colorimetric."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    picture = Image.fromarray(np.array(rgb, np.uint8)[None])
    out = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), renderingIntent=1)
    return np.asarray(out, int)[0]


def test_srgb_profile_is_srgb_to_littlecms():
    rgb = [[0, 0, 0], [255, 255, 255], [128, 128, 128], [200, 40, 90], [5, 10, 15], [255, 0, 0]]
    np.testing.assert_allclose(through_lcms(matrix_profile(REC709, "srgb"), rgb), rgb, atol=1)


@pytest.mark.parametrize("space", [REC709, REC2020, ACESCG, PROPHOTO])
def test_linear_profiles_map_white_to_white_and_grey_by_the_srgb_curve(space):
    out = through_lcms(matrix_profile(space, "linear"), [[255] * 3, [55] * 3, [0] * 3])
    expected = 255 * (1.055 * (55 / 255) ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(out, [[255] * 3, [expected] * 3, [0] * 3], atol=1.01)


def test_profile_is_well_formed_and_always_the_same():
    profile = matrix_profile(REC2020, "linear")
    assert profile == matrix_profile(REC2020, "linear")
    assert int.from_bytes(profile[:4], "big") == len(profile)
    assert profile[36:40] == b"acsp"
    assert "rec2020" in ImageCms.getProfileDescription(io.BytesIO(profile))
