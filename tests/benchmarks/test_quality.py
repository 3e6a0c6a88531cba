"""The section "quality" and its relation to the rendered set."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.quality.run import COLUMNS, gains_on_both_sets, parse, quality_table

pytestmark = pytest.mark.unit


def test_the_quality_table_has_gain_and_gap_closed() -> None:
    keys = (*COLUMNS, "ssim_mu")
    means = {
        name: dict.fromkeys(keys, value) for name, value in (("reference", 30.0), ("mine", 36.0), ("oracle", 40.0))
    }
    names = {"reference": "reference alone", "mine": "**ours**", "oracle": "oracle"}
    seconds = dict.fromkeys(means, 1.5)
    row = quality_table(names, means, seconds, "reference", "oracle").splitlines()[3]
    assert row == ("| **ours** |" + " 36.00 |" * len(COLUMNS) + " 36.0000 | +6.00 | 60 % | 60 % | 1.50 |")
    del means["oracle"]
    assert "| +6.00 | – | – |" in quality_table(names, means, seconds, "reference", "oracle")


def set_scores(gains: dict[str, float]) -> dict[str, Any]:
    scenes = {name: {"ours": {"psnr_mu": 30 + gain}, "reference": {"psnr_mu": 30.0}} for name, gain in gains.items()}
    ours = {"psnr_mu": 30 + float(np.mean(list(gains.values()))), "psnr_mu_moving": 31.0}
    return {"scenes": scenes, "mean": {"ours": ours, "reference": {"psnr_mu": 30.0, "psnr_mu_moving": 29.0}}}


def test_the_rendered_set_is_compared_with_the_first() -> None:
    first = {"gamma16": set_scores({"1": 8.0})}
    second = {"gamma16": set_scores({"1": 7.0, "2": -1.0}), "camera8": set_scores({"1": 1.0})}
    text = gains_on_both_sets(second, first, {"gamma16": "wide", "camera8": "narrow"})
    assert "| wide | +3.00 | +8.00 | 0.38 | +2.00 | 1 of 2, worst -1.00 |" in text
    assert "narrow" not in text
    assert gains_on_both_sets({"gamma16": {"mean": {}}}, first, {"gamma16": "wide"}) == ""


def test_a_missing_rendered_set_is_not_made_from_panoramas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--set", str(tmp_path), "--section", "renders"])
    assert "benchmarks/renderer/make_set.py" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
