"""One network for all sets, and results on one scale."""

from dataclasses import replace

import batch_shoots as made
import numpy as np
import pytest

from smarthdr_cli.batch.anchor import CommonExposure
from smarthdr_cli.batch.session import Session, anchored
from smarthdr_cli.errors import ModelError, UsageError
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.fusion.pipeline import StageTimer, fuse

PHYSICS = FuseOptions(deghost="off", align="none", response="srgb", device="cpu")


def stages():
    return StageTimer()


def fused(session, files, options):
    clock = stages()
    burst, notes = session.load(files, options, clock)
    return session.fuse(burst, options, clock, notes)


def test_the_network_is_built_once_and_the_result_is_that_of_fuse(tmp_path):
    shoot = made.write_shoot(tmp_path, 2)
    session, options = Session(), FuseOptions(device="cpu", precision="fp32")
    session.prepare(options)
    for files in shoot:
        ours, plain = fused(session, files, options), fuse(files, device="cpu", precision="fp32")
        assert np.array_equal(ours.radiance, plain.radiance)
        assert np.array_equal(ours.uncertainty, plain.uncertainty)
        assert {"read", "align", "response", "fuse", "convert"} <= set(ours.report.seconds)
    assert session.opened == 1


def test_what_cannot_work_is_said_before_any_set():
    with pytest.raises(ModelError):
        Session().prepare(FuseOptions(weights="nowhere"))
    with pytest.raises(UsageError):
        Session().prepare(FuseOptions(device="tpu"))
    with pytest.raises(UsageError):
        Session().prepare(FuseOptions(deghost="off", precision="int8"))
    session = Session()
    session.prepare(PHYSICS)
    assert session.opened == 0


def test_anchoring_scales_the_radiance_and_says_by_how_much(tmp_path):
    files = made.write_bracket(tmp_path, 0)
    plain, ours = (fused(Session(), files, PHYSICS) for _ in range(2))
    own = np.log2(1 / 100 / 16)  # 1/100 s at f/4, ISO 100
    result = anchored(ours, CommonExposure(own - 1.5))
    assert np.allclose(result.radiance, plain.radiance * 2**-1.5, rtol=1e-6)
    assert result.anchor_ev == pytest.approx(-1.5)
    assert np.allclose(result.radiance * result.scale_short, plain.radiance * plain.scale_short, rtol=1e-6)
    assert result.report.common_exposure == {"ev": round(own - 1.5, 4), "reference_ev": round(own, 4)}
    again = anchored(replace(result, radiance=result.radiance.copy()), CommonExposure(own))
    assert np.allclose(again.radiance, plain.radiance, rtol=1e-6)
