"""Sigma in the file's own units, against finite differences and the inverse of the mu-law."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.errors import OutputError
from smarthdr_cli.output.metadata import as_json, require_finite, sigma_radiance
from smarthdr_cli.radiometry import mu_law, radiance_per_mu_law

pytestmark = pytest.mark.unit


def test_json_is_compact_ascii_with_other_values_as_text():
    assert as_json({"é": Path("a"), "x": [1, None]}) == '{"\\u00e9":"a","x":[1,null]}'
    assert json.loads(as_json(np.float32(0.5))) == "0.5"


def test_finite_values_have_a_range_and_others_are_refused():
    assert require_finite(np.float32([-1, 3, 2]), "radiance") == (-1, 3)
    for values in ([1, np.nan], [np.inf], [-np.inf, 0]):
        with pytest.raises(OutputError, match="the radiance holds values that are not finite"):
            require_finite(np.float32(values), "radiance")
    with pytest.raises(OutputError, match="the sigma is empty"):
        require_finite(np.float32([]), "sigma")


@given(st.floats(1e-6, 100.0))
def test_the_slope_is_a_finite_difference(h):
    step = 1e-4 * (h + 1e-3)

    def T(value):
        return np.log1p(5000.0 * value) / np.log(5001.0)

    expected = 2 * step / (T(h + step) - T(h - step))
    assert float(radiance_per_mu_law(np.float32(h))) == pytest.approx(expected, rel=1e-4)
    assert float(mu_law(np.float32(h))) == pytest.approx(T(h), rel=1e-5)


def test_sigma_follows_the_files_units(make_result):
    """The same scene at another anchor: radiance doubles, so its sigma does, and sigma.mu stays."""
    radiance = np.random.default_rng(3).uniform(-0.01, 4, (6, 7, 3)).astype(np.float32)
    sigma = np.full((6, 7), 1e-3, np.float32)
    reference, brighter = make_result(radiance, sigma), make_result(radiance * 2, sigma, anchor_ev=1.0)
    np.testing.assert_allclose(sigma_radiance(brighter), 2 * sigma_radiance(reference), rtol=1e-5)
    h = np.maximum(radiance.mean(axis=2), 0).astype(np.float64) / 4  # scale_short is 1/4
    moved = ((5001.0 ** (np.log1p(5000 * h) / np.log(5001) + 1e-3) - 1) / 5000 - h) * 4  # T(h) + sigma, inverted
    np.testing.assert_allclose(sigma_radiance(reference), moved, rtol=0.01)
