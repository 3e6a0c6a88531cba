"""The weights and the type marker are found in a checkout, in a wheel and in an editable install alike."""

import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from smarthdr_cli import __version__

ROOT = Path(__file__).parents[1]
WHERE = "from smarthdr_cli.models.weights import weights_dir; print(weights_dir())"


def run(*command: object, folder: Path, path: Path | None = None) -> str:
    """What a command prints, run in ``folder`` with ``path`` as the only addition to Python's."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "SMARTHDR_HOME")}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    arguments = [str(part) for part in command]
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_checkout_has_its_weights_beside_the_package(tmp_path: Path) -> None:
    assert run(sys.executable, "-c", WHERE, folder=tmp_path, path=ROOT) == str(ROOT / "weights")


def manifest() -> list[dict[str, Any]]:
    return list(tomllib.loads((ROOT / "weights" / "manifest.toml").read_text("utf-8"))["weights"])


def shipped() -> set[str]:
    """The manifest, each file it lists and its model card; the log and the state to go on from stay out."""
    files = [Path(entry["file"]) for entry in manifest()]
    return {"manifest.toml", *(file.name for file in files), *(file.with_suffix(".md").name for file in files)}


def test_the_project_says_what_it_ships() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"] == {
        f"weights/{name}": f"smarthdr_cli/_weights/{name}" for name in shipped()
    }
    assert (ROOT / "smarthdr_cli" / "py.typed").is_file()
    sources = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    for name in ("README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "docs/ARCHITECTURE.md", "docs/METHOD.md"):
        assert (ROOT / name).stat().st_size > 0
        assert name.partition("/")[0] in sources


@pytest.mark.slow
def test_a_wheel_has_its_weights_inside(tmp_path: Path) -> None:
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT, folder=tmp_path)
    (wheel,) = tmp_path.glob("smarthdr-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    assert {"smarthdr_cli/_weights/manifest.toml", "smarthdr_cli/py.typed"} <= names
    assert {
        f"smarthdr_cli/output/report/templates/{name}"
        for name in ("base.html", "fusion.html", "report.css", "viewer.js")
    } <= names
    assert {name.rpartition("/")[2] for name in names if name.startswith("smarthdr_cli/_weights/")} == shipped()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"smarthdr_cli", f"smarthdr-{__version__}.dist-info"}  # no tests, no examples
    found = run(sys.executable, "-c", WHERE, folder=tmp_path, path=tmp_path / "site")
    assert found == str(tmp_path / "site" / "smarthdr_cli" / "_weights")


@pytest.mark.slow
def test_an_editable_install_has_its_weights_in_the_checkout(tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(python, "-m", "pip", "install", "-q", "--no-deps", "-e", ROOT, folder=tmp_path)
    assert run(python, "-c", WHERE, folder=tmp_path) == str(ROOT / "weights")
