"""``smarthdr models``: the weights that are known, what they are, whether they are whole, and how to get them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import handled, print_json, print_lines, print_table, shown
from smarthdr_cli.errors import ModelError

if TYPE_CHECKING:
    from smarthdr_cli.models.catalog import CatalogEntry, Description

app = typer.Typer(no_args_is_help=True, help="List, show, verify and download weights.")
_COLOURS = {"verified": "green", "unlisted": "yellow", "absent": "dim", "damaged": "bold red"}


@app.command("list")
@handled
def list_command(as_json: opt.Json = False) -> None:
    """List every name that --weights takes: network, parameters, size, licence, place, and whether it is whole.

    Known are the weights in the package, in $SMARTHDR_HOME/weights and, where SMARTHDR_HUB_REPO is set, in the hub's
    cache. "verified": byte for byte the file a manifest lists. "unlisted": in no manifest. "absent": to be downloaded.

    Examples: smarthdr models list · smarthdr models list --json
    """
    from rich.table import Table
    from rich.text import Text

    from smarthdr_cli.models.catalog import list_weights

    found = list_weights()
    if as_json:
        print_json({"weights": [item.to_dict() for item in found]})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("name", "network", "parameters", "size", "licence", "", "state", "where"):
        table.add_column(name, justify="right" if name in ("parameters", "size") else "left", overflow="fold")
    for item in found:
        where = item.problem or f"{item.path}" + (f" ({item.place})" if item.place else "")
        table.add_row(
            shown(item.name), _or_dash(item.network), _count(item.parameters), _bytes(item.size),
            _or_dash(item.licence), "default" if item.default else "", Text(item.state, _COLOURS[item.state]),
            Text(shown(where)),
        )  # fmt: skip
    print_table(table)


@app.command("show")
@handled
def show_command(
    weights: Annotated[
        str | None,
        typer.Argument(metavar="[NAME|FILE]", help="As for --weights; without it the default.", show_default=False),
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Show what weights are and how they came to be: network, settings, training, calibration, sha256, model card.

    Examples: smarthdr models show · smarthdr models show runs/mine · smarthdr models show saf-base --json
    """
    from rich.table import Table
    from rich.text import Text

    from smarthdr_cli.models.catalog import describe

    found = describe(weights)
    if as_json:
        print_json(found.to_dict())
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for what, words in _facts(found):
        table.add_row(what, Text(shown(words)))
    print_table(table)
    if found.card is not None:
        print_lines(["", *found.card.splitlines()])


@app.command("verify")
@handled
def verify_command(
    weights: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME|FILE]...", help="As for --weights; without any, all on this machine.", show_default=False
        ),
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Compute each file's sha256 anew, compare it with the one listed, and load every tensor into its network.

    Ends with 4 where one of them fails, after all were looked at.

    Examples: smarthdr models verify · smarthdr models verify saf-base runs/mine
    """
    from rich.table import Table
    from rich.text import Text

    from smarthdr_cli.models.catalog import verify

    found = verify(weights or ())
    if as_json:
        print_json({"weights": [item.to_dict() for item in found]})
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        for item in found:
            words = item.problem or f"sha256 {item.sha256}, {item.path}"
            table.add_row(Text(item.state, _COLOURS[item.state]), Text(shown(item.name)), Text(shown(words)))
        print_table(table)
    _refuse([item for item in found if item.problem], len(found))


@app.command("download")
@handled
def download_command(
    weights: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Without any, all that are listed.", show_default=False),
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Fetch weights that are listed and not on this machine, into the hub's cache, and check their sha256.

    The repository is a setting without a default: SMARTHDR_HUB_REPO=owner/name@revision, the revision a commit or a
    version tag. HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE are honoured. What is here and whole is not fetched again.

    Examples: smarthdr models download · smarthdr models download saf-base
    """
    from smarthdr_cli.models.catalog import download

    done = []
    for one in download(weights or ()):
        done.append({"name": one.name, "path": str(one.path), "fetched": one.fetched})
        if not as_json:
            print_lines([f"{one.name}: {'downloaded' if one.fetched else 'here already'}, verified, {one.path}"])
    if as_json:
        print_json({"weights": done})


def _refuse(broken: "list[CatalogEntry]", among: int) -> None:
    """Raises ModelError where anything is broken: what is wrong with the one, or with how many of several."""
    if broken:
        first = broken[0].problem
        raise ModelError(str(first) if among == 1 else f"{len(broken)} of {among} are not fit for use; {first}")


def _facts(found: "Description") -> list[tuple[str, str]]:
    """What there is to say, line by line; settings nested deeper are in the JSON."""
    item, curve = found.item, found.calibration
    rows = [
        ("name", item.name + (" (default)" if item.default else "")),
        ("file", f"{item.path}, {_bytes(item.size)}, {item.state}"),
        ("sha256", str(item.sha256)),
        ("licence", _or_dash(item.licence)),
        ("network", f"{item.network}, {_count(item.parameters)} parameters"),
        ("parts", ", ".join(f"{part} {count:,}" for part, count in found.parts.items())),
        ("config", _flat({key: value for key, value in found.config.items() if key != "name"})),
        ("training", _flat(found.record)),
        ("metrics", _flat(found.metrics)),
    ]
    if curve is None:
        return [*rows, ("calibration", "none: its uncertainty is a ranking")]
    rows.append(("calibration", f"sigma is the {curve['quantile']:.0%} quantile of |error|; fitted on {_fit(curve)}"))
    return [*rows, ("for 8-bit files", f"fitted on {_fit(curve['eight_bit'])}")] if "eight_bit" in curve else rows


def _fit(curve: dict[str, Any]) -> str:
    return f"{curve['samples']:,} pixels, {curve['knots']} knots from {curve['lowest']:.4f} to {curve['highest']:.4f}"


def _flat(values: Mapping[str, Any]) -> str:
    said = [f"{key} {value}" for key, value in values.items() if not isinstance(value, Mapping)]
    return ", ".join(said) or "-"


def _or_dash(text: str | None) -> str:
    return shown(text) if text else "-"


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _bytes(count: int | None) -> str:
    from smarthdr_cli.doctor.checks import format_bytes

    return "-" if count is None else format_bytes(count)
