"""``--fail-if-uncertainty-above``: above the limit fuse writes its files and fails, batch writes none."""

import json
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from tests.support.shoots import TIMES, jpeg, scene, srgb, write_bracket

from .conftest import HEIGHT, SEED, WIDTH, Refused, Run, parse

FLAG = "--fail-if-uncertainty-above"
FAST = ("--deghost", "off", "--align", "none", "--response", "srgb", "--device", "cpu")


def test_just_below_and_just_above_the_limit(smarthdr: Run, burst: list[Path], weights: Path, tmp_path: Path) -> None:
    out, chart = tmp_path / "out.exr", tmp_path / "sigma.exr"
    given = ("--weights", weights, "--precision", "fp32", "--json", "-q", "--overwrite")
    common = ("fuse", *burst, "-o", out, "--uncertainty", chart, *given)
    plain = smarthdr(*common)
    assert plain.exit_code == 0
    mean = parse(plain.stdout)["uncertainty"]["mean"]
    with OpenEXR.File(str(chart)) as file:
        assert float(np.mean(file.channels()["sigma.mu"].pixels)) == pytest.approx(mean, rel=1e-3)
    assert smarthdr(*common, FLAG, mean * 1.001).exit_code == 0
    for path in (out, chart):
        path.unlink()
    above = smarthdr(*common, FLAG, mean * 0.999)
    assert above.exit_code == 8
    (line,) = above.stderr.splitlines()
    assert line.startswith(f"smarthdr: the mean uncertainty of the picture is {mean:.4f}, above ")
    assert line.endswith(f"; {out} was written all the same")
    assert parse(above.stdout)["uncertainty"]["mean"] == mean
    assert out.exists()
    assert chart.exists()


def test_ghosts_are_above_the_limit(smarthdr: Run, tmp_path: Path) -> None:
    """An object moves through the burst: the static merge shows it three times, the network once."""
    files = []
    for number, time in enumerate(TIMES):
        light = scene(SEED, WIDTH, HEIGHT)
        light[30:90, 60 + 25 * number : 80 + 25 * number] *= 0.1
        files.append(tmp_path / f"{number}.jpg")
        files[-1].write_bytes(jpeg(srgb(light * float(time / TIMES[1])), time))
    common = ("fuse", *files, "-o", tmp_path / "o.exr", "--align", "none", "--response", "srgb", "--device", "cpu")
    common += ("--precision", "fp32", "--json", "-q", "--overwrite", FLAG, 0.013)
    clean, ghosts = smarthdr(*common), smarthdr(*common, "--deghost", "off")
    assert (clean.exit_code, ghosts.exit_code) == (0, 8)
    assert parse(ghosts.stdout)["uncertainty"]["mean"] > 1.5 * parse(clean.stdout)["uncertainty"]["mean"]


@pytest.mark.parametrize("limit", ["0", "1", "-1", "nan", "5"])
def test_limits_outside_0_and_1_are_refused(refused: Refused, burst: list[Path], tmp_path: Path, limit: str) -> None:
    line = refused(2, "fuse", *burst, "-o", tmp_path / "o.exr", f"{FLAG}={limit}")
    assert f"{FLAG} {limit}: use a number above 0 and below 1" in line
    line = refused(2, "batch", burst[0].parent, "-o", tmp_path / "out", "-q", f"{FLAG}={limit}", *FAST)
    assert "use a number above 0 and below 1" in line


def test_a_set_above_the_limit_fails_in_batch(smarthdr: Run, tmp_path: Path) -> None:
    """One of three sets is clipped in its shortest frame: it fails, and is written once the limit is removed."""
    shoot, out = tmp_path / "shoot", tmp_path / "merged"
    for number in range(3):
        light = scene(number)
        if number == 1:
            light[:16] = 50.0  # beyond even the shortest frame
        write_bracket(shoot, number, light=light)
    run = ("batch", shoot, "-o", out, *FAST)
    result = smarthdr(*run, FLAG, 0.1)
    assert result.exit_code == 7
    assert "IMG_0004-IMG_0006: the mean uncertainty of the picture is 0." in result.stderr
    assert "of the picture is clipped in every frame) (exit 8)" in result.stderr
    records = {r["name"]: r for r in map(json.loads, (out / "results.jsonl").read_text().splitlines())}
    assert [records[name]["status"] for name in sorted(records)] == ["ok", "failed", "ok"]
    failed = records["IMG_0004-IMG_0006"]
    assert (failed["error"]["code"], failed["error"]["type"], failed["outputs"]) == (8, "UncertaintyLimitError", [])
    assert sorted(path.stem for path in out.glob("*.exr")) == ["IMG_0001-IMG_0003", "IMG_0007-IMG_0009"]
    others = [records[name]["uncertainty"]["mean"] for name in sorted(records) if name != failed["name"]]
    assert max(others) < 0.1
    assert smarthdr(*run, FLAG, 0.1, "--skip-existing", "-q").exit_code == 7  # it fails again, the others are skipped
    lifted = smarthdr(*run, "--retry-failed", "--json", "-q")
    assert lifted.exit_code == 0
    assert parse(lifted.stdout)["uncertainty"]["mean"] > 0.2
    assert len(list(out.glob("*.exr"))) == 3
    assert smarthdr(*run, FLAG, 0.1, "--skip-existing", "-q").exit_code == 0  # finished sets are not checked again
