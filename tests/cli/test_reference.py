"""docs/reference.md holds every command and flag with type, default and help."""

from pathlib import Path

import typer

from smarthdr_cli.cli.app import app
from smarthdr_cli.cli.reference import reference

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference.md"


def test_the_document_is_current() -> None:
    assert DOCUMENT.read_text("utf-8") == reference(), "python -m smarthdr_cli.cli.reference > docs/reference.md"


def test_every_command_and_flag_has_a_row() -> None:
    text = reference()
    commands = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    commands |= {f"models {name}": command for name, command in commands.pop("models").commands.items()}
    for name, command in commands.items():
        section = text.partition(f"## smarthdr {name}\n")[2].partition("\n## ")[0]
        assert [
            flag for p in command.params for flag in p.opts if flag.startswith("-") and f"`{flag}`" not in section
        ] == []


def test_a_row_states_value_default_and_help() -> None:
    text = reference()
    assert "| `--compression` | `zip` `piz` `dwaa` `htj2k` | `piz` | Compression of the EXR. " in text
    assert "| `--output`, `-o` | `FILE` | required | The HDR file to write: " in text
    assert "| `--frames` | integer from 2 up to 9 | `3` | Number of exposures in each burst. |" in text
