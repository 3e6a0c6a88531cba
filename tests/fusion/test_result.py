"""The bar that a picture's uncertainty has to stay under, on maps whose mean is known."""

import math
from pathlib import Path

import numpy as np
import pytest

from smarthdr_cli.burst.burst import Burst, CaptureMetadata, Exposure, Frame
from smarthdr_cli.colorspace import REC709
from smarthdr_cli.errors import UncertaintyLimitError, UsageError
from smarthdr_cli.fusion.result import FusionResult


def fused(sigma):
    sigma = np.asarray(sigma, np.float32)
    light = np.zeros((*sigma.shape, 3), np.float32)
    frames = tuple(
        Frame(
            Path("a.png"), np.zeros_like(light, np.uint8), 255.0, "display", Exposure(ev, None, None, None, "given"),
            REC709, CaptureMetadata(), "0" * 64, "png",
        )
        for ev in (-2.0, 0.0)
    )  # fmt: skip
    return FusionResult(light, sigma, REC709, 0.0, 0.25, Burst(frames, 1))


def test_the_mean_is_that_of_the_map():
    sigma = np.random.default_rng(0).uniform(1e-4, 1, (50, 70)).astype(np.float32)
    assert fused(sigma).mean_uncertainty == pytest.approx(math.fsum(sigma.ravel().tolist()) / sigma.size, rel=1e-12)


def test_a_large_picture_loses_nothing_to_rounding():
    assert fused(np.full((3000, 4000), 0.01, np.float32)).mean_uncertainty == pytest.approx(0.01, rel=1e-6)


def test_at_the_bar_and_above():
    picture = fused([[0.25, 0.75], [0.5, 0.5]])
    picture.check_uncertainty(0.5)
    with pytest.raises(UncertaintyLimitError, match=r"uncertainty of the picture is 0\.5000, above 0\.49$") as caught:
        picture.check_uncertainty(0.49)
    assert caught.value.exit_code == 8


def test_each_percent_clipped_everywhere_adds_a_hundredth():
    sigma = np.full((10, 100), 0.01, np.float32)
    sigma[:, :3] = 1.0
    picture = fused(sigma)
    assert picture.mean_uncertainty == pytest.approx(0.01 * 0.97 + 0.03)
    with pytest.raises(UncertaintyLimitError, match=r"0\.0397, above 0\.03 \(3\.0% of the picture is clipped in every"):
        picture.check_uncertainty(0.03)


def test_a_map_that_holds_nan_never_passes():
    with pytest.raises(UncertaintyLimitError):
        fused([[0.01, np.nan]]).check_uncertainty(0.9)


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.0, 2.0, math.nan, math.inf])
def test_what_is_no_limit(limit):
    with pytest.raises(UsageError, match="use a number above 0 and below 1"):
        fused([[0.01]]).check_uncertainty(limit)


def test_an_eighth_and_a_quarter_of_a_stop():
    """The words of the help: a pixel off by so much is off by sigma in the mu-law domain, wherever it is not black."""

    def law(h):
        return math.log1p(5000 * h) / math.log(5001)

    for h in (0.01, 0.1, 0.5):
        assert law(h * 2 ** (1 / 8)) - law(h) == pytest.approx(0.01, rel=0.05)
        assert law(h * 2 ** (1 / 4)) - law(h) == pytest.approx(0.02, rel=0.05)
