"""Headers of files as ``group`` reads them: capture time, displayed size, errors."""

import re
from pathlib import Path

import numpy as np
import pytest

from smarthdr_cli.errors import InputError
from smarthdr_cli.grouping.header import read_header
from tests.support.camera_files import Camera, Shoot
from tests.support.files import exif_block, write_jpeg
from tests.support.raw_files import UTC_NOON, crw

GREY = np.full((48, 64, 3), 90, np.uint8)


def test_timestamp_clock_step_and_utc_offset(tmp_path: Path) -> None:
    shoot = Shoot(tmp_path).wait(1.25)
    header = read_header(shoot.take(zone="+02:00"))
    assert header.timestamp == pytest.approx(UTC_NOON + 1.25)
    assert (header.clock_step, header.utc_offset) == (0.001, 7200.0)
    assert read_header(Shoot(tmp_path, Camera(subsec=False)).take(name="b")).clock_step == 1.0


@pytest.mark.parametrize(("orientation", "size"), [(1, (64, 48)), (3, (64, 48)), (6, (48, 64)), (8, (48, 64))])
def test_size_in_display_orientation(tmp_path: Path, orientation: int, size: tuple[int, int]) -> None:
    path = write_jpeg(tmp_path / "a.jpg", GREY, exif_block(Orientation=orientation))
    assert read_header(path).size == size


def test_fields_of_a_raw_file(tmp_path: Path) -> None:
    path = tmp_path / "a.CRW"
    path.write_bytes(crw(rotation=270))
    header = read_header(path)
    assert (header.kind, header.size, header.orientation) == ("raw", (2048, 3072), 8)
    assert (header.time, header.bias, header.focal_length, header.manual_exposure) == (1 / 64, 1.0, 24.0, True)
    assert (header.make, header.model, header.serial, header.timestamp) == ("Canon", "Canon EOS TEST", "1234", UTC_NOON)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"x" * 99], ids=["empty", "cut", "text"])
def test_other_content_is_an_error_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"^{re.escape(str(path))} [^\n]+$"):
        read_header(path)


def test_missing_files_and_folders_are_errors(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "gone.jpg", "does not exist"),
        (tmp_path, "is a folder"),
        (Path("a\0b"), "cannot|not"),
    ):
        with pytest.raises(InputError, match=reason):
            read_header(path)
