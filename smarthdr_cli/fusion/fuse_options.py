"""The options of a fusion: ``FuseOptions`` holds them for Python, ``smarthdr fuse`` and ``smarthdr batch`` alike.

A new option is a field here; both commands have it then. Loads neither NumPy nor torch.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from smarthdr_cli.command_option import COMPUTATION, FUSION, INPUT, OUTPUT, QUALITY, CommandOption
from smarthdr_cli.errors import UsageError


def parse_evs(text: str) -> tuple[float, ...]:
    """ "-2,0,2" to EVs. Raises UsageError."""
    from smarthdr_cli.burst import exposure

    return exposure.parse_evs(text)


def parse_times(text: str) -> tuple[float, ...]:
    """ "1/100,1/25" to seconds. Raises UsageError."""
    from smarthdr_cli.burst import exposure

    return exposure.parse_times(text)


def parse_reference(text: str) -> int | Literal["auto"]:
    """ "auto" or a whole number from 1. Raises UsageError."""
    if text == "auto":
        return "auto"
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UsageError(f"--reference {text}: use auto or a number counting the files from 1")
    return int(text)


def parse_memory(text: str) -> float:
    """Bytes from 800M, 3G, 2.5GiB or a plain number; units are powers of 1024. Raises UsageError.

    >>> parse_memory("1.5G")
    1610612736.0
    """
    value = _scaled(text.strip().upper().removesuffix("B").removesuffix("I"), "KMGT", 1024)
    if value is None:
        raise UsageError(f"--max-memory {text}: use a size such as 800M or 3G")
    if not 0 < value < float("inf"):
        raise UsageError(f"--max-memory {text}: use a size above 0, such as 800M or 3G")
    return value


def parse_pixels(text: str) -> int:
    """A number of pixels from 60M, 24MP, 0.3G or a plain number; units are powers of 1000. Raises UsageError."""
    value = _scaled(text.strip().upper().removesuffix("P"), "KMG", 1000)
    if value is None:
        raise UsageError(f"--max-pixels {text}: use a number such as 60M")
    if not 1 <= value <= 2.0**40:
        raise UsageError(f"--max-pixels {text}: use a number of pixels above 0, such as 60M")
    return int(value)


def parse_tile(text: str) -> str:
    """ "auto" or a whole number, 0 being the whole picture. Raises UsageError."""
    if text != "auto" and not (text.isascii() and text.isdecimal()):
        raise UsageError(f"--tile {text}: use auto, 0 (one tile) or a number of pixels such as 512")
    return text


def _scaled(text: str, units: str, base: float) -> float | None:
    """A number with an optional unit behind it, the first of ``units`` meaning ``base``; None for anything else."""
    unit = text[-1:] if text[-1:].isalpha() else ""
    try:
        return float(text.removesuffix(unit)) * base ** (units.index(unit) + 1 if unit else 0)
    except ValueError:
        return None


# Options that other commands have too.
Evs = Annotated[
    Sequence[float] | None,
    CommandOption(
        "EV of each file, in the order given, e.g. -2,0,2; larger is brighter. Without it: from EXIF.",
        INPUT,
        metavar="EV,EV,...",
        parse=parse_evs,
    ),
]
ExposureTimes = Annotated[
    Sequence[float] | None,
    CommandOption(
        "Exposure time of each file in seconds, in the order given, e.g. 1/100,1/25,0.25; ISO and aperture are taken "
        "as equal.",
        INPUT,
        metavar="T,T,...",
        parse=parse_times,
    ),
]
Reference = Annotated[
    int | Literal["auto"],
    CommandOption(
        "The frame whose moment and viewpoint the result has; N counts the files from 1.",
        INPUT,
        metavar="auto|N",
        parse=parse_reference,
    ),
]
Align = Annotated[
    Literal["auto", "none"],
    CommandOption("auto: align each frame to the reference by a homography, where that helps.", FUSION),
]
Device = Annotated[
    str, CommandOption("The processor or GPU that the network runs on.", COMPUTATION, metavar="auto|cpu|cuda[:N]")
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    CommandOption("The network's number format; auto: bf16 where the processor supports it.", COMPUTATION),
]
MaxPixels = Annotated[
    int | None,
    CommandOption(
        "Reject larger images before decoding them, e.g. 60M.",
        COMPUTATION,
        metavar="N",
        parse=parse_pixels,
        show_default="250M",
    ),
]

UncertaintyLimit = Annotated[
    float | None,
    CommandOption(
        "Fail if the mean of the uncertainty map is above X. 0.01 is an eighth of a stop, 0.02 a quarter; each percent "
        "of the image that is clipped in every frame adds 0.01. A clean burst has about 0.01 or less, so 0.013 is a "
        "good start. fuse still writes its files and ends with exit code 8; batch records the set as failed and writes "
        "none.",
        QUALITY,
        ("--fail-if-uncertainty-above",),
        "X",
    ),
]


@dataclass(frozen=True)
class FuseOptions:
    """Every option of ``fuse`` with its default; the texts are those of ``smarthdr fuse --help``.

    ``max_memory`` is in bytes, ``max_pixels`` counts the pixels of one file; None: the limit of burst/scan.py.
    """

    ev: Evs = None
    exposure_times: ExposureTimes = None
    exposure_check: Annotated[
        Literal["off", "warn", "fix"],
        CommandOption(
            "Whether to trust the exposures that EXIF or --ev state. The brightness of the frames tells their true "
            "steps: warn keeps the stated ones and prints a note where the two differ by more than a third of a stop; "
            "fix takes those of the pixels; off does not look.",
            INPUT,
        ),
    ] = "warn"
    gains: Annotated[
        Literal["auto", "off"],
        CommandOption(
            "auto: match each frame's brightness and white balance to the reference where they drifted.", INPUT
        ),
    ] = "auto"
    response: Annotated[
        str,
        CommandOption(
            "The camera's tone curve: auto estimates it from the burst; or a named curve, or a FILE written by "
            "smarthdr calibrate.",
            INPUT,
            metavar="auto|srgb|gamma2.2|linear|FILE",
        ),
    ] = "auto"
    reference: Reference = "auto"
    align: Align = "auto"
    deghost: Annotated[
        Literal["auto", "off", "strong"],
        CommandOption(
            "auto: the network finds and removes ghosts; strong: it also trusts the other frames less; off: merge the "
            "aligned frames without the network.",
            FUSION,
        ),
    ] = "auto"
    weights: Annotated[
        str | Path | None,
        CommandOption(
            "Network weights: a NAME of smarthdr models list, a file or a training run's folder.",
            FUSION,
            metavar="NAME|PATH",
            parse=str,
            show_default="the shipped ones",
        ),
    ] = None
    device: Device = "auto"
    precision: Precision = "auto"
    tile: Annotated[
        str,
        CommandOption(
            "Side of the tiles in pixels; 0: the whole image at once.",
            COMPUTATION,
            metavar="auto|N|0",
            parse=parse_tile,
        ),
    ] = "auto"
    max_memory: Annotated[
        float | None,
        CommandOption("Use at most this much memory, e.g. 3G.", COMPUTATION, metavar="SIZE", parse=parse_memory),
    ] = None
    max_pixels: MaxPixels = None
    colorspace: Annotated[
        Literal["rec709", "rec2020", "acescg"], CommandOption("RGB primaries of the result.", OUTPUT)
    ] = "rec709"
    anchor: Annotated[
        Literal["reference", "short"],
        CommandOption("Pixel value 1 is the clip level of this frame: the reference or the shortest.", OUTPUT),
    ] = "reference"


def check_options(options: FuseOptions) -> None:
    """Raises UsageError for words that are none of an option's, without loading torch.

    Whether the machine has the device, and whether a tile is large enough, is checked where they are used.
    """
    for name, kind in get_type_hints(FuseOptions).items():
        value: Any = getattr(options, name)
        if getattr(kind, "__origin__", None) is Literal and value not in get_args(kind):
            raise UsageError(f"--{name.replace('_', '-')} {value}: use {', '.join(get_args(kind))}")
    check_device(options.device)
    from smarthdr_cli.radiometry import is_response_name, named_response

    if options.response != "auto" and is_response_name(options.response):
        named_response(options.response)


def check_device(device: str) -> None:
    """Raises UsageError unless ``device`` is auto, cpu, cuda or cuda:N, whether the machine has it or not."""
    if re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", device) is None:
        raise UsageError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N")
