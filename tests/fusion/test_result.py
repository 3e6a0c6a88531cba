"""The report as JSON, and the limit of the mean uncertainty on maps with a known mean."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from smarthdr_cli.burst.burst import Burst, CaptureMetadata, Exposure, Frame
from smarthdr_cli.colorspace import REC709
from smarthdr_cli.errors import UncertaintyLimitError, UsageError
from smarthdr_cli.fusion.result import (
    ClassicalDifference,
    FuserRecord,
    FusionResult,
    FusionStatistics,
    UncertaintySummary,
)
from tests.support.reports import report_of

pytestmark = pytest.mark.unit


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
    burst = Burst(frames, 1)
    return FusionResult(light, sigma, REC709, 0.0, 0.25, burst, report_of(burst))


def test_the_mean_uncertainty_is_the_mean_of_the_map():
    sigma = np.random.default_rng(0).uniform(1e-4, 1, (50, 70)).astype(np.float32)
    assert fused(sigma).mean_uncertainty == pytest.approx(math.fsum(sigma.ravel().tolist()) / sigma.size, rel=1e-12)


def test_the_mean_of_a_large_image_is_exact():
    assert fused(np.full((3000, 4000), 0.01, np.float32)).mean_uncertainty == pytest.approx(0.01, rel=1e-6)


def test_at_the_limit_and_above():
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
def test_an_invalid_limit(limit):
    with pytest.raises(UsageError, match="use a number above 0 and below 1"):
        fused([[0.01]]).check_uncertainty(limit)


def test_an_eighth_and_a_quarter_of_a_stop():
    """The numbers in the help: sigma in the mu-law domain of an error in stops, where the image is not black."""

    def law(h):
        return math.log1p(5000 * h) / math.log(5001)

    for h in (0.01, 0.1, 0.5):
        assert law(h * 2 ** (1 / 8)) - law(h) == pytest.approx(0.01, rel=0.05)
        assert law(h * 2 ** (1 / 4)) - law(h) == pytest.approx(0.02, rel=0.05)


STATISTICS = FusionStatistics(
    128, 2, 1, ClassicalDifference(0.1, 0.2, 0.3), 0.4, 0.9, 0.2, 3.5, notes=("of the network",)
)


def test_the_report_as_json():
    burst = fused([[0.01]]).burst
    report = report_of(
        burst,
        options={"tile": "128"},
        fuser=FuserRecord({"name": "saf-base", "network": "saf", "sha256": "0" * 64}, "cpu", "fp32"),
        response={"name": "estimated", "anchor": 0.5},
        evs=(-2.0, 0.0),
        moved=(True, False),
        gains_ev=((0.1, 0.0, -0.1), (0.0, 0.0, 0.0)),
        uncertainty=UncertaintySummary(0.01, 0.02, 0.25),
        tile_after_retreat=128,
        statistics=STATISTICS,
        notes=("of reading",),
        seconds={"read": 0.5},
        settings={"deghost": "auto"},
        common_exposure={"ev": 1.0, "reference_ev": 2.0},
    )
    expected = {
        "options": {"tile": "128"},
        "model": {"name": "saf-base", "network": "saf", "sha256": "0" * 64},
        "device": "cpu",
        "precision": "fp32",
        "response": {"name": "estimated", "anchor": 0.5},
        "alignment": [{"file": "a.png", "moved": True}, {"file": "a.png", "moved": False}],
        "gains": [{"file": "a.png", "ev": [0.1, 0.0, -0.1]}, {"file": "a.png", "ev": [0.0, 0.0, 0.0]}],
        "tile_after_retreat": 128,
        "tile": 128,
        "network_frames": 2,
        "other_frames": 1,
        "guard": {"changed_share": 0.1, "mean_change": 0.2, "largest_change": 0.3, "restored_share": 0.4},
        "mean_trust": 0.9,
        "network_share": 0.2,
        "convolved_megapixels": 3.5,
        "files": ["a.png", "a.png"],
        "reference": "a.png",
        "evs": [-2.0, 0.0],
        "size": [1, 1],
        "colorspace": "rec709",
        "source_colorspace": "rec709",
        "uncertainty": {"mean": 0.01, "p95": 0.02, "clipped_share": 0.25},
        "notes": ["of reading", "of the network"],
        "seconds": {"read": 0.5},
        "common_exposure": {"ev": 1.0, "reference_ev": 2.0},
        "settings": {"deghost": "auto"},
    }
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False)) == expected
    assert list(report.to_dict()) == list(expected)


def test_parts_that_do_not_apply_are_left_out():
    report = report_of(fused([[0.01]]).burst).to_dict()
    assert report["model"] == "none"
    assert not {"gains", "tile_after_retreat", "tile", "guard", "settings", "common_exposure"} & report.keys()
    gfhdr = FusionStatistics(0, 3, 0, ClassicalDifference(0.0, 0.0, 0.0)).to_dict()
    assert not {"mean_trust", "network_share"} & gfhdr.keys()
    assert "restored_share" not in gfhdr["guard"]
