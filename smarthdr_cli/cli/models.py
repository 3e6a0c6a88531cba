"""``smarthdr models``: list, show, verify and download network weights."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import cli_command, print_json, print_lines, print_table, printable
from smarthdr_cli.errors import ModelError

if TYPE_CHECKING:
    from smarthdr_cli.models.catalog import CatalogEntry, Description

app = typer.Typer(no_args_is_help=True, help="List, show, verify and download network weights.")
_COLOURS = {"verified": "green", "unlisted": "yellow", "absent": "dim", "damaged": "bold red"}


@app.command("list")
@cli_command
def list_command(as_json: opt.Json = False) -> None:
    """List every name that --weights takes, with network, parameters, size, licence, place and state.

    Weights are found in the package, in $SMARTHDR_HOME/weights and, if SMARTHDR_HUB_REPO is set, in the hub's cache.
    States: verified: the file is byte for byte the one in a manifest; unlisted: in no manifest; absent: smarthdr models
    download fetches it; damaged: it differs from the manifest or cannot be read.

    Examples: smarthdr models list · smarthdr models list --json
    """
    from rich.table import Table
    from rich.text import Text

    from smarthdr_cli.models.catalog import list_weights

    items = list_weights()
    if as_json:
        print_json({"weights": [item.to_dict() for item in items]})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("name", "network", "parameters", "size", "licence", "", "state", "where"):
        table.add_column(name, justify="right" if name in ("parameters", "size") else "left", overflow="fold")
    for item in items:
        where = item.problem or f"{item.path}" + (f" ({item.place})" if item.place else "")
        table.add_row(
            printable(item.name), _or_dash(item.network), _count(item.parameters), _bytes(item.size),
            _or_dash(item.licence), "default" if item.default else "", Text(item.state, _COLOURS[item.state]),
            Text(printable(where)),
        )  # fmt: skip
    print_table(table)


@app.command("show")
@cli_command
def show_command(
    weights: Annotated[
        str | None,
        typer.Argument(metavar="[NAME|FILE]", help="As for --weights. Without it: the default.", show_default=False),
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Show one file of weights: network, configuration, training, calibration, sha256 and model card.

    Examples: smarthdr models show · smarthdr models show runs/mine · smarthdr models show saf-base --json
    """
    from rich.table import Table
    from rich.text import Text

    from smarthdr_cli.models.catalog import describe

    description = describe(weights)
    if as_json:
        print_json(description.to_dict())
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in _facts(description):
        table.add_row(label, Text(printable(text)))
    print_table(table)
    if description.card is not None:
        print_lines(["", *description.card.splitlines()])


@app.command("verify")
@cli_command
def verify_command(
    weights: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME|FILE]...", help="As for --weights. Without any: all on this machine.", show_default=False
        ),
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Compare each file's sha256 with the listed one, and load every tensor into its network.

    Checks all files before it ends with exit code 4 if one of them fails.

    Examples: smarthdr models verify · smarthdr models verify saf-base runs/mine
    """
    from rich.table import Table
    from rich.text import Text

    from smarthdr_cli.models.catalog import verify

    items = verify(weights or ())
    if as_json:
        print_json({"weights": [item.to_dict() for item in items]})
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        for item in items:
            text = item.problem or f"sha256 {item.sha256}, {item.path}"
            table.add_row(Text(item.state, _COLOURS[item.state]), Text(printable(item.name)), Text(printable(text)))
        print_table(table)
    _raise_for_problems([item for item in items if item.problem], len(items))


@app.command("download")
@cli_command
def download_command(
    weights: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Without any: all that are listed.", show_default=False),
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Download listed weights that are not on this machine into the hub's cache, and verify their sha256.

    SMARTHDR_HUB_REPO=owner/name@revision names the repository; it has no default, and the revision is a commit or a
    version tag. HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE are honoured.

    Examples: smarthdr models download · smarthdr models download saf-base
    """
    from smarthdr_cli.models.catalog import download

    downloads = []
    for item in download(weights or ()):
        downloads.append({"name": item.name, "path": str(item.path), "fetched": item.fetched})
        if not as_json:
            print_lines([f"{item.name}: {'downloaded' if item.fetched else 'here already'}, verified, {item.path}"])
    if as_json:
        print_json({"weights": downloads})


def _raise_for_problems(broken: "list[CatalogEntry]", count: int) -> None:
    """Raises ModelError if any of ``count`` files is broken."""
    if broken:
        problem = broken[0].problem
        raise ModelError(str(problem) if count == 1 else f"{len(broken)} of {count} cannot be used; {problem}")


def _facts(description: "Description") -> list[tuple[str, str]]:
    """(label, text) of each line; nested settings are in the JSON only."""
    item, curve = description.item, description.calibration
    rows = [
        ("name", item.name + (" (default)" if item.default else "")),
        ("file", f"{item.path}, {_bytes(item.size)}, {item.state}"),
        ("sha256", str(item.sha256)),
        ("licence", _or_dash(item.licence)),
        ("network", f"{item.network}, {_count(item.parameters)} parameters"),
        ("parts", ", ".join(f"{part} {count:,}" for part, count in description.parts.items())),
        ("config", _flat({key: value for key, value in description.config.items() if key != "name"})),
        ("training", _flat(description.record)),
        ("metrics", _flat(description.metrics)),
    ]
    if curve is None:
        return [*rows, ("calibration", "none: the uncertainty orders pixels, but its values are not calibrated")]
    rows.append(("calibration", f"sigma is the {curve['quantile']:.0%} quantile of |error|; fitted on {_fit(curve)}"))
    return [*rows, ("for 8-bit files", f"fitted on {_fit(curve['eight_bit'])}")] if "eight_bit" in curve else rows


def _fit(curve: dict[str, Any]) -> str:
    return f"{curve['samples']:,} pixels, {curve['knots']} knots from {curve['lowest']:.4f} to {curve['highest']:.4f}"


def _flat(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if not isinstance(value, Mapping)) or "-"


def _or_dash(text: str | None) -> str:
    return printable(text) if text else "-"


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _bytes(count: int | None) -> str:
    from smarthdr_cli.doctor.checks import format_bytes

    return "-" if count is None else format_bytes(count)
