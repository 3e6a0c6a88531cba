"""Shoots in which single frames, panoramas and repeated views lie between the brackets."""

from pathlib import Path

from .cases import AEB, MANUAL, Truth, brackets, case
from .shoot import Shoot


@case
def burst_of_one_exposure(folder: Path) -> Truth:
    shoot = Shoot(folder)
    for _ in range(12):
        shoot.wait(0.1).take(0, bias=0.0, mode=0)
    return Truth([])


@case
def panorama_without_bracket(folder: Path) -> Truth:
    shoot = Shoot(folder)
    for _ in range(8):
        shoot.view += 1
        shoot.wait(1.5).take(0, **MANUAL)
    return Truth([])


@case
def panorama_under_the_meter(folder: Path) -> Truth:
    shoot = Shoot(folder)
    for ev in (0, 0.33, 1, 0.67, 1.33, 2, 1, 0):
        shoot.view += 1
        shoot.wait(1.5).take(ev, bias=0.0, mode=0)
    return Truth([])


@case
def panorama_of_brackets(folder: Path) -> Truth:
    return Truth(brackets(Shoot(folder), [-2, 0, 2], 8, pause=1.0, between=0.5, say=lambda _i, _e: MANUAL))


@case
def single_frames_of_different_rooms(folder: Path) -> Truth:
    shoot = Shoot(folder)
    for ev in (0, -1, -2, 1.33, 0.33, 3, 2, 1):
        shoot.view += 1
        shoot.wait(12).take(ev, **MANUAL)
    return Truth([])


@case
def meter_drifts_between_brackets(folder: Path) -> Truth:
    shoot, sets = Shoot(folder), []
    for base in (0, 0.33, 0.67, 0.33, 1):
        shoot.view += 1
        sets.append([shoot.wait(0.1).take(base + ev, bias=ev, mode=0) for ev in (0, -2, 2)])
        shoot.wait(0.4)
    return Truth(sets)


@case
def brackets_among_singles(folder: Path) -> Truth:
    shoot, sets = Shoot(folder), []
    for _ in range(4):
        shoot.view += 1
        shoot.wait(7).take(0.33, bias=0.0, mode=0)
        shoot.wait(2).take(0, bias=0.0, mode=0)
        shoot.wait(3)
        sets.append([shoot.wait(0.1).take(ev, bias=ev, **AEB) for ev in (0, -2, 2)])
        shoot.wait(2).take(0.67, bias=0.0, mode=0)
    return Truth(sets)


@case
def trial_shot_before_the_bracket(folder: Path) -> Truth:
    shoot, sets = Shoot(folder), []
    for _ in range(4):
        shoot.view += 1
        shoot.wait(8).take(0, bias=0.0, mode=0)
        shoot.wait(1.5)
        sets.append([shoot.wait(0.1).take(ev, bias=ev, **AEB) for ev in (0, -2, 2)])
    return Truth(sets)


@case
def same_view_bracketed_again_later(folder: Path) -> Truth:
    shoot = Shoot(folder, view=1)
    sets = []
    for _ in range(3):
        sets.append([shoot.wait(2).take(ev, **MANUAL) for ev in (-2, 0, 2)])
        shoot.wait(20)
    return Truth(sets)


@case
def there_and_back(folder: Path) -> Truth:
    """The wheel is turned one way for one view and back for the next."""
    shoot, sets = Shoot(folder), []
    for evs in ((-2, 0, 2), (2, 0, -2), (-2, 0, 2), (2, 0, -2)):
        shoot.view += 1
        sets.append([shoot.wait(1.5).take(ev, **MANUAL) for ev in evs])
        shoot.wait(6)
    return Truth(sets)
