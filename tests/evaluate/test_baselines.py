"""The rivals on a burst whose radiance and curve are known."""

import numpy as np
import pytest

from smarthdr_cli.evaluate import baselines, protocol
from smarthdr_cli.radiometry import Response

TIMES = (1.0, 4.0, 16.0)


def gamma_response(size: int = 256) -> Response:
    table = (np.linspace(0, 1, size) ** 2.2).astype(np.float32)
    return Response("gamma2.2", np.tile(table, (3, 1)), {})


def shoot(radiance: np.ndarray, time: float, dtype: type = np.uint8) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.round(np.clip(radiance * time, 0, 1) ** (1 / 2.2) * top).astype(dtype)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    y, x = np.mgrid[0:96, 0:128].astype(np.float64)
    base = np.exp(-3.5 + 2.2 * np.sin(x / 19) * np.cos(y / 13) + 0.5 * np.sin(x / 3.7 + y / 5.1))
    return np.clip(np.stack([base, 0.8 * base, 0.6 * base], 2), 0.003, 0.98).astype(np.float32)


def test_the_reference_alone_is_exact_below_its_clip_and_flat_above(truth: np.ndarray) -> None:
    alone = baselines.reference_alone(shoot(truth, 4, np.uint16), 4, gamma_response(4096))
    seen = truth < 0.24
    assert alone[seen] == pytest.approx(truth[seen], abs=2e-5)
    assert alone[truth > 0.26] == pytest.approx(0.25)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.uint8, 0.05), (np.uint16, 0.03)])
def test_the_uncalibrated_merge_is_right_under_its_own_curve_in_short_clip_scale(
    truth: np.ndarray, dtype: type, tolerance: float
) -> None:
    merged = baselines.debevec([shoot(truth, t, dtype) for t in TIMES], TIMES, curve="gamma2.2")
    ratio = merged / truth
    assert np.median(ratio) == pytest.approx(1.0, abs=0.01)
    assert np.percentile(np.abs(ratio - 1), 95) < tolerance


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_calibration_beats_gamma_where_the_camera_has_another_curve(truth: np.ndarray, dtype: type) -> None:
    def camera(time: float) -> np.ndarray:
        linear = np.clip(truth * time, 0, 1)
        curve = linear ** (1 / 2.2)
        curve = curve + 0.12 * np.sin(2 * np.pi * (curve - 0.5)) / 2  # an S through mid-grey, monotone
        return np.round(curve * np.iinfo(dtype).max).astype(dtype)

    frames = [camera(t) for t in TIMES]
    score = {
        curve: protocol.score(baselines.debevec(frames, TIMES, curve=curve), truth, reference_time=4)["psnr_mu"]
        for curve in ("calibrated", "gamma2.2")
    }
    assert score["calibrated"] > score["gamma2.2"] + 3


def test_align_mtb_finds_a_shift_both_ways_and_leaves_the_reference() -> None:
    rng = np.random.default_rng(0)
    wide = np.full((340, 480, 3), 0.03, np.float32)
    for _ in range(60):  # things of every size, as a scene has; AlignMTB needs the large ones
        top, left, side = rng.integers(0, 300), rng.integers(0, 440), rng.integers(8, 90)
        wide[top : top + side, left : left + side] = rng.uniform(0.02, 0.18)
    crops = [wide[20 + dy : 300 + dy, 30 + dx : 430 + dx] for dy, dx in ((3, -7), (0, 0), (-5, 11))]
    frames = [shoot(crop, t) for crop, t in zip(crops, (2, 4, 5), strict=True)]
    aligned = baselines.align_mtb(frames, 1)
    assert aligned[1] is frames[1]
    inner = (slice(16, -16), slice(16, -16))
    for moved, time in ((aligned[0], 2), (aligned[2], 5)):
        assert (moved[inner] == shoot(crops[1], time)[inner]).all()


def test_mertens_gives_a_display_picture(truth: np.ndarray) -> None:
    picture = baselines.mertens([shoot(truth, t, np.uint16) for t in TIMES])
    assert picture.shape == truth.shape
    assert picture.min() >= 0
    assert 0.5 < picture.max() <= 1


def test_the_static_merge_returns_the_truth_and_never_uses_a_clipped_frame(truth: np.ndarray) -> None:
    merged = baselines.static_merge([np.clip(truth * np.float32(t), 0, 1) for t in TIMES], TIMES)
    assert np.abs(merged / truth - 1).max() < 1e-5


def test_the_static_merge_takes_the_shortest_where_all_clip() -> None:
    frames = [np.ones((4, 5, 3), np.float32)] * 3
    assert (baselines.static_merge(frames, TIMES) == 1.0).all()


def test_the_static_merge_weighs_photon_noise_as_it_should() -> None:
    rng = np.random.default_rng(3)
    photons, level = 40_000.0, 0.03  # electrons at clip of the longest; all three frames unclipped
    frames = []
    for time in TIMES:
        mean = level * time / 16 * photons * np.ones((300, 300, 3))
        frames.append((rng.poisson(mean) / photons).astype(np.float32))
    merged = baselines.static_merge(frames, [t / 16 for t in TIMES])
    best = np.sqrt(level / photons / sum(t / 16 for t in TIMES))  # all photons counted once
    assert merged.std() == pytest.approx(best, rel=0.03)


def test_eight_bit_versions_round_to_the_nearest_code() -> None:
    codes = np.array([[[0, 128, 129], [257, 65535, 65407]]], np.uint16)
    assert baselines.to_8_bits(codes).tolist() == [[[0, 0, 1], [1, 255, 255]]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_curve_from_truth_finds_the_camera_without_the_moving_pixels(truth: np.ndarray, dtype: type) -> None:
    exposed = np.clip(truth * np.float32(4), 0, 1)
    codes = shoot(truth, 4, dtype)
    codes[:20, :, 1] = np.iinfo(dtype).max // 3
    static = np.ones(truth.shape[:2], bool)
    static[:20] = False
    found = baselines.curve_from_truth(codes, exposed, static).table
    grid = np.linspace(0, 1, found.shape[1])
    seen = (grid > 0.15) & (grid < 0.95)
    assert np.abs(found - grid**2.2)[:, seen].max() < 6e-3
    assert (found[:, 0] == 0).all()
    assert (found[:, -1] == 1).all()
