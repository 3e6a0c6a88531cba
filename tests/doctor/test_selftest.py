"""The self-test passes on what is right and sees what is wrong."""

import numpy as np
import pytest

from smarthdr_cli.doctor import selftest
from smarthdr_cli.doctor.selftest import LIMIT, SelfTestError, scene, self_test
from smarthdr_cli.errors import OutputError


def test_the_shipped_weights_pass_with_room() -> None:
    found = self_test(device="cpu", precision="fp32")
    assert found.psnr_mu > LIMIT + 8
    assert found.report["model"]["name"] == "saf-base"
    assert found.report["notes"] == []


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


def test_a_writer_that_loses_something_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    read = selftest._read
    monkeypatch.setattr(selftest, "_read", lambda path: read(path) * np.float32(1.01))
    with pytest.raises(SelfTestError, match="does not hold"):
        self_test(deghost="off")


def test_a_full_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_light: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(selftest, "_png", full)
    with pytest.raises(OutputError, match="no space left"):
        self_test()
