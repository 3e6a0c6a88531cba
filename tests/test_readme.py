"""The README tells the truth: its flags exist, its links lead somewhere, its commands are the ones the check runs."""

import ast
import re
from pathlib import Path

import pytest
import typer

import smarthdr_cli.output.write
from smarthdr_cli import errors
from smarthdr_cli.cli.app import app

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text("utf-8")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def test_every_flag_it_names_exists() -> None:
    known = {option for command in COMMANDS.values() for p in command.params for option in p.opts}
    shell = {"--help", "--version", "--array"}  # the last is sbatch's
    assert set(FLAG.findall(TEXT)) - known - shell == set()


def test_the_table_has_every_flag_of_fuse_with_its_default_first() -> None:
    rows = dict(re.findall(r"^\| `(--[a-z-]+)`[^|]*\| ([^|]*)\|", TEXT, re.MULTILINE))
    parameters = {p.opts[0]: p for p in COMMANDS["fuse"].params if p.opts[0].startswith("--")}
    assert set(rows) == set(parameters)
    for flag, parameter in parameters.items():
        if isinstance(parameter.default, str):
            assert rows[flag].strip().startswith(f"`{parameter.default}`"), flag


def test_every_command_and_exit_code_is_there() -> None:
    assert [name for name in COMMANDS if f"### `smarthdr {name} " not in TEXT] == []
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    assert listed == {kind.exit_code for kind in kinds} | {0, 130}


@pytest.mark.parametrize("name", ["install", "tests"])
def test_the_marked_blocks_hold_one_command_each(name: str) -> None:
    """What .ci/run takes from here."""
    block = re.search(rf"^<!-- {name} -->\n```sh\n(.+)\n```\n<!-- /{name} -->$", TEXT, re.MULTILINE)
    assert block
    assert "\n" not in block[1]
    assert f"readme {name}" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_its_python_names_what_exists() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    compile(block, "README.md", "exec")
    imported = {
        alias.name for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert imported == {"Path", "fuse", "write_preview", "write_result"}
    assert all(hasattr(smarthdr_cli.output.write, name) for name in ("write_preview", "write_result"))
