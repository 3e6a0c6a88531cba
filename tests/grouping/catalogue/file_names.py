"""Sets separated by file numbers: counters that roll over, deleted files, no capture times."""

from pathlib import Path

from tests.grouping.catalogue.shoots import AEB, MANUAL, Catalogue, Expected, brackets
from tests.support.camera_files import Camera, Shoot, orders, sony

SHOOTS = Catalogue()


@SHOOTS.add
def counter_rolls_over_without_times(folder: Path) -> Expected:
    shoot = Shoot(folder, Camera(prefix="DSC", digits=5), view=1)
    names = ["DSC09998", "DSC09999", "DSC00001", "DSC00002", "DSC00003", "DSC00004"]
    say = {"stamped": "never", **AEB}
    first = [shoot.take(ev, name=name, bias=ev, **say) for name, ev in zip(names[:3], (0, -2, 2), strict=True)]
    shoot.view = 2
    second = [shoot.take(ev, name=name, bias=ev, **say) for name, ev in zip(names[3:], (0, -2, 2), strict=True)]
    return Expected([first, second])


@SHOOTS.add
def counter_rolls_over_within_a_second(folder: Path) -> Expected:
    shoot = Shoot(folder, Camera(prefix="DSC", digits=5, subsec=False), view=1)
    names = ["DSC09998", "DSC09999", "DSC00001"]
    return Expected([[shoot.take(ev, name=n, bias=ev, **AEB) for n, ev in zip(names, (0, -2, 2), strict=True)]])


@SHOOTS.add
def a_frame_was_deleted(folder: Path) -> Expected:
    shoot = Shoot(folder, Camera(make="SONY"))
    sets = brackets(shoot, [0, -2, 2], 3, tags=lambda i, ev: {"bias": ev, "note": sony(i + 1, 3), **AEB})
    sets[1].pop(1).unlink()
    return Expected(sets, uncertain=True)


@SHOOTS.add
def deleted_without_numbers(folder: Path) -> Expected:
    sets = brackets(Shoot(folder), orders(5, 1)["-0+"], 3)
    sets[1].pop(2).unlink()
    return Expected(sets, uncertain=True)


@SHOOTS.add
def every_other_number(folder: Path) -> Expected:
    shoot, sets = Shoot(folder), []
    for _ in range(3):
        shoot.view += 1
        frames = []
        for ev in (-2, 0, 2):
            frames.append(shoot.wait(0.1).take(ev, **MANUAL))
            shoot.number += 1
        sets.append(frames)
        shoot.wait(4)
    return Expected(sets)


@SHOOTS.add
def exposures_but_no_times(folder: Path) -> Expected:
    return Expected(brackets(Shoot(folder), [-2, 0, 2], 4, tags=lambda _i, _e: {"stamped": "never", **MANUAL}))
