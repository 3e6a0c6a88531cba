import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from smarthdr_cli.burst.color import REC709, conversion
from smarthdr_cli.burst.load import load_burst
from smarthdr_cli.burst.raw import probe
from smarthdr_cli.burst.read import read_file, read_frame
from smarthdr_cli.errors import InputError

BLACK, WHITE = 512, 16000
NEUTRAL = (0.5, 1.0, 0.625)
Dng = Callable[..., Path]


def mosaic(scene: NDArray[np.float64], neutral: tuple[float, float, float] = NEUTRAL) -> NDArray[np.int64]:
    """(H, W) RGGB raw codes of an (H, W) neutral scene, 1 = where green clips after black and white are applied."""
    red, green, blue = neutral
    gains = np.tile([[red, green], [green, blue]], (scene.shape[0] // 2, scene.shape[1] // 2))
    return np.minimum(BLACK + scene * gains * (WHITE - BLACK), WHITE).round().astype(np.int64)


@pytest.fixture
def ramp() -> NDArray[np.float64]:
    """Neutral light from 0 to 1.6 across 96 columns."""
    return np.asarray(np.linspace(0, 1.6, 96)[None, :] * np.ones((64, 1)))


def test_linear_and_neutral_up_to_the_clip(dng: Dng, ramp: NDArray[np.float64]) -> None:
    frame = read_frame(dng("a.dng", mosaic(ramp)))
    assert (frame.kind, frame.encoding, frame.white, frame.codes.dtype) == ("raw", "linear", 65535, np.uint16)
    inside = slice(4, -4)
    light = frame.codes[inside, 4:56].astype(float) / 65535
    np.testing.assert_allclose(light, np.repeat(ramp[inside, 4:56, None], 3, 2), atol=2e-3)


def test_clipped_highlights_are_neutral_and_at_white(dng: Dng, ramp: NDArray[np.float64]) -> None:
    codes = read_frame(dng("a.dng", mosaic(ramp))).codes[4:-4, 64:-4]
    assert (codes == 65535).all()


def test_clip_mask_is_taken_before_white_balance(dng: Dng, ramp: NDArray[np.float64]) -> None:
    frame = read_frame(dng("a.dng", mosaic(ramp)))
    assert frame.clipped is not None
    first = int(np.argmax(ramp[0] >= 1.0))  # green, the most sensitive colour, reaches the raw white here
    assert frame.clipped[:, first:].all()
    assert not frame.clipped[:, : first - 3].any()
    # A red surface whose red is balanced above white without any raw sample at its level: bright, but not clipped.
    red = mosaic(np.full((32, 32), 0.4))
    red[::2, ::2] = BLACK + round(0.7 * (WHITE - BLACK))
    frame = read_frame(dng("b.dng", red))
    assert frame.clipped is not None
    assert not frame.clipped.any()


def test_exposure_and_camera(dng: Dng, ramp: NDArray[np.float64]) -> None:
    frame = read_frame(dng("a.dng", mosaic(ramp), time=(1, 60), iso=400))
    assert (frame.exposure.time, frame.exposure.aperture, frame.exposure.iso) == (1 / 60, 8, 400)
    assert frame.capture.model == "Camera"


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_orientation(orientation: int, turns: int, dng: Dng, ramp: NDArray[np.float64]) -> None:
    upright = read_frame(dng("a.dng", mosaic(ramp)))
    turned = read_frame(dng("b.dng", mosaic(ramp), orientation=orientation))
    np.testing.assert_array_equal(turned.codes, np.rot90(upright.codes, turns))
    assert turned.clipped is not None
    assert upright.clipped is not None
    np.testing.assert_array_equal(turned.clipped, np.rot90(upright.clipped, turns))


def test_camera_matrix_against_the_dng_specification(dng: Dng, ramp: NDArray[np.float64]) -> None:
    space = read_frame(dng("a.dng", mosaic(ramp))).colorspace
    to_rec709 = conversion(space, REC709)
    np.testing.assert_allclose(to_rec709.sum(1), 1, atol=1e-4)  # neutral stays neutral
    # DNG 1.4, chapter 6: ColorMatrix1 takes XYZ to camera; for its own illuminant (D65) the white-balanced matrix is
    # its inverse with the camera's white divided out.
    matrix = np.array([[0.6722, -0.0635, -0.0963], [-0.4287, 1.2460, 0.2028], [-0.0908, 0.2162, 0.5668]])
    white = np.array([0.9505, 1.0, 1.0891])
    expected = np.linalg.inv(matrix / (matrix @ white)[:, None])
    np.testing.assert_allclose(space.to_xyz(), expected, atol=2e-3)


def test_a_burst_shares_the_white_balance_of_its_reference(dng: Dng) -> None:
    rng = np.random.default_rng(0)
    scene = np.kron(rng.uniform(0.05, 0.2, (8, 8)), np.ones((8, 8)))
    paths = [
        dng("a.dng", mosaic(scene), time=(1, 100)),
        dng("b.dng", mosaic(scene * 2), time=(1, 50), neutral=(0.4, 1.0, 0.8)),
        dng("c.dng", mosaic(scene * 4), time=(1, 25), neutral=(0.7, 1.0, 0.5)),
    ]
    burst = load_burst(paths, reference=1)
    np.testing.assert_allclose(burst.evs, [0, 1, 2])
    dark, middle, _ = (frame.codes[4:-4, 4:-4].astype(float) for frame in burst.frames)
    grey = dark[2::8, 2::8]
    np.testing.assert_allclose(grey[..., 0], grey[..., 1], rtol=0.01)
    np.testing.assert_allclose(middle[2::8, 2::8], 2 * grey, rtol=0.01)


def test_a_camera_that_clips_below_its_stated_white(dng: Dng) -> None:
    scene = np.tile(np.linspace(0, 2, 128), (128, 1))
    low = np.minimum(mosaic(scene), 14500)
    short = mosaic(scene / 8)
    sensor = probe(dng("long.dng", low).read_bytes(), "long.dng")
    assert sensor.clip_level == 14500
    assert probe(dng("short.dng", short, time=(1, 800)).read_bytes(), "short.dng").clip_level == WHITE
    burst = load_burst([Path(dng("short.dng", short, time=(1, 800))), dng("long.dng", low)], reference=2)
    dark, bright = burst.frames
    assert (bright.codes[4:-4, -10:] == 65535).all()  # neutral white, no cast
    np.testing.assert_allclose(8.0 * dark.codes[10, 10:40], bright.codes[10, 10:40], rtol=0.02, atol=60)


def test_cut_and_damaged(dng: Dng, ramp: NDArray[np.float64]) -> None:
    path = dng("a.dng", mosaic(ramp))
    data = path.read_bytes()
    for share in (0.3, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(InputError, match=r"a\.dng"):
            read_frame(path)


def test_without_rawpy_the_error_names_the_extra(
    dng: Dng, ramp: NDArray[np.float64], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dng("a.dng", mosaic(ramp))
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(InputError, match=r"pip install smarthdr\[raw\]"):
        read_frame(path)


def test_notes_and_sensor_of_a_reading(dng: Dng, ramp: NDArray[np.float64]) -> None:
    reading: Any = read_file(dng("a.dng", mosaic(ramp)))
    assert reading.notes == ()
    np.testing.assert_allclose(reading.sensor.white_balance, (2.0, 1.0, 1.6, 1.0), rtol=1e-5)
    assert reading.sensor.clip_level == WHITE
