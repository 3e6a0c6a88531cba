"""README and user documents agree with the command line, and .ci/run takes its commands from the README."""

import re
from pathlib import Path

import pytest
import typer
from PIL import Image

from smarthdr_cli import errors
from smarthdr_cli.cli.app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
DOCS = ROOT / "docs"
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
OTHER_PROGRAMS = {"--help", "--version", "--array", "--index-url"}  # sbatch, pip
USER_DOCUMENTS = [
    ROOT / "README.md",
    *(DOCS / f"{name}.md" for name in ("batch", "how-it-works", "limits", "python", "training", "uncertainty")),
]


@pytest.mark.parametrize("document", USER_DOCUMENTS, ids=lambda path: path.name)
def test_every_flag_exists(document: Path) -> None:
    flags = {option for command in COMMANDS.values() for p in command.params for option in p.opts}
    assert set(FLAG.findall(document.read_text("utf-8"))) - flags - OTHER_PROGRAMS == set()


def test_the_readme_is_short_and_names_the_commands_of_the_first_hour() -> None:
    assert len(README.splitlines()) <= 150
    assert [
        name for name in ("fuse", "info", "group", "batch", "train", "doctor") if f"smarthdr {name}" not in README
    ] == []


def test_every_exit_code_is_explained() -> None:
    rows = re.findall(r"^\| (\d+) \|", (DOCS / "batch.md").read_text("utf-8"), re.MULTILINE)
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert {int(code) for code in rows} == {kind.exit_code for kind in kinds} | {0, 130}


@pytest.mark.parametrize("name", ["install", "tests"])
def test_a_marked_block_holds_the_one_command_that_ci_runs(name: str) -> None:
    block = re.search(rf"^<!-- {name} -->\n```sh\n(.+)\n```\n<!-- /{name} -->$", README, re.MULTILINE)
    assert block
    assert "\n" not in block[1]
    assert f"readme {name}" in (ROOT / ".ci" / "run").read_text("utf-8")


@pytest.mark.parametrize("document", [ROOT / "README.md", DOCS / "python.md"], ids=lambda path: path.name)
def test_the_python_example_runs(
    document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands, on the example burst at a quarter of its size; what it prints begins as its comment says."""
    (block,) = re.findall(r"```python\n(.*?)```", document.read_text("utf-8"), re.DOTALL)
    (tmp_path / "examples" / "burst").mkdir(parents=True)
    for path in (ROOT / "examples" / "burst").glob("img*.jpg"):
        with Image.open(path) as picture:
            small = picture.resize((300, 225), Image.Resampling.BOX)
            small.save(tmp_path / "examples" / "burst" / path.name, quality=95, exif=picture.getexif())
    monkeypatch.chdir(tmp_path)
    exec(compile(block, document.name, "exec"), {})
    (stated,) = re.findall(r"print\(result\)  # (<FusionResult [^.]*\.jpg)", block)
    assert capsys.readouterr().out.startswith(stated.replace("1200x900", "300x225"))
    written = set(re.findall(r"write_\w+\(result, \"([^\"]+)\"", block))
    assert written == {path.name for path in tmp_path.iterdir()} - {"examples"}
