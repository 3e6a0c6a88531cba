"""The one exposure: absolute, from headers, and refused where it would be a guess."""

import math
from pathlib import Path

import pytest

from smarthdr_cli.batch.anchor import CommonExposure, common_exposure
from smarthdr_cli.burst.burst import Exposure
from smarthdr_cli.errors import InputError, UsageError
from smarthdr_cli.grouping.header import Header


def shoot(*sets, **same):
    """Headers of sets given as tuples of (time, aperture, iso)."""
    paths, headers = [], {}
    for n, frames in enumerate(sets):
        own = []
        for k, (time, aperture, iso) in enumerate(frames):
            path = Path(f"{n}-{k}.jpg")
            headers[path] = Header(path, time=time, aperture=aperture, iso=iso, **same)
            own.append(path)
        paths.append(own)
    return paths, headers


def bracket(middle, aperture=8.0, iso=100.0):
    return [(middle / 4, aperture, iso), (middle, aperture, iso), (middle * 4, aperture, iso)]


def test_the_median_of_the_sets_middles():
    common, notes = common_exposure(*shoot(bracket(1 / 100), bracket(1 / 50), bracket(1 / 400)))
    assert common.ev == pytest.approx(math.log2(1 / 100 / 64), abs=1e-4)
    assert common.assumed == ()
    assert notes == ()


def test_iso_and_aperture_count():
    common, _ = common_exposure(*shoot(bracket(1 / 100, 4.0, 800.0)))
    assert common.ev == pytest.approx(math.log2(1 / 100 * 8 / 16), abs=1e-4)


def test_as_told():
    assert common_exposure(*shoot(bracket(1 / 100)), ev=-3.5)[0].ev == -3.5
    for ev in (math.nan, math.inf, 1e9):
        with pytest.raises(UsageError, match="--common-ev"):
            common_exposure([], {}, ev=ev)


def test_a_manual_lens_throughout_is_one_lens():
    common, notes = common_exposure(*shoot(bracket(1 / 100, None), bracket(1 / 50, None)))
    assert common.assumed == ("aperture",)
    assert notes == ("no frame states its aperture: the same for all sets is assumed",)
    assert common.check("x", Exposure(0.0, 1 / 8, None, 100.0)) == -3


def test_a_manual_lens_in_some_sets_is_not_guessed():
    paths, headers = shoot(bracket(1 / 100), bracket(1 / 50, None))
    common, _ = common_exposure(paths, headers)
    assert common.ev == pytest.approx(math.log2(1 / 100 / 64), abs=1e-4)  # of the set that states it
    with pytest.raises(InputError, match=r"1-1\.jpg states no aperture"):
        common.check("1-1.jpg", headers[paths[1][1]])
    with pytest.raises(InputError, match="no exposure time and no aperture and no ISO"):
        CommonExposure(0.0).check("x", Exposure(0.0))


def test_nothing_stated_is_refused():
    with pytest.raises(InputError, match="no set states"):
        common_exposure(*shoot([(None, None, None)] * 3))
    with pytest.raises(InputError):
        common_exposure([[Path("unreadable.jpg")]], {})
