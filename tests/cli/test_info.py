"""``smarthdr info``: a table and JSON. ``smarthdr calibrate``: a tone curve from brackets."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from smarthdr_cli.cli.info import number, seconds, signed

from .conftest import HEIGHT, WIDTH, Refused, Run, WriteBurst, parse


def test_the_table(smarthdr: Run, burst: list[Path]) -> None:
    result = smarthdr("info", *burst)
    assert result.exit_code == 0
    header, *rows = [line.split() for line in result.stdout.splitlines()]
    assert header == ["file", "size", "time", "f/", "ISO", "EV", "measured", "clipped", "black", "sharpness"]
    assert [row[0] for row in rows] == [str(path) for path in burst]
    assert [row[1:6] for row in rows] == [
        [f"{WIDTH}x{HEIGHT}", time, "4", "100", ev]
        for time, ev in (("1/400", "-2.00"), ("1/100", "+0.00"), ("1/25", "+2.00"))
    ]
    assert [row[-1] == "reference" for row in rows] == [False, True, False]


def test_rows_are_not_folded_in_a_pipe(smarthdr: Run, write_burst: WriteBurst) -> None:
    files = write_burst("a folder [with] :a: long name" + "-" * 90)
    result = smarthdr("info", *files)
    assert result.exit_code == 0
    rows = result.stdout.splitlines()[1:]
    assert [row.startswith(str(path)) for row, path in zip(rows, files, strict=True)] == [True] * 3


def test_json(smarthdr: Run, burst: list[Path]) -> None:
    result = smarthdr("info", *burst[::-1], "--json")
    assert result.exit_code == 0
    frames = parse(result.stdout)["frames"]
    assert [Path(frame["file"]).name for frame in frames] == ["img3.jpg", "img2.jpg", "img1.jpg"]
    assert [frame["ev"] for frame in frames] == [2.0, 0.0, -2.0]
    assert [frame["ev_measured"] for frame in frames] == pytest.approx([2, 0, -2], abs=0.15)
    assert [frame["reference"] for frame in frames] == [False, True, False]
    assert frames[0]["clipped"] > frames[2]["clipped"]
    assert frames[0]["time"] == pytest.approx(1 / 25)


def test_stated_exposures_and_notes(smarthdr: Run, write_burst: WriteBurst) -> None:
    files = write_burst(stated=None)
    unknown = smarthdr("info", *files)
    assert unknown.exit_code == 0
    assert "note: no exposures stated" in unknown.stderr
    assert smarthdr("info", *files, "-q").stderr == ""
    for option in (("--ev", "-2,0,2"), ("--exposure-times", "1/400,1/100,1/25")):
        frames = parse(smarthdr("info", *files, *option, "--reference", 1, "--json").stdout)["frames"]
        assert [frame["ev"] for frame in frames] == pytest.approx([0, 2, 4])
        assert frames[0]["reference"]


def test_errors_of_info(smarthdr: Run, burst: list[Path], tmp_path: Path) -> None:
    for code, *arguments in ((3, tmp_path / "absent.jpg"), (2, *burst, "--ev", "1"), (2, *burst, "--reference", "x")):
        result = smarthdr("info", *arguments)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (code, "", 1)


@pytest.mark.parametrize(
    ("time", "text"), [(None, "-"), (1 / 125, "1/125"), (0.25, "1/4"), (0.3, "0.3"), (1.0, "1"), (2.5, "2.5")]
)
def test_seconds(time: float | None, text: str) -> None:
    assert seconds(time) == text


def test_numbers() -> None:
    assert [number(v) for v in (None, 2.8, 100.0)] == ["-", "2.8", "100"]
    assert [signed(v) for v in (None, -2.0, 0.334)] == ["-", "-2.00", "+0.33"]


def test_the_calibrated_curve_of_srgb_frames_is_srgb(smarthdr: Run, burst: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "camera.toml"
    result = smarthdr("calibrate", *burst, "-o", out, "--json")
    assert result.exit_code == 0, result.stderr
    assert parse(result.stdout)["output"] == str(out)
    curve = np.array(tomllib.loads(out.read_text())["curve"]["green"])
    code = np.linspace(0, 1, len(curve))
    expected = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    exposed = (code > 0.2) & (code < 0.9)
    relative = curve[exposed] / expected[exposed]
    assert np.abs(relative / np.median(relative) - 1).max() < 0.1


def test_calibrate_with_stated_exposures_and_overwrite(smarthdr: Run, write_burst: WriteBurst, tmp_path: Path) -> None:
    files, out = write_burst(stated=None), tmp_path / "camera.toml"
    for option in (("--ev", "-2,0,2"), ("--exposure-times", "1/400,1/100,1/25", "--align", "none")):
        result = smarthdr("calibrate", *files, "-o", out, *option, "-q", "--overwrite")
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
        assert out.exists()


def test_errors_of_calibrate(refused: Refused, burst: list[Path], write_burst: WriteBurst, tmp_path: Path) -> None:
    out = tmp_path / "camera.toml"
    assert ".toml" in refused(2, "calibrate", *burst, "-o", tmp_path / "camera.json")
    assert "2 values for 3 files" in refused(2, "calibrate", *burst, "-o", out, "--ev", "1,2")
    refused(3, "calibrate", burst[0], "-o", out)
    refused(3, "calibrate", *burst[:2], tmp_path / "absent.jpg", "-o", out)
    unknown = write_burst("unknown", stated=None)  # exposures measured under a curve only return that curve
    assert "known exposures" in refused(3, "calibrate", *unknown, "-o", out)
    refused(5, "calibrate", *burst, "-o", tmp_path / "absent" / "camera.toml")
    out.write_text("older")
    assert "--overwrite" in refused(5, "calibrate", *burst, "-o", out)
    assert out.read_text() == "older"


def test_a_damaged_calibration_is_refused_by_fuse(refused: Refused, burst: list[Path], tmp_path: Path) -> None:
    camera = tmp_path / "camera.toml"
    for text in ("", "format = 3", "[curve]\n", "\x00"):
        camera.write_text(text)
        options = ("--response", camera, "--deghost", "off")
        assert "camera.toml" in refused(3, "fuse", *burst, "-o", tmp_path / "o.exr", *options)
    refused(3, "fuse", *burst, "-o", tmp_path / "o.exr", "--response", tmp_path / "absent.toml", "--deghost", "off")
