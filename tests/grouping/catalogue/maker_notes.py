"""Sets separated by maker notes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.grouping.catalogue.shoots import Build, Catalogue, Expected, brackets
from tests.support.camera_files import (
    Camera,
    Shoot,
    canon,
    canon_shot,
    fujifilm,
    nikon,
    olympus,
    orders,
    panasonic,
    sony,
    sony_old,
)

SHOOTS = Catalogue()


def _maker(make: str, evs: Sequence[float], note: Callable[[int, float], Any]) -> Build:
    """Brackets without a pause between them: only the maker note separates them."""

    def build(folder: Path) -> Expected:
        shoot = Shoot(folder, Camera(make=make, subsec=False))
        return Expected(brackets(shoot, evs, 4, gap=0.05, between=0.05, tags=lambda i, ev: {"note": note(i + 1, ev)}))

    return build


for _version in "abc":
    SHOOTS[f"sony_sequence_{_version}"] = _maker(
        "SONY", [0, -1, 1, -2, 2], lambda i, _e, v=_version: sony(i, 5, version=v)
    )  # type: ignore[misc]
SHOOTS["sony_sequence_number"] = _maker("SONY", [0, -2, 2], lambda i, _e: sony_old(i))
SHOOTS["canon_file_info"] = _maker("Canon", [0, -2, 2], canon)
SHOOTS["canon_shot_info"] = _maker("Canon", [0, -1, 1], canon_shot)
SHOOTS["nikon_bracket_value"] = _maker("NIKON CORPORATION", [0, -1, 1], lambda _i, ev: nikon(ev))
SHOOTS["nikon_nine"] = _maker("NIKON CORPORATION", orders(9, 1)["-0+"], lambda _i, ev: nikon(ev))
SHOOTS["fujifilm_sequence"] = _maker("FUJIFILM", [0, 1, -1], lambda i, _e: fujifilm(i))
SHOOTS["panasonic_sequence"] = _maker("Panasonic", [0, -1, 1, -2, 2], lambda i, _e: panasonic(i))
SHOOTS["olympus_shot_number"] = _maker("OLYMPUS IMAGING CORP.", [0, -1, 1], lambda i, _e: olympus(i))
SHOOTS["om_system_shot_number"] = _maker(
    "OM Digital Solutions", [0, -1, 1], lambda i, _e: olympus(i, b"OM SYSTEM\0\0\0II\x04\0")
)


@SHOOTS.add
def numbered_burst_of_one_exposure(folder: Path) -> Expected:
    shoot = Shoot(folder, Camera(make="SONY"))
    for shot in range(1, 11):
        shoot.wait(0.1).take(0, bias=0.0, note=sony(shot, 10, mode=1))
    return Expected([])
