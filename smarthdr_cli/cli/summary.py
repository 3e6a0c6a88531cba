"""``--verbose``: a fusion's report as a few lines for people."""

from collections.abc import Mapping
from typing import Any


def summary(report: Mapping[str, Any]) -> list[str]:
    """One line each for exposures, alignment, response, model, what the network changed, uncertainty and seconds; one
    more for a burst in which nothing moves."""
    frames = zip(report["files"], report["evs"], strict=True)
    named = ", ".join(f"{file} {ev:+.2f} EV" for file, ev in frames)
    moved = {entry["file"]: entry["moved"] for entry in report["alignment"]}
    aligned = [file for file, changed in moved.items() if changed]
    lines = [
        f"frames: {named}; reference {report['reference']}",
        f"alignment: {', '.join(aligned) if aligned else 'no frame'} moved onto the reference",
        f"response: {report['options'].get('response', 'auto')}; {_flat(report['response'])}",
        f"model: {_model(report['model'])} on {report['device']}, {report['precision']}" + _tiles(report),
    ]
    guard = report.get("guard")
    if guard is not None:
        lines.append(f"against the classical merge: {_flat(guard)}")
    if still := report.get("still_share"):
        lines.append(f"motion: none in {still:.2%} of the picture, which is merged by the physics alone")
    lines.append(f"uncertainty: {_flat(report['uncertainty'])}")
    seconds: Mapping[str, float] = report["seconds"]
    lines.append(f"seconds: {_flat(seconds)} (in all {sum(seconds.values()):.2f})")
    return lines


def _model(model: Any) -> str:
    if isinstance(model, Mapping):
        return f"{model['name']} ({model['network']}, sha256 {str(model['sha256'])[:12]})"
    return str(model)


def _tiles(report: Mapping[str, Any]) -> str:
    size = report.get("tile_after_retreat", report.get("tile"))
    if size is None:
        return ""
    return ", untiled" if size == 0 else f", tiles of {size}"


def _flat(values: Mapping[str, Any]) -> str:
    """Short values only: a curve's table belongs in the JSON."""
    parts = []
    for key, value in values.items():
        name = key.replace("_", " ")
        if isinstance(value, float):
            parts.append(f"{name} {value:.3g}")
        elif isinstance(value, str | int):
            parts.append(f"{name} {value}")
    return ", ".join(parts)
