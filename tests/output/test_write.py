from pathlib import Path

import pytest

from smarthdr_cli.errors import OutputError, UsageError
from smarthdr_cli.output.write import check_outputs, write_preview, write_result, write_uncertainty


@pytest.mark.parametrize("name", ["out", "out.jpg", "out.exr.bak", "out.EXRS"])
def test_unknown_result_extension(tmp_path, fused, name):
    with pytest.raises(UsageError, match=r"\.exr, \.hdr"):
        check_outputs(tmp_path / name)
    with pytest.raises(UsageError):
        write_result(fused, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_unknown_extensions_of_the_others(tmp_path, fused):
    with pytest.raises(UsageError, match="uncertainty"):
        check_outputs(tmp_path / "a.exr", tmp_path / "u.jpg")
    with pytest.raises(UsageError, match="preview"):
        check_outputs(tmp_path / "a.exr", None, tmp_path / "p.exr")
    with pytest.raises(UsageError):
        write_uncertainty(fused, tmp_path / "u.tif")
    with pytest.raises(UsageError):
        write_preview(fused, tmp_path / "p.gif")


def test_two_outputs_of_one_name_and_an_input(tmp_path):
    with pytest.raises(UsageError, match="same name"):
        check_outputs(tmp_path / "a.exr", tmp_path / "a.exr")
    source = tmp_path / "in.tif"
    source.write_bytes(b"x")
    with pytest.raises(UsageError, match="also an input"):
        check_outputs(source, inputs=[source], overwrite=True)


def test_device_is_an_output_error_whatever_its_extension():
    with pytest.raises(OutputError):
        check_outputs(Path("/dev/full"))


def test_upper_case_extensions(tmp_path, fused):
    check_outputs(tmp_path / "A.EXR", tmp_path / "U.PNG", tmp_path / "P.JPG")
    write_result(fused, tmp_path / "A.EXR")
    write_preview(fused, tmp_path / "P.JPG")
    assert (tmp_path / "A.EXR").read_bytes()[:4] == b"v/1\x01"
    assert (tmp_path / "P.JPG").read_bytes()[:2] == b"\xff\xd8"


def test_embedding_needs_exr(tmp_path, fused):
    with pytest.raises(UsageError, match=r"\.exr only"):
        write_result(fused, tmp_path / "a.hdr", embed_uncertainty=True)
