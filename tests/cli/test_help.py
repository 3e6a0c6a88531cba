"""Every command has a complete help with the real defaults, and completion works."""

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from smarthdr_cli import __version__
from smarthdr_cli.cli.app import app
from smarthdr_cli.fusion.fuse_options import FuseOptions

from .conftest import Run

COMMANDS = ("fuse", "batch", "group", "info", "calibrate", "synth", "train", "evaluate", "models", "doctor")
NESTED = tuple(f"models {name}" for name in ("list", "show", "verify", "download"))
LEAVES = tuple(name for name in COMMANDS if name != "models") + NESTED


def command_of(words: Sequence[str]) -> Any:
    """The command of these words, such as ["models", "list"]."""
    command: Any = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    return command


def test_the_list_of_commands_here_is_complete() -> None:
    top: Any = typer.main.get_command(app)
    assert set(top.commands) == set(COMMANDS)
    assert set(top.commands["models"].commands) == {name.split()[1] for name in NESTED}


def test_help_lists_the_commands_and_version_prints_it(smarthdr: Run) -> None:
    result = smarthdr("--help")
    assert result.exit_code == 0
    assert [name for name in COMMANDS if name not in result.stdout] == []
    assert smarthdr("--version").stdout == f"smarthdr {__version__}\n"
    assert smarthdr("frobnicate").exit_code == 2


@pytest.mark.parametrize("name", LEAVES)
def test_every_option_is_explained(smarthdr: Run, name: str) -> None:
    command = command_of(name.split())
    assert [p.name for p in command.params if not getattr(p, "help", None)] == []
    texts = [p.help for p in command.params]
    assert [text for text in texts if not text.rstrip().endswith((".", "]"))] == []
    text = smarthdr(*name.split(), "-h").stdout
    options = [p.opts[0] for p in command.params if p.opts[0].startswith("--")]
    assert [option for option in options if option not in text] == []


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_an_example_that_parses(smarthdr: Run, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    words = name.split()
    match = re.search(r"Examples: (.*?)\n\s*\n", smarthdr(*words, "--help").stdout, re.DOTALL)
    assert match
    examples = [shlex.split(re.split(r" [|>] ", one)[0]) for one in re.split(r" ·\s", match[1])]
    assert examples[0][: len(words) + 1] == ["smarthdr", *words]
    for program, *rest in examples:
        assert program == "smarthdr"
        depth = 2 if rest[0] == "models" else 1
        assert command_of(rest[:depth]).make_context(name, rest[depth:])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    """The script for the shell, and the completions that it asks for."""
    script = CliRunner().invoke(app, ["--show-completion", shell], prog_name="smarthdr")
    assert script.exit_code == 0
    assert "_SMARTHDR_COMPLETE=complete_" in script.stdout
    request = {"_SMARTHDR_COMPLETE": "complete_bash", "COMP_WORDS": "smarthdr fuse --max", "COMP_CWORD": "2"}
    completions = CliRunner().invoke(app, [], prog_name="smarthdr", env=request)
    assert completions.stdout.split() == ["--max-memory", "--max-pixels"]


@pytest.mark.parametrize("name", ["fuse", "batch"])
def test_every_fuse_option_is_a_flag_of_fuse_and_batch(name: str) -> None:
    parameters = {p.name: p for p in command_of([name]).params}
    assert {option: parameters[option].default for option in vars(FuseOptions())} == vars(FuseOptions())


@pytest.mark.parametrize("name", [*COMMANDS, *NESTED])
def test_help_loads_neither_torch_nor_opencv(name: str) -> None:
    code = (
        "import sys\nfrom smarthdr_cli.cli.app import app\n"
        f"try:\n    app({[*name.split(), '--help']!r})\n"
        "finally:\n    print({'torch', 'cv2', 'numpy'} & set(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr == "set()\n"
