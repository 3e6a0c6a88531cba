"""One update of the student, on one page."""

import torch
from torch import Tensor, nn

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.saf import SAF, pyramid
from smarthdr_cli.train import losses
from smarthdr_cli.train.config import TrainConfig


def supervised_loss(student: nn.Module, batch: Batch, config: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of labelled bursts and its terms by name (METHOD of SmartHDR: L^r + L^k, and the synthetic truths)."""
    assert batch.target is not None
    with torch.autocast(batch.frames.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        out = student(batch.frames, batch.evs, batch.valid)
    scale = batch.scale_short
    terms = {
        "reconstruction": losses.reconstruction(out.radiance, batch.target, scale),
        "uncertainty": losses.uncertainty(out.radiance, batch.target, out.log_sigma, scale),
        "merged": losses.reconstruction(out.merged, batch.target, scale),
    }
    total = (
        terms["reconstruction"]
        + config.weight_uncertainty * terms["uncertainty"]
        + config.weight_merged * terms["merged"]
    )
    if batch.flow is not None:
        terms["motion"] = losses.motion(out.flows, batch)
        terms["trust"] = losses.trust(out, batch)
        total = total + config.weight_motion * terms["motion"] + config.weight_trust * terms["trust"]
    return total, {name: value.detach() for name, value in terms.items()}


def motion_loss(student: nn.Module, batch: Batch, config: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """The motion stage alone against the true displacement."""
    assert isinstance(student, SAF)
    pairs = batch.frames.shape[1] - 1
    others = batch.frames[:, 1:].flatten(0, 1)
    refs = batch.frames[:, :1].expand(-1, pairs, -1, -1, -1).flatten(0, 1)
    with torch.autocast(batch.frames.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        states = student.motion(pyramid(refs), pyramid(others), batch.evs[:, 1:].reshape(-1))
    loss = losses.motion([state.flow for state in states], batch)
    return loss, {"motion": loss.detach()}


def update(
    student: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, config: TrainConfig, step: int
) -> dict[str, float]:
    """Forward, backward, clip, step at the schedule's rate. Returns the terms; a non-finite loss changes nothing."""
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate_at(step)
    early = step < config.motion_steps
    total, terms = motion_loss(student, batch, config) if early else supervised_loss(student, batch, config)
    optimizer.zero_grad(set_to_none=True)
    named = {name: float(value) for name, value in terms.items()}
    named["total"] = float(total.detach())
    if not torch.isfinite(total):
        return named
    total.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(student.parameters(), config.clip)
    named["gradient"] = float(norm)
    if torch.isfinite(norm):
        optimizer.step()
    return named
