"""Who takes part, under which name, and that each does what its name says."""

import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import smarthdr_cli
from smarthdr_cli.errors import ModelError, UsageError
from smarthdr_cli.evaluate import baselines, methods, scene

HOW = methods.Computation("cpu", "fp32", "none")


@pytest.fixture(name="case")
def _case(made: Path) -> scene.Case:
    return scene.read_case(scene.select(made, "test", 1)[0], "none")


def labels(*specs: object) -> list[str]:
    return [entrant.label for entrant in methods.contestants([str(spec) for spec in specs])]


def test_a_run_brings_its_teacher(weights: Path, tmp_path: Path) -> None:
    student, teacher = methods.contestants([str(weights)])
    assert (student.label, teacher.label) == ("first (student)", "first (teacher)")
    assert student.path == weights / "model.safetensors"
    assert teacher.path == weights / "teacher.safetensors"
    alone = tmp_path / "second"
    alone.mkdir()
    shutil.copy(teacher.path, alone / "model.safetensors")
    assert labels(f"{alone}/") == ["second"]
    assert labels("saf-base") == ["saf-base"]


def test_the_record_says_what_it_is_and_no_path(weights: Path) -> None:
    record = methods.contestants([str(weights)])[0].record
    assert record.keys() == {"file", "sha256", "network", "licence", "method", "steps"}
    assert record["file"] == "model.safetensors"
    assert record["method"] == "smarthdr"
    assert len(record["sha256"]) == 64


def test_no_two_have_one_name(weights: Path, tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent).mkdir()
        shutil.copy(weights / "model.safetensors", tmp_path / parent / "mine.safetensors")
        shutil.copy(weights / "model.safetensors", tmp_path / parent / "static.safetensors")
    mine = [tmp_path / parent / "mine.safetensors" for parent in "ab"]
    assert labels(*mine) == ["mine", f"{mine[1]} (mine)"]
    assert labels(tmp_path / "a" / "static.safetensors") == [f"{tmp_path}/a/static.safetensors (static)"]
    assert labels(weights / "teacher.safetensors", weights / "model.safetensors") == ["first/teacher", "first/model"]


def test_what_cannot_take_part(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="given already"):
        methods.contestants([str(weights), str(weights / "model.safetensors")])
    with pytest.raises(ModelError):
        methods.contestants([str(tmp_path)])
    with pytest.raises(ModelError, match="no weights are called 'nothing'"):
        methods.contestants(["nothing"])
    (tmp_path / "bad.safetensors").write_bytes(b"bad")
    with pytest.raises(ModelError, match=r"bad\.safetensors"):
        methods.contestants([str(tmp_path / "bad.safetensors")])


def test_the_methods_in_order(case: scene.Case, weights: Path) -> None:
    entrants = methods.contestants([str(weights)])
    everybody = methods.methods(case, entrants, tuple(methods.RIVALS), HOW, methods.Networks())
    assert list(everybody) == ["first (student)", "first (teacher)", *methods.RIVALS, "oracle"]
    assert list(methods.methods(case, entrants[:1], ["static"], HOW, methods.Networks())) == [
        "first (student)",
        "static",
        "oracle",
    ]


@pytest.mark.parametrize("align", ["none", "auto"])
def test_each_does_what_its_name_says(made: Path, weights: Path, align: Literal["none", "auto"]) -> None:
    case = scene.read_case(scene.select(made, "test", 1)[0], align)
    how = methods.Computation("cpu", "fp32", align)
    entrants = methods.contestants([str(weights)])
    everybody = {
        name: method()
        for name, method in methods.methods(case, entrants, tuple(methods.RIVALS), how, methods.Networks()).items()
    }
    at, times = case.burst.reference, case.times
    light = (case.codes[at] / 65535.0) ** 2.2 / times[at]
    np.testing.assert_allclose(everybody["reference"].radiance, light, atol=2e-6)
    expected = baselines.debevec(case.codes, times, curve="gamma2.2")
    np.testing.assert_array_equal(everybody["debevec"].radiance, expected)
    assert case.oracle is not None
    np.testing.assert_array_equal(everybody["oracle"].radiance, baselines.static_merge(case.oracle, times))
    student, teacher = (everybody[entrant.label] for entrant in entrants)
    assert not np.array_equal(student.radiance, teacher.radiance)
    for name, options in (
        ("first (student)", {"weights": weights / "model.safetensors"}),
        ("first (teacher)", {"weights": weights / "teacher.safetensors"}),
        ("static", {"deghost": "off"}),
    ):
        paths = [frame.path for frame in case.burst.frames]
        evs = np.log2(case.times) - 7  # only differences count
        own = smarthdr_cli.fuse(paths, evs=evs.tolist(), reference=2, response="gamma2.2", anchor="short",
                                align=align, precision="fp32", device="cpu", **options)  # fmt: skip
        np.testing.assert_allclose(everybody[name].radiance, own.radiance, rtol=2e-5, atol=1e-7)
        np.testing.assert_allclose(everybody[name].sigma, own.uncertainty, rtol=1e-5)


def test_a_network_is_loaded_once(case: scene.Case, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[object] = []
    whole = methods.load_network
    monkeypatch.setattr(methods, "load_network", lambda *words: loaded.append(words[0]) or whole(*words))
    networks = methods.Networks()
    entrants = methods.contestants([str(weights)])
    for _ in range(2):
        for method in methods.methods(case, entrants, ["static"], HOW, networks).values():
            method()
    assert loaded == [entrant.path for entrant in entrants]
