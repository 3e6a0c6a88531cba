"""Linear DNG: LibRaw (rawpy) develops the radiance and its colours, and finds the preview; tifffile reads the tags."""

import io
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from smarthdr_cli.burst.burst import CaptureMetadata
from smarthdr_cli.colorspace import ACESCG, REC709, REC2020, convert_rgb
from smarthdr_cli.output.dng import MAX_EV, MAX_INTEGER_EV, is_intact, read_provenance, write_dng
from smarthdr_cli.output.preview import render_srgb

rawpy = pytest.importorskip("rawpy")
pytestmark = pytest.mark.unit

INTEGER_PEAK, FLOAT_PEAK = 6.0, 100.0


def scene(peak=INTEGER_PEAK, height=300, width=400):
    """Smooth colours inside Rec. 709 from 0.01 to ``peak``."""
    y, x = np.mgrid[:height, :width] / height
    light = 0.01 * (peak / 0.01) ** (x / x.max())
    tint = np.stack((0.4 + 0.6 * y, np.full_like(x, 0.7), 1.0 - 0.5 * y), axis=-1)
    return (light[..., None] * tint / tint.max()).astype(np.float32)


def develop(path):
    """What LibRaw makes of the file: linear Rec. 709 with BaselineExposure applied, and the embedded JPEG."""
    with tifffile.TiffFile(path) as file:
        baseline = file.pages.first.tags[50730].value[0]
    with rawpy.imread(str(path)) as raw:
        linear = raw.postprocess(
            output_bps=16,
            gamma=(1, 1),
            no_auto_bright=True,
            adjust_maximum_thr=0.0,
            use_camera_wb=True,
            output_color=rawpy.ColorSpace.sRGB,
        )
        thumbnail = raw.extract_thumb()
    assert thumbnail.format == rawpy.ThumbFormat.JPEG
    return linear / 65535 * 2.0**baseline, np.asarray(Image.open(io.BytesIO(thumbnail.data)))


@pytest.mark.parametrize("peak", [0.8, INTEGER_PEAK, FLOAT_PEAK])
@pytest.mark.parametrize("space", [REC709, REC2020, ACESCG], ids=lambda space: space.name)
def test_libraw_shows_the_colours_of_the_result(tmp_path, make_result, space, peak):
    radiance = scene(peak)
    write_dng(make_result(convert_rgb(radiance, REC709, space), colorspace=space), tmp_path / "a.dng")
    developed, _ = develop(tmp_path / "a.dng")
    grey_step = 2.0**7 / 2**14 if peak == FLOAT_PEAK else 2.0**3 / 2**16  # LibRaw makes 14 bits of floats
    np.testing.assert_allclose(developed, radiance, rtol=0.02, atol=2 * grey_step)


@pytest.mark.parametrize(("peak", "kind"), [(2.0**MAX_INTEGER_EV, np.uint16), (2.0**MAX_INTEGER_EV * 1.01, np.float16)])
def test_integers_where_they_suffice_else_half_floats(tmp_path, make_result, peak, kind):
    radiance = np.maximum(scene(peak), 0)
    notes = write_dng(make_result(radiance), tmp_path / "a.dng")
    assert any("half floats" in note for note in notes) == (kind is np.float16)
    with tifffile.TiffFile(tmp_path / "a.dng") as file:
        page = file.pages.first.pages[0]
        stored, white = page.asarray(), page.tags[50717].value[0]
        baseline = file.pages.first.tags[50730].value[0]
    assert stored.dtype == kind
    restored = stored.astype(np.float64) / white * 2.0**baseline
    if kind is np.uint16:
        np.testing.assert_allclose(restored, radiance, atol=0.51 * 2.0**baseline / 65535)
    else:
        np.testing.assert_allclose(restored, radiance, rtol=2**-11)


def test_metadata(tmp_path, make_result):
    write_dng(make_result(scene(), colorspace=REC2020), tmp_path / "a.dng")
    with tifffile.TiffFile(tmp_path / "a.dng") as file:
        first, raw = file.pages.first, file.pages.first.pages[0]
        assert (first.subfiletype, raw.subfiletype) == (1, 0)
        assert raw.photometric == 34892
        tags = {tag.name: tag.value for tag in first.tags}
        assert (tags["Make"], tags["Model"]) == ("Maker", "Model X")
        assert tags["UniqueCameraModel"] == "smarthdr linear rec2020"
        assert tags["Copyright"] == "A. Photographer"
        assert tags["DateTime"] == "2024:05:06 07:08:09"
        assert tags["ExifTag"]["ISOSpeedRatings"] == 200
        assert tags["ExifTag"]["ExposureTime"] == 0.005
        assert tags["GPSTag"]["GPSLatitudeRef"] == "N"
        neutral = np.array(tags["AsShotNeutral"]).reshape(3, 2)
        np.testing.assert_array_equal(neutral[:, 0] / neutral[:, 1], 1)
        forward = np.array(tags["ForwardMatrix1"]).reshape(3, 3, 2)
        np.testing.assert_allclose((forward[..., 0] / forward[..., 1]).sum(axis=1), [0.9642, 1, 0.8249], atol=2e-3)
    with Image.open(tmp_path / "a.dng") as picture:  # Pillow follows the pointers too
        assert picture.getexif().get_ifd(0x8769)[0x8827] == 200


def test_without_exif_and_with_damaged_exif(tmp_path, make_result):
    for number, exif in enumerate((None, b"Exif\0\0garbage")):
        result = make_result(scene(), capture=CaptureMetadata(exif=exif))
        notes = write_dng(result, tmp_path / f"{number}.dng")
        assert any("damaged" in note for note in notes) == (exif is not None)
        develop(tmp_path / f"{number}.dng")
        with tifffile.TiffFile(tmp_path / f"{number}.dng") as file:
            tags = file.pages.first.tags
            assert "GPSTag" not in tags
            assert tags["ExifTag"].value["PixelXDimension"] == 400
            assert [tag.code for tag in tags] == sorted(tag.code for tag in tags)


def test_the_preview_has_the_look(tmp_path, make_result):
    result = make_result(scene())
    write_dng(result, tmp_path / "a.dng")
    write_dng(result, tmp_path / "b.dng", preview_ev=1.0)
    (first, plain), (second, brighter) = (develop(tmp_path / name) for name in ("a.dng", "b.dng"))
    assert np.abs(plain - render_srgb(result, 8).astype(float)).mean() < 2
    assert brighter.mean() > plain.mean() + 5
    np.testing.assert_array_equal(first, second)


def test_a_large_preview_is_reduced(tmp_path, make_result):
    write_dng(make_result(np.full((400, 3200, 3), 0.2, np.float32)), tmp_path / "a.dng")
    _, preview = develop(tmp_path / "a.dng")
    assert preview.shape == (200, 1600, 3)


def test_the_note_says_how_much_darker_some_editors_open_it(tmp_path, make_result):
    assert write_dng(make_result(scene(0.8)), tmp_path / "a.dng") == []
    (note,) = write_dng(make_result(scene(6.0)), tmp_path / "b.dng")
    assert "raise the exposure by 3 EV" in note


def test_negatives_become_black_and_what_is_too_bright_is_clipped_with_a_note(tmp_path, make_result):
    radiance = scene()
    radiance[:20] = -1.0
    write_dng(make_result(radiance), tmp_path / "a.dng")
    developed, _ = develop(tmp_path / "a.dng")
    assert developed[:20].max() == 0
    radiance[:20] = 2.0 ** (MAX_EV + 1)
    notes = write_dng(make_result(radiance), tmp_path / "b.dng")
    assert any("above 2048 it is clipped" in note for note in notes)
    developed, _ = develop(tmp_path / "b.dng")
    np.testing.assert_allclose(developed[:20], 2.0**MAX_EV)


def test_provenance_and_damage(tmp_path, result):
    path = tmp_path / "a.dng"
    write_dng(replace(result, radiance=scene()), path)
    assert read_provenance(path)["smarthdr:reference"] == "img1.jpg"
    assert is_intact(path)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        start = file.pages.first.pages[0].dataoffsets[0]
    path.write_bytes(data[: start + 200])
    assert not is_intact(path)
    tifffile.imwrite(path, np.zeros((8, 8), np.uint8), metadata=None)
    assert read_provenance(path) is None
