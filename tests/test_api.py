"""The Python API: what the package exports, a signature under the flags' names, and errors that name the next step."""

import inspect
import io
import pydoc
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import smarthdr_cli
from smarthdr_cli.errors import InputError, OutputError, SmartHDRError, UsageError
from smarthdr_cli.fusion.fuse_options import FuseOptions
from tests.support.shoots import TIMES, jpeg, scene, srgb

STATIC: dict[str, Any] = {"deghost": "off", "response": "srgb", "align": "none", "device": "cpu"}


@pytest.fixture
def burst(tmp_path: Path) -> list[Path]:
    paths = []
    for n, time in enumerate(TIMES):
        paths.append(tmp_path / f"img{n}.jpg")
        paths[-1].write_bytes(jpeg(srgb(scene(3) * float(time / TIMES[1])), time))
    return paths


def test_everything_exported_is_there() -> None:
    assert dir(smarthdr_cli) == sorted(smarthdr_cli.__all__)
    assert [name for name in smarthdr_cli.__all__ if not hasattr(smarthdr_cli, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'fuze'"):
        smarthdr_cli.fuze  # noqa: B018 - the access is the test


def test_the_parameters_of_fuse_are_the_flags() -> None:
    parameters = inspect.signature(smarthdr_cli.fuse).parameters
    assert next(iter(parameters)) == "paths"
    assert set(parameters) - {"paths", "progress"} == {field.name for field in fields(FuseOptions)}
    assert {p.kind for name, p in parameters.items() if name != "paths"} == {inspect.Parameter.KEYWORD_ONLY}
    described = set(re.findall(r"``(\w+)``", smarthdr_cli.fuse.__doc__ or ""))
    assert set(parameters) - described == set()


def test_help_shows_the_functions() -> None:
    text = pydoc.render_doc(smarthdr_cli, renderer=pydoc.plaintext)
    assert "fuse(paths" in text
    assert "write_result(result" in text


def test_a_burst_to_files(burst: list[Path], tmp_path: Path) -> None:
    """Texts and paths alike, a list and what ``glob`` returns, numbers and texts alike."""
    result = smarthdr_cli.fuse([str(burst[0]), *burst[1:]], ev=(-2, 0, 2), tile=512, max_memory="4G", **STATIC)
    again = smarthdr_cli.fuse(iter(burst), ev=np.array([-2.0, 0.0, 2.0]), tile="512", max_memory=4.0 * 2**30, **STATIC)
    np.testing.assert_array_equal(result.radiance, again.radiance)
    for write, name in (
        (smarthdr_cli.write_result, "out.exr"),
        (smarthdr_cli.write_preview, "out.jpg"),
        (smarthdr_cli.write_uncertainty, "trust.png"),
    ):
        path = tmp_path / name
        assert write(result, str(path)) == []
        assert path.stat().st_size > 0
        with pytest.raises(OutputError, match="--overwrite"):
            write(result, path)
        write(result, path, overwrite=True)


def test_a_result_says_what_it_is_and_shows_itself(burst: list[Path]) -> None:
    result = smarthdr_cli.fuse(burst, **STATIC)
    mean = result.mean_uncertainty
    assert repr(result) == (f"<FusionResult 96x64, rec709, 3 frames, reference img1.jpg, mean uncertainty {mean:.4f}>")
    assert len(repr(result.burst)) < 3000
    with Image.open(io.BytesIO(result._repr_png_())) as picture:
        assert (picture.format, picture.size) == ("PNG", (96, 64))
        assert np.asarray(picture).std() > 10
    with Image.open(io.BytesIO(smarthdr_cli.preview_png(result, side=48))) as picture:
        assert picture.size == (48, 32)


@pytest.mark.parametrize(
    ("paths", "expression"),
    [
        ("photos/*.jpg", 'sorted(Path("photos").glob("*.jpg"))'),
        (Path("photos/img?.jpg"), 'sorted(Path("photos").glob("img?.jpg"))'),
        (["photos/*.jpg"], 'sorted(Path("photos").glob("*.jpg"))'),
    ],
)
def test_patterns_are_refused_with_what_to_type(paths: Any, expression: str) -> None:
    with pytest.raises(UsageError, match=re.escape(expression)):
        smarthdr_cli.fuse(paths)


def test_errors_are_smarthdr_errors(burst: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=str(tmp_path / "absent.jpg")):
        smarthdr_cli.fuse([*burst, tmp_path / "absent.jpg"])
    for wrong in ({"deghost": "maybe"}, {"tile": "many"}, {"response": "sgrb"}, {"max_memory": "lots"}):
        with pytest.raises(SmartHDRError):
            smarthdr_cli.fuse(burst, **wrong)  # type: ignore[arg-type]
