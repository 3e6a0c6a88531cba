"""Shoots of every kind: no set holds frames of two true sets, and what headers or pictures settle is found."""

from collections.abc import Callable
from pathlib import Path

import pytest

from smarthdr_cli.grouping.group import Grouping, find_pictures, group_files

from . import shoots_clock, shoots_look, shoots_maker, shoots_names, shoots_pattern, shoots_singles, shoots_streams
from .cases import CASES, Truth

KINDS = (
    shoots_clock,
    shoots_look,
    shoots_maker,
    shoots_names,
    shoots_pattern,
    shoots_singles,
    shoots_streams,
)  # each puts its own into CASES


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Truth, Grouping, list[Path]]]:
    """A case's truth, what was found, and its files; each case is made once."""
    known: dict[str, tuple[Truth, Grouping, list[Path]]] = {}

    def outcome(name: str) -> tuple[Truth, Grouping, list[Path]]:
        if name not in known:
            folder = tmp_path_factory.mktemp("shoot")
            truth = CASES[name](folder)
            files = find_pictures(folder)
            known[name] = truth, group_files(files, **truth.options), files
        return known[name]

    return outcome


Outcomes = Callable[[str], tuple[Truth, Grouping, list[Path]]]


def wrongly_merged(truth: Truth, found: Grouping) -> list[list[str]]:
    """Found sets, ambiguous or not, that hold frames of two true sets, or a single beside another frame."""
    of = {path: index for index, frames in enumerate(truth.sets) for path in frames}
    wrong = []
    for one in found.sets:
        owners = {of.get(path, -1 - number) for number, path in enumerate(one.frames)}
        if len(owners) > 1:
            wrong.append([path.name for path in one.frames])
    return wrong


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_merged_wrongly(outcomes: Outcomes, name: str) -> None:
    truth, found, files = outcomes(name)
    assert wrongly_merged(truth, found) == []
    accounted = [p for s in found.sets for p in s.frames]
    accounted += [s.path for s in found.singles] + [t.path for t in found.twins] + [s.path for s in found.skipped]
    assert sorted(accounted) == sorted(files)


@pytest.mark.parametrize("name", CASES)
def test_what_can_be_known_is_found(outcomes: Outcomes, name: str) -> None:
    truth, found, _ = outcomes(name)
    if truth.unsure:
        assert all(s.ambiguous or list(s.frames) in truth.sets for s in found.sets)
        return
    assert sorted(list(s.frames) for s in found.sets) == sorted(truth.sets)
    assert [(s.name, s.confidence, s.reasons) for s in found.sets if s.ambiguous] == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sony_sequence_a", "Sony sequence 1-5 of 5"),
        ("sony_sequence_b", "Sony sequence 1-5 of 5"),
        ("sony_sequence_c", "Sony sequence 1-5 of 5"),
        ("sony_sequence_number", "Sony sequence 1-3"),
        ("canon_file_info", "Canon sequence 1-3"),
        ("canon_shot_info", "Canon sequence 1-3"),
        ("nikon_bracket_value", "Nikon bracketing was on"),
        ("fujifilm_sequence", "Fujifilm sequence 1-3"),
        ("panasonic_sequence", "Panasonic sequence 1-5 of 5"),
        ("olympus_shot_number", "Olympus sequence 1-3"),
        ("om_system_shot_number", "Olympus sequence 1-3"),
        ("bracket_3_0-+", "EXIF says automatic bracket"),
        ("bracket_3_0-+", "EV 0, -2, +2, from the middle outwards"),
        ("bracket_5_0-+", "EV 0, -1, -2, +1, +2, the middle first"),
        ("bracket_3_0-+", "bias 0, -2, +2"),
        ("bracket_3_0-+", "0.15 s apart"),
        ("long_exposures", "0.5 s apart, exposures of up to 32 s counted"),
        ("every_exposure_twice", "each exposure 2 times"),
        ("iso_bracketing", "ISO bracketing"),
        ("aperture_bracketing", "the aperture varies, and with it the depth of field"),
        ("hdri_by_hand_12", "exposure set by hand"),
        ("without_exif", "no capture times"),
        ("told_how_many", "sets of 3 were asked for"),
        ("over_midnight", "all pictures of their folder"),
    ],
)
def test_sets_say_why(outcomes: Outcomes, name: str, said: str) -> None:
    _, found, _ = outcomes(name)
    assert [one.reasons for one in found.sets if said not in one.reasons] == []
    assert found.sets


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("burst_of_one_exposure", "the same exposure as its neighbour"),
        ("single_frames_of_different_rooms", "its nearest neighbour is 12 s away"),
    ],
)
def test_singles_say_why(outcomes: Outcomes, name: str, said: str) -> None:
    _, found, _ = outcomes(name)
    assert {reason for one in found.singles for reason in one.reasons} == {said}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a_frame_was_deleted", "frame 2 of 3 is missing"),
        ("deleted_without_numbers", "a frame between bias -1 and +1 is missing"),
        ("set_cut_by_folders_stays_cut", "the frame between them, of bias 0, is missing"),
    ],
)
def test_what_is_missing_is_said(outcomes: Outcomes, name: str, said: str) -> None:
    _, found, _ = outcomes(name)
    assert [one.ambiguous for one in found.sets if said in one.reasons] == [True]


def test_few_sets_of_all_shoots_are_left_ambiguous(outcomes: Outcomes, record_property: Callable[..., None]) -> None:
    found = [one for name in CASES for one in outcomes(name)[1].sets]
    unsure = [one for one in found if one.ambiguous]
    record_property("shoots", len(CASES))
    record_property("sets", len(found))
    record_property("ambiguous", len(unsure))
    print(f"{len(CASES)} shoots, {len(found)} sets, {len(unsure)} left ambiguous")
    assert len(CASES) >= 40
    assert len(unsure) <= 4
