"""Log-odds of joins and sets: what rules a join out, what speaks for it and against it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.burst.makernotes import MakerBracketing
from smarthdr_cli.grouping.header import Header
from smarthdr_cli.grouping.likelihood import (
    IMPOSSIBLE,
    WEIGHTS,
    completeness_log_odds,
    cut_sweep_log_odds,
    exposure_log_odds,
    gap_log_odds,
    intended_evs,
    join_log_odds,
    single_log_odds,
)

pytestmark = pytest.mark.unit

FRAME = Header(Path("a.jpg"), timestamp=0.0, clock_step=0.01, time=0.01, lens="35mm", focal_length=35.0, flash=False)


def join(first: Header = FRAME, second: Header = FRAME, **options: Any) -> float:
    return join_log_odds(first, second, **{"gap": 1.0, "counter_step": 1, "usual_step": 1, **options})


def numbered(shot: int, length: int | None = None) -> Header:
    return replace(FRAME, maker=MakerBracketing("Sony", shot, length))


@given(st.floats(0, 700), st.floats(0, 700))
def test_a_longer_gap_never_speaks_more_for_a_set(first: float, second: float) -> None:
    assert gap_log_odds(min(first, second)) >= gap_log_odds(max(first, second))


def test_gaps_beyond_ten_minutes_are_impossible() -> None:
    assert gap_log_odds(599.0) > IMPOSSIBLE
    assert gap_log_odds(600.0) == IMPOSSIBLE


def test_the_users_longest_gap_overrides_the_table() -> None:
    assert join(gap=70.0) < 0 < join(gap=70.0, max_gap=100.0)
    assert join(gap=70.0, max_gap=60.0) == IMPOSSIBLE


def test_a_clock_of_whole_seconds_shortens_the_gap_by_one() -> None:
    coarse = replace(FRAME, clock_step=1.0)
    assert join(coarse, coarse, gap=3.0) == join(gap=2.0)


@pytest.mark.parametrize(
    "change",
    [{"focal_length": 50.0}, {"orientation": 6}, {"flash": True}],
    ids=["focal length", "orientation", "flash"],
)
def test_changed_settings_speak_against_a_join(change: dict[str, Any]) -> None:
    assert join(second=replace(FRAME, **change)) == pytest.approx(join() + WEIGHTS.changed_setting)


def test_another_lens_is_impossible() -> None:
    assert join(second=replace(FRAME, lens="50mm")) == IMPOSSIBLE


def test_settings_that_only_one_frame_states_do_not_count() -> None:
    assert join(second=replace(FRAME, focal_length=None, flash=None, lens="")) == join()


def test_skipped_file_numbers_speak_against_a_join() -> None:
    assert join(counter_step=1) > join(counter_step=2) > join(counter_step=10)
    assert join(counter_step=2, usual_step=2) == join(counter_step=1) == join(counter_step=None)


def test_consecutive_numbers_of_the_maker_join_and_others_do_not() -> None:
    assert join(numbered(1, 3), numbered(2, 3)) > join(numbered(1), numbered(2)) > join()
    assert join(numbered(1, 5), numbered(3, 5)) > join() > join(numbered(1), numbered(3))
    assert join(numbered(3, 3), numbered(1, 3)) == join(numbered(2, 3), numbered(2, 3)) == IMPOSSIBLE
    assert join(numbered(1, 3), numbered(2, 5)) == IMPOSSIBLE
    assert join(numbered(1, 3), FRAME) == IMPOSSIBLE


def test_the_automatic_bracket_of_exif_counts_for_both_or_against() -> None:
    flagged = replace(FRAME, auto_bracket=True)
    assert join(flagged, flagged) > join() > join(flagged, FRAME)


def test_bracketed_frames_are_unlikely_to_stand_alone() -> None:
    assert single_log_odds(FRAME) == 0
    assert single_log_odds(numbered(1, 3)) < single_log_odds(replace(FRAME, auto_bracket=True)) < 0


def exposures(evs: list[float], **tags: Any) -> list[Header]:
    return [replace(FRAME, time=0.01 * 2**ev, **tags) for ev in evs]


def score(headers: list[Header]) -> float:
    value = exposure_log_odds(headers, [h.ev for h in headers])
    assert value is not None
    return value


def test_exposures_that_follow_the_bias_speak_for_a_set() -> None:
    evs = [0.0, -2.0, 2.0]
    with_bias = [replace(h, bias=ev) for h, ev in zip(exposures(evs), evs, strict=True)]
    under_the_meter = exposures(evs, bias=0.0, manual_exposure=False)
    assert score(with_bias) > score(exposures(evs)) > score(under_the_meter)


def test_the_makers_value_counts_before_the_bias() -> None:
    evs = [0.0, -1.0, 1.0]
    headers = [replace(FRAME, bias=0.0, maker=MakerBracketing("Nikon", value=ev)) for ev in evs]
    assert intended_evs(headers) == evs
    assert intended_evs(exposures(evs, bias=0.3)) is None


def test_a_sweep_of_the_shutter_dial_speaks_for_a_set() -> None:
    """By hand the steps are uneven; automatic exposure has no such sweeps."""
    uneven = [-2.0, -0.3, 1.0, 2.0]
    assert score(exposures(uneven, manual_exposure=True)) > score(exposures(uneven, manual_exposure=False))


def test_many_repeats_end_the_search() -> None:
    frames = exposures([0.0, 1.0, 0.0] * 10)
    assert exposure_log_odds(frames, [h.ev for h in frames]) is None


def test_a_set_must_not_end_within_a_sweep() -> None:
    evs = [-3.0, -2.0, -1.0, 0.0, 1.0]
    gaps = [1.0] * 4
    assert cut_sweep_log_odds(evs, gaps, 0, 5) == 0
    assert cut_sweep_log_odds(evs, gaps, 0, 3) == WEIGHTS.cut_sweep
    assert cut_sweep_log_odds(evs, gaps, 1, 4) == 2 * WEIGHTS.cut_sweep
    assert cut_sweep_log_odds(evs, [1.0, 1.0, 9.0, 1.0], 0, 3) == 0  # a pause ends it
    assert cut_sweep_log_odds([-3.0, -2.0, -1.0, -2.0], gaps, 0, 3) == 0  # it turns back


def test_a_whole_numbered_sequence() -> None:
    whole = [numbered(shot, 3) for shot in (1, 2, 3)]
    assert completeness_log_odds(whole) > 0 > completeness_log_odds(whole[1:])
    assert completeness_log_odds([FRAME, FRAME]) == 0
