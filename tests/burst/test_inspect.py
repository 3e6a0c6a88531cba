import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from smarthdr_cli.burst.inspect import inspect


@pytest.fixture
def bracket(jpeg: Callable[..., Path], exif: Callable[..., bytes], scene: Any, srgb: Any) -> list[Path]:
    light = cv2.GaussianBlur(scene(240, 320), (0, 0), 1.0)
    return [
        jpeg(name, srgb(light * 2.0**ev), exif(ExposureTime=time, FNumber=(4, 1), ISOSpeedRatings=100, Model="M"))
        for name, ev, time in (("a.jpg", 2, (1, 25)), ("b.jpg", 0, (1, 100)), ("c.jpg", -2, (1, 200)))
    ]


def test_records_in_argument_order_with_stated_and_measured_ev(bracket: list[Path]) -> None:
    found = inspect(bracket, reference=2)
    assert [Path(record.file).name for record in found.records] == ["a.jpg", "b.jpg", "c.jpg"]
    assert [record.ev for record in found.records] == pytest.approx([2, 0, -1])
    assert [record.ev_measured for record in found.records] == pytest.approx([2, 0, -2], abs=0.1)  # EXIF of c is wrong
    assert [record.reference for record in found.records] == [False, True, False]
    first = found.records[0]
    assert (first.width, first.height, first.bits, first.kind) == (320, 240, 8, "jpeg")
    assert (first.time, first.aperture, first.iso, first.camera) == (0.04, 4, 100, "M")
    assert first.clipped > found.records[1].clipped
    assert first.measured_under == "srgb"


def test_json(bracket: list[Path]) -> None:
    found = inspect(bracket)
    loaded = json.loads(json.dumps(found.to_dict()))
    assert loaded["frames"][1]["time"] == 0.01
    assert sum(record["reference"] for record in loaded["frames"]) == 1
    assert loaded["notes"] == list(found.notes)


def test_unknown_exposures_are_null(bracket: list[Path], jpeg: Callable[..., Path]) -> None:
    image = cv2.imread(str(bracket[1]))
    record = inspect([jpeg("n.jpg", np.ascontiguousarray(image))]).records[0]
    assert (record.ev, record.time, record.ev_source) == (None, None, "none")
    assert (record.ev_measured, record.sharpness, record.reference) == (0.0, 1.0, True)


def test_one_file_other_sizes_and_the_same_file_twice_are_shown(bracket: list[Path], jpeg: Callable[..., Path]) -> None:
    small = jpeg("s.jpg", np.full((40, 50, 3), 90, np.uint8))
    found = inspect([bracket[0], bracket[0], small])
    assert [record.width for record in found.records] == [320, 320, 50]
    assert [record.ev_measured for record in found.records] == [None, None, None]
