import json
import struct
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.burst.burst import CaptureMetadata
from smarthdr_cli.colorspace import ACESCG, DISPLAY_P3, PROPHOTO, REC709, REC2020
from smarthdr_cli.errors import OutputError, UsageError
from smarthdr_cli.output import exr
from smarthdr_cli.output.exr import interop_id, write_exr, write_uncertainty_exr
from smarthdr_cli.output.sigma import sigma_radiance
from smarthdr_cli.radiometry import mu_law, radiance_per_mu_law


def raw_attributes(path):
    """name -> (type, bytes) by the file layout itself, single part: the standard's own words, not the library's."""
    data = path.read_bytes()
    assert data[:4] == b"v/1\x01"
    place, found = 8, {}
    while data[place]:
        name, place = data[place : data.index(0, place)].decode(), data.index(0, place) + 1
        kind, place = data[place : data.index(0, place)].decode(), data.index(0, place) + 1
        (size,) = struct.unpack_from("<i", data, place)
        found[name] = kind, data[place + 4 : place + 4 + size]
        place += 4 + size
    return found


@pytest.mark.parametrize("compression", ["zip", "piz", "ZIP"])
def test_half_is_the_nearest_half(tmp_path, fused, compression):
    assert write_exr(fused, tmp_path / "a.exr", compression=compression) == []
    with OpenEXR.File(str(tmp_path / "a.exr")) as file:
        pixels = file.channels()["RGB"].pixels
        assert file.header()["compression"] == getattr(OpenEXR, f"{compression.upper()}_COMPRESSION")
    assert pixels.dtype == np.float16
    np.testing.assert_array_equal(pixels, fused.radiance.astype(np.float16))


def test_float_is_exact_and_negatives_stay(tmp_path, make_fused):
    fused = make_fused(np.random.default_rng(1).normal(size=(9, 11, 3)).astype(np.float32))
    write_exr(fused, tmp_path / "a.exr", depth="float")
    with OpenEXR.File(str(tmp_path / "a.exr"), separate_channels=True) as file:
        for number, name in enumerate("RGB"):
            np.testing.assert_array_equal(file.channels()[name].pixels, fused.radiance[..., number])


def test_attributes_by_name_type_and_value(tmp_path, fused):
    write_exr(fused, tmp_path / "a.exr")
    found = raw_attributes(tmp_path / "a.exr")

    def number(name):
        kind, data = found[name]
        assert kind == "float"
        return struct.unpack("<f", data)[0]

    def text(name):
        kind, data = found[name]
        assert kind == "string"
        return data.decode()

    kind, data = found["chromaticities"]
    assert kind == "chromaticities"
    np.testing.assert_allclose(struct.unpack("<8f", data), np.ravel(REC709.chromaticities), atol=1e-6)
    assert text("colorInteropID") == "lin_rec709_scene"
    assert number("expTime") == pytest.approx(1 / 250)  # the reference's
    assert number("aperture") == 8.0
    assert number("isoSpeed") == 200.0
    assert number("utcOffset") == -7200.0  # UTC = local + offset
    assert text("capDate") == "2024:05:06 07:08:09"
    assert text("owner") == "Zoë Ångström"
    assert text("comments") == "on the hill"
    assert text("cameraModel") == "Model X"
    assert number("nominalFocalLength") == 50.0
    assert "whiteLuminance" not in found
    assert text("smarthdr:anchor") == "pixel = radiance at the reference exposure; 1.0 = reference clip"
    assert text("smarthdr:evs") == "-2 0 2"
    assert text("smarthdr:model") == "saf-base"
    assert json.loads(text("smarthdr:response")) == {"name": "srgb"}
    inputs = json.loads(text("smarthdr:inputs"))
    assert [record["name"] for record in inputs] == ["img0.jpg", "img1.jpg", "img2.jpg"]  # no folder
    assert inputs[2]["sha256"] == f"{2:064x}"
    assert text("smarthdr:version")
    assert json.loads(text("smarthdr:options")) == {"deghost": "auto"}


def test_what_is_not_known_is_absent(tmp_path, make_fused):
    write_exr(make_fused(capture=CaptureMetadata(), report={}), tmp_path / "a.exr")
    found = raw_attributes(tmp_path / "a.exr")
    assert not {"owner", "comments", "capDate", "utcOffset", "lensModel", "smarthdr:model"} & set(found)


@pytest.mark.parametrize(
    ("space", "name"),
    [
        (REC709, "lin_rec709_scene"),
        (REC2020, "lin_rec2020_scene"),
        (ACESCG, "lin_ap1_scene"),
        (DISPLAY_P3, "lin_p3d65_scene"),
        (PROPHOTO, "unknown"),
    ],
)
def test_interop_id(space, name):
    assert interop_id(space) == name


def test_colour_metadata_satisfy_the_library(tmp_path, make_fused):
    for space in (REC709, REC2020, ACESCG):
        write_exr(make_fused(colorspace=space), tmp_path / "a.exr", overwrite=True)
        with OpenEXR.File(str(tmp_path / "a.exr"), header_only=True) as file:
            assert OpenEXR.checkColorMetadata(file.header()) == OpenEXR.OK


def test_short_anchor_is_stated(tmp_path, make_fused):
    write_exr(make_fused(anchor_ev=-2.0), tmp_path / "a.exr")
    assert b"-2 EV from the reference" in raw_attributes(tmp_path / "a.exr")["smarthdr:anchor"][1]


@pytest.mark.parametrize("value", [65505.0, 70000.0, -70000.0, 1e9])
def test_above_half_is_promoted_or_refused(tmp_path, make_fused, value):
    radiance = np.full((8, 8, 3), 0.5, np.float32)
    radiance[3, 3, 1] = value
    notes = write_exr(make_fused(radiance), tmp_path / "a.exr")
    assert len(notes) == 1
    assert "float" in notes[0]
    with OpenEXR.File(str(tmp_path / "a.exr")) as file:
        np.testing.assert_array_equal(file.channels()["RGB"].pixels, radiance)
    with pytest.raises(OutputError, match="--float"):
        write_exr(make_fused(radiance), tmp_path / "b.exr", depth="half")
    assert not (tmp_path / "b.exr").exists()


def test_largest_half_stays_half(tmp_path, make_fused):
    radiance = np.full((8, 8, 3), 65504.0, np.float32)
    assert write_exr(make_fused(radiance), tmp_path / "a.exr", depth="half") == []
    with OpenEXR.File(str(tmp_path / "a.exr")) as file:
        assert file.channels()["RGB"].pixels.max() == 65504.0


def test_dwaa_is_close_and_never_infinite(tmp_path, make_fused):
    y, x = np.mgrid[:64, :64] / 64.0
    radiance = np.stack((x + 0.1, y + 0.1, x * y + 0.2), axis=-1).astype(np.float32)
    notes = write_exr(make_fused(radiance), tmp_path / "a.exr", compression="dwaa")
    assert "lossy" in notes[0]
    with OpenEXR.File(str(tmp_path / "a.exr")) as file:
        np.testing.assert_allclose(file.channels()["RGB"].pixels, radiance, rtol=0.05)
    radiance[10:20] *= 200000  # DWAA itself makes these infinite, float or half
    for depth in ("auto", "float"):
        notes = write_exr(make_fused(radiance), tmp_path / "b.exr", compression="dwaa", depth=depth, overwrite=True)
        assert any("ZIP" in note for note in notes)
        with OpenEXR.File(str(tmp_path / "b.exr")) as file:
            np.testing.assert_array_equal(file.channels()["RGB"].pixels, radiance)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_written(tmp_path, make_fused, bad):
    radiance = np.ones((5, 6, 3), np.float32)
    radiance[2, 2, 2] = bad
    sigma = np.full((5, 6), 0.1, np.float32)
    sigma[1, 1] = bad
    with pytest.raises(OutputError, match="not finite"):
        write_exr(make_fused(radiance), tmp_path / "a.exr")
    with pytest.raises(OutputError, match="not finite"):
        write_exr(make_fused(uncertainty=sigma), tmp_path / "a.exr", embed_uncertainty=True)
    with pytest.raises(OutputError, match="not finite"):
        write_uncertainty_exr(make_fused(uncertainty=sigma), tmp_path / "a.exr")
    assert list(tmp_path.iterdir()) == []


def test_unknown_compression(tmp_path, fused):
    with pytest.raises(UsageError, match="zip, piz, dwaa"):
        write_exr(fused, tmp_path / "a.exr", compression="b44")


def test_embedded_uncertainty_is_a_second_data_part(tmp_path, fused):
    write_exr(fused, tmp_path / "a.exr", embed_uncertainty=True)
    with OpenEXR.File(str(tmp_path / "a.exr"), separate_channels=True) as file:
        assert [part.name() for part in file.parts] == ["rgb", "uncertainty"]
        assert set(file.parts[0].channels) == {"R", "G", "B"}
        data = file.parts[1]
        assert data.header["colorInteropID"] == "data"
        assert "chromaticities" not in data.header
        assert OpenEXR.checkColorMetadata(data.header, file.parts[0].header) == OpenEXR.OK
        np.testing.assert_array_equal(data.channels["sigma.mu"].pixels, fused.uncertainty.astype(np.float16))
        np.testing.assert_array_equal(data.channels["sigma.radiance"].pixels, sigma_radiance(fused))


def test_uncertainty_alone(tmp_path, fused):
    write_uncertainty_exr(fused, tmp_path / "u.exr")
    with OpenEXR.File(str(tmp_path / "u.exr")) as file:
        assert set(file.channels()) == {"sigma.mu", "sigma.radiance"}
        np.testing.assert_allclose(file.channels()["sigma.mu"].pixels, fused.uncertainty, rtol=2**-10, atol=1e-7)
        assert file.header()["colorInteropID"] == "data"
        assert "68 %" in file.header()["comments"]
        assert file.header()["smarthdr:reference"] == "img1.jpg"


@given(st.floats(1e-6, 100.0))
def test_slope_is_the_finite_difference(h):
    step = 1e-4 * (h + 1e-3)

    def T(value):
        return np.log1p(5000.0 * value) / np.log(5001.0)

    expected = 2 * step / (T(h + step) - T(h - step))
    assert float(radiance_per_mu_law(np.float32(h))) == pytest.approx(expected, rel=1e-4)
    assert float(mu_law(np.float32(h))) == pytest.approx(T(h), rel=1e-5)


def test_sigma_in_the_files_own_units(make_fused):
    """The same scene at another anchor: radiance doubles, so its sigma does, and sigma.mu stays."""
    radiance = np.random.default_rng(3).uniform(-0.01, 4, (6, 7, 3)).astype(np.float32)
    sigma = np.full((6, 7), 1e-3, np.float32)
    reference, brighter = make_fused(radiance, sigma), make_fused(radiance * 2, sigma, anchor_ev=1.0)
    np.testing.assert_allclose(sigma_radiance(brighter), 2 * sigma_radiance(reference), rtol=1e-5)
    h = np.maximum(radiance.mean(axis=2), 0).astype(np.float64) / 4  # scale_short is 1/4
    moved = ((5001.0 ** (np.log1p(5000 * h) / np.log(5001) + 1e-3) - 1) / 5000 - h) * 4  # T(h) + sigma, inverted
    np.testing.assert_allclose(sigma_radiance(reference), moved, rtol=0.01)


def test_disk_fills_up_inside_the_library(tmp_path, fused, monkeypatch):
    """/dev/full stands in for the temporary file: the library's own message becomes ours."""
    real = OpenEXR.File.write
    monkeypatch.setattr(OpenEXR.File, "write", lambda file, _: real(file, "/dev/full"))
    with pytest.raises(OutputError, match=r"cannot write .*a\.exr: no space left on the disk$"):
        write_exr(fused, tmp_path / "a.exr")
    assert list(tmp_path.iterdir()) == []


def test_a_large_picture_is_checked_by_its_headers(fused, tmp_path, monkeypatch):
    monkeypatch.setattr("smarthdr_cli.output.exr._READ_BACK", 0)
    write_exr(fused, tmp_path / "a.exr", embed_uncertainty=True)
    with OpenEXR.File(str(tmp_path / "a.exr")) as file:
        assert file.parts[0].channels["RGB"].pixels.shape == fused.radiance.shape
    whole = OpenEXR.File.write

    def cut(self, name):
        whole(self, name)
        with Path(name).open("r+b") as damaged:
            damaged.truncate(40)

    monkeypatch.setattr(OpenEXR.File, "write", cut)
    with pytest.raises(OutputError):
        write_exr(fused, tmp_path / "b.exr")
    assert not (tmp_path / "b.exr").exists()


def test_it_is_compressed_side_by_side_and_the_librarys_threads_end_with_it(tmp_path, fused, monkeypatch):
    counts = []
    file = OpenEXR.File

    def watched(*given, **options):
        counts.append(OpenEXR.global_thread_count())
        return file(*given, **options)

    monkeypatch.setattr(exr, "_threads", lambda: 3)
    monkeypatch.setattr(OpenEXR, "File", watched)
    before = OpenEXR.global_thread_count()
    write_exr(fused, tmp_path / "out.exr")
    assert counts[0] == 3
    assert OpenEXR.global_thread_count() == before
