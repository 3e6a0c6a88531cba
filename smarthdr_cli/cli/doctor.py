"""``smarthdr doctor``: whether fusing works on this machine, and what is missing for optional features."""

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import cli_command, print_json, print_table, printable


@cli_command
def command(as_json: opt.Json = False) -> None:
    """Check this installation: versions, devices, weights and their sha256, extras, and a fusion with known truth.

    Ends with 0 if fusing works, else with the exit code of smarthdr fuse. Writes and downloads nothing.

    Examples: smarthdr doctor · smarthdr doctor --json | jq .problems
    """
    from rich.table import Table
    from rich.text import Text

    from smarthdr_cli.doctor.checks import run_checks

    report = run_checks()
    if as_json:
        print_json(report.to_dict())
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        colours = {"ok": "green", "-": "dim", "!": "bold red"}
        for section in report.sections:
            for mark, topic, text in section.lines:
                table.add_row(Text(mark, colours[mark]), *(Text(printable(cell)) for cell in (topic, text)))
        print_table(table)
    if report.error is not None:
        raise report.error
