import numpy as np
import pytest

from smarthdr_cli.errors import UsageError
from smarthdr_cli.response.curves import named_response, resampled


def test_srgb_matches_published_values():
    table = named_response("srgb").table
    # IEC 61966-2-1: the linear segment to code 10, then the power law; 0.214041 at code 0.5 (188 / 255 is 0.502886).
    assert table[0, 10] == pytest.approx(10 / 255 / 12.92, rel=1e-6)
    assert table[1, 188] == pytest.approx(0.502886, abs=1e-6)
    assert named_response("srgb", 4097).table[2, 2048] == pytest.approx(0.214041, abs=1e-6)


def test_gamma_and_linear():
    codes = np.arange(256) / 255
    np.testing.assert_allclose(named_response("gamma2.2").table[0], codes**2.2, atol=1e-7)
    np.testing.assert_allclose(named_response("linear", 4096).table[2], np.arange(4096) / 4095, atol=1e-7)


@pytest.mark.parametrize("name", ["srgb", "gamma2.2", "linear"])
@pytest.mark.parametrize("entries", [256, 4096])
def test_tables_keep_the_contract(name, entries):
    table = named_response(name, entries).table
    assert table.shape == (3, entries)
    assert table.dtype == np.float32
    assert (table[:, 0] == 0).all()
    assert (table[:, -1] == 1).all()
    assert (np.diff(table, axis=1) > 0).all()


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"auto, srgb, gamma2.2, linear"):
        named_response("rec709")


def test_resampling_keeps_an_srgb_like_curve_between_its_entries():
    response = named_response("gamma2.2")
    other = type(response)("curve", response.table, {})  # not by name: by interpolation
    fine = resampled(other, 4096).table[1]
    code = np.linspace(0, 1, 4096)
    seen = code > 2 / 255
    np.testing.assert_allclose(fine[seen], code[seen] ** 2.2, rtol=0.02)
    bright = code > 0.1
    np.testing.assert_allclose(fine[bright], code[bright] ** 2.2, rtol=2e-4)
