"""Streams of a shoot: twins and copies are left out, cameras are kept apart, frames are in capture order."""

import shutil
from pathlib import Path

import pytest

from smarthdr_cli.grouping.group import find_pictures
from smarthdr_cli.grouping.header import Header, read_header
from smarthdr_cli.grouping.streams import in_capture_order, split_streams, without_twins
from tests.support.camera_files import Shoot

pytestmark = pytest.mark.unit


def header(name: str, timestamp: float | None = None, **tags: object) -> Header:
    return Header(Path(name), timestamp=timestamp, **tags)  # type: ignore[arg-type]


def names(streams: list[list[Header]]) -> list[list[str]]:
    return [[h.path.stem for h in stream] for stream in streams]


@pytest.mark.parametrize(("prefer_raw", "kept"), [(True, ".ARW"), (False, ".JPG")])
def test_of_raw_and_jpeg_one_is_kept(tmp_path: Path, prefer_raw: bool, kept: str) -> None:
    shoot = Shoot(tmp_path)
    shoot.take(0, name="a", suffix=".ARW")
    shoot.wait(-shoot.camera.base).take(0, name="a")
    headers = [read_header(path) for path in find_pictures(tmp_path)]
    remaining, twins = without_twins(headers, prefer_raw=prefer_raw)
    assert [h.path.suffix for h in remaining] == [kept]
    assert [(twin.path.stem, twin.of.suffix) for twin in twins] == [("a", kept)]


def test_one_stem_at_two_times_is_two_frames(tmp_path: Path) -> None:
    shoot = Shoot(tmp_path)
    shoot.take(0, name="a", suffix=".ARW")
    shoot.wait(30).take(0, name="a")
    headers = [read_header(path) for path in find_pictures(tmp_path)]
    assert without_twins(headers, prefer_raw=True) == (headers, [])


def test_copies_are_twins_of_the_shortest_name(tmp_path: Path) -> None:
    path = Shoot(tmp_path).take(0)
    shutil.copy(path, path.with_stem(path.stem + " (1)"))
    other = Shoot(tmp_path, number=2, view=1).take(0)
    remaining, twins = without_twins([read_header(p) for p in find_pictures(tmp_path)], prefer_raw=True)
    assert [h.path for h in remaining] == [path, other]
    assert [(twin.path.name, twin.of) for twin in twins] == [("IMG_0001 (1).JPG", path)]


def test_a_stream_is_one_camera_folder_and_size() -> None:
    frames = [
        header("f/a1.jpg", 0.0, serial="1", size=(3, 2)),
        header("f/b1.jpg", 1.0, serial="2", size=(3, 2)),
        header("f/a2.jpg", 2.0, serial="1", size=(3, 2)),
        header("f/a3.jpg", 3.0, serial="1", size=(6, 4)),
        header("g/a4.jpg", 4.0, serial="1", size=(3, 2)),
    ]
    assert names(split_streams(frames)) == [["a1", "a2"], ["b1"], ["a3"], ["a4"]]
    assert names(split_streams(frames, across_folders=True)) == [["a1", "a2", "a4"], ["b1"], ["a3"]]


def test_bodies_without_serial_numbers_are_split_where_their_names_interleave() -> None:
    interleaved = [header(f"{name}.jpg", float(n)) for n, name in enumerate(("a1", "b1", "a2", "b2"))]
    assert names(split_streams(interleaved)) == [["a1", "a2"], ["b1", "b2"]]
    in_turn = [header(f"{name}.jpg", float(n)) for n, name in enumerate(("a1", "a2", "b1", "b2"))]
    assert names(split_streams(in_turn)) == [["a1", "a2", "b1", "b2"]]


def test_capture_time_orders_before_the_name() -> None:
    timed = [header("x10.jpg", 0.0), header("x2.jpg", 1.0), header("x1.jpg", 1.0)]
    assert names([in_capture_order(timed[::-1])]) == [["x10", "x1", "x2"]]
    untimed = [header(f"{name}.jpg") for name in ("x10", "x2")]
    assert names([in_capture_order(untimed)]) == [["x2", "x10"]]
