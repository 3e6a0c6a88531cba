"""An error of one set as a record: its exit code, its kind and its one line."""

from typing import Any

from smarthdr_cli.errors import MemoryLimitError, SmartHDRError, out_of_memory


def failure(error: BaseException) -> dict[str, Any]:
    """``{"code", "type", "message"}``: the code ``smarthdr fuse`` would have ended with, the class, one line."""
    kind = type(error).__name__
    if isinstance(error, SmartHDRError):
        return {"code": error.exit_code, "type": kind, "message": _line(error)}
    if out_of_memory(error):
        return {"code": MemoryLimitError.exit_code, "type": "MemoryLimitError", "message": "out of memory"}
    return {"code": 1, "type": kind, "message": f"crashed ({kind}: {_line(error)})"}


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
