"""Several cameras, folders, sizes and file formats in one shoot."""

from pathlib import Path

from tests.grouping.catalogue.shoots import AEB, MANUAL, Catalogue, Expected, brackets
from tests.support.camera_files import Camera, Shoot, picture

SHOOTS = Catalogue()


@SHOOTS.add
def two_cameras_at_once(folder: Path) -> Expected:
    one, two = Shoot(folder, Camera(serial="1", prefix="A_")), Shoot(folder, Camera(serial="2", prefix="B_"), view=50)
    sets: list[list[Path]] = []
    for _ in range(3):
        one.view, two.view = one.view + 1, two.view + 1
        pair: list[list[Path]] = [[], []]
        for ev in (0, -2, 2):
            for index, shoot in enumerate((one, two)):
                pair[index].append(shoot.wait(0.1).take(ev, bias=ev, **AEB))
        one.wait(5), two.wait(5)
        sets += pair
    return Expected(sets)


@SHOOTS.add
def two_cameras_without_serials(folder: Path) -> Expected:
    one = Shoot(folder, Camera(serial=None, prefix="A_"))
    two = Shoot(folder, Camera(serial=None, prefix="B_"), view=50)
    two.wait(0.07)
    sets: list[list[Path]] = []
    for _ in range(3):
        one.view, two.view = one.view + 1, two.view + 1
        pair: list[list[Path]] = [[], []]
        for ev in (-2, 0, 2):
            for index, shoot in enumerate((one, two)):
                pair[index].append(shoot.wait(0.2).take(ev, bias=ev, **AEB))
        one.wait(5), two.wait(5)
        sets += pair
    return Expected(sets)


@SHOOTS.add
def two_models_in_one_folder(folder: Path) -> Expected:
    phone = Shoot(folder, Camera(model="Phone", serial=None, lens=None, prefix="PXL_"), view=70)
    sets = brackets(Shoot(folder), [0, -2, 2], 2)
    for _ in range(4):
        phone.wait(1.3).take(0, bias=0.0, mode=0)
    return Expected(sets)


@SHOOTS.add
def sub_folders(folder: Path) -> Expected:
    one = Shoot(folder / "living room")
    two = Shoot(folder / "kitchen", view=20, clock=one.clock)
    return Expected(brackets(one, [0, -2, 2], 2) + brackets(two, [0, -2, 2], 2))


@SHOOTS.add
def set_cut_by_folders_stays_cut(folder: Path) -> Expected:
    return Expected([_halves(folder)], uncertain=True)


@SHOOTS.add
def set_across_folders_when_asked(folder: Path) -> Expected:
    return Expected([_halves(folder)], {"across_folders": True})


def _halves(folder: Path) -> list[Path]:
    one = Shoot(folder / "100CANON", view=1, number=9999)
    first = one.take(0, bias=0.0, **AEB)
    two = Shoot(folder / "101CANON", view=1, clock=one.clock)
    return [first, *(two.wait(0.1).take(ev, bias=ev, **AEB) for ev in (-2, 2))]


@SHOOTS.add
def raw_beside_jpeg(folder: Path) -> Expected:
    shoot, sets = Shoot(folder), []
    for _ in range(3):
        shoot.view += 1
        frames = []
        for ev in (0, -2, 2):
            number, clock = shoot.number, shoot.clock
            frames.append(shoot.take(ev, bias=ev, suffix=".ARW", **AEB))
            shoot.number, shoot.clock = number, clock
            shoot.wait(0.0).take(ev, bias=ev, **AEB)
        sets.append(frames)
        shoot.wait(3)
    return Expected(sets)


@SHOOTS.add
def upright_and_turned(folder: Path) -> Expected:
    shoot, sets = Shoot(folder), []
    for orientation in (1, 6, 1, 8):
        shoot.view += 1
        sets.append([shoot.wait(0.1).take(ev, bias=ev, orientation=orientation, **AEB) for ev in (0, -2, 2)])
        shoot.wait(2)
    return Expected(sets)


@SHOOTS.add
def ambient_bracket_and_a_flash_frame(folder: Path) -> Expected:
    shoot, sets = Shoot(folder), []
    for _ in range(4):
        shoot.view += 1
        sets.append([shoot.wait(1).take(ev, flash=16, **MANUAL) for ev in (-2, 0, 2)])
        shoot.wait(1.5).take(-1, flash=1, **MANUAL)
        shoot.wait(10)
    return Expected(sets)


@SHOOTS.add
def zoomed_between_sets(folder: Path) -> Expected:
    shoot, sets = Shoot(folder), []
    for focal in (24, 35, 50, 24):
        shoot.view += 1
        sets.append([shoot.wait(0.2).take(ev, focal=focal, **MANUAL) for ev in (-2, 0, 2)])
        shoot.wait(0.5)
    return Expected(sets)


@SHOOTS.add
def two_sizes(folder: Path) -> Expected:
    """Small and large JPEGs of one camera are never in one set."""
    shoot = Shoot(folder, view=1)
    sets = brackets(shoot, [0, -2, 2], 2)
    for path in sets[1][1:]:
        small = picture(2, 0).resize((48, 32))
        small.save(path, exif=_exif_of(path))
    return Expected(sets, uncertain=True)


def _exif_of(path: Path) -> bytes:
    from PIL import Image

    with Image.open(path) as image:
        return bytes(image.info["exif"])
