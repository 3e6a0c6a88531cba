"""Frames of one scene belong together whatever their exposure and noise; frames of another one stand out."""

from pathlib import Path

import numpy as np
import pytest

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst, CaptureMetadata, Exposure, Frame
from smarthdr_cli.colorspace import SRGB
from smarthdr_cli.response import other_scenes, sample_blocks
from tests.support.files import random_scene

pytestmark = pytest.mark.unit
SIZE = (180, 240)  # height, width
EVS = (-2.0, 0.0, 2.0)


def shot(light, ev, noise=0.0, seed=0):
    """A frame of ``light`` with the relative ``noise`` of its codes, 16-bit gamma 2.2."""
    rng = np.random.default_rng(seed)
    codes = np.clip(light * 2.0**ev, 0, 1) ** (1 / 2.2) * (1 + noise * rng.standard_normal(light.shape))
    codes = np.round(np.clip(codes, 0, 1) * 65535).astype(np.uint16)
    exposure = Exposure(ev, source="ev")
    return Frame(Path(f"{ev:+g}.tif"), codes, 65535.0, "display", exposure, SRGB, CaptureMetadata(), "", "tiff")


def judge(frames):
    burst = Burst(tuple(frames), 1)
    return other_scenes(burst, sample_blocks(burst, Alignment.identity(len(burst))))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_one_scene(seed, noise):
    light = random_scene(*SIZE, seed)
    assert judge([shot(light, ev, noise, n) for n, ev in enumerate(EVS)]) == ()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("place", range(3))
def test_a_frame_of_another_scene(seed, place):
    """Both scenes are bright above and dark below: the coarsest likeness says nothing."""
    falloff = np.linspace(2, 0.5, SIZE[0])[:, None, None]
    lights = [random_scene(*SIZE, seed) * falloff] * 3
    lights[place] = random_scene(*SIZE, seed + 50) * falloff
    (found,) = judge([shot(light, ev) for light, ev in zip(lights, EVS, strict=True)])
    assert found.files == (f"{EVS[place]:+g}.tif",)
    assert found.correlation < 0.3
    assert 0.05 < found.share <= 1
    assert found.to_dict() == {"files": list(found.files), "correlation": found.correlation, "share": found.share}
    assert str(found).startswith(f"these frames may not show one scene: {EVS[place]:+g}.tif and the others")


def test_two_against_two_are_named_once():
    lights = [random_scene(*SIZE, 1), random_scene(*SIZE, 60)]
    frames = [shot(lights[n % 2], ev, seed=n) for n, ev in enumerate((-1.5, -0.5, 0.5, 1.5))]
    (found,) = judge(frames)
    assert len(found.files) == 2


def test_what_cannot_be_compared_is_not_judged():
    """A plain wall with noise, and frames so far apart that they expose nothing in common."""
    wall = np.full((*SIZE, 3), 0.2, np.float32)
    assert judge([shot(wall, ev, 0.003, n) for n, ev in enumerate((-1.0, 0.0, 1.0))]) == ()
    light = random_scene(*SIZE, 2)
    assert judge([shot(light, -16.0), shot(random_scene(*SIZE, 3), 3.0)]) == ()
