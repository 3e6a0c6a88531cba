"""Alignment against known homographies, and its promise never to be worse than leaving the frames alone."""

import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from smarthdr_cli.align import Alignment, align, align_burst
from smarthdr_cli.align.brightness_transfer import transfer
from smarthdr_cli.align.model_selection import judge, largest_shift, plausible
from smarthdr_cli.align.motion_models import corner_deviation, fit_motion, fit_similarity
from smarthdr_cli.align.pyramid_view import DARK, look, project, translation, warp_mask, warped_window, window
from smarthdr_cli.burst.burst import Burst, CaptureMetadata, Exposure, Frame
from smarthdr_cli.colorspace import SRGB
from smarthdr_cli.radiometry import Response, assumed_response

Array = NDArray[np.float32]


def as_frame(codes: NDArray[np.generic], ev: float, white: float = 255.0, **more: object) -> Frame:
    fields = {"encoding": "display", "kind": "array", **more}
    return Frame(Path(f"{ev:+}.png"), codes, white, exposure=Exposure(ev, source="ev"), colorspace=SRGB,
                 capture=CaptureMetadata(), sha256="", **fields)  # type: ignore[arg-type]  # fmt: skip


def texture(height: int, width: int, rng: np.random.Generator) -> Array:
    """log2 radiance over some ten stops: noise of all scales, discs and boxes."""
    out = np.zeros((height, width), np.float32)
    side, amplitude = max(height, width) / 2, 1.2
    while side >= 2:
        grid = rng.standard_normal((int(height / side) + 2, int(width / side) + 2)).astype(np.float32)
        out += amplitude * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        side, amplitude = side / 2, amplitude * 0.72
    for _ in range(60):
        mask = np.zeros((height, width), np.uint8)
        x, y = int(rng.integers(width)), int(rng.integers(height))
        radius = int(rng.integers(max(3, width // 60), max(5, width // 10)))
        if rng.random() < 0.5:
            cv2.circle(mask, (x, y), radius, 1, -1)
        else:
            cv2.rectangle(mask, (x - radius, y - radius // 2), (x + radius, y + radius // 3), 1, -1)
        out += mask * np.float32(rng.normal(0, 1.2))
    return out - 3.5


def motion(height: int, width: int, shift: float, degrees: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A rotation about the centre with a shift in a random direction and a little perspective."""
    turn = np.deg2rad(degrees * rng.choice([-1, 1]))
    rotate = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    rotate[2, :2] = 0.005 * rng.standard_normal(2) / width if degrees else 0.0
    way = rng.uniform(0, 2 * np.pi)
    there = translation(width / 2 + shift * np.cos(way), height / 2 + shift * np.sin(way))
    found = there @ rotate @ translation(-width / 2, -height / 2)
    return np.asarray(found / found[2, 2])


def expose(log: Array, ev: float, rng: np.random.Generator, noise: float, curve: str) -> NDArray[np.uint8]:
    """8-bit codes: photon and read noise, clipping, an sRGB-like or S-shaped curve."""
    light = np.exp2(log + np.float32(ev))[..., None] * np.array([1.1, 1.0, 0.8], np.float32)
    light += rng.standard_normal(light.shape, dtype=np.float32) * noise * np.sqrt(np.maximum(light, 0) + 0.01)
    code = np.clip(light, 0, 1) ** np.float32(1 / 2.2)
    if curve == "s":
        code = code - 0.08 * np.sin(2 * np.pi * code)
    return np.rint(code * 255).astype(np.uint8)


def make_burst(
    height: int, width: int, seed: int, *, evs: tuple[float, ...] = (-3.0, 0.0, 3.0), shift: float = 0.0,
    degrees: float = 0.0, noise: float = 0.01, curve: str = "gamma", moving: bool = True,
) -> tuple[Burst, list[NDArray[np.float64]]]:  # fmt: skip
    """A burst and its true homographies; ``moving``: a quarter of every frame is other content going its own way."""
    rng = np.random.default_rng(seed)
    pad = int(1.2 * shift + np.deg2rad(degrees) * max(height, width) + 16)
    world = texture(height + 2 * pad, width + 2 * pad, rng)
    other = texture(height, width, rng) if moving else world
    frames, truth = [], []
    middle = len(evs) // 2
    for index, ev in enumerate(evs):
        true = np.eye(3) if index == middle else motion(height, width, shift, degrees, rng)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        log = cv2.warpPerspective(world, translation(pad, pad) @ np.linalg.inv(true), (width, height), flags=flags)
        if moving:
            h, w, dy, dx = height // 2, width // 2, *(rng.integers(0, min(height, width) // 4, 2))
            log[height // 3 : height // 3 + h, width // 4 : width // 4 + w] = other[dy : dy + h, dx : dx + w]
        frames.append(as_frame(expose(np.asarray(log, np.float32), ev, rng, noise, curve), ev))
        truth.append(true)
    return Burst(tuple(frames), middle), truth


def grid_error(found: NDArray[np.float64], true: NDArray[np.float64], size: tuple[int, int]) -> float:
    """The largest distance in pixels between two homographies on a 9x9 grid that includes the corners."""
    height, width = size
    grid = np.stack(np.meshgrid(np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 9)), -1).reshape(-1, 2)
    return float(np.linalg.norm(project(found, grid) - project(true, grid), axis=1).max())


def errors(alignment: Alignment, truth: list[NDArray[np.float64]], size: tuple[int, int]) -> list[float]:
    return [grid_error(found, true, size) for found, true in zip(alignment.homographies, truth, strict=True)]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("curve", "noise"), [("gamma", 0.01), ("s", 0.01), ("gamma", 0.04)])
def test_recovers_shift_rotation_and_exposure_under_a_pixel(seed: int, curve: str, noise: float) -> None:
    burst, truth = make_burst(480, 720, seed, shift=20, degrees=3, curve=curve, noise=noise)
    found = align_burst(burst, None)
    assert found.moved == (True, False, True)
    assert max(errors(found, truth, burst.size)) < 1.0
    assert all(after < before for before, after in (found.scores[0], found.scores[2]))


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_a_tripod_burst_stays_exactly_where_it_is(noise: float) -> None:
    burst, _ = make_burst(480, 720, 3, noise=noise)
    found = align_burst(burst, None)
    assert found.moved == (False, False, False)
    np.testing.assert_array_equal(found.homographies, np.tile(np.eye(3), (3, 1, 1)))
    assert all(before == after for before, after in found.scores)


def test_frames_far_from_the_reference_come_over_their_neighbours() -> None:
    burst, truth = make_burst(480, 720, 4, evs=(-6.0, -3.0, 0.0, 2.0), shift=12, degrees=1, moving=False)
    found = align_burst(burst, None)
    assert max(errors(found, truth, burst.size)) < 1.0


def test_a_bright_frame_that_shares_too_little_is_asked_of_its_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    burst, truth = make_burst(480, 640, 15, evs=(0.0, 3.0, 6.0), shift=12, degrees=1, moving=False)
    asked, pair = [], align._pair

    def noted(looks: Any, first: int, second: int, start: Any) -> Any:
        asked.append((first, second))
        return pair(looks, first, second, start)

    monkeypatch.setattr(align, "_pair", noted)
    found = align_burst(Burst(burst.frames, 0), None)
    assert (1, 2) in asked
    assert found.moved == (False, True, True)
    relative = [true @ np.linalg.inv(truth[0]) for true in truth]
    near, far = errors(found, relative, burst.size)[1:]
    assert near < 0.5
    assert far < 0.5 * grid_error(np.eye(3), relative[2], burst.size)


def test_corners_without_evidence_take_no_perspective() -> None:
    rng = np.random.default_rng(16)
    height, width = 400, 600
    patch = np.full((height + 40, width + 40), -3.0, np.float32)
    patch[60:240, 60:240] = texture(180, 180, rng)
    frames = []
    for ev, x, y in ((0.0, 20, 20), (1.5, 27, 16)):
        crop = patch[y : y + height, x : x + width]
        frames.append(as_frame(expose(np.asarray(crop, np.float32), ev, rng, 0.01, "gamma"), ev))
    found = align_burst(Burst(tuple(frames), 0), None)
    assert found.moved == (False, True)
    assert np.all(found.homographies[1][2, :2] == 0)
    assert grid_error(found.homographies[1], translation(-7, 4), (height, width)) < 1.0


def test_a_bent_corner_is_straightened_by_the_verdict() -> None:
    burst, _ = make_burst(400, 600, 17, evs=(0.0, 1.0), moving=False)
    frame = burst.frames[0].codes.copy()
    frame[:, 240:], frame[200:] = 90, 90
    rng = np.random.default_rng(18)
    second = np.roll(frame, (3, 5), (0, 1))
    first = as_frame(np.clip(frame + rng.normal(0, 1, frame.shape), 0, 255).astype(np.uint8), 0.0)
    other = as_frame(np.clip(second + rng.normal(0, 1, frame.shape), 0, 255).astype(np.uint8), 1.0)
    bent = cv2.findHomography(
        np.array([[20, 20], [200, 20], [200, 180], [20, 180.0]]),
        np.array([[25, 23], [205, 23], [206, 183], [25, 183.0]]),
    )[0]
    bent = np.asarray(bent, np.float64)
    assert grid_error(bent, translation(5, 3), (400, 600)) > 3
    verdict = judge(look(first, None), look(other, None), np.eye(3), [bent])
    assert verdict.chosen is not None
    assert np.all(verdict.chosen[2, :2] == 0)
    straight, crooked = (grid_error(found, translation(5, 3), (400, 600)) for found in (verdict.chosen, bent))
    assert straight < 0.75 * crooked


def test_fit_similarity_is_exact_on_similar_points() -> None:
    rng = np.random.default_rng(19)
    points = rng.uniform(0, 4000, (9, 2))
    true: NDArray[np.float64] = np.array([[0.99, -0.03, 40.0], [0.03, 0.99, -12.0], [0, 0, 1]])
    np.testing.assert_allclose(fit_similarity(points, project(true, points)), true, atol=1e-9)


def test_stated_exposures_are_not_needed() -> None:
    burst, truth = make_burst(480, 720, 5, shift=15, degrees=1)
    guessed = Burst(tuple(as_frame(f.codes, index) for index, f in enumerate(burst.frames)), burst.reference)
    assert max(errors(align_burst(guessed, None), truth, burst.size)) < 1.0


def test_linear_16_bit_with_a_clip_mask() -> None:
    burst, truth = make_burst(400, 600, 6, evs=(-2.0, 0.0, 2.0), shift=10, degrees=1, noise=0.003)
    frames = []
    for frame in burst.frames:
        light = (frame.codes / 255.0) ** 2.2
        clipped = np.any(frame.codes == 255, axis=2)
        codes = np.rint(light * 16000).astype(np.uint16)
        frames.append(as_frame(codes, frame.exposure.ev, 16000.0, encoding="linear", kind="raw", clipped=clipped))
    found = align_burst(Burst(tuple(frames), burst.reference), None)
    assert max(errors(found, truth, burst.size)) < 1.0


def test_an_earlier_alignment_is_refined_or_kept() -> None:
    burst, truth = make_burst(480, 720, 7, shift=20, degrees=2)
    off = np.array([true @ translation(1.5, -1.0) for true in truth])
    off[burst.reference] = np.eye(3)
    table = (np.linspace(0, 1, 256) ** 2.2).astype(np.float32)
    found = align_burst(
        burst, Response("gamma2.2", np.tile(table, (3, 1)), {}), previous=Alignment(off, (True, False, True))
    )
    assert max(errors(found, truth, burst.size)) < 0.7


def test_mode_none_and_frames_too_small_are_identity() -> None:
    burst, _ = make_burst(200, 300, 8, shift=9)
    tiny = Burst(tuple(as_frame(f.codes[:32, :32], f.exposure.ev) for f in burst.frames), 1)
    for found in (align_burst(burst, None, mode="none"), align_burst(tiny, None)):
        assert found.moved == (False,) * 3
        np.testing.assert_array_equal(found.homographies, np.tile(np.eye(3), (3, 1, 1)))


@pytest.mark.parametrize("kind", ["black", "white", "flat", "stripes", "noise", "half"])
def test_scenes_that_show_nothing_stay_where_they_are(kind: str) -> None:
    rng = np.random.default_rng(9)
    y, x = np.mgrid[:120, :160]
    plain = {"black": 0 * x, "white": 0 * x + 255, "flat": 0 * x + 90, "stripes": 60 + 60 * (x // 8 % 2)}
    frames = []
    for ev in (0.0, 2.0):
        grey = plain.get(kind, rng.integers(0, 255, x.shape) * (1 if kind == "noise" else y < 60))
        frames.append(as_frame(np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2), ev))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = align_burst(Burst(tuple(frames), 0), None)
    np.testing.assert_array_equal(found.homographies, np.tile(np.eye(3), (2, 1, 1)))


def misfit(burst: Burst, world: list[Array], alignment: Alignment) -> list[float]:
    """Median |log2 difference| of the noise-free scenes of frame and reference under the alignment."""
    height, width = burst.size
    out = []
    for index in range(len(burst)):
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        H = alignment.homographies[index]
        seen = cv2.warpPerspective(world[index], H, (width, height), flags=flags, borderValue=float("nan"))
        gap = np.abs(seen - world[burst.reference])
        out.append(float(np.nanmedian(gap)))
    return out


@settings(max_examples=12, derandomize=True)
@given(
    seed=st.integers(0, 10_000), shift=st.sampled_from([0.0, 0.3, 2.0, 9.0]), degrees=st.sampled_from([0.0, 2.0]),
    share=st.sampled_from([0.0, 0.25, 0.6, 1.0]), ev=st.floats(0.5, 4.0), noise=st.sampled_from([0.005, 0.08]),
)  # fmt: skip
def test_never_worse_than_unaligned(
    seed: int, shift: float, degrees: float, share: float, ev: float, noise: float
) -> None:
    rng = np.random.default_rng(seed)
    height, width, pad = 160, 200, 24
    world, other = (texture(height + 2 * pad, width + 2 * pad, rng) for _ in range(2))
    true = motion(height, width, shift, degrees, rng)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    there = cv2.warpPerspective(world, translation(pad, pad) @ np.linalg.inv(true), (width, height), flags=flags)
    here = world[pad : pad + height, pad : pad + width].copy()
    rows = int(share * height)  # content of the upper part that moves on its own
    there[:rows] = other[5 : rows + 5, 9 : width + 9]
    here[:rows] = other[:rows, :width]
    burst = Burst((as_frame(expose(here, 0.0, rng, noise, "gamma"), 0.0),
                   as_frame(expose(there, ev, rng, noise, "s"), ev)), 0)  # fmt: skip
    found = align_burst(burst, None)
    logs = [here, np.asarray(there, np.float32)]
    aligned, unaligned = misfit(burst, logs, found)[1], misfit(burst, logs, Alignment.identity(2))[1]
    assert aligned <= unaligned + 0.02


def test_transfer_finds_the_exposure_ratio_from_histograms() -> None:
    burst, _ = make_burst(300, 400, 10, evs=(-2.0, 0.0), moving=False, noise=0.002)
    darker, reference = look(burst.frames[0], None), look(burst.frames[1], None)
    tone = transfer(reference, darker, np.eye(3))
    both = (darker.valid > 0) & (reference.valid > 0)
    gap = tone(darker.log)[both] - reference.log[both]
    assert abs(float(np.median(gap))) < 0.02
    assert float(np.abs(gap).mean()) < 0.15


def test_a_pixel_with_one_channel_clipped_is_clipped_and_a_dark_one_is_not_well_exposed() -> None:
    codes = np.full((64, 64, 3), 120, np.uint8)
    codes[:8, :, 2], codes[8:16] = 255, 2
    view = look(as_frame(codes, 0.0), None)
    assert not view.valid[:16].any()
    assert view.valid[16:].all()
    assert assumed_response("display").table[0, 2] < DARK
    log = window(view, 0, 0, 64, 24)
    assert np.all(log[:8] == 0)
    assert np.all(log[16:] < view.ceiling)


def test_two_exposures_clamped_to_what_both_record_are_one_picture() -> None:
    burst, _ = make_burst(300, 400, 10, evs=(-4.0, 0.0, 4.0), moving=False, noise=0.0)
    darker, reference, brighter = (look(frame, None) for frame in burst.frames)
    for other, clipped in ((darker, reference), (brighter, brighter)):
        tone = transfer(reference, other, np.eye(3))
        assert tone.low < tone.high
        lost = clipped.log == 0
        assert lost.mean() > 0.02
        assert float(np.median(np.abs(tone.clamp(reference.log) - tone(other.log))[lost])) < 0.01


def test_warped_window_is_a_crop_of_the_whole_warp() -> None:
    burst, _ = make_burst(120, 160, 11)
    view = look(burst.frames[1], None)
    H = motion(120, 160, 6.0, 2.0, np.random.default_rng(1))
    log, mask = warped_window(view, H, 30, 40, 94, 104)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    whole = cv2.warpPerspective(view.log, H, (160, 120), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = warp_mask(np.full_like(view.valid, 255), H, (160, 120))
    np.testing.assert_array_equal(mask > 0, inside[40:104, 30:94] > 0)
    np.testing.assert_allclose(log[mask > 0], whole[40:104, 30:94][mask > 0], atol=0.02)


def test_fit_motion_uses_no_more_parameters_than_the_points_carry() -> None:
    rng = np.random.default_rng(12)
    true = motion(1000, 1500, 30.0, 2.0, rng)
    wide = rng.uniform(0, 1, (60, 2)) * [1500, 1000]
    huddled = [700, 400] + rng.uniform(0, 1, (60, 2)) * 40
    for points, affine in ((wide, False), (huddled, True)):
        target = project(true, points) + rng.normal(0, 0.3, points.shape)
        target[:15] += rng.uniform(-200, 200, (15, 2))  # a quarter goes elsewhere
        found = fit_motion(points, target, 2.0, (1000, 1500), 16)
        assert found is not None
        assert found.agreeing >= 43
        assert (found.homography[2, 0] == 0) == affine
        assert grid_error(found.homography, true, (1000, 1500)) < (1.5 if not affine else 80)


def test_corner_deviation_matches_a_simulation() -> None:
    rng = np.random.default_rng(13)
    points = [400, 300] + rng.uniform(0, 1, (30, 2)) * [500, 400]
    corners = np.array([[0, 0], [1500, 0], [1500, 1000], [0, 1000]], np.float64)
    fits = [cv2.findHomography(points, points + rng.normal(0, 0.2, points.shape), 0)[0] for _ in range(400)]
    seen = np.array([project(fit, corners) - corners for fit in fits])
    measured = np.sqrt(seen.var(axis=0).sum(axis=1).max())
    assert corner_deviation(points, 0.2, (1000, 1500), similar=False) == pytest.approx(measured, rel=0.2)


def test_plausible_refuses_what_no_hand_does() -> None:
    size = (1000, 1500)
    assert plausible(translation(200, 100), size)
    assert largest_shift(translation(3, 4), size) == pytest.approx(5)
    flip = np.diag([-1.0, 1.0, 1.0])
    flip[0, 2] = 1499
    tilted = np.eye(3)
    tilted[2, 0] = -1 / 1200
    for wrong in (flip, tilted, np.diag([2.0, 2.0, 1.0]), translation(1200, 0), np.full((3, 3), np.nan)):
        assert not plausible(wrong, size)


@pytest.mark.slow
def test_24_megapixels_100_pixels_3_degrees_3_ev() -> None:
    burst, truth = make_burst(4000, 6000, 14, shift=100, degrees=3)
    assert max(errors(align_burst(burst, None), truth, burst.size)) < 1.0


def test_identity_alignment_moves_nothing() -> None:
    alignment = Alignment.identity(3)
    assert alignment.homographies.shape == (3, 3, 3)
    assert (alignment.homographies == np.eye(3)).all()
    assert alignment.moved == (False, False, False)
