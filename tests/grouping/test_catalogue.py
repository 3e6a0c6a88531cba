"""The catalogue of shoots: no set holds frames of two true sets, and what headers or images settle is found."""

from collections.abc import Callable
from pathlib import Path

import pytest

from smarthdr_cli.grouping.group import Grouping, find_pictures, group_files
from tests.grouping.catalogue import SHOOTS
from tests.grouping.catalogue.shoots import Expected

Outcomes = Callable[[str], tuple[Expected, Grouping, list[Path]]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """``outcomes(name)``: expected sets, grouping and files of a shoot, each made once."""
    cache: dict[str, tuple[Expected, Grouping, list[Path]]] = {}

    def outcome(name: str) -> tuple[Expected, Grouping, list[Path]]:
        if name not in cache:
            folder = tmp_path_factory.mktemp("shoot")
            expected = SHOOTS[name](folder)
            files = find_pictures(folder)
            cache[name] = expected, group_files(files, **expected.options), files
        return cache[name]

    return outcome


def wrongly_merged(expected: Expected, grouping: Grouping) -> list[list[str]]:
    """Sets, ambiguous or not, that hold frames of two true sets, or a single beside another frame."""
    true_set = {path: index for index, frames in enumerate(expected.sets) for path in frames}
    wrong = []
    for bracket_set in grouping.sets:
        owners = {true_set.get(path, -1 - number) for number, path in enumerate(bracket_set.frames)}
        if len(owners) > 1:
            wrong.append([path.name for path in bracket_set.frames])
    return wrong


@pytest.mark.parametrize("name", SHOOTS)
def test_nothing_is_merged_wrongly(outcomes: Outcomes, name: str) -> None:
    expected, grouping, files = outcomes(name)
    assert wrongly_merged(expected, grouping) == []
    others = (*grouping.singles, *grouping.twins, *grouping.skipped)
    assert sorted([p for s in grouping.sets for p in s.frames] + [other.path for other in others]) == sorted(files)


@pytest.mark.parametrize("name", SHOOTS)
def test_every_set_is_found(outcomes: Outcomes, name: str) -> None:
    expected, grouping, _ = outcomes(name)
    if expected.uncertain:
        assert all(s.ambiguous or list(s.frames) in expected.sets for s in grouping.sets)
        return
    assert sorted(list(s.frames) for s in grouping.sets) == sorted(expected.sets)
    assert [(s.name, s.confidence, s.reasons) for s in grouping.sets if s.ambiguous] == []


@pytest.mark.parametrize(
    ("name", "reason"),
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
        ("user_states_the_length", "sets of 3 were asked for"),
        ("over_midnight", "all pictures of their folder"),
    ],
)
def test_reasons_of_sets(outcomes: Outcomes, name: str, reason: str) -> None:
    _, grouping, _ = outcomes(name)
    assert grouping.sets
    assert [s.reasons for s in grouping.sets if reason not in s.reasons] == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("burst_of_one_exposure", "the same exposure as its neighbour"),
        ("single_frames_of_different_rooms", "its nearest neighbour is 12 s away"),
    ],
)
def test_reasons_of_singles(outcomes: Outcomes, name: str, reason: str) -> None:
    _, grouping, _ = outcomes(name)
    assert {reason for single in grouping.singles for reason in single.reasons} == {reason}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a_frame_was_deleted", "frame 2 of 3 is missing"),
        ("deleted_without_numbers", "a frame between bias -1 and +1 is missing"),
        ("set_cut_by_folders_stays_cut", "the frame between them, of bias 0, is missing"),
    ],
)
def test_missing_frames_make_a_set_ambiguous(outcomes: Outcomes, name: str, reason: str) -> None:
    _, grouping, _ = outcomes(name)
    assert [s.ambiguous for s in grouping.sets if reason in s.reasons] == [True]


def test_few_sets_of_the_catalogue_are_ambiguous(outcomes: Outcomes) -> None:
    sets = [s for name in SHOOTS for s in outcomes(name)[1].sets]
    assert sum(s.ambiguous for s in sets) <= 4
