"""How files are written, for ``smarthdr fuse`` and ``smarthdr batch`` alike. Loads neither NumPy nor torch."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from smarthdr_cli.command_option import OUTPUT, CommandOption

Look = Literal["natural", "vivid", "neutral"]
MAX_PREVIEW_EV = 10.0


@dataclass(frozen=True)
class WriteOptions:
    """How files are written; FORMATS of output/write.py says which formats have which option."""

    float32: Annotated[
        bool, CommandOption("Write a 32-bit float EXR instead of 16-bit half.", OUTPUT, ("--float",))
    ] = False
    compression: Annotated[
        Literal["zip", "piz", "dwaa", "htj2k"],
        CommandOption(
            "Compression of the EXR. zip, piz and htj2k are lossless; htj2k is the smallest and needs a reader with "
            "OpenEXR 3.4. dwaa is lossy.",
            OUTPUT,
        ),
    ] = "piz"
    embed_uncertainty: Annotated[bool, CommandOption("Add the uncertainty to the EXR as a second part.", OUTPUT)] = (
        False
    )
    look: Annotated[
        Look,
        CommandOption(
            "Contrast and colour of previews and of Ultra HDR JPEG: natural, vivid (more of both) or neutral (less, "
            "for editing).",
            OUTPUT,
        ),
    ] = "natural"
    preview_ev: Annotated[
        float,
        CommandOption(
            "Make the mid-tones of previews, Ultra HDR and AVIF brighter by EV stops, darker where negative.",
            OUTPUT,
            metavar="EV",
            minimum=-MAX_PREVIEW_EV,
            maximum=MAX_PREVIEW_EV,
        ),
    ] = 0.0

    def arguments(self) -> dict[str, Any]:
        """The keywords of the writers; without --float, values above half's range still become float."""
        return vars(self) | {"float32": self.float32 or None}
