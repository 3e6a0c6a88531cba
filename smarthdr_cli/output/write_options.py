"""The options of an EXR result, for ``smarthdr fuse`` and ``smarthdr batch`` alike. Loads neither NumPy nor torch."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from smarthdr_cli.command_option import OUTPUT, CommandOption


@dataclass(frozen=True)
class WriteOptions:
    """How a result is written; FORMATS of output/write.py says which formats have which option."""

    float32: Annotated[
        bool, CommandOption("Write a 32-bit float EXR instead of 16-bit half.", OUTPUT, ("--float",))
    ] = False
    compression: Annotated[
        Literal["zip", "piz", "dwaa"],
        CommandOption("Compression of the EXR; zip and piz are lossless, dwaa is lossy.", OUTPUT),
    ] = "zip"
    embed_uncertainty: Annotated[bool, CommandOption("Add the uncertainty to the EXR as a second part.", OUTPUT)] = (
        False
    )

    def arguments(self) -> dict[str, Any]:
        """The keywords of ``write_result``; without --float, values above half's range still become float."""
        return vars(self) | {"float32": self.float32 or None}
