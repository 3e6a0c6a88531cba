"""``smarthdr doctor``: whether fusing works here, with what, and what is missing for the rest."""

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import handled, print_json, print_table, shown


@handled
def command(as_json: opt.Json = False) -> None:
    """Look at this installation: versions, devices, weights and their sha256, extras, and a small fusion with a truth.

    Ends with 0 where fusing works, else with the code that smarthdr fuse would end with. Nothing is written or fetched.

    Examples: smarthdr doctor · smarthdr doctor --json | jq .problems
    """
    from rich.table import Table
    from rich.text import Text

    from smarthdr_cli.doctor.checks import run_checks

    found = run_checks()
    if as_json:
        print_json(found.to_dict())
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        colours = {"ok": "green", "-": "dim", "!": "bold red"}
        for section in found.sections:
            for mark, what, words in section.lines:
                table.add_row(Text(mark, colours[mark]), *(Text(shown(text)) for text in (what, words)))
        print_table(table)
    if found.error is not None:
        raise found.error
