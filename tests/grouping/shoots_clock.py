"""Shoots told apart by when each exposure began and ended."""

from datetime import UTC, datetime
from pathlib import Path

from .cases import AEB, MANUAL, Truth, brackets, case
from .shoot import Camera, Shoot


@case
def no_subseconds(folder: Path) -> Truth:
    return Truth(brackets(Shoot(folder, Camera(subsec=False)), [0, -2, 2], 4, between=4))


@case
def no_subseconds_no_tags_manual(folder: Path) -> Truth:
    say = lambda _i, _e: MANUAL  # noqa: E731
    return Truth(brackets(Shoot(folder, Camera(subsec=False)), [-2, 0, 2], 4, between=5, say=say))


@case
def long_exposures(folder: Path) -> Truth:
    shoot = Shoot(folder, Camera(base=8.0))
    return Truth(brackets(shoot, [-3, -1, 0, 1, 2], 3, pause=0.5, between=6, say=lambda _i, _e: MANUAL))


@case
def long_exposures_aeb(folder: Path) -> Truth:
    return Truth(brackets(Shoot(folder, Camera(base=7.5)), [0, -2, 2], 3, pause=0.5, between=4))


@case
def long_exposures_stamped_at_their_end(folder: Path) -> Truth:
    say = lambda _i, ev: {"stamped": "end", "bias": ev, **AEB}  # noqa: E731
    return Truth(brackets(Shoot(folder, Camera(base=7.5)), [0, -2, 2], 3, pause=0.5, between=4, say=say))


@case
def bursts_of_bursts(folder: Path) -> Truth:
    shoot = Shoot(folder)
    return Truth(brackets(shoot, [0, -2, 2], 6, pause=0.1, between=0.1))


@case
def bursts_of_bursts_of_one_view(folder: Path) -> Truth:
    shoot = Shoot(folder, view=1)
    return Truth([[shoot.wait(0.1).take(ev, **MANUAL) for ev in (-2, 0, 2)] for _ in range(4)])


@case
def clock_offset_changes(folder: Path) -> Truth:
    """Summer time ends: the camera's clock goes back an hour between two brackets, and says so."""
    shoot = Shoot(folder, clock=datetime(2026, 10, 25, 2, 59, 50, tzinfo=UTC))
    first = brackets(shoot, [0, -2, 2], 2, say=lambda _i, ev: {"bias": ev, "zone": "+02:00", **AEB})
    shoot.wait(-3600)
    return Truth(first + brackets(shoot, [0, -2, 2], 2, say=lambda _i, ev: {"bias": ev, "zone": "+01:00", **AEB}))


@case
def over_midnight(folder: Path) -> Truth:
    shoot = Shoot(folder, clock=datetime(2026, 12, 31, 23, 59, 59, 700_000, tzinfo=UTC), view=1)
    return Truth([[shoot.wait(0.2).take(ev, bias=ev, **AEB) for ev in (0, -2, 2)]])


@case
def names_against_times(folder: Path) -> Truth:
    shoot, sets = Shoot(folder), []
    number = 60
    for _ in range(3):
        shoot.view += 1
        frames = []
        for ev in (0, -2, 2):
            number -= 1
            frames.append(shoot.wait(0.1).take(ev, name=f"x{number}", bias=ev, **AEB))
        sets.append(frames)
        shoot.wait(4)
    return Truth(sets)


@case
def told_the_longest_pause(folder: Path) -> Truth:
    shoot, sets = Shoot(folder), []
    for _ in range(3):
        shoot.view += 1
        sets.append([shoot.wait(70).take(ev, **MANUAL) for ev in (-2, 0, 2)])
        shoot.wait(60)
    return Truth(sets, {"gap": 100.0})
