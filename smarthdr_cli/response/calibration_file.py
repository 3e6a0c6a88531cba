"""The calibration file ``camera.toml``: the response of one camera, for ``--response FILE``.

TOML with a format name, a version, make, model, date and number of frames where known, and a table ``curve``: for red,
green and blue the linear light f(k/255) of every code k, never falling, from 0 to 1 (the clip).
"""

import json
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from smarthdr_cli.atomic import atomic_file
from smarthdr_cli.errors import InputError
from smarthdr_cli.radiometry import ENTRIES_8BIT, Response, resampled, tabulated

FORMAT = "smarthdr-response"
VERSION = 1
CHANNELS = ("red", "green", "blue")
MAX_BYTES = 1 << 20


def save_response(response: Response, path: Path, *, overwrite: bool = False) -> None:
    """Write ``response`` to ``path``.

    Raises OutputError where ``path`` exists (without ``overwrite``) or cannot be written.
    """
    with atomic_file(path, overwrite=overwrite) as partial:
        partial.write_text(to_toml(response), encoding="utf-8")


def to_toml(response: Response) -> str:
    """The text of a calibration file for ``response``."""
    lines = [f'format = "{FORMAT}"', f"version = {VERSION}"]
    stated = [key for key in ("make", "model", "date") if response.record.get(key) is not None]
    lines += [f"{key} = {_toml_string(str(response.record[key]))}" for key in stated]
    if response.record.get("frames") is not None:
        lines.append(f"frames = {int(response.record['frames'])}")
    lines += ["", "# Linear light of code k/255, 1 at the clip level.", "[curve]"]
    for name, channel in zip(CHANNELS, resampled(response, ENTRIES_8BIT).table, strict=True):
        lines.append(f"{name} = [")
        numbers = [_toml_float(float(value)) for value in channel]
        lines += ["  " + ", ".join(numbers[start : start + 8]) + "," for start in range(0, len(numbers), 8)]
        lines.append("]")
    return "\n".join(lines) + "\n"


def load_response(path: Path) -> Response:
    """The response in the calibration file ``path``.

    Raises InputError, in one line, where the file is missing, unreadable, of another kind or damaged.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is too large for a calibration file")
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"calibration file {path} does not exist") from error
    except OSError as error:
        raise InputError(f"cannot read calibration file {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a calibration file: {error}") from error
    if data.get("format") != FORMAT:
        raise InputError(f"{path} is not a smarthdr calibration file")
    if data.get("version") != VERSION:
        raise InputError(f"{path} is a calibration file of version {data.get('version')}; this reads version {VERSION}")
    curve = data.get("curve")
    if not isinstance(curve, dict) or not all(_is_curve(curve.get(name)) for name in CHANNELS):
        raise InputError(
            f"{path} is damaged: each of red, green and blue needs {ENTRIES_8BIT} rising values from 0 to 1"
        )
    record: dict[str, Any] = {key: data[key] for key in ("make", "model", "date", "frames") if key in data}
    return tabulated(
        path.name, np.array([curve[name] for name in CHANNELS], np.float64), {"source": path.name} | record
    )


def _is_curve(values: Any) -> bool:
    if not isinstance(values, list) or len(values) != ENTRIES_8BIT:
        return False
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return False
    if not all(0 <= value <= 1 for value in values):  # NaN and infinity fail too
        return False
    rising = all(low <= high for low, high in pairwise(values))
    return rising and values[0] == 0 and values[-1] == 1


def _toml_float(value: float) -> str:
    text = f"{value:.9g}"  # nine digits restore a float32 exactly
    return text if any(mark in text for mark in ".en") else text + ".0"


def _toml_string(text: str) -> str:
    return json.dumps("".join(char for char in text if char.isprintable()), ensure_ascii=False)
