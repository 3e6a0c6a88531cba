"""The help is there for every command, complete, and says the defaults that hold."""

import subprocess
import sys

import pytest
import typer

from smarthdr_cli import __version__
from smarthdr_cli.cli.app import app
from smarthdr_cli.fusion.pipeline import FuseOptions

from .conftest import Run

COMMANDS = ("fuse", "batch", "group", "info", "calibrate", "synth", "train", "evaluate", "doctor")


def test_the_commands_and_the_version(smarthdr: Run) -> None:
    result = smarthdr("--help")
    assert result.exit_code == 0
    assert [name for name in COMMANDS if name not in result.stdout] == []
    assert smarthdr("--version").stdout == f"smarthdr {__version__}\n"
    assert smarthdr("frobnicate").exit_code == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(smarthdr: Run, name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    assert [p.name for p in command.params if not getattr(p, "help", None)] == []
    words = [p.help for p in command.params]
    assert [text for text in words if not text.rstrip().endswith((".", "]"))] == []
    shown = smarthdr(name, "-h").stdout
    options = [p.opts[0] for p in command.params if p.opts[0].startswith("--")]
    assert [option for option in options if option not in shown] == []


def test_the_command_and_the_library_have_the_same_defaults() -> None:
    command = typer.main.get_command(app).commands["fuse"]  # type: ignore[attr-defined]
    given = {p.name: p.default for p in command.params}
    renamed = {"evs": "ev"}
    for name in FuseOptions.__dataclass_fields__:
        assert given[renamed.get(name, name)] == getattr(FuseOptions(), name), name


@pytest.mark.parametrize("name", COMMANDS)
def test_help_loads_neither_torch_nor_opencv(name: str) -> None:
    code = (
        "import sys\nfrom smarthdr_cli.cli.app import app\n"
        f"try:\n    app(['{name}', '--help'])\n"
        "finally:\n    print({'torch', 'cv2', 'numpy'} & set(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr == "set()\n"
