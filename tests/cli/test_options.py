"""Dataclasses become flags: their names, defaults, choices and parsers, and the values that come back."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from smarthdr_cli.cli.options import flatten
from smarthdr_cli.command_option import INPUT, CommandOption

pytestmark = pytest.mark.unit


@dataclass(frozen=True)
class Camera:
    iso_limit: Annotated[int, CommandOption("Highest ISO.", INPUT, metavar="ISO", minimum=50)] = 800
    mode: Annotated[Literal["auto", "manual"], CommandOption("How to expose.", INPUT)] = "auto"
    lens: Annotated[tuple[str, ...] | None, CommandOption("Lenses.", INPUT, ("--lens", "-l"), parse=str.split)] = None
    raw: Annotated[bool, CommandOption("Write RAW.", INPUT)] = False
    serial: str = field(default="none")


def run(command: Callable[..., None], *arguments: str) -> Any:
    """The command with its dataclasses flattened, run by typer."""
    call, signature = flatten(command)

    def flat(**values: Any) -> None:
        call(**values)

    flat.__signature__ = signature  # type: ignore[attr-defined]
    flat.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    app = typer.Typer(add_completion=False)
    app.command()(flat)
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def shots() -> list[tuple[Path, Camera, int]]:
    return []


@pytest.fixture
def shoot(shots: list[tuple[Path, Camera, int]]) -> Callable[..., None]:
    def command(
        folder: Annotated[Path, typer.Argument()],
        *,
        camera: Camera,
        count: Annotated[int, CommandOption("Number of frames.", INPUT, ("-n",))] = 3,
    ) -> None:
        shots.append((folder, camera, count))

    return command


def test_defaults_are_those_of_the_dataclass(shoot: Callable[..., None], shots: list[Any]) -> None:
    assert run(shoot, "a").exit_code == 0
    assert shots == [(Path("a"), Camera(), 3)]


def test_values_come_back_in_the_dataclass(shoot: Callable[..., None], shots: list[Any]) -> None:
    result = run(shoot, "a", "--iso-limit", "100", "--mode", "manual", "-l", "35mm 50mm", "--raw", "-n", "5")
    assert result.exit_code == 0, result.output
    assert shots == [(Path("a"), Camera(100, "manual", ["35mm", "50mm"], raw=True), 5)]  # type: ignore[arg-type]


def test_fields_without_a_command_option_are_no_flags(shoot: Callable[..., None]) -> None:
    assert list(flatten(shoot)[1].parameters) == ["folder", "iso_limit", "mode", "lens", "raw", "count"]
    assert run(shoot, "a", "--serial", "7").exit_code == 2


@pytest.mark.parametrize("arguments", [("--iso-limit", "49"), ("--iso-limit", "x"), ("--mode", "bulb")])
def test_choices_and_limits_are_checked(shoot: Callable[..., None], arguments: tuple[str, str]) -> None:
    result = run(shoot, "a", *arguments)
    assert result.exit_code == 2
    assert arguments[0] in result.stderr


def test_two_fields_of_one_name_are_refused() -> None:
    def command(*, first: Camera, second: Camera) -> None:
        pass

    with pytest.raises(ValueError, match="duplicate parameter name"):
        flatten(command)


def test_the_text_of_a_parsed_option_reaches_typer_as_text(shoot: Callable[..., None]) -> None:
    annotation = flatten(shoot)[1].parameters["lens"].annotation
    assert annotation.__origin__ == str | None
    assert inspect.signature(flatten(shoot)[0]) is not None
