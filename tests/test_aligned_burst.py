"""A region of the reference view against a per-pixel twin."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from smarthdr_cli.aligned_burst import Window
from tests.support import bursts

SHIFT = np.array([[1.0, 0, 6.25], [0, 1, -3.5], [0, 0, 1]])
WINDOW = Window(4, 8, 20, 24)
TURN = np.array([[0.9994, -0.0349, 9.0], [0.0349, 0.9994, -4.0], [1e-5, -2e-5, 1.0]])


def cubic(t):
    """Keys' kernel with a = -0.75, as OpenCV has it, at taps -1, 0, 1, 2."""
    a = -0.75
    far = [((a * (d) - 5 * a) * d + 8 * a) * d - 4 * a for d in (1 + t, 2 - t)]
    near = [((a + 2) * d - (a + 3)) * d * d + 1 for d in (t, 1 - t)]
    return np.array([far[0], near[0], near[1], far[1]])


def slow(codes, x, y):
    """One pixel by explicit bicubic interpolation, edges repeated."""
    h, w = codes.shape[:2]
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    wx, wy = cubic(x - x0), cubic(y - y0)
    total = np.zeros(3)
    for j in range(4):
        for i in range(4):
            total += wy[j] * wx[i] * codes[min(max(y0 - 1 + j, 0), h - 1), min(max(x0 - 1 + i, 0), w - 1)]
    return total


def moved(homography, x, y):
    u, v, s = homography @ (x, y, 1)
    return u / s, v / s


def within(x, y, width, height):
    return -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5


def twin(source, index, window, flow=None):
    """Light and validity pixel by pixel, in double precision."""
    frame = source.burst.frames[index]
    height, width = frame.size
    light, valid = np.empty((window.height, window.width, 3)), np.zeros((window.height, window.width))
    codes = frame.codes.astype(np.float64) / frame.white
    grid = np.linspace(0, 1, source.response.table.shape[1])
    for r in range(window.height):
        for c in range(window.width):
            px, py = min(window.left + c, width - 1), min(window.top + r, height - 1)
            x, y = moved(source.alignment.homographies[index], px, py)
            if flow is not None:
                seen = within(x, y, width, height)
                x, y = moved(source.alignment.homographies[index], px + flow[r, c, 0], py + flow[r, c, 1])
                if seen:  # a displacement leads to the edge at most
                    x, y = min(max(x, -0.5), width - 0.5), min(max(y, -0.5), height - 0.5)
            inside = within(x, y, width, height)
            valid[r, c] = inside and window.left + c < width and window.top + r < height
            value = np.clip(slow(codes, x, y), 0, 1)
            light[r, c] = [np.interp(value[k], grid, source.response.table[k]) for k in range(3)]
    return light, valid


def pair(kind, height=60, width=84, homography=None):
    light = bursts.texture(height, width)
    codes = {8: lambda v: np.round(v * 255).astype(np.uint8), 16: lambda v: np.round(v * 65535).astype(np.uint16),
             32: lambda v: v.astype(np.float32)}[kind](light)  # fmt: skip
    burst = bursts.Burst((bursts.frame(codes, 0.0), bursts.frame(codes[::-1].copy(), 2.0)), 0)
    response = bursts.GAMMA8 if kind == 8 else bursts.GAMMA
    return bursts.aligned(burst, response, None if homography is None else [np.eye(3), homography])


@pytest.mark.parametrize("kind", [8, 16, 32])
@pytest.mark.parametrize("homography", [SHIFT, TURN], ids=["shift", "turn"])
def test_a_moved_region_equals_the_slow_twin(kind, homography):
    source = pair(kind, homography=homography)
    for window in (Window(0, 0, 24, 28), Window(40, 60, 24, 28)):  # the second reaches beyond both edges
        light, valid = source.read(1, window)
        wanted, seen = twin(source, 1, window)
        assert np.abs(light - wanted).max() < 3e-5
        assert np.array_equal(valid, seen)
        assert 0 < valid.mean() < 1


def test_a_flow_comes_before_the_homography():
    source = pair(16, homography=TURN)
    window = Window(16, 24, 20, 20)
    flow = np.random.default_rng(0).normal(0, 3, (20, 20, 2)).astype(np.float32)
    light, valid = source.read(1, window, flow)
    wanted, seen = twin(source, 1, window, flow)
    assert np.abs(light - wanted).max() < 3e-5
    assert np.array_equal(valid, seen)
    still = pair(16)
    light, _ = still.read(1, window, flow)
    assert np.abs(light - twin(still, 1, window, flow)[0]).max() < 3e-5


@pytest.mark.parametrize("homography", [None, SHIFT], ids=["still", "shift"])
def test_a_displacement_leads_no_further_than_the_edge_of_what_the_frame_saw(homography):
    source = pair(16, homography=homography)
    window = Window(0, 60, 60, 24)
    _, seen = source.read(1, window)
    out, valid = source.read(1, window, np.full((60, 24, 2), (15.0, 0.0), np.float32))
    assert np.array_equal(valid, seen)
    gone = 24 if homography is None else 18
    edge = 14  # columns that the displacement leads beyond the frame
    assert np.abs(out[10:40, gone - edge : gone] - out[10:40, gone - 1 : gone]).max() < 1e-6
    assert valid[10:40, :gone].all()
    light, _ = twin(source, 1, window, np.full((60, 24, 2), (15.0, 0.0), np.float32))
    assert np.abs(out - light).max() < 3e-5


@pytest.mark.parametrize("kind", [8, 16, 32])
def test_nothing_moved_is_read_and_not_resampled(kind):
    source = pair(kind)
    window = Window(8, 12, 16, 20)
    plain, valid = source.read(1, window)
    assert valid.all()
    resampled, _ = source.read(1, window, np.zeros((16, 20, 2), np.float32))
    assert np.abs(resampled - plain).max() < 1e-6
    frame = source.burst.frames[1]
    grid = np.linspace(0, 1, source.response.table.shape[1])
    unit = frame.codes[8:24, 12:32].astype(float) / frame.white
    assert np.abs(plain - np.interp(unit, grid, source.response.table[0])).max() < 1e-6


def test_padding_repeats_the_edge_and_is_invalid():
    source = pair(16)
    light, valid = source.read(1, Window(52, 76, 12, 16))
    assert valid[:8, :8].all()
    assert valid.sum() == 64
    assert np.array_equal(light[8:, :8], np.repeat(light[7:8, :8], 4, axis=0))
    assert np.array_equal(light[:, 8:], np.repeat(light[:, 7:8], 8, axis=1))


@pytest.mark.parametrize("kind", [8, 16])
def test_what_a_pixel_shows_does_not_depend_on_the_window(kind):
    source = pair(kind, 200, 300, TURN)
    whole, seen = source.read(1, Window(0, 0, 200, 300))
    part, part_seen = source.read(1, Window(72, 120, 64, 80))
    assert np.abs(part - whole[72:136, 120:200]).max() < 1e-6
    assert np.array_equal(part_seen, seen[72:136, 120:200])


@pytest.mark.parametrize("kind", [8, 16, 32])
@pytest.mark.parametrize("homography", [None, SHIFT], ids=["still", "moved"])
def test_a_frame_with_a_curve_of_its_own_is_seen_through_it(kind, homography):
    plain = pair(kind, homography=homography)
    own = replace(plain.response, table=plain.response.table**1.5)
    source = replace(plain, curves=(plain.response, own))
    for index, alike in ((0, plain), (1, replace(plain, response=own))):
        for ours, theirs in zip(source.read(index, WINDOW), alike.read(index, WINDOW), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(source.downsample(index, 4), alike.downsample(index, 4))
    assert np.abs(source.read(1, WINDOW)[0] - plain.read(1, WINDOW)[0]).max() > 0.05


def test_a_stride_takes_every_so_manieth_pixel():
    for source in (pair(16), pair(16, homography=TURN)):
        window = Window(40, 56, 32, 36)  # beyond the right and lower edges
        light, valid = source.read(1, window)
        thin, thin_valid = source.read(1, window, stride=4)
        assert np.array_equal(thin_valid, valid[::4, ::4])
        assert np.abs(thin - light[::4, ::4])[thin_valid > 0].max() < 1e-6
        assert 20 < thin_valid.sum() < 72


def test_a_clip_mask_of_its_own_makes_a_pixel_white():
    codes = np.full((32, 40, 3), (64000, 60000, 40000), np.uint16)
    codes[20:] = 20000
    mask = np.zeros((32, 40), bool)
    mask[10, 12] = True
    mask[25, 12] = True  # beside a clipped sample, but dark itself
    burst = bursts.Burst((bursts.frame(codes, 0.0), bursts.frame(codes, 1.0, clipped=mask)), 0)
    light, _ = bursts.aligned(burst, bursts.LINEAR).read(1, Window(0, 0, 32, 40))
    assert (light[10, 12] == 1).all()
    assert (light == 1).all(axis=2).sum() == 1
    shift = np.array([[1.0, 0, 3], [0, 1, 4], [0, 0, 1]])
    light, _ = bursts.aligned(burst, bursts.LINEAR, [np.eye(3), shift]).read(1, Window(0, 0, 32, 40))
    assert (light[6, 9] == 1).all()
    assert (light == 1).all(axis=2).sum() == 1


def test_coordinates_hold_a_hundredth_of_a_pixel_at_6000():
    codes = np.zeros((4000, 6000, 3), np.uint8)
    burst = bursts.Burst((bursts.frame(codes, 0.0), bursts.frame(codes, 1.0)), 0)
    matrix = np.array([[1.002, -0.03, 12.345], [0.03, 0.998, -45.678], [1.5e-6, -2e-6, 1.0]])
    source = bursts.aligned(burst, bursts.GAMMA8, [np.eye(3), matrix])
    for window in (Window(0, 0, 8, 8), Window(3992, 5992, 8, 8), Window(2000, 3000, 8, 8)):
        x, y = source.sample_coordinates(1, window)
        rows, columns = np.mgrid[window.top : window.top + 8, window.left : window.left + 8]
        u, v, s = np.tensordot(matrix, np.stack([columns, rows, np.ones_like(rows)]), 1)
        assert np.abs(x - u / s).max() < 0.01
        assert np.abs(y - v / s).max() < 0.01


@pytest.mark.parametrize("size", [(60, 84), (61, 83), (7, 130)])
def test_cells_are_box_means(size):
    source = pair(16, *size)
    cells = source.downsample(1, 4)
    height, width = size
    full, _ = source.read(1, Window(0, 0, -(-height // 4) * 4, -(-width // 4) * 4))
    wanted = full.reshape(-(-height // 4), 4, -(-width // 4), 4, 3).mean(axis=(1, 3))
    assert np.abs(cells - wanted).max() < 1e-6


def test_moved_cells_follow_the_homography():
    smooth = cv2.resize(bursts.texture(32, 40), (160, 128), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    codes = np.round(smooth * 65535).astype(np.uint16)
    burst = bursts.Burst((bursts.frame(codes, 0.0), bursts.frame(codes, 2.0)), 0)
    source = bursts.aligned(burst, bursts.LINEAR, [np.eye(3), TURN])
    full, valid = source.read(1, Window(0, 0, 128, 160))
    wanted = full.reshape(32, 4, 40, 4, 3).mean(axis=(1, 3))
    seen = valid.reshape(32, 4, 40, 4).min(axis=(1, 3)) > 0
    assert (
        np.abs(source.downsample(1, 4) - wanted)[seen].mean() < 0.01
    )  # shrunk first, moved afterwards: nearly the same
    assert np.abs(source.downsample(0, 4) - wanted)[seen].mean() > 0.05
