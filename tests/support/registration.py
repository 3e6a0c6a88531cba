"""Simulated handheld bursts with known homographies: texture, camera motion, exposure, noise, moving content."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align.pyramid_view import project, translation
from smarthdr_cli.burst.burst import Burst, CaptureMetadata, Exposure, Frame
from smarthdr_cli.colorspace import SRGB

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def make_frame(codes: NDArray[Any], ev: float, white: float = 255.0, **fields: Any) -> Frame:
    fields = {"encoding": "display", "kind": "array", "sha256": "", "capture": CaptureMetadata(), **fields}
    return Frame(Path(f"{ev:+}.png"), codes, white, exposure=Exposure(ev, source="ev"), colorspace=SRGB, **fields)


def make_texture(height: int, width: int, rng: np.random.Generator) -> F32:
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


def random_motion(height: int, width: int, shift: float, degrees: float, rng: np.random.Generator) -> F64:
    """A rotation about the centre, a shift in a random direction and, with a rotation, a little perspective."""
    turn = np.deg2rad(degrees * rng.choice([-1, 1]))
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    rotation[2, :2] = 0.005 * rng.standard_normal(2) / width if degrees else 0.0
    direction = rng.uniform(0, 2 * np.pi)
    back = translation(width / 2 + shift * np.cos(direction), height / 2 + shift * np.sin(direction))
    homography = back @ rotation @ translation(-width / 2, -height / 2)
    return np.asarray(homography / homography[2, 2])


def expose(log: F32, ev: float, rng: np.random.Generator, noise: float = 0.01, curve: str = "gamma") -> NDArray[Any]:
    """8-bit codes: photon and read noise, clipping, a gamma or S-shaped curve."""
    light = np.exp2(log + np.float32(ev))[..., None] * np.array([1.1, 1.0, 0.8], np.float32)
    light += rng.standard_normal(light.shape, dtype=np.float32) * noise * np.sqrt(np.maximum(light, 0) + 0.01)
    code = np.clip(light, 0, 1) ** np.float32(1 / 2.2)
    if curve == "s":
        code = code - 0.08 * np.sin(2 * np.pi * code)
    return np.rint(code * 255).astype(np.uint8)


def make_burst(
    height: int, width: int, seed: int, *, evs: tuple[float, ...] = (-3.0, 0.0, 3.0), shift: float = 0.0,
    degrees: float = 0.0, noise: float = 0.01, curve: str = "gamma", moving: bool = True,
) -> tuple[Burst, list[F64]]:  # fmt: skip
    """A burst and its true homographies; ``moving``: other content covers a quarter of every frame."""
    rng = np.random.default_rng(seed)
    pad = int(1.2 * shift + np.deg2rad(degrees) * max(height, width) + 16)
    world = make_texture(height + 2 * pad, width + 2 * pad, rng)
    other = make_texture(height, width, rng) if moving else world
    frames, truth = [], []
    middle = len(evs) // 2
    for index, ev in enumerate(evs):
        true = np.eye(3) if index == middle else random_motion(height, width, shift, degrees, rng)
        log = warp_cubic(world, translation(pad, pad) @ np.linalg.inv(true), (height, width))
        if moving:
            h, w, dy, dx = height // 2, width // 2, *(rng.integers(0, min(height, width) // 4, 2))
            log[height // 3 : height // 3 + h, width // 4 : width // 4 + w] = other[dy : dy + h, dx : dx + w]
        frames.append(make_frame(expose(log, ev, rng, noise, curve), ev))
        truth.append(true)
    return Burst(tuple(frames), middle), truth


def warp_cubic(plane: F32, homography: F64, size: tuple[int, int]) -> F32:
    """``plane`` sampled at ``homography`` (x, y, 1), ``size`` = (height, width)."""
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpPerspective(plane, homography, size[::-1], flags=flags), np.float32)


def grid_error(homography: F64, true: F64, size: tuple[int, int]) -> float:
    """The largest distance in pixels between two homographies on a 9x9 grid that includes the corners."""
    height, width = size
    grid = np.stack(np.meshgrid(np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 9)), -1).reshape(-1, 2)
    return float(np.linalg.norm(project(homography, grid) - project(true, grid), axis=1).max())
