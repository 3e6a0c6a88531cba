"""Shoots told apart by the pattern of their exposures: steps, orders, counts, ISO and aperture."""

from pathlib import Path

from .cases import AEB, CASES, MANUAL, Case, Truth, brackets, case
from .shoot import Camera, Shoot, orders


def _counted(count: int, order: str, step: float) -> Case:
    return lambda folder: Truth(brackets(Shoot(folder), orders(count, step)[order], 3))


for _count in (3, 5, 7, 9):
    for _order in ("-0+", "+0-", "0-+", "0-+-+"):
        CASES[f"bracket_{_count}_{_order}"] = _counted(_count, _order, 1.0 if _count > 3 else 2.0)
CASES["bracket_third_stops"] = _counted(3, "0-+", 1 / 3)
CASES["bracket_three_stops"] = _counted(5, "-0+", 3.0)


@case
def bracket_of_two(folder: Path) -> Truth:
    return Truth(brackets(Shoot(folder), [0, -2], 4))


@case
def every_exposure_twice(folder: Path) -> Truth:
    return Truth(brackets(Shoot(folder), [-2, -2, 0, 0, 2, 2], 3, say=lambda _i, _e: MANUAL))


@case
def every_exposure_thrice(folder: Path) -> Truth:
    return Truth(brackets(Shoot(folder), [2, 2, 2, 0, 0, 0, -2, -2, -2], 3, say=lambda _i, _e: MANUAL))


def _hdri(count: int, pause: float, step: float = 1.0) -> Case:
    def build(folder: Path) -> Truth:
        evs = [step * (count // 2 - i) for i in range(count)]
        return Truth(
            brackets(Shoot(folder, Camera(base=0.1)), evs, 2, pause=pause, between=25, say=lambda _i, _e: MANUAL)
        )

    return build


for _count in (10, 12, 13, 15, 17):
    CASES[f"hdri_by_hand_{_count}"] = _hdri(_count, 4.0)
CASES["hdri_tethered_17"] = _hdri(17, 0.8)


@case
def hdri_steps_at_the_ends_uneven(folder: Path) -> Truth:
    evs = [4, 3.3, 2, 1, 0, -1, -2, -3, -3.7, -4]
    return Truth(brackets(Shoot(folder), evs, 2, pause=6, between=60, say=lambda _i, _e: MANUAL))


@case
def iso_bracketing(folder: Path) -> Truth:
    shoot, sets = Shoot(folder), []
    for _ in range(3):
        shoot.view += 1
        isos = ((200, 0), (100, -1), (400, 1))
        sets.append([shoot.wait(0.1).take(0, iso=i, shown=e, bias=0.0, **AEB) for i, e in isos])
        shoot.wait(3)
    return Truth(sets)


@case
def aperture_bracketing(folder: Path) -> Truth:
    shoot, sets = Shoot(folder), []
    for _ in range(3):
        shoot.view += 1
        stops = ((8.0, 0), (16.0, -2), (4.0, 2))
        sets.append([shoot.wait(0.1).take(0, aperture=n, shown=e, bias=e, **AEB) for n, e in stops])
        shoot.wait(3)
    return Truth(sets)


@case
def phone_varies_time_and_iso(folder: Path) -> Truth:
    shoot, sets = Shoot(folder, Camera(serial=None, prefix="PXL_20260506_12")), []
    for _ in range(3):
        shoot.view += 1
        both = ((-1, 50, -2), (0, 100, 0), (1, 200, 2))
        sets.append([shoot.wait(0.1).take(t, iso=i, shown=e, **AEB) for t, i, e in both])
        shoot.wait(4)
    return Truth(sets)


@case
def brackets_of_mixed_length(folder: Path) -> Truth:
    shoot = Shoot(folder)
    evs = orders(5, 1)["0-+"]
    return Truth(brackets(shoot, [0, -2, 2], 2) + brackets(shoot, evs, 2) + brackets(shoot, [0, -2, 2], 1))


@case
def told_how_many(folder: Path) -> Truth:
    """Nine exposures in a row that the user knows to be three brackets, one after another through the stops."""
    shoot, rows = Shoot(folder, view=1), ((-4, -3, -2), (-1, 0, 1), (2, 3, 4))
    return Truth([[shoot.wait(0.5).take(ev, **MANUAL) for ev in evs] for evs in rows], {"bracket": 3})
