"""Linear light of a window of a registered frame, against interpolation pixel by pixel in double precision."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from smarthdr_cli.align import Alignment
from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.burst.burst import Burst, CaptureMetadata, Exposure, Frame
from smarthdr_cli.colorspace import SRGB
from smarthdr_cli.radiometry import Response, named_response

pytestmark = pytest.mark.unit

SHIFT = np.array([[1.0, 0, 6.25], [0, 1, -3.5], [0, 0, 1]])
ROTATION = np.array([[0.9994, -0.0349, 9.0], [0.0349, 0.9994, -4.0], [1e-5, -2e-5, 1.0]])
WINDOW = Window(4, 8, 20, 24)
DTYPES = {8: np.uint8, 16: np.uint16, 32: np.float32}
LINEAR = named_response("linear")


def make_texture(height, width, low=0.02, high=0.9):
    """(H, W, 3) smooth detail between two levels."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width][..., None]
    waves = sum(np.sin(x * rng.uniform(0.02, 0.5, 3) + y * rng.uniform(0.02, 0.5, 3)) for _ in range(5))
    return low + (high - low) * (waves - waves.min()) / np.ptp(waves)


def make_frame(codes, ev, clipped=None):
    white = {"uint8": 255, "uint16": 65535, "float32": 1.0}[str(codes.dtype)]
    exposure = Exposure(ev, source="ev")
    return Frame(Path("a.tif"), codes, white, "display", exposure, SRGB, CaptureMetadata(), "", "array", clipped)


def registered(first, second, homography=None, response=LINEAR, clipped=None):
    """Two frames of ``codes``, the second through ``homography``."""
    burst = Burst((make_frame(first, 0.0), make_frame(second, 2.0, clipped)), 0)
    matrices = np.stack([np.eye(3), np.eye(3) if homography is None else homography])
    return AlignedBurst(burst, response, Alignment(matrices, (False, homography is not None)))


def textured(bits, height=60, width=84, homography=None):
    white = 255 if bits == 8 else 65535
    light = make_texture(height, width)
    codes = (light if bits == 32 else np.round(light * white)).astype(DTYPES[bits])
    gamma = named_response("gamma2.2", 256 if bits == 8 else 1024)
    return registered(codes, codes[::-1].copy(), homography, gamma)


def cubic_weights(t):
    """Keys' kernel with a = -0.75, as in OpenCV, at taps -1, 0, 1, 2."""
    a = -0.75
    far = [((a * d - 5 * a) * d + 8 * a) * d - 4 * a for d in (1 + t, 2 - t)]
    near = [((a + 2) * d - (a + 3)) * d * d + 1 for d in (t, 1 - t)]
    return np.array([far[0], near[0], near[1], far[1]])


def interpolate(codes, x, y):
    """One pixel by bicubic interpolation, edges repeated."""
    h, w = codes.shape[:2]
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    wx, wy = cubic_weights(x - x0), cubic_weights(y - y0)
    rows = [min(max(y0 - 1 + j, 0), h - 1) for j in range(4)]
    columns = [min(max(x0 - 1 + i, 0), w - 1) for i in range(4)]
    return np.einsum("j,i,jik->k", wy, wx, codes[np.ix_(rows, columns)])


def is_inside(x, y, width, height):
    return -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5


def read_slowly(aligned, index, window, flow=None):
    """Light and validity pixel by pixel."""
    frame = aligned.burst.frames[index]
    height, width = frame.size
    light, valid = np.empty((window.height, window.width, 3)), np.zeros((window.height, window.width))
    codes = frame.codes.astype(np.float64) / frame.white
    grid = np.linspace(0, 1, aligned.response.table.shape[1])

    def project(x, y):
        u, v, s = aligned.alignment.homographies[index] @ (x, y, 1)
        return u / s, v / s

    for r in range(window.height):
        for c in range(window.width):
            px, py = min(window.left + c, width - 1), min(window.top + r, height - 1)
            x, y = project(px, py)
            if flow is not None:
                recorded = is_inside(x, y, width, height)
                x, y = project(px + flow[r, c, 0], py + flow[r, c, 1])
                if recorded:  # a flow leads to the edge at most
                    x, y = min(max(x, -0.5), width - 0.5), min(max(y, -0.5), height - 0.5)
            within_picture = window.left + c < width and window.top + r < height
            valid[r, c] = is_inside(x, y, width, height) and within_picture
            value = np.clip(interpolate(codes, x, y), 0, 1)
            light[r, c] = [np.interp(value[k], grid, aligned.response.table[k]) for k in range(3)]
    return light, valid


def check(aligned, window, flow=None):
    light, valid = aligned.read(1, window, flow)
    expected, expected_valid = read_slowly(aligned, 1, window, flow)
    assert np.abs(light - expected).max() < 3e-5
    np.testing.assert_array_equal(valid, expected_valid)
    return valid


@pytest.mark.parametrize("bits", DTYPES)
@pytest.mark.parametrize("homography", [SHIFT, ROTATION], ids=["shift", "rotation"])
def test_a_moved_frame_is_interpolated(bits, homography):
    aligned = textured(bits, homography=homography)
    for window in (Window(0, 0, 24, 28), Window(40, 60, 24, 28)):  # the second reaches beyond two edges
        assert 0 < check(aligned, window).mean() < 1


@pytest.mark.parametrize("homography", [None, ROTATION], ids=["static", "rotation"])
def test_a_flow_is_added_before_the_homography(homography):
    flow = np.random.default_rng(0).normal(0, 3, (20, 20, 2)).astype(np.float32)
    check(textured(16, homography=homography), Window(16, 24, 20, 20), flow)


@pytest.mark.parametrize("homography", [None, SHIFT], ids=["static", "shift"])
def test_a_flow_leads_no_further_than_the_edge_of_what_the_frame_recorded(homography):
    aligned = textured(16, homography=homography)
    window = Window(0, 60, 60, 24)
    flow = np.full((60, 24, 2), (15.0, 0.0), np.float32)
    valid = check(aligned, window, flow)
    np.testing.assert_array_equal(valid, aligned.read(1, window)[1])
    right = 24 if homography is None else 18  # columns that the frame recorded
    edge = aligned.read(1, window, flow)[0][10:40, right - 14 : right]
    assert np.abs(edge - edge[:, -1:]).max() < 1e-6


@pytest.mark.parametrize("bits", DTYPES)
def test_a_frame_that_did_not_move_is_read_without_resampling(bits):
    aligned = textured(bits)
    window = Window(8, 12, 16, 20)
    light, valid = aligned.read(1, window)
    assert valid.all()
    resampled, _ = aligned.read(1, window, np.zeros((16, 20, 2), np.float32))
    np.testing.assert_allclose(resampled, light, atol=1e-6)
    frame = aligned.burst.frames[1]
    grid = np.linspace(0, 1, aligned.response.table.shape[1])
    code = frame.codes[8:24, 12:32].astype(float) / frame.white
    np.testing.assert_allclose(light, np.interp(code, grid, aligned.response.table[0]), atol=1e-6)


def test_pixels_beyond_the_picture_repeat_the_edge_and_are_invalid():
    light, valid = textured(16).read(1, Window(52, 76, 12, 16))
    assert valid[:8, :8].all()
    assert valid.sum() == 64
    np.testing.assert_array_equal(light[8:, :8], np.repeat(light[7:8, :8], 4, axis=0))
    np.testing.assert_array_equal(light[:, 8:], np.repeat(light[:, 7:8], 8, axis=1))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_pixel_does_not_depend_on_the_window(bits):
    aligned = textured(bits, 200, 300, ROTATION)
    picture, picture_valid = aligned.read(1, Window(0, 0, 200, 300))
    part, part_valid = aligned.read(1, Window(72, 120, 64, 80))
    np.testing.assert_allclose(part, picture[72:136, 120:200], atol=1e-6)
    np.testing.assert_array_equal(part_valid, picture_valid[72:136, 120:200])


@pytest.mark.parametrize("bits", DTYPES)
@pytest.mark.parametrize("homography", [None, SHIFT], ids=["static", "moved"])
def test_a_frame_with_a_response_of_its_own_is_read_through_it(bits, homography):
    plain = textured(bits, homography=homography)
    steeper = Response("steeper", plain.response.table**1.5, {})
    aligned = replace(plain, curves=(plain.response, steeper))
    for index, expected in ((0, plain), (1, replace(plain, response=steeper))):
        np.testing.assert_array_equal(aligned.read(index, WINDOW)[0], expected.read(index, WINDOW)[0])
        np.testing.assert_array_equal(aligned.downsample(index, 4), expected.downsample(index, 4))
    assert np.abs(aligned.read(1, WINDOW)[0] - plain.read(1, WINDOW)[0]).max() > 0.05


@pytest.mark.parametrize("homography", [None, ROTATION], ids=["static", "rotation"])
def test_a_stride_reads_every_nth_row_and_column(homography):
    aligned = textured(16, homography=homography)
    window = Window(40, 56, 32, 36)  # beyond the right and lower edges
    light, valid = aligned.read(1, window)
    strided, strided_valid = aligned.read(1, window, stride=4)
    np.testing.assert_array_equal(strided_valid, valid[::4, ::4])
    assert np.abs(strided - light[::4, ::4])[strided_valid > 0].max() < 1e-6
    assert 20 < strided_valid.sum() < 72


@pytest.mark.parametrize(
    ("homography", "row", "column"),
    [(None, 10, 12), (np.array([[1.0, 0, 3], [0, 1, 4], [0, 0, 1]]), 6, 9)],
    ids=["static", "shift"],
)
def test_a_bright_pixel_of_the_clip_mask_reads_one(homography, row, column):
    codes = np.full((32, 40, 3), (64000, 60000, 40000), np.uint16)
    codes[20:] = 20000
    clipped = np.zeros((32, 40), bool)
    clipped[10, 12] = True
    clipped[25, 12] = True  # beside a clipped sample, but dark itself
    light, _ = registered(codes, codes, homography, clipped=clipped).read(1, Window(0, 0, 32, 40))
    assert (light[row, column] == 1).all()
    assert (light == 1).all(axis=2).sum() == 1


def test_coordinates_are_exact_to_a_hundredth_of_a_pixel_in_large_pictures():
    codes = np.zeros((4000, 6000, 3), np.uint8)
    matrix = np.array([[1.002, -0.03, 12.345], [0.03, 0.998, -45.678], [1.5e-6, -2e-6, 1.0]])
    aligned = registered(codes, codes, matrix)
    for window in (Window(0, 0, 8, 8), Window(3992, 5992, 8, 8), Window(2000, 3000, 8, 8)):
        x, y = aligned.sample_coordinates(1, window)
        rows, columns = np.mgrid[window.top : window.top + 8, window.left : window.left + 8]
        u, v, s = np.tensordot(matrix, np.stack([columns, rows, np.ones_like(rows)]), 1)
        np.testing.assert_allclose(x, u / s, atol=0.01)
        np.testing.assert_allclose(y, v / s, atol=0.01)


@pytest.mark.parametrize("size", [(60, 84), (61, 83), (7, 130)])
def test_a_downsampled_frame_has_box_means(size):
    aligned = textured(16, *size)
    rows, columns = -(-size[0] // 4), -(-size[1] // 4)
    light, _ = aligned.read(1, Window(0, 0, 4 * rows, 4 * columns))
    expected = light.reshape(rows, 4, columns, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(aligned.downsample(1, 4), expected, atol=1e-6)


def test_a_downsampled_frame_follows_the_homography():
    light = cv2.resize(make_texture(32, 40), (160, 128), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    codes = np.round(light * 65535).astype(np.uint16)
    aligned = registered(codes, codes, ROTATION)
    full, valid = aligned.read(1, Window(0, 0, 128, 160))
    expected = full.reshape(32, 4, 40, 4, 3).mean(axis=(1, 3))
    inside = valid.reshape(32, 4, 40, 4).min(axis=(1, 3)) > 0
    # Reduced first and moved afterwards, which is nearly the same.
    assert np.abs(aligned.downsample(1, 4) - expected)[inside].mean() < 0.01
    assert np.abs(aligned.downsample(0, 4) - expected)[inside].mean() > 0.03
