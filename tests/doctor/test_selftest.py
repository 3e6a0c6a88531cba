"""The self-test passes with the shipped weights and fails on ghosts, wrong files and a full disk."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from smarthdr_cli.doctor import selftest
from smarthdr_cli.doctor.selftest import MIN_PSNR_MU, SelfTestError, scene, self_test
from smarthdr_cli.errors import OutputError
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output.write import write_result


def test_the_shipped_weights_pass_by_8_db() -> None:
    result = self_test(device="cpu", precision="fp32")
    assert result.psnr_mu > MIN_PSNR_MU + 8
    assert result.report["model"]["name"] == "saf-base"
    assert result.report["notes"] == []


def test_ghosts_do_not_pass() -> None:
    with pytest.raises(SelfTestError, match="is off"):
        self_test(deghost="off")


def test_only_a_block_moves_and_the_range_needs_all_frames() -> None:
    dark, middle, bright = scene()
    moving = (np.abs(dark - middle).max(-1) > 1e-6) | (np.abs(bright - middle).max(-1) > 1e-6)
    assert 0.04 < moving.mean() < 0.1
    assert (middle.max(-1) > 1).mean() > 0.1  # clipped in the middle frame
    assert middle.max() < 8  # and not in the short one
    low, high = np.percentile(middle.max(-1), (1, 99))
    assert high / low > 2**5


def test_an_exr_that_differs_from_the_result_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def write_brighter(result: FusionResult, path: Path) -> list[str]:
        return write_result(replace(result, radiance=result.radiance * np.float32(1.01)), path)

    monkeypatch.setattr(selftest, "write_result", write_brighter)
    with pytest.raises(SelfTestError, match="does not hold"):
        self_test(deghost="off")


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Writing beyond ``size`` bytes of a file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_temporary_files_that_cannot_be_written() -> None:
    with pytest.raises(OutputError, match="no temporary file can be written"), file_size_limit(600):
        self_test()
