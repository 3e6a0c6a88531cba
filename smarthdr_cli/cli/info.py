"""``smarthdr info``: what the files say and what their pixels say."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from smarthdr_cli.cli import options as opt
from smarthdr_cli.cli.console import handled, print_json, print_table, say, shown

if TYPE_CHECKING:
    from smarthdr_cli.burst.inspect import FrameRecord


@handled
def command(
    files: opt.Files, ev: opt.Evs = None, exposure_times: opt.Times = None, reference: opt.ReferenceFrame = "auto",
    max_pixels: opt.MaxPixels = None, as_json: opt.Json = False, quiet: opt.Quiet = False,
) -> None:  # fmt: skip
    """Show each file's exposure, stated and measured, its clipping and sharpness, and the reference chosen.

    Examples: smarthdr info *.jpg · smarthdr info *.png --ev -2,0,2 --json
    """
    from smarthdr_cli.burst.exposure import parse_evs, parse_times
    from smarthdr_cli.burst.inspect import inspect

    seen = inspect(
        files,
        evs=None if ev is None else parse_evs(ev),
        times=None if exposure_times is None else parse_times(exposure_times),
        reference=opt.parse_reference(reference),
        max_pixels=opt.parse_pixels(max_pixels),
    )
    if as_json:
        print_json(seen.to_dict())
        return
    show(seen.records)
    say(seen.notes, quiet=quiet)


def show(records: "Sequence[FrameRecord]") -> None:
    """The records as a table on stdout, whole rows wherever it goes: a pipe has no width to fold them to."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("file", "size", "time", "f/", "ISO", "EV", "measured", "clipped", "black", "sharpness", ""):
        table.add_column(name, justify="left" if name in ("file", "") else "right", no_wrap=name != "file")
    for r in records:
        file = Text(shown(r.file))
        table.add_row(
            file, f"{r.width}x{r.height}", seconds(r.time), number(r.aperture), number(r.iso), signed(r.ev),
            signed(r.ev_measured), f"{r.clipped:.1%}", f"{r.black:.1%}", f"{r.sharpness:.2f}",
            "reference" if r.reference else "",
        )  # fmt: skip
    print_table(table)


def seconds(time: float | None) -> str:
    """1/125 for short times, 2.5 for long ones, a dash for none."""
    if time is None:
        return "-"
    return f"1/{round(1 / time)}" if 0 < time < 0.3 else f"{time:g}"


def number(value: float | None) -> str:
    """A plain number, or a dash."""
    return "-" if value is None else f"{value:g}"


def signed(value: float | None) -> str:
    """An EV with its sign, or a dash."""
    return "-" if value is None else f"{value:+.2f}"
