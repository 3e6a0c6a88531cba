"""Single frames, panoramas and repeated views between the brackets."""

from pathlib import Path

from tests.grouping.catalogue.shoots import AEB, MANUAL, Catalogue, Expected, brackets
from tests.support.camera_files import Shoot

SHOOTS = Catalogue()


@SHOOTS.add
def burst_of_one_exposure(folder: Path) -> Expected:
    shoot = Shoot(folder)
    for _ in range(12):
        shoot.wait(0.1).take(0, bias=0.0, mode=0)
    return Expected([])


@SHOOTS.add
def panorama_without_bracket(folder: Path) -> Expected:
    shoot = Shoot(folder)
    for _ in range(8):
        shoot.view += 1
        shoot.wait(1.5).take(0, **MANUAL)
    return Expected([])


@SHOOTS.add
def panorama_under_the_meter(folder: Path) -> Expected:
    shoot = Shoot(folder)
    for ev in (0, 0.33, 1, 0.67, 1.33, 2, 1, 0):
        shoot.view += 1
        shoot.wait(1.5).take(ev, bias=0.0, mode=0)
    return Expected([])


@SHOOTS.add
def panorama_of_brackets(folder: Path) -> Expected:
    return Expected(brackets(Shoot(folder), [-2, 0, 2], 8, gap=1.0, between=0.5, tags=lambda _i, _e: MANUAL))


@SHOOTS.add
def single_frames_of_different_rooms(folder: Path) -> Expected:
    shoot = Shoot(folder)
    for ev in (0, -1, -2, 1.33, 0.33, 3, 2, 1):
        shoot.view += 1
        shoot.wait(12).take(ev, **MANUAL)
    return Expected([])


@SHOOTS.add
def meter_drifts_between_brackets(folder: Path) -> Expected:
    shoot, sets = Shoot(folder), []
    for base in (0, 0.33, 0.67, 0.33, 1):
        shoot.view += 1
        sets.append([shoot.wait(0.1).take(base + ev, bias=ev, mode=0) for ev in (0, -2, 2)])
        shoot.wait(0.4)
    return Expected(sets)


@SHOOTS.add
def brackets_among_singles(folder: Path) -> Expected:
    shoot, sets = Shoot(folder), []
    for _ in range(4):
        shoot.view += 1
        shoot.wait(7).take(0.33, bias=0.0, mode=0)
        shoot.wait(2).take(0, bias=0.0, mode=0)
        shoot.wait(3)
        sets.append([shoot.wait(0.1).take(ev, bias=ev, **AEB) for ev in (0, -2, 2)])
        shoot.wait(2).take(0.67, bias=0.0, mode=0)
    return Expected(sets)


@SHOOTS.add
def trial_shot_before_the_bracket(folder: Path) -> Expected:
    shoot, sets = Shoot(folder), []
    for _ in range(4):
        shoot.view += 1
        shoot.wait(8).take(0, bias=0.0, mode=0)
        shoot.wait(1.5)
        sets.append([shoot.wait(0.1).take(ev, bias=ev, **AEB) for ev in (0, -2, 2)])
    return Expected(sets)


@SHOOTS.add
def same_view_bracketed_again_later(folder: Path) -> Expected:
    shoot = Shoot(folder, view=1)
    sets = []
    for _ in range(3):
        sets.append([shoot.wait(2).take(ev, **MANUAL) for ev in (-2, 0, 2)])
        shoot.wait(20)
    return Expected(sets)


@SHOOTS.add
def there_and_back(folder: Path) -> Expected:
    """The dial is turned one way for one view and back for the next."""
    shoot, sets = Shoot(folder), []
    for evs in ((-2, 0, 2), (2, 0, -2), (-2, 0, 2), (2, 0, -2)):
        shoot.view += 1
        sets.append([shoot.wait(1.5).take(ev, **MANUAL) for ev in evs])
        shoot.wait(6)
    return Expected(sets)
