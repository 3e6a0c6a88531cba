"""HDR AVIF: luminance as libavif decodes it and SMPTE ST 2084 reads it, and the colour that the file states."""

import math
import struct

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from smarthdr_cli.colorspace import ACESCG, REC709, REC2020, convert_rgb
from smarthdr_cli.errors import OutputError
from smarthdr_cli.output.avif import PEAK, SDR_WHITE, is_intact, pq, read_provenance, write_avif
from smarthdr_cli.output.preview import fit_preview

pytestmark = pytest.mark.unit


def scene(peak=8.0, height=120, width=160):
    y, x = np.mgrid[:height, :width] / height
    light = 0.02 * (peak / 0.02) ** (x / x.max())
    tint = np.stack((0.5 + 0.5 * y, np.full_like(x, 0.8), 1.0 - 0.4 * y), axis=-1)
    return (light[..., None] * tint).astype(np.float32)


def luminance(code):
    """cd/m2 of a PQ code in [0, 1]: the EOTF of SMPTE ST 2084, equation 4.1."""
    m1, m2 = 0.1593017578125, 78.84375
    c1, c2, c3 = 0.8359375, 18.8515625, 18.6875
    power = np.asarray(code, np.float64) ** (1 / m2)
    return 10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)


def decoded(path):
    return luminance(imagecodecs.avif_decode(path.read_bytes()) / 1023)


@pytest.mark.parametrize("space", [REC709, REC2020, ACESCG], ids=lambda space: space.name)
def test_the_light_of_the_scene_relative_to_sdr_white(tmp_path, make_result, space):
    radiance = scene()
    result = make_result(convert_rgb(radiance, REC709, space), colorspace=space, anchor_ev=-2.0)
    assert write_avif(result, tmp_path / "a.avif") == []
    scale = fit_preview(result).matrix.sum() / 3 * SDR_WHITE
    expected = convert_rgb(radiance, REC709, REC2020) * scale
    error = np.abs(decoded(tmp_path / "a.avif") - expected) / expected
    assert np.median(error) < 0.015
    assert np.quantile(error, 0.95) < 0.05


def test_pq_is_the_inverse_of_the_eotf():
    light = np.geomspace(0.001, PEAK, 200)
    np.testing.assert_allclose(luminance(pq(light / PEAK)), light, rtol=1e-3)
    assert pq(np.array([-1.0, 0.0, 2.0])).round(5).tolist() == [0.0, 0.0, 1.0]


def test_the_file_states_its_colour(tmp_path, result):
    """The nclx box of ISO/IEC 23091-2: BT.2020 primaries (9), PQ (16), BT.2020 non-constant luminance (9)."""
    write_avif(result, tmp_path / "a.avif")
    data = (tmp_path / "a.avif").read_bytes()
    place = data.index(b"colrnclx") + len("colrnclx")
    assert struct.unpack_from(">HHHB", data, place)[:3] == (9, 16, 9)
    assert imagecodecs.avif_decode(data).dtype == np.uint16
    with Image.open(tmp_path / "a.avif") as picture:
        assert picture.size == (53, 37)


def test_preview_ev(tmp_path, make_result):
    for name, ev in (("a", 0.0), ("b", 1.0)):
        write_avif(make_result(scene()), tmp_path / f"{name}.avif", preview_ev=ev)
    ratio = decoded(tmp_path / "b.avif") / decoded(tmp_path / "a.avif")
    assert np.median(ratio) == pytest.approx(2, rel=0.02)


def test_clipping_is_stated(tmp_path, make_result):
    radiance = scene()
    radiance[:60] = 1e5
    (note,) = write_avif(make_result(radiance), tmp_path / "a.avif")
    assert note.startswith(f"a.avif: AVIF holds {math.log2(PEAK / SDR_WHITE):.1f} stops above white; 50 %")
    np.testing.assert_allclose(decoded(tmp_path / "a.avif")[:50], PEAK, rtol=0.02)


def test_damage(tmp_path, result):
    path = tmp_path / "a.avif"
    write_avif(result, path)
    assert read_provenance(path) is None
    assert is_intact(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert not is_intact(path)
    path.write_bytes(b"not a picture")
    assert not is_intact(path)
    with pytest.raises(ValueError, match="is no AVIF"):
        read_provenance(path)


def test_too_large_and_no_codec(tmp_path, make_result, monkeypatch):
    with pytest.raises(OutputError, match="65536"):
        write_avif(make_result(np.zeros((1, 65537, 3), np.float32)), tmp_path / "a.avif")
    monkeypatch.setattr(imagecodecs.AVIF, "available", False)
    with pytest.raises(OutputError, match="pip install imagecodecs"):
        write_avif(make_result(), tmp_path / "a.avif")
