"""Exposures as scene folders state them; what a scene's folder makes of them is tested in test_layouts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.data.stated import by_exif, read_exposures
from smarthdr_cli.errors import InputError


@given(st.sets(st.integers(-600, 600), min_size=2, max_size=9), st.sampled_from(["\n", " ", ", ", "\r\n"]))
def test_rising_numbers_come_back_from_the_first(tmp_path_factory, tenths, between):
    values = sorted(tenth / 10 for tenth in tenths)
    path = tmp_path_factory.mktemp("e") / "exposure.txt"
    path.write_bytes(between.join(f"{v:.2f}" for v in values).encode())
    assert read_exposures(path) == pytest.approx([v - values[0] for v in values], abs=1e-9)


@pytest.mark.parametrize("text", ["", "1", "0 inf", "0 100", "a b", "3 2 1"])
def test_what_is_no_list_of_exposures(tmp_path, text):
    path = tmp_path / "exposure.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=r"exposure\.txt"):
        read_exposures(path)


def test_exif_sorts_and_states(mini):
    paths = [mini.root / name for name in ("long.jpg", "short.jpg")]
    mini.frames(paths, evs=(3.0, 0.0))
    frames, evs = by_exif(paths)
    assert [p.name for p in frames] == ["short.jpg", "long.jpg"]
    assert evs == pytest.approx((0, 3), abs=1e-3)


def test_equal_exposures_in_exif(mini):
    paths = [mini.root / name for name in ("a.jpg", "b.jpg")]
    mini.frames(paths, evs=(2.0, 2.0))
    with pytest.raises(InputError, match="the exposures of the frames' EXIF do not rise"):
        by_exif(paths)
