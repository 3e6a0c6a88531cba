"""ColorVideoVDP by the calls its package documents, stood in for: it is not a dependency."""

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from smarthdr_cli.errors import UsageError
from smarthdr_cli.evaluate import cvvdp


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    for call in (cvvdp.check_installed, lambda: cvvdp.load("cpu")):
        with pytest.raises(UsageError, match="pip install cvvdp"):
            call()


def test_it_is_given_absolute_luminance_on_a_linear_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[str, Any] = {}

    class Metric:
        def __init__(self, **options: Any) -> None:
            said.update(options)

        def predict(self, test: Any, reference: Any, dim_order: str) -> tuple[Any, None]:
            assert dim_order == "HWC"
            assert test.dtype == reference.dtype == np.float32
            return np.float32(10 - np.abs(test - reference).max() / 100), None

    package = ModuleType("pycvvdp")
    package.__spec__ = sys.__spec__
    package.vvdp_display_photo_eotf = lambda peak, **options: (peak, options)  # type: ignore[attr-defined]
    package.cvvdp = Metric  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycvvdp", package)
    cvvdp.check_installed()
    quality = cvvdp.load("cpu")
    peak, options = said["display_photometry"]
    assert peak == 1000
    assert options["EOTF"] == "linear"
    assert options["source_colorspace"] == "BT.709"
    assert str(said["device"]) == "cpu"
    truth = np.full((8, 9, 3), 0.5)
    assert quality(truth, truth) == 10
    assert quality(truth + 0.2, truth) == pytest.approx(8.0)
