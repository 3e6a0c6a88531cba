"""The data model: frames sorted by exposure, and inputs that make no burst."""

from pathlib import Path

import numpy as np
import pytest

from smarthdr_cli.burst.burst import MIN_EV_RANGE, Burst, CaptureMetadata, Exposure, Frame
from smarthdr_cli.colorspace import SRGB
from smarthdr_cli.errors import InputError

pytestmark = pytest.mark.unit


def frame(ev: float, width: int = 6) -> Frame:
    codes = np.zeros((4, width, 3), np.uint8)
    return Frame(Path(f"{ev}.jpg"), codes, 255, "display", Exposure(ev), SRGB, CaptureMetadata(), str(ev), "array")


def test_frames_are_sorted_and_evs_count_from_the_reference() -> None:
    burst = Burst((frame(2), frame(-2), frame(1)), reference=2)
    assert [f.exposure.ev for f in burst.frames] == [-2, 1, 2]
    assert burst.reference == 1
    assert burst.evs.tolist() == [-3, 0, 1]
    assert (len(burst), burst.size) == (3, (4, 6))


def test_equal_frames_keep_the_reference_by_identity() -> None:
    frames = (frame(0), frame(0), frame(2))
    burst = Burst(frames, reference=1)
    assert burst.frames[burst.reference] is frames[1]


def test_inputs_that_make_no_burst() -> None:
    with pytest.raises(InputError, match="at least two frames"):
        Burst((frame(0),), 0)
    with pytest.raises(InputError, match="reference 2 is not one of the 2 frames"):
        Burst((frame(0), frame(1)), 2)
    with pytest.raises(InputError, match=r"differ in size: .*0\.jpg 6x4, .*1\.jpg 8x4"):
        Burst((frame(0), frame(1, width=8)), 0)
    with pytest.raises(InputError, match="equal exposures"):
        Burst((frame(0), frame(MIN_EV_RANGE - 0.01)), 0)
    assert len(Burst((frame(0), frame(MIN_EV_RANGE)), 0)) == 2
