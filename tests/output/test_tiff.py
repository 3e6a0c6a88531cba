"""Float TIFF files by OpenCV and tifffile."""

import json

import cv2
import numpy as np
import pytest
import tifffile

from smarthdr_cli.burst.burst import CaptureMetadata
from smarthdr_cli.colorspace import ACESCG
from smarthdr_cli.errors import OutputError
from smarthdr_cli.output.icc_profile import matrix_profile
from smarthdr_cli.output.metadata import provenance
from smarthdr_cli.output.tiff import read_provenance, write_tiff

pytestmark = pytest.mark.unit


def test_pixels_are_exact_for_another_reader(tmp_path, make_result):
    radiance = np.random.default_rng(4).normal(size=(33, 47, 3)).astype(np.float32) * 1e5
    assert write_tiff(make_result(radiance), tmp_path / "a.tif") == []
    read = cv2.imread(str(tmp_path / "a.tif"), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read[..., ::-1], radiance)


def test_tags(tmp_path, make_result):
    write_tiff(make_result(colorspace=ACESCG), tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert len(file.pages) == 1
        tags = file.pages[0].tags
        assert tags["Software"].value.startswith("smarthdr ")
        assert tags["DateTime"].value == "2024:05:06 07:08:09"
        record = json.loads(tags["ImageDescription"].value)
        assert record["smarthdr:reference"] == "img1.jpg"
        assert tags[34675].value == matrix_profile(ACESCG, "linear")


@pytest.mark.parametrize("date", [None, "yesterday", "2024:05:06 07:08:0é"])
def test_a_date_that_tiff_cannot_hold_is_left_out(tmp_path, make_result, date):
    write_tiff(make_result(capture=CaptureMetadata(datetime=date)), tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert "DateTime" not in file.pages[0].tags


def test_values_that_are_not_finite_are_refused(tmp_path, make_result):
    with pytest.raises(OutputError, match="not finite"):
        write_tiff(make_result(np.full((2, 2, 3), np.nan, np.float32)), tmp_path / "a.tif")
    assert list(tmp_path.iterdir()) == []


def test_provenance_reads_back(tmp_path, result):
    write_tiff(result, tmp_path / "a.tif")
    assert read_provenance(tmp_path / "a.tif") == provenance(result)
