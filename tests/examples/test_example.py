"""The example burst has the exposures, sizes, noise and tone curve its README states."""

import itertools
import json
from pathlib import Path
from typing import Any

import exifread
import numpy as np
import OpenEXR
import pytest
from numpy.typing import NDArray
from PIL import Image

BURST = Path(__file__).parents[2] / "examples" / "burst"
SPEEDS = {"img1.jpg": 512, "img2.jpg": 64, "img3.jpg": 8}
FULL_WELL, READ_NOISE = 24000.0, 5.0  # electrons
JPEG_ERROR = 1.5  # codes, RMS, of luma at quality 92 with its halved chroma


def codes(name: str) -> NDArray[np.uint8]:
    with Image.open(BURST / name) as image:
        return np.asarray(image.convert("RGB"))


def camera_curve(x: NDArray[Any]) -> NDArray[np.float64]:
    """The tone curve of examples/README.md."""
    u = np.clip(x, 0, 1).astype(np.float64) ** (1 / 2.2)
    return np.asarray(0.55 * u + 0.45 * u**2 * (3 - 2 * u))


def srgb(x: NDArray[Any]) -> NDArray[np.float64]:
    x = np.clip(x, 0, 1).astype(np.float64)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)


@pytest.fixture(scope="module")
def truth() -> NDArray[np.float32]:
    with OpenEXR.File(str(BURST / "truth.exr")) as file:
        pixels = file.channels()["RGB"].pixels
        assert pixels.dtype == np.float16
        assert file.header()["compression"] == OpenEXR.ZIP_COMPRESSION
        return np.asarray(pixels, np.float32)


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    return dict(json.loads((BURST / "facts.json").read_text()))


@pytest.mark.parametrize(("name", "speed"), SPEEDS.items())
def test_exif_states_the_exposure(name: str, speed: int) -> None:
    with (BURST / name).open("rb") as file:
        tags = exifread.process_file(file, details=False)
    time = tags["EXIF ExposureTime"].values[0]
    assert (time.num, time.den) == (1, speed)
    assert float(tags["EXIF FNumber"].values[0]) == 4.0
    assert tags["EXIF ISOSpeedRatings"].values == [100]
    assert str(tags["Image Make"]) == "smarthdr"
    assert str(tags["Image Model"]) == "example scene"
    assert str(tags["EXIF DateTimeOriginal"]).startswith("2026:11:20 14:05:3")


def test_all_images_have_the_same_size(truth: NDArray[np.float32], facts: dict[str, Any]) -> None:
    width, height = facts["size"]
    assert truth.shape == (height, width, 3)
    assert 1e6 <= width * height <= 2e6
    for name in SPEEDS:
        assert codes(name).shape == truth.shape
    with Image.open(BURST / "moving.png") as mask:
        assert mask.size == (width, height)


def test_the_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in BURST.iterdir()) < 9e6


def test_truth_is_within_the_range_of_the_burst(truth: NDArray[np.float32]) -> None:
    assert np.isfinite(truth).all()
    assert truth.min() >= 0
    assert np.percentile(truth, 99.9) < 8  # the short frame clips at 8
    assert (truth.max(-1) > 4).mean() > 0.01  # two stops above the reference's clip
    assert (truth.max(-1) < 2.0**-6).mean() > 0.02  # six stops below it


def test_clipped_fractions_are_as_stated(facts: dict[str, Any]) -> None:
    for frame in facts["frames"]:
        measured = (codes(frame["file"]) >= 252).any(-1).mean()  # 255 before the JPEG
        assert measured == pytest.approx(frame["clipped"], abs=0.01)
    short, middle, long = (frame["clipped"] for frame in facts["frames"])
    assert short < 0.002
    assert 0.05 < middle < 0.15
    assert long > middle


def test_the_moving_mask_is_as_stated(facts: dict[str, Any]) -> None:
    with Image.open(BURST / "moving.png") as mask:
        assert np.asarray(mask).mean() == pytest.approx(facts["moving"], abs=1e-3)
    assert 0.02 < facts["moving"] < 0.25


def test_the_middle_frame_is_the_truth_through_the_camera(truth: NDArray[np.float32]) -> None:
    middle = codes("img2.jpg").astype(np.float64)
    well_exposed = (truth < 0.85).all(-1) & (truth > 0.002).all(-1)
    step = 1e-4
    slope = (camera_curve(truth + step) - camera_curve(truth - step)) / (2 * step)
    sigma = 255 * slope * np.sqrt(truth / FULL_WELL + (READ_NOISE / FULL_WELL) ** 2)
    weights = np.array([0.299, 0.587, 0.114])  # the JPEG's luma: chroma is halved in x and may differ at edges
    residual = ((middle - 255 * camera_curve(truth)) @ weights)[well_exposed]
    expected = np.sqrt(((weights * sigma) ** 2).sum(-1) + JPEG_ERROR**2)[well_exposed]
    tone = (truth @ weights)[well_exposed]
    edges = np.quantile(tone, np.linspace(0, 1, 11))
    for low, high in itertools.pairwise(edges):
        band = (tone >= low) & (tone <= high)
        assert abs(residual[band].mean()) < 0.25, f"biased by {residual[band].mean():.2f} codes at {low:.4f}-{high:.4f}"
        spread = np.sqrt(np.mean(residual[band] ** 2) / np.mean(expected[band] ** 2))
        assert 0.5 < spread < 1.5, f"{spread:.2f} times the stated noise at {low:.4f}-{high:.4f}"
    srgb_residual = ((middle - 255 * srgb(truth)) @ weights)[well_exposed]
    assert np.sqrt(np.mean(srgb_residual**2)) > 4 * np.sqrt(np.mean(residual**2))  # the curve is not sRGB


def test_the_other_frames_are_three_stops_away(truth: NDArray[np.float32]) -> None:
    grid = np.linspace(0, 1, 4097)
    with Image.open(BURST / "moving.png") as mask:
        static = ~np.asarray(mask)
    for name, gain in (("img1.jpg", 1 / 8), ("img3.jpg", 8.0)):
        linear = np.interp(codes(name) / 255.0, camera_curve(grid), grid)
        # Frames are not aligned: compare the quantiles that are well exposed in this frame and in the truth.
        quantiles = np.linspace(0.3, 0.7, 9) if gain > 1 else np.linspace(0.95, 0.99, 5)
        measured, true = (np.quantile(x[static][:, 1], quantiles) for x in (linear / gain, truth))
        assert np.abs(np.log2(measured / true)).max() < 0.25
