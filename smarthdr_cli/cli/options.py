"""One annotated type for each option, shared by all commands that know it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from smarthdr_cli.errors import UsageError

# Panels of the help, so that one option is found under one heading in every command.
INPUT, FUSION, COMPUTATION, OUTPUT = "Input", "Fusion", "Computation", "Output"
CERTAINTY = "Certainty"  # a panel of its own: the option's name would be cut short beside longer neighbours

Files = Annotated[
    list[Path], typer.Argument(metavar="FILES", help="The frames of one burst, in any order.", show_default=False)
]
Evs = Annotated[
    str | None,
    typer.Option(
        "--ev",
        metavar="EV,EV,...",
        help="Exposures of the files in argument order, e.g. -2,0,2; larger is brighter. Without it: from EXIF.",
        rich_help_panel=INPUT,
    ),
]
Times = Annotated[
    str | None,
    typer.Option(
        "--exposure-times",
        metavar="T,T,...",
        help="Exposure times in seconds, in argument order, e.g. 1/100,1/25,0.25; ISO and aperture count as equal.",
        rich_help_panel=INPUT,
    ),
]
ReferenceFrame = Annotated[
    str,
    typer.Option(
        "--reference",
        metavar="auto|N",
        help="The frame whose moment and pose the result has; N counts the files from 1.",
        rich_help_panel=INPUT,
    ),
]
Align = Annotated[
    Literal["auto", "none"],
    typer.Option(
        "--align", help="auto: a homography to the reference, kept only where it helps.", rich_help_panel=FUSION
    ),
]
ExposureCheck = Annotated[
    Literal["off", "warn", "fix"],
    typer.Option(
        "--exposure-check",
        help="Where the pixels contradict the stated exposures: say nothing, warn, or use what the pixels say.",
        rich_help_panel=INPUT,
    ),
]
Gains = Annotated[
    Literal["auto", "off"],
    typer.Option(
        "--gains",
        help="auto: where exposure or white balance drifted, each frame's channels are matched to the reference.",
        rich_help_panel=INPUT,
    ),
]
ResponseCurve = Annotated[
    str,
    typer.Option(
        "--response",
        metavar="auto|srgb|gamma2.2|linear|FILE",
        help="The camera's tone curve: estimated from the burst, named, or a FILE from smarthdr calibrate.",
        rich_help_panel=INPUT,
    ),
]
Deghost = Annotated[
    Literal["auto", "off", "strong"],
    typer.Option(
        "--deghost",
        help="auto: the network decides what moved; strong: it trusts the other frames less; "
        "off: the aligned merge by the physics alone.",
        rich_help_panel=FUSION,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="NAME|PATH",
        help="Other weights than the ones installed.",
        rich_help_panel=FUSION,
    ),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    typer.Option(
        "--precision",
        help="The network's arithmetic; auto: bf16 where the processor has it.",
        rich_help_panel=COMPUTATION,
    ),
]
Tile = Annotated[
    str,
    typer.Option(
        "--tile", metavar="auto|N|0", help="Side of a tile in pixels; 0: no tiles.", rich_help_panel=COMPUTATION
    ),
]
MaxMemory = Annotated[
    str | None,
    typer.Option("--max-memory", metavar="SIZE", help="Memory to stay within, e.g. 3G.", rich_help_panel=COMPUTATION),
]
MaxPixels = Annotated[
    str | None,
    typer.Option(
        "--max-pixels",
        metavar="N",
        help="Larger pictures are refused by their headers, e.g. 60M; without it 250M.",
        rich_help_panel=COMPUTATION,
    ),
]
ColorSpaceName = Annotated[
    Literal["rec709", "rec2020", "acescg"],
    typer.Option("--colorspace", help="Primaries of the result.", rich_help_panel=OUTPUT),
]
Anchor = Annotated[
    Literal["reference", "short"],
    typer.Option("--anchor", help="The frame whose clip level is pixel value 1.", rich_help_panel=OUTPUT),
]
Float32 = Annotated[bool, typer.Option("--float", help="32-bit float EXR instead of half.", rich_help_panel=OUTPUT)]
Compression = Annotated[
    Literal["zip", "piz", "dwaa"],
    typer.Option("--compression", help="The EXR's compression; dwaa is lossy.", rich_help_panel=OUTPUT),
]
EmbedUncertainty = Annotated[
    bool,
    typer.Option(
        "--embed-uncertainty", help="Add the uncertainty to the EXR as a second part.", rich_help_panel=OUTPUT
    ),
]
Bracket = Annotated[
    int | None,
    typer.Option("--bracket", metavar="N", help="Every set has exactly N frames.", rich_help_panel=INPUT),
]
Gap = Annotated[
    float | None,
    typer.Option(
        "--gap",
        metavar="SECONDS",
        help="Frames further apart, from the end of one exposure to the start of the next, are never of one set.",
        rich_help_panel=INPUT,
    ),
]
Device = Annotated[
    str,
    typer.Option("--device", metavar="auto|cpu|cuda[:N]", help="Where the network runs.", rich_help_panel=COMPUTATION),
]
Panoramas = Annotated[
    Path | None,
    typer.Option(
        "--panoramas",
        metavar="DIR",
        help="Folder of HDR images (.exr, .hdr) to make bursts from. Without it: procedural scenes.",
        rich_help_panel=INPUT,
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="What the random numbers start from.")]
UncertaintyLimit = Annotated[
    float | None,
    typer.Option(
        "--fail-if-uncertainty-above",
        metavar="X",
        help="Fail where the mean of the uncertainty map is above X: 0.01 is an eighth of a stop, 0.02 a quarter, and "
        "each percent of the picture that is clipped in every frame adds 0.01. A clean burst has about 0.01 or less; "
        "0.013 is a start. fuse then ends with 8, its outputs written all the same; batch records the set as failed "
        "and writes none.",
        rich_help_panel=CERTAINTY,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.", rich_help_panel=OUTPUT)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.", rich_help_panel=OUTPUT)]
JsonLines = Annotated[
    bool, typer.Option("--json", help="Print a JSON object a line on stdout for each set.", rich_help_panel=OUTPUT)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes.", rich_help_panel=OUTPUT)]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="Say on stderr what was found and how long each stage took.", rich_help_panel=OUTPUT
    ),
]


def parse_reference(text: str) -> int | Literal["auto"]:
    """auto or a whole number from 1. Raises UsageError."""
    if text == "auto":
        return "auto"
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UsageError(f"--reference {text}: use auto or a number counting the files from 1")
    return int(text)


def parse_memory(text: str | None) -> float | None:
    """Bytes from 800M, 3G, 2.5GiB or a plain number. Raises UsageError."""
    if text is None:
        return None
    units = {"": 1.0, "K": 2.0**10, "M": 2.0**20, "G": 2.0**30, "T": 2.0**40}
    stem = text.strip().upper().removesuffix("B").removesuffix("I")
    unit = stem[-1:] if stem[-1:].isalpha() else ""
    try:
        value = float(stem.removesuffix(unit)) * units[unit]
    except (ValueError, KeyError) as error:
        raise UsageError(f"--max-memory {text}: use a size such as 800M or 3G") from error
    if not 0 < value < float("inf"):
        raise UsageError(f"--max-memory {text}: use a size above 0, such as 800M or 3G")
    return value


def parse_pixels(text: str | None) -> int | None:
    """A number of pixels from 60M, 24MP, 0.3G or a plain number, in thousands of thousands. Raises UsageError."""
    if text is None:
        return None
    units = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}
    stem = text.strip().upper().removesuffix("P")
    unit = stem[-1:] if stem[-1:].isalpha() else ""
    try:
        value = float(stem.removesuffix(unit)) * units[unit]
    except (ValueError, KeyError) as error:
        raise UsageError(f"--max-pixels {text}: use a number such as 60M") from error
    if not 1 <= value <= 2.0**40:
        raise UsageError(f"--max-pixels {text}: use a number of pixels above 0, such as 60M")
    return int(value)


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) from WIDTHxHEIGHT, both at least 64. Raises UsageError."""
    width, _, height = text.lower().partition("x")
    if not (text.isascii() and width.isdigit() and height.isdigit()) or min(int(width), int(height)) < 64:
        raise UsageError(f"--size {text}: use WIDTHxHEIGHT in pixels, each at least 64")
    return int(height), int(width)
