"""The registration of a stack, against poses the frames were made with."""

import cv2
import numpy as np
import pytest

from smarthdr_cli.evaluate import register


def scene(seed: int = 0, size: tuple[int, int] = (240, 320)) -> np.ndarray:
    """Light with detail of every size, (H, W, 3) in [0, 1]."""
    rng = np.random.default_rng(seed)
    total = np.zeros(size, np.float32)
    for sigma in (1.5, 3, 6, 20, 50):
        noise = cv2.GaussianBlur(rng.standard_normal(size).astype(np.float32), (0, 0), sigma)
        total += noise / noise.std()
    light = np.exp(-1.5 + 0.5 * total)
    return np.repeat(light[..., None], 3, axis=2)


def affine(dx: float, dy: float, degrees: float = 0.0) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, dx], [s, c, dy], [0, 0, 1]])


def shot(light: np.ndarray, ev: float, pose: np.ndarray) -> np.ndarray:
    """8-bit codes of ``light`` seen from ``pose`` through gamma 2.2."""
    size = (light.shape[1], light.shape[0])
    seen = cv2.warpAffine(light, pose[:2], size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.round(np.clip(seen * 2.0**ev, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


def off(pose: np.ndarray, true: np.ndarray) -> float:
    """Largest distance, px, between two poses over 320x240 pixels."""
    corners = np.array([[0, 0, 1], [319, 0, 1], [0, 239, 1], [319, 239, 1]], float).T
    return float(np.abs((pose @ corners - true @ corners)[:2]).max())


def test_poses_are_those_the_frames_were_shot_from() -> None:
    light = scene()
    true = [affine(3.4, -3.1, 0.1), affine(1.2, 0.9), np.eye(3), affine(-0.6, 1.7, -0.15)]
    frames = [shot(light, ev, pose) for ev, pose in zip((-3.0, -1.5, 0.0, 1.5), true, strict=True)]
    found = register.poses(frames, 255.0, 2)
    assert np.array_equal(found[2], np.eye(3))
    assert max(off(a, b) for a, b in zip(found, true, strict=True)) < 0.15


def test_a_reduced_picture_gives_the_pose_of_the_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register, "LARGEST", 320)
    light, true = scene(size=(480, 640)), affine(5.3, -2.2)
    found = register.poses([shot(light, 0.0, np.eye(3)), shot(light, 1.0, true)], 255.0, 0)
    assert off(found[1], true) < 0.3


def test_what_lies_right_is_not_interpolated() -> None:
    light = scene(1)
    frames = [shot(light, ev, affine(shift, 0)) for ev, shift in ((-1.0, 0.05), (0.0, 0.0), (1.0, -0.1))]
    for pose, codes in zip(register.poses(frames, 255.0, 1), frames, strict=True):
        assert np.array_equal(pose, np.eye(3))
        assert register.moved(codes, pose) is codes


def test_a_frame_that_shows_nothing_keeps_its_neighbours_pose() -> None:
    light, true = scene(2), affine(2.5, 1.5)
    frames = [shot(light, -12.0, true), shot(light, -1.0, true), shot(light, 0.0, np.eye(3))]
    found = register.poses(frames, 255.0, 2)
    assert np.array_equal(found[0], found[1])
    assert off(found[1], true) < 0.15


def test_what_shows_nothing_of_the_reference_stays() -> None:
    noise = np.random.default_rng(0).integers(60, 200, (64, 64, 3)).astype(np.uint8)
    assert np.array_equal(register.poses([np.zeros_like(noise), noise], 255.0, 1)[0], np.eye(3))


def test_moving_brings_a_frame_onto_the_reference() -> None:
    light, true = scene(3), affine(2.25, -1.5)
    seen, reference = shot(light, 0.0, true), shot(light, 0.0, np.eye(3))
    inside = (slice(8, -8), slice(8, -8))
    before = np.abs(seen.astype(int) - reference)[inside].mean()
    after = np.abs(register.moved(seen, true).astype(int) - reference)[inside].mean()
    assert after < before / 5
    flat = np.full((8, 8, 3), 0.25, np.float32)
    flat[:, 4:] = 1.0
    over = register.moved(flat, affine(0.5, 0))  # bicubic overshoots at edges
    assert over.min() == 0.25
    assert over.max() == 1.0
