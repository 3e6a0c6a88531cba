"""Radiance HDR against a decoder written from the reference, OpenCV and imageio."""

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from smarthdr_cli.colorspace import REC2020
from smarthdr_cli.errors import OutputError
from smarthdr_cli.output.rgbe import encode_scanlines, read_provenance, to_rgbe, write_rgbe

pytestmark = pytest.mark.unit


def from_rgbe(rgbe):
    """Walter's reading: mantissa / 256 * 2^(E - 128), 0 where E is 0."""
    scale = np.where(rgbe[..., 3] > 0, np.ldexp(1.0, rgbe[..., 3].astype(int) - 136), 0.0)
    return rgbe[..., :3] * scale[..., None]


def decode(data, height, width):
    """The run-length decoder as the reference describes it, byte by byte."""
    out, place = np.zeros((height, 4, width), np.uint8), 0
    for row in range(height):
        assert tuple(data[place : place + 4]) == (2, 2, width >> 8, width & 255)
        place += 4
        for plane in range(4):
            x = 0
            while x < width:
                code = data[place]
                assert code != 0
                if code > 128:
                    out[row, plane, x : x + code - 128] = data[place + 1]
                    x += code - 128
                    place += 2
                else:
                    out[row, plane, x : x + code] = np.frombuffer(data[place + 1 : place + 1 + code], np.uint8)
                    x += code
                    place += 1 + code
            assert x == width
    assert place == len(data)
    return out.transpose(0, 2, 1)


def header(path):
    return path.read_bytes().split(b"\n\n", 1)[0].decode().splitlines()


def field(path, name):
    (line,) = [line for line in header(path) if line.startswith(f"{name}=")]
    return line.split("=", 1)[1]


@given(hnp.arrays(np.float32, (4, 3), elements=st.floats(0, 2.0**126, width=32)))
def test_error_is_at_most_a_256th_of_the_largest_channel(rgb):
    largest = rgb.max(axis=-1, keepdims=True).astype(np.float64)
    error = np.abs(from_rgbe(to_rgbe(rgb)) - rgb)
    assert np.all(error <= np.maximum(largest / 256, 2.0**-120))


def test_rounding_is_unbiased_and_carries():
    rng = np.random.default_rng(0)
    rgb = rng.uniform(1, 2, (100_000, 3)).astype(np.float32)
    error = from_rgbe(to_rgbe(rgb)) - rgb
    assert abs(error.mean()) < 3 * error.std() / np.sqrt(error.size) + 1e-5
    edge = np.array([[0.99999, 0.5, 0.25], [255.5 / 256, 0, 0], [255.49 / 256, 0, 0]], np.float32)
    np.testing.assert_array_equal(to_rgbe(edge), [[128, 64, 32, 129], [128, 0, 0, 129], [255, 0, 0, 128]])


def test_known_values():
    rgb = np.array([[1, 1, 1], [0.5, 0.25, 0], [0, 0, 0], [-1, 2, -0.5], [1e-40, 0, 0]], np.float32)
    expected = [[128, 128, 128, 129], [128, 64, 0, 128], [0, 0, 0, 0], [0, 128, 0, 130], [0, 0, 0, 0]]
    np.testing.assert_array_equal(to_rgbe(rgb), expected)


@given(st.data(), st.integers(8, 400), st.integers(1, 4))
def test_run_lengths_decode_to_the_same_bytes(data, width, height):
    runs = data.draw(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 300)), min_size=1, max_size=40))
    values = np.concatenate([np.full(length, 2.0**value) for value, length in runs]).astype(np.float32)
    rgb = np.resize(values, (height, width, 3))
    rgb[..., 1] *= data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    encoded = b"".join(encode_scanlines(rgb))
    np.testing.assert_array_equal(decode(encoded, height, width), to_rgbe(rgb))


def test_runs_are_short_and_noise_costs_little():
    flat = np.full((4, 1000, 3), 0.7, np.float32)
    assert len(b"".join(encode_scanlines(flat))) == 4 * (4 + 4 * 2 * 8)  # eight packets of 125 or 127 pixels
    noise = np.random.default_rng(0).uniform(0.5, 1, (4, 1000, 3)).astype(np.float32)
    assert len(b"".join(encode_scanlines(noise))) < noise.shape[0] * 1000 * 3 * 1.05


@pytest.mark.parametrize("shape", [(37, 53), (3, 7), (1, 1), (5, 8), (2, 40_000), (300, 2000)])
def test_other_readers_agree(tmp_path, make_result, shape):
    radiance = np.exp2(np.random.default_rng(2).uniform(-12, 8, (*shape, 3))).astype(np.float32)
    radiance[: shape[0] // 2] = 0.25
    path = tmp_path / "a.hdr"
    assert write_rgbe(make_result(radiance), path) == []
    expected = from_rgbe(to_rgbe(radiance))
    read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_ANYDEPTH)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read[..., ::-1], expected, rtol=1e-6)
    assert np.all(np.abs(read[..., ::-1] - radiance) <= radiance.max(axis=-1, keepdims=True) / 256)


def test_imageio_reads_it(tmp_path, result):
    write_rgbe(result, tmp_path / "a.hdr")
    read = iio.imread(tmp_path / "a.hdr", plugin="opencv", flags=cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    np.testing.assert_allclose(read, from_rgbe(to_rgbe(result.radiance)), rtol=1e-6)


def test_header(tmp_path, make_result):
    write_rgbe(make_result(colorspace=REC2020), tmp_path / "a.hdr")
    lines = header(tmp_path / "a.hdr")
    assert lines[0] == "#?RADIANCE"
    assert field(tmp_path / "a.hdr", "FORMAT") == "32-bit_rle_rgbe"
    assert field(tmp_path / "a.hdr", "SOFTWARE").startswith("smarthdr ")
    assert field(tmp_path / "a.hdr", "CAPDATE") == "2024:05:06 07:08:09"
    primaries = [float(value) for value in field(tmp_path / "a.hdr", "PRIMARIES").split()]
    assert primaries == [0.708, 0.292, 0.17, 0.797, 0.131, 0.046, 0.3127, 0.329]
    assert not any(line.startswith("GAMMA") for line in lines)


@pytest.mark.parametrize("anchor", [0.0, -2.0, 1.5])
@pytest.mark.parametrize("reference", [0, 1, 2])
def test_pixel_over_exposure_is_one_scale(tmp_path, make_result, anchor, reference):
    scene = np.full((8, 8, 3), 3.0, np.float32)  # at EV 0
    ev = (-15.0, -13.0, -11.0)[reference] + anchor
    result = make_result(scene * np.float32(2.0**ev), anchor_ev=anchor, reference=reference)
    write_rgbe(result, tmp_path / "a.hdr")
    read = cv2.imread(str(tmp_path / "a.hdr"), cv2.IMREAD_UNCHANGED | cv2.IMREAD_ANYDEPTH)
    np.testing.assert_allclose(read / float(field(tmp_path / "a.hdr", "EXPOSURE")), 3.0, rtol=1 / 256)


def test_negatives_become_zero_with_a_note(tmp_path, make_result):
    radiance = np.ones((10, 10, 3), np.float32)
    radiance[0, :5, 2] = -0.1
    notes = write_rgbe(make_result(radiance), tmp_path / "a.hdr")
    assert len(notes) == 1
    assert "5 %" in notes[0]
    read = cv2.imread(str(tmp_path / "a.hdr"), cv2.IMREAD_UNCHANGED | cv2.IMREAD_ANYDEPTH)
    np.testing.assert_array_equal(read[0, :5], np.tile([0, 1, 1], (5, 1)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_values_that_the_format_cannot_hold_are_refused(tmp_path, make_result, bad):
    radiance = np.ones((8, 8, 3), np.float32)
    radiance[1, 1, 1] = bad
    with pytest.raises(OutputError):
        write_rgbe(make_result(radiance), tmp_path / "a.hdr")
    assert list(tmp_path.iterdir()) == []


def test_a_line_break_in_the_date_cannot_end_the_header(tmp_path, make_result):
    from smarthdr_cli.burst.burst import CaptureMetadata

    write_rgbe(make_result(capture=CaptureMetadata(datetime="2024\n\n-Y 1 +X 1")), tmp_path / "a.hdr")
    assert cv2.imread(str(tmp_path / "a.hdr"), cv2.IMREAD_UNCHANGED).shape == (37, 53, 3)


def test_a_file_without_the_magic_is_damaged(tmp_path, result):
    write_rgbe(result, tmp_path / "a.hdr")
    assert read_provenance(tmp_path / "a.hdr") is None
    (tmp_path / "b.hdr").write_bytes(b"#?RADIANT\n")
    with pytest.raises(ValueError, match="no Radiance HDR"):
        read_provenance(tmp_path / "b.hdr")
