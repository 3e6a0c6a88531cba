"""The house's order: data goes one way through the rooms, and looking in costs no torch."""

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import smarthdr_cli

PACKAGE = Path(smarthdr_cli.__file__).parent
# A room may import itself and those before it; names in one tuple are one room.
ROOMS = (
    ("radiometry", "colorspace", "atomic"),
    ("burst",),
    ("grouping", "align"),
    ("response",),
    ("aligned_burst",),
    ("data",),
    ("models",),
    ("fusion",),
    ("output",),
    ("train",),
    ("evaluate",),
    ("batch",),
    ("doctor",),
    ("cli",),
)
RANK = {name: rank for rank, room in enumerate(ROOMS) for name in room}
FREE = {"command_option", "errors", "system", "version"}  # importable by everybody
ROOT = {"__init__", "__main__"}  # the front door: opens what it is asked for, late
WITHOUT_TORCH = {
    "radiometry",
    "colorspace",
    "atomic",
    "burst",
    "grouping",
    "align",
    "response",
    "aligned_burst",
    "output",
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def _imported(source: str, package: str) -> Iterator[str]:
    """Every module a file imports, absolute, wherever in the file the statement stands.

    ``from a import b`` gives a.b as well as a, since b may be a module.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _imports_of(path: Path) -> set[str]:
    package = _name(path) if path.name == "__init__.py" else _name(path).rpartition(".")[0]
    return set(_imported(path.read_text("utf-8"), package))


def _violations(room: str, imported: set[str]) -> list[str]:
    """What a file in ``room`` imports and may not."""
    found = []
    for name in sorted(imported):
        parts = name.split(".")
        if parts[0] != PACKAGE.name or len(parts) == 1 or parts[1] in FREE | {room} or parts[1].startswith("__"):
            continue
        if room in FREE or parts[1] not in RANK or RANK[parts[1]] > RANK[room]:
            found.append(name)
    return found


def test_every_module_belongs_to_a_room() -> None:
    assert {_room(path) for path in MODULES} <= set(RANK) | FREE | ROOT


@pytest.mark.parametrize("path", [p for p in MODULES if _room(p) not in ROOT], ids=_name)
def test_imports_point_one_way(path: Path) -> None:
    assert _violations(_room(path), _imports_of(path)) == []


@pytest.mark.parametrize("path", [p for p in MODULES if _room(p) not in ROOT | {"cli"}], ids=_name)
def test_nothing_imports_the_command_line(path: Path) -> None:
    imported = _imports_of(path)
    assert [name for name in imported if name.split(".")[0] == "typer" or name.startswith(f"{PACKAGE.name}.cli")] == []


@pytest.mark.parametrize(
    ("room", "source", "expected"),
    [
        ("burst", "import smarthdr_cli.align", ["smarthdr_cli.align"]),
        ("burst", "def f():\n    from ..models import saf", ["smarthdr_cli.models", "smarthdr_cli.models.saf"]),
        ("data", "from smarthdr_cli import fusion", ["smarthdr_cli.fusion"]),
        ("evaluate", "from smarthdr_cli.cli.app import main", ["smarthdr_cli.cli.app", "smarthdr_cli.cli.app.main"]),
        ("errors", "from smarthdr_cli.burst import burst", ["smarthdr_cli.burst", "smarthdr_cli.burst.burst"]),
        ("models", "from smarthdr_cli.nowhere import x", ["smarthdr_cli.nowhere", "smarthdr_cli.nowhere.x"]),
        ("models", "from smarthdr_cli import __version__, errors\nimport torch, smarthdr_cli.radiometry", []),
        ("cli", "from ..train import loop\nfrom . import options", []),
    ],
)
def test_the_check_itself_sees_a_wrong_import(room: str, source: str, expected: list[str]) -> None:
    assert _violations(room, set(_imported(source, f"smarthdr_cli.{room}"))) == expected


@pytest.mark.parametrize("path", [p for p in MODULES if _room(p) in WITHOUT_TORCH | FREE], ids=_name)
def test_rooms_that_know_no_torch(path: Path) -> None:
    assert not {"torch", "safetensors"} & {name.split(".")[0] for name in _imports_of(path)}


def _loaded(*arguments: str) -> set[str]:
    """The modules a fresh interpreter loads for a command line that ends well."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=PACKAGE.parent,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[1].strip() for line in lines}


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = _loaded("-c", "import smarthdr_cli; smarthdr_cli.__version__")
    assert "smarthdr_cli" in loaded
    assert not loaded & {"torch", "numpy", "cv2", "huggingface_hub"}


def test_reading_aligning_and_writing_load_nothing_heavy() -> None:
    names = [_name(path) for path in MODULES if _room(path) in WITHOUT_TORCH]
    loaded = _loaded("-c", "import " + ", ".join(names))
    assert set(names) <= loaded
    assert not loaded & {"torch", "numba"}


def test_listing_weights_loads_no_torch() -> None:
    loaded = _loaded("-c", "from smarthdr_cli.models.catalog import list_weights; list_weights()")
    assert {"smarthdr_cli.models.weights", "smarthdr_cli.models.checkpoint"} <= loaded
    assert not loaded & {"torch", "numba", "huggingface_hub"}


@pytest.mark.skipif(not (PACKAGE / "cli" / "app.py").exists(), reason="the command line is not there yet")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_and_version_load_nothing_heavy(arguments: list[str]) -> None:
    loaded = _loaded("-m", "smarthdr_cli", *arguments)
    assert "smarthdr_cli.cli.app" in loaded
    assert not loaded & {"torch", "numba"}
