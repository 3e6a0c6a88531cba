"""``--max-pixels``: what a header may claim before anything is decoded, wherever strangers' files are read."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import pytest
import simplejpeg
import tifffile

from smarthdr_cli.errors import UsageError
from smarthdr_cli.fusion.fuse_options import parse_pixels

from . import corpus
from .conftest import OFF, STATED

Frames = Callable[..., list[Path]]
PIXELS = corpus.WIDTH * corpus.HEIGHT


def test_numbers_and_what_is_none() -> None:
    given = {"60M": 60_000_000, "24MP": 24_000_000, "0.3g": 300_000_000, "6144": 6144, "1K": 1000}
    assert {text: parse_pixels(text) for text in given} == given
    for text in ("", "0", "-1M", "many", "1T", "nan", "inf", "1e99", "M", "0.5"):
        with pytest.raises(UsageError, match="--max-pixels"):
            parse_pixels(text)


@pytest.fixture
def nothing_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("a picture above the limit was decoded")

    monkeypatch.setattr(simplejpeg, "decode_jpeg", refuse)
    monkeypatch.setattr(imagecodecs, "png_decode", refuse)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", refuse)


@pytest.mark.usefixtures("nothing_decoded")
@pytest.mark.parametrize("name", ["plain.jpg", "grey16.png", "alpha16.tif", "lzw.tif"])
@pytest.mark.parametrize("command", ["fuse", "info", "calibrate"])
def test_one_pixel_above_is_refused(refused: Any, frames: Frames, tmp_path: Path, name: str, command: str) -> None:
    given = {"fuse": ("-o", tmp_path / "o.exr", *OFF), "info": (), "calibrate": ("-o", tmp_path / "o.toml")}[command]
    line = refused(3, command, *frames(name), *STATED, *given, "--max-pixels", PIXELS - 1)
    assert f"is 96x64 pixels; at most {PIXELS - 1} pixels are read; --max-pixels" in line


def test_exactly_so_many_are_read(smarthdr: Any, frames: Frames, tmp_path: Path) -> None:
    given = ("-o", tmp_path / "o.exr", *STATED, *OFF, "--max-pixels", PIXELS)
    assert smarthdr("fuse", *frames("plain.jpg", "grey16.tif", "interlaced.png"), *given).exit_code == 0


def test_raw(refused: Any, tmp_path: Path, dng: Callable[..., Path]) -> None:
    import numpy as np

    path = dng("a.dng", np.full((32, 48), 900))
    assert "is 48x32 pixels; at most 1500 pixels" in refused(3, "info", path, "--max-pixels", "1500")


def test_the_limit_can_be_raised(refused: Any, tmp_path: Path) -> None:
    """260 megapixels are above the default; told so, the file is refused for what else is wrong with it."""
    header = struct.pack(">IIBBBBB", 20_000, 13_000, 8, 2, 0, 0, 0)
    chunks = corpus.chunk(b"IHDR", header) + corpus.chunk(b"IDAT", zlib.compress(bytes(999)))
    path = tmp_path / "wide.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks + corpus.chunk(b"IEND", b""))
    assert "at most 250 megapixels are read; --max-pixels" in refused(3, "info", path)
    assert "cannot hold 20000x13000 pixels" in refused(3, "info", path, "--max-pixels", "300M")


@pytest.mark.usefixtures("nothing_decoded")
def test_grouping_looks_at_no_larger_picture(smarthdr: Any, frames: Frames) -> None:
    """Without EXIF only the pixels could say what belongs together; unseen, the set is at most an ambiguous one."""
    result = smarthdr("group", *frames("plain.jpg"), "--json", "--max-pixels", PIXELS - 1)
    assert result.exit_code == 0, result.stderr
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert all(line["kind"] == "single" or line["ambiguous"] for line in told)


def test_a_batch_records_it(smarthdr: Any, frames: Frames, tmp_path: Path) -> None:
    described = tmp_path / "sets.jsonl"
    described.write_text(json.dumps({"name": "a", "frames": [str(p) for p in frames("plain.jpg")], "confidence": 1.0}))
    given = ("batch", "--sets", described, "-o", tmp_path / "out", "--json", "-q", *STATED, *OFF)
    result = smarthdr(*given, "--max-pixels", "6000")
    assert result.exit_code == 7, result.stderr
    error = json.loads(result.stdout)["error"]
    assert error["code"] == 3
    assert "at most 6000 pixels are read; --max-pixels" in error["message"]
    assert smarthdr(*given, "--skip-existing", "--max-pixels", "7K").exit_code == 0
    again = smarthdr(*given, "--skip-existing")  # another limit makes no other picture
    assert json.loads(again.stdout)["status"] == "skipped"
