"""Sets separated by capture times: clocks without fractions, long exposures, time zones, bursts of brackets."""

from datetime import UTC, datetime
from pathlib import Path

from tests.grouping.catalogue.shoots import AEB, MANUAL, Catalogue, Expected, brackets
from tests.support.camera_files import Camera, Shoot

SHOOTS = Catalogue()


@SHOOTS.add
def no_subseconds(folder: Path) -> Expected:
    return Expected(brackets(Shoot(folder, Camera(subsec=False)), [0, -2, 2], 4, between=4))


@SHOOTS.add
def no_subseconds_no_tags_manual(folder: Path) -> Expected:
    tags = lambda _i, _e: MANUAL  # noqa: E731
    return Expected(brackets(Shoot(folder, Camera(subsec=False)), [-2, 0, 2], 4, between=5, tags=tags))


@SHOOTS.add
def long_exposures(folder: Path) -> Expected:
    shoot = Shoot(folder, Camera(base=8.0))
    return Expected(brackets(shoot, [-3, -1, 0, 1, 2], 3, gap=0.5, between=6, tags=lambda _i, _e: MANUAL))


@SHOOTS.add
def long_exposures_aeb(folder: Path) -> Expected:
    return Expected(brackets(Shoot(folder, Camera(base=7.5)), [0, -2, 2], 3, gap=0.5, between=4))


@SHOOTS.add
def long_exposures_stamped_at_their_end(folder: Path) -> Expected:
    tags = lambda _i, ev: {"stamped": "end", "bias": ev, **AEB}  # noqa: E731
    return Expected(brackets(Shoot(folder, Camera(base=7.5)), [0, -2, 2], 3, gap=0.5, between=4, tags=tags))


@SHOOTS.add
def bursts_of_bursts(folder: Path) -> Expected:
    shoot = Shoot(folder)
    return Expected(brackets(shoot, [0, -2, 2], 6, gap=0.1, between=0.1))


@SHOOTS.add
def bursts_of_bursts_of_one_view(folder: Path) -> Expected:
    shoot = Shoot(folder, view=1)
    return Expected([[shoot.wait(0.1).take(ev, **MANUAL) for ev in (-2, 0, 2)] for _ in range(4)])


@SHOOTS.add
def clock_offset_changes(folder: Path) -> Expected:
    """Summer time ends: between two brackets the camera's clock goes back an hour, and EXIF states the offset."""
    shoot = Shoot(folder, clock=datetime(2026, 10, 25, 2, 59, 50, tzinfo=UTC))
    first = brackets(shoot, [0, -2, 2], 2, tags=lambda _i, ev: {"bias": ev, "zone": "+02:00", **AEB})
    shoot.wait(-3600)
    return Expected(first + brackets(shoot, [0, -2, 2], 2, tags=lambda _i, ev: {"bias": ev, "zone": "+01:00", **AEB}))


@SHOOTS.add
def over_midnight(folder: Path) -> Expected:
    shoot = Shoot(folder, clock=datetime(2026, 12, 31, 23, 59, 59, 700_000, tzinfo=UTC), view=1)
    return Expected([[shoot.wait(0.2).take(ev, bias=ev, **AEB) for ev in (0, -2, 2)]])


@SHOOTS.add
def names_against_times(folder: Path) -> Expected:
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
    return Expected(sets)


@SHOOTS.add
def user_states_the_longest_gap(folder: Path) -> Expected:
    shoot, sets = Shoot(folder), []
    for _ in range(3):
        shoot.view += 1
        sets.append([shoot.wait(70).take(ev, **MANUAL) for ev in (-2, 0, 2)])
        shoot.wait(60)
    return Expected(sets, {"gap": 100.0})
