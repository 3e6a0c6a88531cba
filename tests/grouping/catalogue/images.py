"""Sets separated by their images alone: no EXIF."""

from pathlib import Path

from tests.grouping.catalogue.shoots import Catalogue, Expected, brackets
from tests.support.camera_files import Shoot

SHOOTS = Catalogue()


@SHOOTS.add
def without_exif(folder: Path) -> Expected:
    sets = brackets(Shoot(folder), [-2, 0, 2], 4, tags=lambda i, _e: {"without_exif": True, "shift": i})
    return Expected(sets)


@SHOOTS.add
def without_exif_five(folder: Path) -> Expected:
    return Expected(brackets(Shoot(folder), [-2.5, -1.2, 0, 1.2, 2.5], 3, tags=lambda _i, _e: {"without_exif": True}))


@SHOOTS.add
def without_exif_singles(folder: Path) -> Expected:
    shoot = Shoot(folder)
    for ev in (0, 1, -1, 0.5, 2, 0):
        shoot.view += 1
        shoot.take(ev, without_exif=True)
    return Expected([])


@SHOOTS.add
def without_exif_one_exposure(folder: Path) -> Expected:
    shoot = Shoot(folder, view=1)
    for shift in range(6):
        shoot.take(0, without_exif=True, shift=shift)
    return Expected([])


@SHOOTS.add
def without_exif_one_view_twice(folder: Path) -> Expected:
    shoot = Shoot(folder, view=1)
    return Expected([[shoot.take(ev, without_exif=True) for ev in (0, -2, 2)] for _ in range(2)], uncertain=True)


@SHOOTS.add
def some_with_exif_some_without(folder: Path) -> Expected:
    shoot = Shoot(folder)
    sets = brackets(shoot, [0, -2, 2], 2)
    return Expected(sets + brackets(shoot, [-2, 0, 2], 2, tags=lambda _i, _e: {"without_exif": True}))
