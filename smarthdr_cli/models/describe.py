"""Everything a file of weights tells of itself: architecture, training, calibration, and its model card."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smarthdr_cli.models.card import read_card
from smarthdr_cli.models.catalog import Item, seen
from smarthdr_cli.models.config import config_to_dict
from smarthdr_cli.models.load import load_model
from smarthdr_cli.models.uncertainty_calibration import Calibration


@dataclass(frozen=True)
class Description:
    """``item``: the file. ``parts``: parameters of each part of the network. ``config``: its settings with defaults.

    ``record`` and ``metrics`` as training stored them. ``calibration``: quantile, samples, number of knots and the
    range of sigma it gives on what it was fitted on, and the same as "eight_bit" where 8-bit files have a curve of
    their own; None without one. ``card``: markdown, None without one.
    """

    item: Item
    parts: dict[str, int]
    config: dict[str, Any]
    record: dict[str, Any]
    metrics: dict[str, Any]
    calibration: dict[str, Any] | None
    card: str | None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: the file's own keys, and one for each field."""
        return self.item.to_dict() | {
            "parts": self.parts, "config": self.config, "record": self.record, "metrics": self.metrics,
            "calibration": self.calibration, "card": self.card,
        }  # fmt: skip


def describe(spec: str | Path | None = None) -> Description:
    """Of a name or a path, as ``find_weights`` takes them. Raises ModelError unless the file is whole and loads."""
    item = seen(spec)
    assert item.path is not None
    model, checkpoint = load_model(item.path)
    parts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        parts[name.partition(".")[0]] += parameter.numel()
    curve = checkpoint.calibration
    return Description(
        item, dict(parts), config_to_dict(model.config), checkpoint.record, checkpoint.metrics,
        None if curve is None else _summary(curve),
        read_card(item.path, checkpoint.sha256),
    )  # fmt: skip


def _summary(curve: Calibration) -> dict[str, Any]:
    own: dict[str, Any] = {
        "quantile": curve.quantile, "samples": curve.samples, "knots": len(curve.raw),
        "lowest": curve.calibrated[0], "highest": curve.calibrated[-1],
    }  # fmt: skip
    return own if curve.eight_bit is None else own | {"eight_bit": _summary(curve.eight_bit)}
