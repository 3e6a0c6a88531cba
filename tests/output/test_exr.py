"""OpenEXR files by the library and, for attributes, by the bytes of the standard."""

import json
import struct
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from smarthdr_cli import system
from smarthdr_cli.burst.burst import CaptureMetadata
from smarthdr_cli.colorspace import ACESCG, DISPLAY_P3, PROPHOTO, REC709, REC2020
from smarthdr_cli.errors import OutputError, UsageError
from smarthdr_cli.output.exr import interop_id, is_intact, read_provenance, write_exr, write_uncertainty_exr
from smarthdr_cli.output.metadata import provenance, sigma_radiance

pytestmark = pytest.mark.unit


def raw_attributes(path):
    """name -> (type, bytes) of a single-part file, by the layout of the standard and without the library."""
    data = path.read_bytes()
    assert data[:4] == b"v/1\x01"
    offset, attributes = 8, {}
    while data[offset]:
        name, offset = data[offset : data.index(0, offset)].decode(), data.index(0, offset) + 1
        kind, offset = data[offset : data.index(0, offset)].decode(), data.index(0, offset) + 1
        (size,) = struct.unpack_from("<i", data, offset)
        attributes[name] = kind, data[offset + 4 : offset + 4 + size]
        offset += 4 + size
    return attributes


@pytest.mark.parametrize("compression", ["zip", "piz", "ZIP"])
def test_half_is_the_nearest_half(tmp_path, result, compression):
    assert write_exr(result, tmp_path / "a.exr", compression=compression) == []
    with OpenEXR.File(str(tmp_path / "a.exr")) as file:
        pixels = file.channels()["RGB"].pixels
        assert file.header()["compression"] == getattr(OpenEXR, f"{compression.upper()}_COMPRESSION")
    assert pixels.dtype == np.float16
    np.testing.assert_array_equal(pixels, result.radiance.astype(np.float16))


def test_float_is_exact_and_negatives_stay(tmp_path, make_result):
    result = make_result(np.random.default_rng(1).normal(size=(9, 11, 3)).astype(np.float32))
    write_exr(result, tmp_path / "a.exr", float32=True)
    with OpenEXR.File(str(tmp_path / "a.exr"), separate_channels=True) as file:
        for number, name in enumerate("RGB"):
            np.testing.assert_array_equal(file.channels()[name].pixels, result.radiance[..., number])


def test_attributes_by_name_type_and_value(tmp_path, result):
    write_exr(result, tmp_path / "a.exr")
    attributes = raw_attributes(tmp_path / "a.exr")

    def number(name):
        kind, data = attributes[name]
        assert kind == "float"
        return struct.unpack("<f", data)[0]

    def text(name):
        kind, data = attributes[name]
        assert kind == "string"
        return data.decode()

    kind, data = attributes["chromaticities"]
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
    assert "whiteLuminance" not in attributes
    assert text("smarthdr:anchor") == "pixel = radiance at the reference exposure; 1.0 = reference clip"
    assert text("smarthdr:evs") == "-2 0 2"
    assert text("smarthdr:model") == "saf-base"
    assert json.loads(text("smarthdr:response")) == {"name": "srgb"}
    inputs = json.loads(text("smarthdr:inputs"))
    assert [record["name"] for record in inputs] == ["img0.jpg", "img1.jpg", "img2.jpg"]  # no folder
    assert inputs[2]["sha256"] == f"{2:064x}"
    assert text("smarthdr:version")
    assert json.loads(text("smarthdr:options")) == {"deghost": "auto"}


def test_unknown_attributes_are_absent(tmp_path, make_result):
    write_exr(make_result(capture=CaptureMetadata()), tmp_path / "a.exr")
    attributes = raw_attributes(tmp_path / "a.exr")
    assert not {"owner", "comments", "capDate", "utcOffset", "lensModel", "smarthdr:settings"} & set(attributes)


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


def test_colour_metadata_are_valid_to_the_library(tmp_path, make_result):
    for space in (REC709, REC2020, ACESCG):
        write_exr(make_result(colorspace=space), tmp_path / "a.exr", overwrite=True)
        with OpenEXR.File(str(tmp_path / "a.exr"), header_only=True) as file:
            assert OpenEXR.checkColorMetadata(file.header()) == OpenEXR.OK


def test_the_anchor_is_stated(tmp_path, make_result):
    write_exr(make_result(anchor_ev=-2.0), tmp_path / "a.exr")
    assert b"-2 EV from the reference" in raw_attributes(tmp_path / "a.exr")["smarthdr:anchor"][1]


@pytest.mark.parametrize("value", [65505.0, 70000.0, -70000.0, 1e9])
def test_values_above_half_become_float_or_are_refused(tmp_path, make_result, value):
    radiance = np.full((8, 8, 3), 0.5, np.float32)
    radiance[3, 3, 1] = value
    notes = write_exr(make_result(radiance), tmp_path / "a.exr")
    assert len(notes) == 1
    assert "float" in notes[0]
    with OpenEXR.File(str(tmp_path / "a.exr")) as file:
        np.testing.assert_array_equal(file.channels()["RGB"].pixels, radiance)
    with pytest.raises(OutputError, match="--float"):
        write_exr(make_result(radiance), tmp_path / "b.exr", float32=False)
    assert not (tmp_path / "b.exr").exists()


def test_the_largest_half_stays_half(tmp_path, make_result):
    radiance = np.full((8, 8, 3), 65504.0, np.float32)
    assert write_exr(make_result(radiance), tmp_path / "a.exr", float32=False) == []
    with OpenEXR.File(str(tmp_path / "a.exr")) as file:
        assert file.channels()["RGB"].pixels.max() == 65504.0


def test_dwaa_is_close_and_finite(tmp_path, make_result):
    y, x = np.mgrid[:64, :64] / 64.0
    radiance = np.stack((x + 0.1, y + 0.1, x * y + 0.2), axis=-1).astype(np.float32)
    notes = write_exr(make_result(radiance), tmp_path / "a.exr", compression="dwaa")
    assert "lossy" in notes[0]
    with OpenEXR.File(str(tmp_path / "a.exr")) as file:
        np.testing.assert_allclose(file.channels()["RGB"].pixels, radiance, rtol=0.05)
    radiance[10:20] *= 200000  # DWAA itself makes these infinite, float or half
    for float32 in (None, True):
        notes = write_exr(
            make_result(radiance), tmp_path / "b.exr", compression="dwaa", float32=float32, overwrite=True
        )
        assert any("ZIP" in note for note in notes)
        with OpenEXR.File(str(tmp_path / "b.exr")) as file:
            np.testing.assert_array_equal(file.channels()["RGB"].pixels, radiance)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, make_result, bad):
    radiance = np.ones((5, 6, 3), np.float32)
    radiance[2, 2, 2] = bad
    sigma = np.full((5, 6), 0.1, np.float32)
    sigma[1, 1] = bad
    with pytest.raises(OutputError, match="not finite"):
        write_exr(make_result(radiance), tmp_path / "a.exr")
    with pytest.raises(OutputError, match="not finite"):
        write_exr(make_result(uncertainty=sigma), tmp_path / "a.exr", embed_uncertainty=True)
    with pytest.raises(OutputError, match="not finite"):
        write_uncertainty_exr(make_result(uncertainty=sigma), tmp_path / "a.exr")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("float32", [None, True])
def test_htj2k_is_lossless_and_says_who_reads_it(tmp_path, result, float32):
    notes = write_exr(result, tmp_path / "a.exr", compression="htj2k", float32=float32)
    assert notes == ["a.exr is compressed with HTJ2K, which only programs with OpenEXR 3.4 or later read"]
    with OpenEXR.File(str(tmp_path / "a.exr")) as file:
        assert file.header()["compression"] == OpenEXR.HTJ2K256_COMPRESSION
        pixels = file.channels()["RGB"].pixels
    np.testing.assert_array_equal(pixels, result.radiance.astype(pixels.dtype))
    assert pixels.dtype == (np.float32 if float32 else np.float16)


def test_unknown_compression(tmp_path, result):
    with pytest.raises(UsageError, match="zip, piz, dwaa"):
        write_exr(result, tmp_path / "a.exr", compression="b44")


def test_embedded_uncertainty_is_a_second_part(tmp_path, result):
    write_exr(result, tmp_path / "a.exr", embed_uncertainty=True)
    with OpenEXR.File(str(tmp_path / "a.exr"), separate_channels=True) as file:
        assert [part.name() for part in file.parts] == ["rgb", "uncertainty"]
        assert set(file.parts[0].channels) == {"R", "G", "B"}
        data = file.parts[1]
        assert data.header["colorInteropID"] == "data"
        assert "chromaticities" not in data.header
        assert OpenEXR.checkColorMetadata(data.header, file.parts[0].header) == OpenEXR.OK
        np.testing.assert_array_equal(data.channels["sigma.mu"].pixels, result.uncertainty.astype(np.float16))
        np.testing.assert_array_equal(data.channels["sigma.radiance"].pixels, sigma_radiance(result))


def test_uncertainty_alone(tmp_path, result):
    write_uncertainty_exr(result, tmp_path / "u.exr")
    with OpenEXR.File(str(tmp_path / "u.exr")) as file:
        assert set(file.channels()) == {"sigma.mu", "sigma.radiance"}
        np.testing.assert_allclose(file.channels()["sigma.mu"].pixels, result.uncertainty, rtol=2**-10, atol=1e-7)
        assert file.header()["colorInteropID"] == "data"
        assert "68 %" in file.header()["comments"]
        assert file.header()["smarthdr:reference"] == "img1.jpg"


def test_disk_fills_up_inside_the_library(tmp_path, result, monkeypatch):
    """/dev/full stands in for the temporary file: the library's own message becomes ours."""
    real = OpenEXR.File.write
    monkeypatch.setattr(OpenEXR.File, "write", lambda file, _: real(file, "/dev/full"))
    with pytest.raises(OutputError, match=r"cannot write .*a\.exr: no space left on the disk$"):
        write_exr(result, tmp_path / "a.exr")
    assert list(tmp_path.iterdir()) == []


def truncated_to(size):
    """OpenEXR.File.write, with the file cut to ``size`` bytes afterwards."""
    write = OpenEXR.File.write

    def write_and_truncate(file, name):
        write(file, name)
        with Path(name).open("r+b") as damaged:
            damaged.truncate(size)

    return write_and_truncate


def test_large_images_are_verified_by_their_headers(result, tmp_path, monkeypatch):
    write_exr(result, tmp_path / "a.exr", embed_uncertainty=True, max_verified_values=0)
    with OpenEXR.File(str(tmp_path / "a.exr")) as file:
        assert file.parts[0].channels["RGB"].pixels.shape == result.radiance.shape
    monkeypatch.setattr(OpenEXR.File, "write", truncated_to(40))
    with pytest.raises(OutputError):
        write_exr(result, tmp_path / "b.exr", max_verified_values=0)
    assert not (tmp_path / "b.exr").exists()


def test_files_that_do_not_read_back_are_not_kept(make_result, tmp_path, monkeypatch):
    """The library stores another picture than it was given."""
    other = make_result(np.full((37, 53, 3), 0.5, np.float32))
    write_exr(other, tmp_path / "other.exr")
    stored = (tmp_path / "other.exr").read_bytes()
    (tmp_path / "other.exr").unlink()
    monkeypatch.setattr(OpenEXR.File, "write", lambda _file, name: Path(name).write_bytes(stored))
    with pytest.raises(OutputError, match="does not read back as it was written"):
        write_exr(make_result(), tmp_path / "a.exr")
    assert list(tmp_path.iterdir()) == []


def test_compression_uses_all_cores_and_restores_the_thread_count(tmp_path, result, monkeypatch):
    counts = []
    file = OpenEXR.File

    def watched(*arguments, **options):
        counts.append(OpenEXR.global_thread_count())
        return file(*arguments, **options)

    monkeypatch.setattr(system, "usable_cores", lambda: 3)
    monkeypatch.setattr(OpenEXR, "File", watched)
    previous = OpenEXR.global_thread_count()
    write_exr(result, tmp_path / "out.exr")
    assert counts[0] == 3
    assert OpenEXR.global_thread_count() == previous


def test_provenance_reads_back(tmp_path, result):
    write_exr(result, tmp_path / "a.exr")
    assert read_provenance(tmp_path / "a.exr") == provenance(result)


@pytest.mark.parametrize("embed_uncertainty", [False, True])
def test_a_truncated_file_is_not_intact(tmp_path, result, embed_uncertainty):
    path = tmp_path / "a.exr"
    write_exr(result, path, embed_uncertainty=embed_uncertainty)
    assert is_intact(path)
    path.write_bytes(path.read_bytes()[:-100])
    assert not is_intact(path)
