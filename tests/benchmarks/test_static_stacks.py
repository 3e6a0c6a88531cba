"""Static stacks of a scene with a known curve, and their registration against known poses."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from benchmarks.lib import static_stacks
from benchmarks.lib.static_stacks import RegistrationConfig
from smarthdr_cli.burst.burst import CaptureMetadata, Exposure, Frame
from smarthdr_cli.colorspace import SRGB
from smarthdr_cli.errors import InputError
from smarthdr_cli.evaluate import protocol

EXPOSURE_TIME = 0x829A


def scene() -> np.ndarray:
    y, x = np.mgrid[0:120, 0:160].astype(np.float64)
    base = np.exp(-3 + 2.5 * np.sin(x / 23) * np.cos(y / 17) + 0.3 * np.sin(x / 5 + y / 7))
    return np.clip(np.stack([base, 0.9 * base, 0.8 * base], 2), 0.002, 0.95)


def srgb(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def write_stack(folder: Path, evs: list[int]) -> None:
    for i, ev in enumerate(evs):
        picture = Image.fromarray(np.round(srgb(scene() * 2.0**ev) * 255).astype(np.uint8))
        exif = Image.Exif()
        exif.get_ifd(0x8769)[EXPOSURE_TIME] = IFDRational(int(2.0 ** (ev + 5)), 3200)
        picture.save(folder / f"{i}.jpg", quality=98, subsampling=0, exif=exif)


def frame(ev: float, code: int) -> Frame:
    codes = np.full((16, 16, 3), code, np.uint8)
    return Frame(Path("x.jpg"), codes, 255.0, "display", Exposure(ev), SRGB, CaptureMetadata(), "", "jpeg")


def test_frames_are_read_in_any_order_and_sorted(tmp_path: Path) -> None:
    write_stack(tmp_path, [2, -1, 4, 0])
    stack = static_stacks.read_stack(tmp_path)
    assert static_stacks.relative_times(stack.frames) == pytest.approx([1, 2, 8, 32])
    assert stack.times[0] == 1.0
    assert [f.path.name for f in stack.frames] == ["1.jpg", "3.jpg", "0.jpg", "2.jpg"]


def test_the_three_frames_are_the_best_exposed_and_those_2_5_ev_away() -> None:
    frames = [frame(ev, code) for ev, code in ((-4, 5), (-3, 20), (-2, 50), (-1, 80), (0, 105), (2, 180), (3, 220))]
    assert static_stacks.choose_three(frames) == (1, 4, 5)  # -3 and -2 are equally far from -2.5: the darker one
    # The best exposed frame is the darkest: the next has neighbours on both sides.
    assert static_stacks.choose_three([frame(0, 107), frame(1, 180), frame(2, 230)]) == (0, 1, 2)


def test_a_stack_without_times_or_frames_raises(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least three"):
        static_stacks.read_stack(tmp_path)
    for name in "abc":
        Image.new("RGB", (16, 16)).save(tmp_path / f"{name}.jpg")
    with pytest.raises(InputError, match=r"a\.jpg: no exposure time"):
        static_stacks.read_stack(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"text")
    with pytest.raises(InputError, match=r"a\.jpg"):
        static_stacks.read_stack(tmp_path)


def test_subsampling_keeps_values_and_bounds_the_count() -> None:
    image = np.arange(2000 * 1600 * 3, dtype=np.float32).reshape(2000, 1600, 3)
    small = static_stacks.subsample(image)
    assert small.shape == (1000, 800, 3)
    assert (small == image[::2, ::2]).all()
    assert static_stacks.subsample(image[:1000, :1000]).shape == (1000, 1000, 3)


def test_the_truth_of_a_stack_is_the_radiance_it_was_made_from(tmp_path: Path) -> None:
    write_stack(tmp_path, [-3, -1, 1, 3, 5])
    stack = static_stacks.read_stack(tmp_path)
    short = stack.three_frames[0].exposure.ev + np.log2(100)
    truth = np.clip(scene() * 2.0**short, 0, 1).astype(np.float32)
    middle = cv2.imread(str(stack.three_frames[1].path))
    assert 0.3 < middle.mean() / 255 < 0.6
    for name, radiance in static_stacks.stack_truths(stack).items():
        scores = protocol.score(np.clip(radiance, 0, 1), truth, reference_time=stack.times[1])
        assert scores["scale"] == pytest.approx(1.0, abs=0.15), name
        assert scores["psnr_mu"] > {"own": 40, "Debevec": 30}[name], name


# Registration


def textured_scene(seed: int = 0, size: tuple[int, int] = (240, 320)) -> np.ndarray:
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


def expose(light: np.ndarray, ev: float, pose: np.ndarray) -> np.ndarray:
    """8-bit codes of ``light`` seen from ``pose`` through gamma 2.2."""
    size = (light.shape[1], light.shape[0])
    warped = cv2.warpAffine(light, pose[:2], size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.round(np.clip(warped * 2.0**ev, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


def pose_error(pose: np.ndarray, true: np.ndarray) -> float:
    """Largest distance, px, between two poses over 320x240 pixels."""
    corners = np.array([[0, 0, 1], [319, 0, 1], [0, 239, 1], [319, 239, 1]], float).T
    return float(np.abs((pose @ corners - true @ corners)[:2]).max())


def test_poses_are_those_the_frames_were_shot_from() -> None:
    light = textured_scene()
    true = [affine(3.4, -3.1, 0.1), affine(1.2, 0.9), np.eye(3), affine(-0.6, 1.7, -0.15)]
    frames = [expose(light, ev, pose) for ev, pose in zip((-3.0, -1.5, 0.0, 1.5), true, strict=True)]
    found = static_stacks.register_frames(frames, 255.0, 2)
    assert np.array_equal(found[2], np.eye(3))
    assert max(pose_error(a, b) for a, b in zip(found, true, strict=True)) < 0.15


def test_registration_at_reduced_size_gives_the_pose_at_full_size() -> None:
    light, true = textured_scene(size=(480, 640)), affine(5.3, -2.2)
    found = static_stacks.register_frames(
        [expose(light, 0.0, np.eye(3)), expose(light, 1.0, true)], 255.0, 0, RegistrationConfig(max_side_px=320)
    )
    assert pose_error(found[1], true) < 0.3


def test_frames_within_a_quarter_pixel_are_not_resampled() -> None:
    light = textured_scene(1)
    frames = [expose(light, ev, affine(shift, 0)) for ev, shift in ((-1.0, 0.05), (0.0, 0.0), (1.0, -0.1))]
    for pose, codes in zip(static_stacks.register_frames(frames, 255.0, 1), frames, strict=True):
        assert np.array_equal(pose, np.eye(3))
        assert static_stacks.warp_to_reference(codes, pose) is codes


def test_a_black_frame_gets_its_neighbours_pose() -> None:
    light, true = textured_scene(2), affine(2.5, 1.5)
    frames = [expose(light, -12.0, true), expose(light, -1.0, true), expose(light, 0.0, np.eye(3))]
    found = static_stacks.register_frames(frames, 255.0, 2)
    assert np.array_equal(found[0], found[1])
    assert pose_error(found[1], true) < 0.15


def test_a_frame_without_overlap_gets_the_identity() -> None:
    noise = np.random.default_rng(0).integers(60, 200, (64, 64, 3)).astype(np.uint8)
    assert np.array_equal(static_stacks.register_frames([np.zeros_like(noise), noise], 255.0, 1)[0], np.eye(3))


def test_warping_registers_a_frame_within_its_own_range() -> None:
    light, true = textured_scene(3), affine(2.25, -1.5)
    frame, reference = expose(light, 0.0, true), expose(light, 0.0, np.eye(3))
    inside = (slice(8, -8), slice(8, -8))
    before = np.abs(frame.astype(int) - reference)[inside].mean()
    after = np.abs(static_stacks.warp_to_reference(frame, true).astype(int) - reference)[inside].mean()
    assert after < before / 5
    flat = np.full((8, 8, 3), 0.25, np.float32)
    flat[:, 4:] = 1.0
    warped = static_stacks.warp_to_reference(flat, affine(0.5, 0))  # bicubic overshoots at edges
    assert warped.min() == 0.25
    assert warped.max() == 1.0
