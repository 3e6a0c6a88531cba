"""``smarthdr calibrate``: brackets in, a curve out."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .conftest import Run, WriteBurst, parse


def test_the_curve_of_srgb_frames(smarthdr: Run, burst: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "camera.toml"
    result = smarthdr("calibrate", *burst, "-o", out, "--json")
    assert result.exit_code == 0, result.stderr
    assert parse(result.stdout)["output"] == str(out)
    curve = np.array(tomllib.loads(out.read_text())["curve"]["green"])
    code = np.linspace(0, 1, len(curve))
    meant = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    well = (code > 0.2) & (code < 0.9)
    relative = curve[well] / meant[well]
    assert np.abs(relative / np.median(relative) - 1).max() < 0.1


def test_stated_exposures_and_overwriting(smarthdr: Run, write_burst: WriteBurst, tmp_path: Path) -> None:
    files, out = write_burst(stated=None), tmp_path / "camera.toml"
    for option in (("--ev", "-2,0,2"), ("--exposure-times", "1/400,1/100,1/25", "--align", "none")):
        result = smarthdr("calibrate", *files, "-o", out, *option, "-q", "--overwrite")
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
        assert out.exists()


def test_errors(refused: Callable[..., str], burst: list[Path], write_burst: WriteBurst, tmp_path: Path) -> None:
    out = tmp_path / "camera.toml"
    assert ".toml" in refused(2, "calibrate", *burst, "-o", tmp_path / "camera.json")
    assert "2 values for 3 files" in refused(2, "calibrate", *burst, "-o", out, "--ev", "1,2")
    refused(3, "calibrate", burst[0], "-o", out)
    refused(3, "calibrate", *burst[:2], tmp_path / "absent.jpg", "-o", out)
    unknown = write_burst("unknown", stated=None)  # exposures guessed under a curve would only give that curve back
    assert "known exposures" in refused(3, "calibrate", *unknown, "-o", out)
    refused(5, "calibrate", *burst, "-o", tmp_path / "absent" / "camera.toml")
    out.write_text("older")
    assert "--overwrite" in refused(5, "calibrate", *burst, "-o", out)
    assert out.read_text() == "older"


def test_a_damaged_calibration_is_refused_by_fuse(
    refused: Callable[..., str], burst: list[Path], tmp_path: Path
) -> None:
    camera = tmp_path / "camera.toml"
    for text in ("", "format = 3", "[curve]\n", "\x00"):
        camera.write_text(text)
        options = ("--response", camera, "--deghost", "off")
        assert "camera.toml" in refused(3, "fuse", *burst, "-o", tmp_path / "o.exr", *options)
    refused(3, "fuse", *burst, "-o", tmp_path / "o.exr", "--response", tmp_path / "absent.toml", "--deghost", "off")
