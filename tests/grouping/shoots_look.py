"""Shoots told apart by what the pictures show."""

from pathlib import Path

from .cases import Truth, brackets, case
from .shoot import Shoot


@case
def without_exif(folder: Path) -> Truth:
    sets = brackets(Shoot(folder), [-2, 0, 2], 4, say=lambda i, _e: {"plain": True, "shift": i})
    return Truth(sets)


@case
def without_exif_five(folder: Path) -> Truth:
    return Truth(brackets(Shoot(folder), [-2.5, -1.2, 0, 1.2, 2.5], 3, say=lambda _i, _e: {"plain": True}))


@case
def without_exif_singles(folder: Path) -> Truth:
    shoot = Shoot(folder)
    for ev in (0, 1, -1, 0.5, 2, 0):
        shoot.view += 1
        shoot.take(ev, plain=True)
    return Truth([])


@case
def without_exif_one_exposure(folder: Path) -> Truth:
    shoot = Shoot(folder, view=1)
    for shift in range(6):
        shoot.take(0, plain=True, shift=shift)
    return Truth([])


@case
def without_exif_one_view_twice(folder: Path) -> Truth:
    shoot = Shoot(folder, view=1)
    return Truth([[shoot.take(ev, plain=True) for ev in (0, -2, 2)] for _ in range(2)], unsure=True)


@case
def some_with_exif_some_without(folder: Path) -> Truth:
    shoot = Shoot(folder)
    sets = brackets(shoot, [0, -2, 2], 2)
    return Truth(sets + brackets(shoot, [-2, 0, 2], 2, say=lambda _i, _e: {"plain": True}))
