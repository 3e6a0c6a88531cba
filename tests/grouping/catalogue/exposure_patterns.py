"""Sets separated by their exposures: steps, orders, counts, ISO and aperture."""

from pathlib import Path

from tests.grouping.catalogue.shoots import AEB, MANUAL, Build, Catalogue, Expected, brackets
from tests.support.camera_files import Camera, Shoot, orders

SHOOTS = Catalogue()


def _counted(count: int, order: str, step: float) -> Build:
    return lambda folder: Expected(brackets(Shoot(folder), orders(count, step)[order], 3))


for _count in (3, 5, 7, 9):
    for _order in ("-0+", "+0-", "0-+", "0-+-+"):
        SHOOTS[f"bracket_{_count}_{_order}"] = _counted(_count, _order, 1.0 if _count > 3 else 2.0)
SHOOTS["bracket_third_stops"] = _counted(3, "0-+", 1 / 3)
SHOOTS["bracket_three_stops"] = _counted(5, "-0+", 3.0)


@SHOOTS.add
def bracket_of_two(folder: Path) -> Expected:
    return Expected(brackets(Shoot(folder), [0, -2], 4))


@SHOOTS.add
def every_exposure_twice(folder: Path) -> Expected:
    return Expected(brackets(Shoot(folder), [-2, -2, 0, 0, 2, 2], 3, tags=lambda _i, _e: MANUAL))


@SHOOTS.add
def every_exposure_thrice(folder: Path) -> Expected:
    return Expected(brackets(Shoot(folder), [2, 2, 2, 0, 0, 0, -2, -2, -2], 3, tags=lambda _i, _e: MANUAL))


def _hdri(count: int, pause: float, step: float = 1.0) -> Build:
    def build(folder: Path) -> Expected:
        evs = [step * (count // 2 - i) for i in range(count)]
        return Expected(
            brackets(Shoot(folder, Camera(base=0.1)), evs, 2, gap=pause, between=25, tags=lambda _i, _e: MANUAL)
        )

    return build


for _count in (10, 12, 13, 15, 17):
    SHOOTS[f"hdri_by_hand_{_count}"] = _hdri(_count, 4.0)
SHOOTS["hdri_tethered_17"] = _hdri(17, 0.8)


@SHOOTS.add
def hdri_steps_at_the_ends_uneven(folder: Path) -> Expected:
    evs = [4, 3.3, 2, 1, 0, -1, -2, -3, -3.7, -4]
    return Expected(brackets(Shoot(folder), evs, 2, gap=6, between=60, tags=lambda _i, _e: MANUAL))


@SHOOTS.add
def iso_bracketing(folder: Path) -> Expected:
    shoot, sets = Shoot(folder), []
    for _ in range(3):
        shoot.view += 1
        isos = ((200, 0), (100, -1), (400, 1))
        sets.append([shoot.wait(0.1).take(0, iso=i, pixel_ev=e, bias=0.0, **AEB) for i, e in isos])
        shoot.wait(3)
    return Expected(sets)


@SHOOTS.add
def aperture_bracketing(folder: Path) -> Expected:
    shoot, sets = Shoot(folder), []
    for _ in range(3):
        shoot.view += 1
        stops = ((8.0, 0), (16.0, -2), (4.0, 2))
        sets.append([shoot.wait(0.1).take(0, aperture=n, pixel_ev=e, bias=e, **AEB) for n, e in stops])
        shoot.wait(3)
    return Expected(sets)


@SHOOTS.add
def phone_varies_time_and_iso(folder: Path) -> Expected:
    shoot, sets = Shoot(folder, Camera(serial=None, prefix="PXL_20260506_12")), []
    for _ in range(3):
        shoot.view += 1
        both = ((-1, 50, -2), (0, 100, 0), (1, 200, 2))
        sets.append([shoot.wait(0.1).take(t, iso=i, pixel_ev=e, **AEB) for t, i, e in both])
        shoot.wait(4)
    return Expected(sets)


@SHOOTS.add
def brackets_of_mixed_length(folder: Path) -> Expected:
    shoot = Shoot(folder)
    evs = orders(5, 1)["0-+"]
    return Expected(brackets(shoot, [0, -2, 2], 2) + brackets(shoot, evs, 2) + brackets(shoot, [0, -2, 2], 1))


@SHOOTS.add
def user_states_the_length(folder: Path) -> Expected:
    """Nine exposures of one sweep that are three brackets of three, which only the user knows."""
    shoot, rows = Shoot(folder, view=1), ((-4, -3, -2), (-1, 0, 1), (2, 3, 4))
    return Expected([[shoot.wait(0.5).take(ev, **MANUAL) for ev in evs] for evs in rows], {"bracket": 3})
