"""One update of the student, on one page: what SmartHDR does with labels, pseudo-labels, masks and augmentation.

L = L_s + lambda_u L_u   (arXiv 2511.12939)
"""

import torch
from torch import Tensor

from smarthdr_cli.data.augment import Augmentation, augment
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.base import FusionModel
from smarthdr_cli.train import distributed, losses
from smarthdr_cli.train.config import TrainConfig
from smarthdr_cli.train.forward import forward
from smarthdr_cli.train.losses import Terms, objective
from smarthdr_cli.train.methods.base import Target
from smarthdr_cli.train.perceptual_losses import VGGFeatures
from smarthdr_cli.train.state import TrainState


def semi_supervised_loss(
    student: FusionModel, labelled: Batch | None, target: Target | None, config: TrainConfig, draw: torch.Generator,
    vgg: VGGFeatures | None = None, *, synthesised: Batch | None = None,
) -> tuple[Tensor, Terms]:  # fmt: skip
    """The loss of labelled crops (L_s), unlabelled crops with their target (L_u), and bursts synthesised from labels.

    Labelled crops are weakly augmented (flip of columns, quarter turns), unlabelled ones strongly (channel order too):
    frames, pseudo-labels and weights alike.
    """
    total = torch.zeros((), device=next(student.parameters()).device)
    terms: Terms = {}
    if labelled is not None:
        batch = augment(labelled, Augmentation.draw_weak(draw))
        loss, terms = objective(forward(student, batch, config.precision), batch, config, vgg=vgg)
        total = total + loss
    if target is not None:
        target = target.augmented(Augmentation.draw(draw) if config.strong else Augmentation.draw_weak(draw))
        loss, named = target.loss(forward(student, target.batch, config.precision), config, vgg)
        total = total + config.weight_unlabeled * loss
        terms |= {f"unlabeled_{name}": value for name, value in named.items()} | target.coverage
    if synthesised is not None:
        out = forward(student, synthesised, config.precision)
        loss, named = objective(out, synthesised, config, uncertainty_factor=0.0)
        total = total + loss
        terms |= {f"made_{name}": value for name, value in named.items()}
    return total, terms


def supervised_loss(student: FusionModel, batch: Batch, config: TrainConfig) -> tuple[Tensor, Terms]:
    """The loss of bursts with truth as they are, and its terms by name."""
    return objective(forward(student, batch, config.precision), batch, config)


def motion_loss(student: FusionModel, batch: Batch, config: TrainConfig) -> tuple[Tensor, Terms]:
    """The motion stage alone against the true displacement."""
    with torch.autocast(batch.frames.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        flows = student.flows(batch.frames, batch.evs)
    loss = losses.end_point_error(flows, batch)
    return loss, {"motion": loss.detach()}


def update(state: TrainState, total: Tensor, terms: Terms, config: TrainConfig) -> dict[str, float]:
    """Backward, clip, step at the schedule's rate. Returns the terms; a non-finite loss changes nothing."""
    for group in state.optimizer.param_groups:
        group["lr"] = config.learning_rate_at(state.step) * state.lr_scale
    state.optimizer.zero_grad(set_to_none=True)
    named = {name: float(value) for name, value in terms.items()}
    named["total"] = float(total.detach())
    if distributed.any_process(not (bool(torch.isfinite(total)) and total.requires_grad)):
        return named
    total.backward()  # type: ignore[no-untyped-call]
    distributed.average_gradients(state.student)
    judge = [p for name, p in state.student.named_parameters() if name.startswith("judge.")]
    others = [p for name, p in state.student.named_parameters() if not name.startswith("judge.")]
    # Clipped separately: a large gradient of the uncertainty head must not shorten the step of the rest.
    norms = [torch.nn.utils.clip_grad_norm_(part, config.clip) for part in (others, judge)]
    named["gradient"] = float(norms[0])
    if all(bool(torch.isfinite(norm)) for norm in norms):
        state.optimizer.step()
    return named
