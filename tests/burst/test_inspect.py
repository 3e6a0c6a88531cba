"""The records of ``smarthdr info``."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from smarthdr_cli.burst.inspect import inspect
from tests.support.files import exif_block, random_scene, srgb_codes


@pytest.fixture
def bracket(jpeg: Callable[..., Path]) -> list[Path]:
    light = cv2.GaussianBlur(random_scene(240, 320), (0, 0), 1.0)
    return [
        jpeg(
            name,
            srgb_codes(light * 2.0**ev),
            exif_block(ExposureTime=time, FNumber=(4, 1), ISOSpeedRatings=100, Model="M"),
        )
        for name, ev, time in (("a.jpg", 2, (1, 25)), ("b.jpg", 0, (1, 100)), ("c.jpg", -2, (1, 200)))
    ]


def test_records_in_argument_order_with_stated_and_measured_ev(bracket: list[Path]) -> None:
    inspection = inspect(bracket, reference=2)
    assert [Path(record.file).name for record in inspection.records] == ["a.jpg", "b.jpg", "c.jpg"]
    assert [record.ev for record in inspection.records] == pytest.approx([2, 0, -1])
    assert [record.ev_measured for record in inspection.records] == pytest.approx(
        [2, 0, -2], abs=0.1
    )  # EXIF of c is wrong
    assert [record.reference for record in inspection.records] == [False, True, False]
    first = inspection.records[0]
    assert (first.width, first.height, first.bits, first.kind) == (320, 240, 8, "jpeg")
    assert (first.time, first.aperture, first.iso, first.camera) == (0.04, 4, 100, "M")
    assert first.clipped > inspection.records[1].clipped
    assert first.measured_under == "srgb"


def test_json(bracket: list[Path]) -> None:
    inspection = inspect(bracket)
    loaded = json.loads(json.dumps(inspection.to_dict()))
    assert loaded["frames"][1]["time"] == 0.01
    assert sum(record["reference"] for record in loaded["frames"]) == 1
    assert loaded["notes"] == list(inspection.notes)


def test_unknown_exposures_are_null(bracket: list[Path], jpeg: Callable[..., Path]) -> None:
    image = cv2.imread(str(bracket[1]))
    record = inspect([jpeg("n.jpg", np.ascontiguousarray(image))]).records[0]
    assert (record.ev, record.time, record.ev_source) == (None, None, "none")
    assert (record.ev_measured, record.sharpness, record.reference) == (0.0, 1.0, True)


def test_one_file_twice_and_files_of_other_sizes_have_records(bracket: list[Path], jpeg: Callable[..., Path]) -> None:
    small = jpeg("s.jpg", np.full((40, 50, 3), 90, np.uint8))
    inspection = inspect([bracket[0], bracket[0], small])
    assert [record.width for record in inspection.records] == [320, 320, 50]
    assert [record.ev_measured for record in inspection.records] == [None, None, None]


def test_where_stated_and_measured_exposures_differ_a_note_says_why(bracket: list[Path]) -> None:
    (note,) = inspect(bracket, reference=2).notes
    assert note.startswith("c.jpg -1.00 EV stated, -2.")
    assert "assumes the sRGB tone curve" in note
    (equal,) = inspect(bracket, evs=(0, 0, 0), reference=2).notes
    assert "all state the same exposure and are not equally bright" in equal
    assert "--exposure-check fix" in equal


def test_of_linear_files_the_stated_exposure_is_doubted(tmp_path: Path) -> None:
    paths = []
    for ev in (-2, 0):
        paths.append(tmp_path / f"{ev}.tif")
        tifffile.imwrite(
            paths[-1], np.clip(random_scene(240, 320) * 2.0**ev, 0, 1).astype(np.float32), photometric="rgb"
        )
    (note,) = inspect(paths, evs=(-1, 0), reference=2).notes
    assert "the files are linear, so the stated exposures are off" in note


def test_where_they_agree_there_is_no_note(bracket: list[Path]) -> None:
    assert inspect(bracket, evs=(2, 0, -2)).notes == ()
