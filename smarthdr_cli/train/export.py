"""From a trained network to the file that fuse takes: its judge calibrated, its record beside the weights."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.base import FusionModel
from smarthdr_cli.models.checkpoint import save_checkpoint
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.models.uncertainty_calibration import BIN_SAMPLES, Calibration, fit_calibration
from smarthdr_cli.train.config import TrainConfig
from smarthdr_cli.train.estimate import estimate
from smarthdr_cli.train.state import TrainState


def as_fused(network: FusionModel) -> FusionModel:
    """The network with all the motion levels that fusing gives it."""
    network.set_finest_cell(1)
    return network


@torch.no_grad()
def calibrated(model: FusionModel, batches: Iterable[Batch]) -> Calibration | None:
    """The judge's curve on bursts neither trained nor validated on; None where there are too few pixels for one."""
    sigmas, errors = [], []
    for batch in batches:
        assert batch.target is not None
        out = estimate(model, batch)
        scale = batch.scale_short.view(-1, 1, 1, 1)
        error = (mu_law(out.radiance * scale) - mu_law(batch.target * scale)).abs().mean(dim=1)
        sigmas.append(out.log_sigma.exp().flatten().cpu())
        errors.append(error.flatten().cpu())
    return curve(sigmas, errors)


def curve(sigmas: Sequence[Tensor], errors: Sequence[Tensor]) -> Calibration | None:
    """The judge's curve from raw sigmas and errors in the mu-law domain; what is not finite is left out."""
    sigma, error = (torch.cat([part.flatten() for part in parts]) if parts else torch.zeros(0)
                    for parts in (sigmas, errors))  # fmt: skip
    good = torch.isfinite(sigma) & torch.isfinite(error)
    if int(good.sum()) < BIN_SAMPLES:
        return None
    return fit_calibration(sigma[good].numpy(), error[good].numpy())


def licence(own: str, state: TrainState) -> str:
    """That of what was trained on, and that of the weights it began with where it is another one."""
    first = state.init.get("licence", own)
    return own if first == own else f"{own}; and, of the weights it began with: {first or 'unknown'}"


def write_weights(
    path: Path, network: FusionModel, config: TrainConfig, record: dict[str, Any], calibration: Calibration | None,
    licence: str, metrics: dict[str, float],
) -> dict[str, Any]:  # fmt: skip
    """Write a network in half precision; returns where, its sha256, record and metrics."""
    model = dict(config.model) | {"name": config.model.get("name", "saf")}
    weights = {
        name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()
    }
    sha256 = save_checkpoint(path, weights, model, record, calibration, licence, metrics)
    return {"weights": str(path), "sha256": sha256, "record": record, "metrics": metrics}
