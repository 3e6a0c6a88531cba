"""Stated exposures: options, EXIF, sidecar files and their precedence."""

import doctest
import math
from pathlib import Path

import pytest

from smarthdr_cli.burst import exposure
from smarthdr_cli.burst.exif import ExifMetadata
from smarthdr_cli.burst.exposure import check_overrides, parse_evs, parse_times, read_sidecar, resolve_exposures
from smarthdr_cli.errors import UsageError

pytestmark = pytest.mark.unit

NAMES = [Path("c.jpg"), Path("a.jpg"), Path("b.jpg")]
EXIF = [ExifMetadata(time=t, aperture=8.0, iso=100.0) for t in (1 / 100, 1 / 25, 1 / 400)]


def evs_of(paths: list[Path], exif: list[ExifMetadata], **options: object) -> list[float]:
    exposures, _ = resolve_exposures(paths, exif, **options)  # type: ignore[arg-type]
    assert exposures is not None
    return [e.ev - exposures[0].ev for e in exposures]


def test_lists_of_evs_and_times() -> None:
    assert parse_evs("-2,0,+2") == (-2, 0, 2)
    assert parse_evs("-1/3, 0.5") == pytest.approx((-1 / 3, 0.5))
    assert parse_times("1/100, 1/25,0.5s") == pytest.approx((0.01, 0.04, 0.5))


@pytest.mark.parametrize("text", ["", "1,,2", "a,b", "1/0", "nan", "1;2", "inf"])
def test_other_texts_are_errors(text: str) -> None:
    for parse in (parse_evs, parse_times):
        with pytest.raises(UsageError):
            parse(text)


@pytest.mark.parametrize("text", ["0", "-1/100", "1/100,0"])
def test_times_are_positive(text: str) -> None:
    with pytest.raises(UsageError, match="positive"):
        parse_times(text)


@pytest.mark.parametrize(
    ("evs", "times", "reason"),
    [
        ((0, 1), None, "--ev has 2 values for 3 files"),
        (None, (1, 2, 3, 4), "--exposure-times has 4 values for 3 files"),
        ((0, 1, 2), (1, 2, 4), "exclude"),
        ((0, 1, math.nan), None, "finite"),
        ((0, 1, 1000), None, "60 EV"),
        (None, (1, 2, 0), "positive"),
    ],
)
def test_overrides_that_do_not_fit_the_files(evs: tuple[float, ...], times: tuple[float, ...], reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        check_overrides(3, evs, times)
    assert caught.value.exit_code == 2


def test_options_precede_exif() -> None:
    assert evs_of(NAMES, EXIF, evs=(3.0, 0.0, 1.0)) == [0, -3, -2]
    assert evs_of(NAMES, EXIF, times=(1.0, 4.0, 0.5)) == pytest.approx([0, 2, -1])


def test_a_note_on_times_with_different_isos_in_exif() -> None:
    exif = [ExifMetadata(time=1, iso=iso) for iso in (100.0, 200.0, 400.0)]
    _, notes = resolve_exposures(NAMES, exif, times=(1, 2, 4))
    assert "--ev" in notes[0]
    assert resolve_exposures(NAMES, EXIF, times=(1, 2, 4))[1] == ()


def test_exif() -> None:
    assert evs_of(NAMES, EXIF) == pytest.approx([0, 2, -2])
    assert resolve_exposures(NAMES, EXIF)[1] == ()


def test_a_note_on_a_manual_lens() -> None:
    exif = [ExifMetadata(time=s.time, iso=100.0) for s in EXIF]
    exposures, notes = resolve_exposures(NAMES, exif)
    assert exposures is not None
    assert notes == ("EXIF has no aperture (manual lens?): the same for all frames is assumed",)
    assert [e.ev - exposures[0].ev for e in exposures] == pytest.approx([0, 2, -2])


def test_iso_missing_everywhere_and_in_one_frame() -> None:
    _, notes = resolve_exposures(NAMES, [ExifMetadata(time=s.time, aperture=8.0) for s in EXIF])
    assert notes == ("EXIF has no ISO: the same for all frames is assumed",)
    exif = [EXIF[0], ExifMetadata(time=1 / 25, aperture=8.0), EXIF[2]]
    exposures, notes = resolve_exposures(NAMES, exif)
    assert exposures is not None
    assert notes == ("EXIF has no ISO in a.jpg: ISO 100 as in the other frames is assumed",)
    assert exposures[1].ev - exposures[0].ev == pytest.approx(2)


def test_a_missing_aperture_is_that_of_the_other_frames() -> None:
    exif = [ExifMetadata(time=1, aperture=a, iso=100.0) for a in (4.0, None, 4.0)]
    exposures, notes = resolve_exposures(NAMES, exif)
    assert exposures is not None
    assert exposures[1].ev == exposures[0].ev
    assert "f/4" in notes[0]
    assert "a.jpg" in notes[0]


def test_what_the_others_state_is_kept_where_one_file_has_no_time() -> None:
    exposures, notes = resolve_exposures(NAMES, [EXIF[0], ExifMetadata(), EXIF[2]])
    assert exposures is not None
    assert [exposure.source for exposure in exposures] == ["exif", "none", "exif"]
    assert math.isnan(exposures[1].ev)
    assert exposures[0] == EXIF[0].exposure()
    assert notes == ("no exposure time in a.jpg: measured from the pixels; --ev states the exposures of all files",)


def test_one_time_alone_states_no_ratio() -> None:
    exposures, notes = resolve_exposures(NAMES, [EXIF[0], ExifMetadata(), ExifMetadata()])
    assert exposures is None
    assert notes[0].startswith("no exposures stated in ")
    assert "--ev" in notes[0]


@pytest.fixture
def folder(tmp_path: Path) -> list[Path]:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(b"")
    return [tmp_path / name for name in ("c.jpg", "a.jpg", "b.jpg")]


@pytest.mark.parametrize("text", ["0\n2\n4\n", "0 2 4", "0,2,4", "# log2 times\r\n0\r\n2\r\n4", "\ufeff0\n2\n4"])
def test_sidecar_follows_sorted_names(text: str, folder: list[Path]) -> None:
    (folder[0].parent / "exposure.txt").write_text(text, encoding="utf-8")
    assert read_sidecar(folder) == ((4, 0, 2), ())
    assert evs_of(folder, [ExifMetadata()] * 3) == [0, -4, -2]


def test_a_sidecar_of_the_folder_for_some_of_its_frames(folder: list[Path]) -> None:
    (folder[0].parent / "exposure.txt").write_text("0\n2\n4\n")
    assert read_sidecar(folder[:2]) == ((4, 0), ())


def test_a_sidecar_of_the_frames_in_a_larger_folder(folder: list[Path]) -> None:
    (folder[0].parent / "preview.jpg").write_bytes(b"")
    (folder[0].parent / "input_exp.txt").write_text("0\n2\n4\n")
    assert read_sidecar(folder) == ((4, 0, 2), ())


@pytest.mark.parametrize("text", ["0\n2\n", "zero\ntwo\nfour\n", "0\n2\nnan\n", "0\n2\n1e9\n"])
def test_a_sidecar_that_does_not_fit_is_ignored_with_a_note(text: str, folder: list[Path]) -> None:
    (folder[0].parent / "exposure.txt").write_text(text)
    values, notes = read_sidecar(folder)
    assert values is None
    assert "ignored" in notes[0]


def test_exif_precedes_a_sidecar_and_a_note_on_disagreement(folder: list[Path]) -> None:
    (folder[0].parent / "exposure.txt").write_text("0\n1\n2\n")
    exposures, notes = resolve_exposures(folder, EXIF)
    assert exposures is not None
    assert exposures[0].source == "exif"
    assert notes == ("exposure.txt disagrees with EXIF and was ignored",)
    (folder[0].parent / "exposure.txt").write_text("2\n-2\n0\n")
    assert resolve_exposures(folder, EXIF)[1] == ()


def test_docstring_examples() -> None:
    assert doctest.testmod(exposure) == (0, 1)
