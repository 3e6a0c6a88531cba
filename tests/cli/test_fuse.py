"""``smarthdr fuse`` from files to files."""

import errno
import os
import re
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import OpenEXR
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from smarthdr_cli.output.write import read_provenance
from tests.support.files import random_scene
from tests.support.shoots import TIMES, jpeg, scene, srgb

from .conftest import HEIGHT, SEED, STAGE, WIDTH, Fuse, Run, WriteBurst, messages, parse


def exr(path: Path) -> NDArray[np.float32]:
    with OpenEXR.File(str(path)) as file:
        return np.asarray(file.channels()["RGB"].pixels, np.float32)


def hdr(path: Path) -> tuple[NDArray[np.float32], float]:
    """Pixels as OpenCV reads them, and the header's EXPOSURE."""
    exposure = re.search(rb"^EXPOSURE=\s*(\S+)", path.read_bytes()[:4096], re.MULTILINE)
    assert exposure
    return cv2.imread(str(path), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)[..., ::-1], float(exposure[1])


def test_result_uncertainty_and_preview(smarthdr: Run, burst: list[Path], weights: Path, tmp_path: Path) -> None:
    out, heat, preview = tmp_path / "out.exr", tmp_path / "out-uncertainty.png", tmp_path / "out.jpg"
    result = smarthdr("fuse", *burst, "-o", out, "--uncertainty", heat, "--preview", preview, "--weights", weights)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert exr(out).shape == (HEIGHT, WIDTH, 3)
    with Image.open(heat) as picture:
        assert picture.size == (WIDTH, HEIGHT)
    with Image.open(preview) as picture:
        assert picture.size == (WIDTH, HEIGHT)
        assert picture.getexif()[0x010F] == "Maker"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["burst", "out-uncertainty.png", "out.exr", "out.jpg"]


def test_several_outputs(smarthdr: Run, burst: list[Path], weights: Path, tmp_path: Path) -> None:
    exr_out, jpg = tmp_path / "out.exr", tmp_path / "out.jpg"
    options = ("-o", exr_out, "-o", jpg, "--look", "vivid", "--preview-ev", "0.5", "--compression", "piz", "--json")
    result = smarthdr("fuse", *burst, *options, "--weights", weights)
    assert result.exit_code == 0, result.stderr
    assert parse(result.stdout)["outputs"] == [str(exr_out), str(jpg)]
    strings = read_provenance(jpg)
    assert strings is not None
    headroom = 2 ** float(strings["smarthdr:hdrHeadroom"])
    restored = imagecodecs.ultrahdr_decode(jpg.read_bytes(), transfer=imagecodecs.ULTRAHDR.CT.LINEAR, boost=16.0)
    expected = np.clip(exr(exr_out) * float(strings["smarthdr:hdrScale"]), 0, headroom)
    assert restored[..., :3].mean() == pytest.approx(expected.mean(), rel=0.02)


def test_of_several_outputs_all_are_written_or_none(
    smarthdr: Run, burst: list[Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace

    def full_at_the_second(source: Path, target: Path) -> None:
        if Path(target).suffix == ".jpg":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(os, "replace", full_at_the_second)
    result = smarthdr("fuse", *burst, "-o", tmp_path / "a.exr", "-o", tmp_path / "a.jpg", "--weights", weights)
    assert result.exit_code == 5
    assert "no space left" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["burst"]


def test_an_option_that_no_output_has(smarthdr: Run, burst: list[Path], tmp_path: Path) -> None:
    result = smarthdr("fuse", *burst, "-o", tmp_path / "a.exr", "-o", tmp_path / "a.hdr", "--look", "vivid")
    assert result.exit_code == 2
    assert "--look is an option of --preview, .jpg" in result.stderr


def test_keys_of_the_json_report(fuse: Fuse, burst: list[Path], weights: Path, tmp_path: Path) -> None:
    report = fuse([burst[2], burst[0], burst[1]])
    assert report["files"] == ["img1.jpg", "img2.jpg", "img3.jpg"]
    assert report["evs"] == [-2.0, 0.0, 2.0]
    assert report["reference"] == "img2.jpg"
    assert report["size"] == [WIDTH, HEIGHT]
    assert report["outputs"] == [str(tmp_path / "out.exr")]
    assert report["options"] == {"weights": weights.name}
    assert report["model"]["network"] == "saf"
    assert 0 <= report["guard"]["changed_share"] <= 1
    assert 0 < report["uncertainty"]["mean"] <= 1
    assert {"read", "align", "response", "load", "fuse", "convert"} <= set(report["seconds"])
    assert all(isinstance(value, float) for value in report["seconds"].values())


def test_json_goes_to_stdout_and_notes_to_stderr(
    smarthdr: Run, write_burst: WriteBurst, weights: Path, tmp_path: Path
) -> None:
    files = write_burst(stated=None)
    result = smarthdr("fuse", *files, "-o", tmp_path / "o.exr", "--weights", weights, "--json")
    assert result.exit_code == 0
    notes = parse(result.stdout)["notes"]
    assert notes
    assert messages(result)[:-1] == [f"note: {' '.join(note.split())}" for note in notes]


def test_the_last_line_says_what_was_done(
    smarthdr: Run, burst: list[Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ("-o", "o.exr", "--preview", "p.jpg", "--weights", weights, "--json")
    result = smarthdr("fuse", *burst, *arguments)
    assert result.exit_code == 0, result.stderr
    report, last = parse(result.stdout), result.stderr.splitlines()[-1]
    parts = last.split("; ")
    assert parts[0] == f"wrote {tmp_path / 'o.exr'}, {tmp_path / 'p.jpg'}"
    assert report["outputs"] == [str(tmp_path / "o.exr"), str(tmp_path / "p.jpg")]
    assert parts[1] == "reference img2.jpg"
    assert parts[2] == f"{report['guard']['changed_share']:.1%} changed from a plain merge"
    assert parts[3] == f"mean uncertainty {report['uncertainty']['mean']:.4f}"
    assert re.fullmatch(r"\d+\.\d s", parts[4])
    assert float(parts[4].removesuffix(" s")) >= sum(report["seconds"].values()) - 0.1


def test_without_a_terminal_every_stage_has_a_line(smarthdr: Run, burst: list[Path], tmp_path: Path) -> None:
    result = smarthdr("fuse", *burst, "-o", tmp_path / "o.exr", "--deghost", "off")
    stages = [line.split("s  ", 1)[1] for line in result.stderr.splitlines() if STAGE.match(line)]
    assert stages[:3] == ["reading the files", "loading the network", "aligning the frames"]
    assert stages[-2:] == ["converting colours", "writing"]


def test_frames_of_another_scene_are_named(smarthdr: Run, write_burst: WriteBurst, tmp_path: Path) -> None:
    files = write_burst()
    files[2].write_bytes(jpeg(srgb(random_scene(HEIGHT, WIDTH) * 4), TIMES[2]))
    result = smarthdr("fuse", *files, "-o", tmp_path / "o.exr", "--deghost", "off", "--json")
    assert result.exit_code == 0
    (found,) = parse(result.stdout)["other_scenes"]
    assert found["files"] == ["img3.jpg"]
    assert found["correlation"] < 0.3
    assert "note: these frames may not show one scene: img3.jpg and the others" in result.stderr


def test_the_legend_is_a_file_of_its_own(fuse: Fuse, burst: list[Path], tmp_path: Path) -> None:
    report = fuse(burst, "--deghost", "off", "--legend", tmp_path / "legend.png")
    assert report["outputs"][-1] == str(tmp_path / "legend.png")
    with Image.open(tmp_path / "legend.png") as picture:
        assert picture.width > picture.height


def test_quiet_prints_nothing(smarthdr: Run, write_burst: WriteBurst, weights: Path, tmp_path: Path) -> None:
    result = smarthdr("fuse", *write_burst(stated=None), "-o", tmp_path / "o.exr", "--weights", weights, "-q")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_lines_of_verbose(smarthdr: Run, burst: list[Path], weights: Path, tmp_path: Path) -> None:
    result = smarthdr("fuse", *burst, "-o", tmp_path / "o.exr", "--weights", weights, "-v", "--tile", "128")
    assert result.exit_code == 0
    assert result.stdout == ""
    lines = dict(line.split(": ", 1) for line in messages(result)[:-1] if not line.startswith("note"))
    assert lines["frames"] == (
        "img1.jpg -2.00 EV, img2.jpg +0.00 EV, img3.jpg +2.00 EV; exposures as EXIF states them; "
        "the result shows the moment of img2.jpg"
    )
    assert lines["camera movement"] == "none that needed correction"
    assert re.match(r"estimated from the frames, much like a gamma of 2\.\d; \d+% of", lines["tone curve"])
    assert "stand-in (saf, sha256 " in lines["network"]
    assert lines["network"].endswith("tiles of 128 pixels")
    assert re.match(r"[\d.]+% of the picture differs from a plain merge", lines["ghosts"])
    assert re.match(
        r"0\.\d{4} on average \([\d.]+ stops\), below 0\.\d{4} in 95 % of the picture", lines["uncertainty"]
    )
    assert re.search(r"aligning the frames [\d.]+,.* fusing [\d.]+,.*\(in all [\d.]+\)", lines["seconds"])
    assert all(len(line) < 400 for line in lines.values())


def test_verbose_states_the_share_without_motion(
    smarthdr: Run, write_burst: WriteBurst, weights: Path, tmp_path: Path
) -> None:
    paths = [path.with_suffix(".tif") for path in write_burst()]
    for path, ev in zip(paths, (-2, 0, 2), strict=True):
        codes = np.clip(scene(SEED, WIDTH, HEIGHT) * 2.0**ev, 0, 1) ** (1 / 2.2)
        cv2.imwrite(str(path), np.round(codes * 65535).astype(np.uint16))
    options = ("--weights", weights, "-v", "--ev", "-2,0,2", "--response", "gamma2.2")
    result = smarthdr("fuse", *paths, "-o", tmp_path / "o.exr", *options)
    assert result.exit_code == 0
    assert "motion: none in 100.0% of the picture" in result.stderr


def test_verbose_without_the_network(smarthdr: Run, burst: list[Path], tmp_path: Path) -> None:
    result = smarthdr("fuse", *burst, "-o", tmp_path / "o.exr", "--deghost", "off", "-v")
    assert result.exit_code == 0
    assert "network: none on cpu, fp32" in result.stderr.splitlines()


def test_the_static_merge_measures_the_radiance_of_the_scene(fuse: Fuse, burst: list[Path], tmp_path: Path) -> None:
    fuse(burst, "--deghost", "off", "--response", "srgb", "--align", "none")
    truth = scene(SEED, WIDTH, HEIGHT)
    exposed = (truth < 3.5) & (truth > 0.01)  # not beyond the short frame's clip, nor in the JPEG's last codes
    ratio = exr(tmp_path / "out.exr")[exposed] / truth[exposed]
    assert np.median(ratio) == pytest.approx(1, abs=0.01)
    assert np.percentile(np.abs(ratio - 1), 95) < 0.1


def test_all_formats_hold_the_same_picture(fuse: Fuse, burst: list[Path], tmp_path: Path) -> None:
    options = ("--deghost", "off")
    fuse(burst, *options, "--float")
    fuse(burst, *options, out="out.hdr")
    fuse(burst, *options, out="out.tif")
    picture = exr(tmp_path / "out.exr")
    np.testing.assert_allclose(tifffile.imread(tmp_path / "out.tif"), picture, rtol=1e-6)
    pixels, _ = hdr(tmp_path / "out.hdr")
    assert np.abs(pixels - picture).max() <= picture.max() / 100  # 8 bits for the brightest channel of each pixel


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_previews_of_every_format(fuse: Fuse, burst: list[Path], tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"preview{suffix}"
    report = fuse(burst, "--deghost", "off", "--preview", path)
    assert report["outputs"] == [str(tmp_path / "out.exr"), str(path)]
    pixels = tifffile.imread(path) if suffix == ".tif" else np.asarray(Image.open(path))
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert pixels.dtype == (np.uint16 if suffix == ".tif" else np.uint8)
    assert pixels.std() > 10


def test_uncertainty_as_channels(fuse: Fuse, burst: list[Path], tmp_path: Path) -> None:
    report = fuse(burst, "--uncertainty", tmp_path / "sigma.exr")
    with OpenEXR.File(str(tmp_path / "sigma.exr"), separate_channels=True) as file:
        channels = {name: np.asarray(channel.pixels, np.float32) for name, channel in file.channels().items()}
    sigma = next(pixels for name, pixels in channels.items() if name.endswith("mu"))
    assert sigma.shape == (HEIGHT, WIDTH)
    assert float(sigma.mean()) == pytest.approx(report["uncertainty"]["mean"], rel=1e-2)


def test_odd_sizes_and_two_frames(fuse: Fuse, write_burst: WriteBurst, tmp_path: Path) -> None:
    files = write_burst(size=(157, 101))
    assert fuse(files[:2])["files"] == ["img1.jpg", "img2.jpg"]
    assert exr(tmp_path / "out.exr").shape == (101, 157, 3)
