"""Every flag of ``smarthdr fuse`` does what its help says."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from smarthdr_cli.colorspace import OUTPUT_SPACES, REC709, conversion
from tests.support.shoots import TIMES

from .conftest import Fuse, Refused, Run, WriteBurst, parse
from .test_fuse import exr, hdr

PHYSICS = ("--deghost", "off")


@pytest.mark.parametrize(
    "option", [("--ev", "-2,0,2"), ("--exposure-times", "1/400,1/100,0.04"), ("--exposure-times", "1/400s,0.01,1/25")]
)
def test_stated_exposures_replace_missing_exif(fuse: Fuse, write_burst: WriteBurst, option: tuple[str, str]) -> None:
    report = fuse(write_burst(stated=None), *PHYSICS, *option)
    assert report["evs"] == pytest.approx([-2, 0, 2], abs=1e-4)
    assert not [note for note in report["notes"] if "measured from the pixels" in note]


def test_ev_overrides_exif_in_the_order_of_the_files(fuse: Fuse, burst: list[Path]) -> None:
    report = fuse(burst[::-1], *PHYSICS, "--ev", "1,0,-1", "--exposure-check", "off")
    assert report["files"] == ["img1.jpg", "img2.jpg", "img3.jpg"]
    assert report["evs"] == [-1, 0, 1]


def test_exposure_check(fuse: Fuse, write_burst: WriteBurst) -> None:
    wrong = (TIMES[0], TIMES[1], TIMES[2] * 2)  # EXIF says three stops, the pixels two
    files = write_burst(stated=wrong)
    known = (*PHYSICS, "--response", "srgb", "--exposure-check")
    off, warned, fixed = (fuse(files, *known, word) for word in ("off", "warn", "fix"))
    assert off["evs"] == warned["evs"] == [-2, 0, 3]
    assert len(warned["notes"]) > len(off["notes"])
    assert fixed["evs"] == pytest.approx([-2, 0, 2], abs=0.1)


def test_gains(fuse: Fuse, write_burst: WriteBurst, tmp_path: Path) -> None:
    drifted = (*TIMES[:2], TIMES[2] * 3 / 2)  # the pixels say 0.58 EV less than EXIF
    files = write_burst(stated=drifted)
    pictures = {}
    for word in ("auto", "off"):
        report = fuse(files, *PHYSICS, "--response", "srgb", "--gains", word)
        pictures[word] = exr(tmp_path / "out.exr")
        assert report["evs"] == pytest.approx([-2, 0, 2.58], abs=0.01)  # what is stated stays stated
        assert any("matched to the reference" in note for note in report["notes"]) == (word == "auto")
        assert ("gains" in report) == (word == "auto")
        if word == "auto":
            assert [one["file"] for one in report["gains"]] == [path.name for path in files]
            assert report["gains"][2]["ev"] == pytest.approx([0.58] * 3, abs=0.1)
            assert report["gains"][1]["ev"] == [0, 0, 0]
    # Shadows come from the longest frame: left alone they are as much too dark.
    dark = pictures["auto"].max(axis=2) < 0.05
    assert dark.any()
    ratio = float(np.median(np.log2(pictures["auto"][dark] / pictures["off"][dark])))
    assert ratio == pytest.approx(0.5, abs=0.2)


def test_response(fuse: Fuse, smarthdr: Run, burst: list[Path], tmp_path: Path) -> None:
    camera = tmp_path / "camera.toml"
    assert smarthdr("calibrate", *burst, "-o", camera).exit_code == 0
    pictures = {}
    for word in ("srgb", "gamma2.2", "linear", str(camera)):
        report = fuse(burst, *PHYSICS, "--response", word)
        assert report["options"]["response"] == Path(word).name  # no folders: it goes into the file
        pictures[word] = exr(tmp_path / "out.exr")
    auto = fuse(burst, *PHYSICS)
    assert "response" not in auto["options"]
    middle = {word: float(np.median(picture)) for word, picture in pictures.items()}
    assert len(set(middle.values())) == len(middle)
    assert middle["linear"] > 1.5 * middle["srgb"]  # codes taken for light are too bright
    assert middle[str(camera)] == pytest.approx(middle["srgb"], rel=0.15)  # the frames are sRGB


def test_reference(fuse: Fuse, burst: list[Path], tmp_path: Path) -> None:
    levels = []
    for n, path in enumerate(burst, start=1):
        report = fuse(burst, *PHYSICS, "--reference", n)
        assert report["reference"] == path.name
        levels.append(float(np.median(exr(tmp_path / "out.exr"))))
    np.testing.assert_allclose(np.divide(levels, levels[1]), [1 / 4, 1, 4], rtol=0.1)  # 1.0 is the reference's clip
    assert fuse(burst[::-1], *PHYSICS, "--reference", 1)["reference"] == "img3.jpg"


def test_align(fuse: Fuse, write_burst: WriteBurst) -> None:
    files = write_burst(shift=7, size=(320, 240))
    moved = {entry["file"]: entry["moved"] for entry in fuse(files, *PHYSICS)["alignment"]}
    assert moved == {"img1.jpg": True, "img2.jpg": False, "img3.jpg": True}
    assert not any(entry["moved"] for entry in fuse(files, *PHYSICS, "--align", "none")["alignment"])


def test_deghost(fuse: Fuse, burst: list[Path]) -> None:
    auto, strong, off = (fuse(burst, "--deghost", word) for word in ("auto", "strong", "off"))
    assert off["model"] == "none"
    assert strong["mean_trust"] < auto["mean_trust"]


def test_device_and_precision(fuse: Fuse, burst: list[Path], tmp_path: Path) -> None:
    pictures = []
    for word in ("fp32", "bf16"):
        report = fuse(burst, "--device", "cpu", "--precision", word, "--float")
        assert (report["device"], report["precision"]) == ("cpu", word)
        pictures.append(exr(tmp_path / "out.exr"))
    difference = np.abs(pictures[0] - pictures[1])
    assert 0 < difference.max() < 0.2


def test_tile(fuse: Fuse, write_burst: WriteBurst, tmp_path: Path) -> None:
    files = write_burst(size=(200, 136))
    pictures = []
    for word, size in (("0", 0), ("128", 128)):
        report = fuse(files, "--tile", word, "--precision", "fp32", "--float")
        assert report["tile"] == size
        pictures.append(exr(tmp_path / "out.exr"))
    np.testing.assert_allclose(np.log1p(pictures[1]), np.log1p(pictures[0]), atol=2e-3)


def test_max_memory_limits_the_tile(fuse: Fuse, burst: list[Path]) -> None:
    large, small = (fuse(burst, "--max-memory", size)["tile"] for size in ("8G", "0.7GiB"))
    assert 128 <= small < large
    assert large >= 256


@pytest.mark.parametrize("name", ["rec2020", "acescg"])
def test_colorspace(fuse: Fuse, burst: list[Path], tmp_path: Path, name: str) -> None:
    fuse(burst, *PHYSICS, "--float")
    plain = exr(tmp_path / "out.exr")
    assert fuse(burst, *PHYSICS, "--float", "--colorspace", name)["colorspace"] == name
    with OpenEXR.File(str(tmp_path / "out.exr")) as file:
        stated = np.asarray(file.header()["chromaticities"], float).ravel()
    space = OUTPUT_SPACES[name]
    np.testing.assert_allclose(stated, np.ravel(space.chromaticities), atol=1e-6)
    np.testing.assert_allclose(exr(tmp_path / "out.exr"), plain @ conversion(REC709, space).T, atol=1e-5, rtol=1e-4)


def test_anchor_changes_the_unit_only(fuse: Fuse, burst: list[Path], tmp_path: Path) -> None:
    pictures = {}
    for word in ("reference", "short"):
        fuse(burst, *PHYSICS, "--anchor", word, out="out.hdr")
        fuse(burst, *PHYSICS, "--anchor", word, "--float")
        pictures[word] = (*hdr(tmp_path / "out.hdr"), exr(tmp_path / "out.exr"))
    pixels, exposure, light = pictures["reference"]
    short_pixels, short_exposure, short_light = pictures["short"]
    np.testing.assert_allclose(short_light, light / 4, rtol=1e-6)  # the short frame is two stops down
    assert exposure != short_exposure
    np.testing.assert_allclose(short_pixels / short_exposure, pixels / exposure, rtol=1e-5)


def test_depth_and_compression(fuse: Fuse, burst: list[Path], tmp_path: Path) -> None:
    known = {"zip": OpenEXR.ZIP_COMPRESSION, "piz": OpenEXR.PIZ_COMPRESSION, "dwaa": OpenEXR.DWAA_COMPRESSION}
    for word, meant in known.items():
        fuse(burst, *PHYSICS, "--compression", word)
        with OpenEXR.File(str(tmp_path / "out.exr")) as file:
            assert file.header()["compression"] == meant
            assert file.channels()["RGB"].pixels.dtype == np.float16
    fuse(burst, *PHYSICS, "--float")
    with OpenEXR.File(str(tmp_path / "out.exr")) as file:
        assert file.channels()["RGB"].pixels.dtype == np.float32


def test_embedded_uncertainty_is_a_second_part(fuse: Fuse, burst: list[Path], tmp_path: Path) -> None:
    counts = []
    for options in ((), ("--embed-uncertainty",)):
        fuse(burst, *PHYSICS, *options)
        with OpenEXR.File(str(tmp_path / "out.exr")) as file:
            counts.append(len(file.parts))
    assert counts == [1, 2]


def test_weights_by_folder_and_by_name(
    smarthdr: Run, burst: list[Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.safetensors").write_bytes(weights.read_bytes())
    home = tmp_path / "home" / "weights"
    home.mkdir(parents=True)
    (home / "mine.safetensors").write_bytes(weights.read_bytes())
    monkeypatch.setenv("SMARTHDR_HOME", str(home.parent))
    for given, name in ((run, "model"), ("mine", "mine")):
        result = smarthdr("fuse", *burst, "-o", tmp_path / "o.exr", "--weights", given, "--json", "--overwrite")
        assert result.exit_code == 0, result.stderr
        assert parse(result.stdout)["model"]["name"] == name


def test_overwrite(fuse: Fuse, smarthdr: Run, burst: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out.exr"
    out.write_bytes(b"older")
    assert smarthdr("fuse", *burst, "-o", out, *PHYSICS).exit_code == 5
    assert out.read_bytes() == b"older"
    fuse(burst, *PHYSICS)
    assert exr(out).ndim == 3


def test_exposure_times_of_exif_become_evs(fuse: Fuse, write_burst: WriteBurst) -> None:
    files = write_burst(true=(Fraction(1, 800), Fraction(1, 100)), stated=(Fraction(1, 800), Fraction(1, 100)))
    evs = fuse(files, *PHYSICS)["evs"]
    assert evs[1] - evs[0] == pytest.approx(3)


def test_report(fuse: Fuse, burst: list[Path], tmp_path: Path) -> None:
    report = fuse(burst, *PHYSICS, "--report", tmp_path / "page.html")
    assert report["outputs"] == [str(tmp_path / "out.exr"), str(tmp_path / "page.html")]
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.endswith("</html>\n")
    assert "1/400 s, f/4, ISO 100" in page


def test_a_report_that_is_no_page_is_refused_at_once(refused: Refused, burst: list[Path], tmp_path: Path) -> None:
    line = refused(2, "fuse", *burst, "-o", tmp_path / "out.exr", "--report", tmp_path / "page.pdf")
    assert f"{tmp_path / 'page.pdf'}: the report is written as .html/.htm" in line
    assert not (tmp_path / "out.exr").exists()
