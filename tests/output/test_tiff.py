import io
import json

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from smarthdr_cli.burst.burst import CaptureMetadata
from smarthdr_cli.colorspace import ACESCG, PROPHOTO, REC709, REC2020
from smarthdr_cli.errors import OutputError
from smarthdr_cli.output.icc_profile import matrix_profile
from smarthdr_cli.output.tiff import write_tiff


def test_pixels_are_exact_for_another_reader(tmp_path, make_fused):
    radiance = np.random.default_rng(4).normal(size=(33, 47, 3)).astype(np.float32) * 1e5
    assert write_tiff(make_fused(radiance), tmp_path / "a.tif") == []
    read = cv2.imread(str(tmp_path / "a.tif"), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read[..., ::-1], radiance)


def test_tags(tmp_path, make_fused):
    write_tiff(make_fused(colorspace=ACESCG), tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert len(file.pages) == 1
        tags = file.pages[0].tags
        assert tags["Software"].value.startswith("smarthdr ")
        assert tags["DateTime"].value == "2024:05:06 07:08:09"
        record = json.loads(tags["ImageDescription"].value)
        assert record["smarthdr:reference"] == "img1.jpg"
        assert tags[34675].value == matrix_profile(ACESCG, "linear")


@pytest.mark.parametrize("date", [None, "yesterday", "2024:05:06 07:08:0é"])
def test_a_date_tiff_cannot_hold_is_left_out(tmp_path, make_fused, date):
    write_tiff(make_fused(capture=CaptureMetadata(datetime=date)), tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert "DateTime" not in file.pages[0].tags


def test_what_is_not_finite_is_never_written(tmp_path, make_fused):
    with pytest.raises(OutputError, match="not finite"):
        write_tiff(make_fused(np.full((2, 2, 3), np.nan, np.float32)), tmp_path / "a.tif")
    assert list(tmp_path.iterdir()) == []


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
