"""The brightness transfer function between two exposures of one scene."""

import numpy as np
import pytest

from smarthdr_cli.align.brightness_transfer import estimate_transfer
from smarthdr_cli.align.pyramid_view import make_view, translation
from tests.support.registration import make_burst, make_frame

pytestmark = pytest.mark.unit


def test_the_exposure_ratio_is_found_from_histograms():
    burst, _ = make_burst(300, 400, 10, evs=(-2.0, 0.0), moving=False, noise=0.002)
    darker, reference = (make_view(frame) for frame in burst.frames)
    transfer = estimate_transfer(reference, darker, np.eye(3))
    both = (darker.valid > 0) & (reference.valid > 0)
    difference = transfer(darker.log)[both] - reference.log[both]
    assert abs(float(np.median(difference))) < 0.02
    assert float(np.abs(difference).mean()) < 0.15


def test_two_exposures_clamped_to_the_common_range_show_one_picture():
    burst, _ = make_burst(300, 400, 10, evs=(-4.0, 0.0, 4.0), moving=False, noise=0.0)
    darker, reference, brighter = (make_view(frame) for frame in burst.frames)
    for other, clipped_in in ((darker, reference), (brighter, brighter)):
        transfer = estimate_transfer(reference, other, np.eye(3))
        assert transfer.low < transfer.high
        clipped = clipped_in.log == 0
        assert clipped.mean() > 0.02
        assert float(np.median(np.abs(transfer.clamp(reference.log) - transfer(other.log))[clipped])) < 0.01


def test_a_black_and_a_white_frame_have_an_empty_common_range():
    black, white = (make_view(make_frame(np.full((120, 160, 3), code, np.uint8), 0.0)) for code in (0, 255))
    for first, second in ((black, white), (white, black)):
        transfer = estimate_transfer(first, second, np.eye(3))
        assert transfer.low == transfer.high


def test_frames_without_overlap_have_the_identity():
    burst, _ = make_burst(120, 160, 11)
    first, second = (make_view(frame) for frame in burst.frames[:2])
    transfer = estimate_transfer(first, second, translation(1000, 0))
    log = np.linspace(transfer.low, transfer.high, 50).astype(np.float32)
    np.testing.assert_allclose(transfer(log), log, atol=1e-5)
