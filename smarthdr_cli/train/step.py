"""One update of the student, on one page: what SmartHDR does with labels, pseudo-labels, masks and augmentation."""

import torch
from torch import Tensor

from smarthdr_cli.data.augment import Augmentation, augment
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.base import FusionModel
from smarthdr_cli.train import distributed, losses
from smarthdr_cli.train.config import TrainConfig
from smarthdr_cli.train.estimate import estimate
from smarthdr_cli.train.methods.base import Aim, aimed_loss
from smarthdr_cli.train.objective import Terms, objective
from smarthdr_cli.train.perceptual_losses import VGGFeatures
from smarthdr_cli.train.state import TrainState


def semi_supervised_loss(
    student: FusionModel, labelled: Batch | None, aim: Aim | None, config: TrainConfig, draw: torch.Generator,
    vgg: VGGFeatures | None = None, *, made: Batch | None = None,
) -> tuple[Tensor, Terms]:  # fmt: skip
    """L = L_s + lambda_u L_u (arXiv 2511.12939), and L_s of bursts ``made`` from labels (train/made.py).

    Labelled crops are seen under a weak augmentation (flip of rows, quarter turns). Unlabelled ones come with what the
    teacher made of them and how far that is to be believed (``aims``), and are seen under a strong one (flip, turns,
    order of channels), the same for frames, pseudo-labels and masks, and beyond the paper under noise of their own.
    """
    total = torch.zeros((), device=next(student.parameters()).device)
    terms: Terms = {}
    if labelled is not None:
        batch = augment(labelled, Augmentation.draw_weak(draw))
        loss, terms = objective(estimate(student, batch, config.precision), batch, config, vgg=vgg)
        total = total + loss
    if aim is not None:
        aim = aim.under(Augmentation.draw(draw) if config.strong else Augmentation.draw_weak(draw))
        loss, named = aimed_loss(estimate(student, aim.batch, config.precision), aim, config, vgg)
        total = total + config.weight_unlabeled * loss
        terms |= {f"unlabeled_{name}": value for name, value in named.items()} | aim.shares
    if made is not None:
        loss, named = objective(estimate(student, made, config.precision), made, config, judged=0.0)
        total = total + loss
        terms |= {f"made_{name}": value for name, value in named.items()}
    return total, terms


def supervised_loss(student: FusionModel, batch: Batch, config: TrainConfig) -> tuple[Tensor, Terms]:
    """The loss of bursts with truth as they are, and its terms by name."""
    return objective(estimate(student, batch, config.precision), batch, config)


def motion_loss(student: FusionModel, batch: Batch, config: TrainConfig) -> tuple[Tensor, Terms]:
    """The motion stage alone against the true displacement."""
    with torch.autocast(batch.frames.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        flows = student.flows(batch.frames, batch.evs)
    loss = losses.motion(flows, batch)
    return loss, {"motion": loss.detach()}


def update(state: TrainState, total: Tensor, terms: Terms, config: TrainConfig) -> dict[str, float]:
    """Backward, clip, step at the schedule's rate. Returns the terms; a non-finite loss changes nothing."""
    for group in state.optimizer.param_groups:
        group["lr"] = config.learning_rate_at(state.step) * state.pace
    state.optimizer.zero_grad(set_to_none=True)
    named = {name: float(value) for name, value in terms.items()}
    named["total"] = float(total.detach())
    if distributed.any_of(not (bool(torch.isfinite(total)) and total.requires_grad)):
        return named
    total.backward()  # type: ignore[no-untyped-call]
    distributed.mean_gradients(state.student)
    judge = [p for name, p in state.student.named_parameters() if name.startswith("judge.")]
    others = [p for name, p in state.student.named_parameters() if not name.startswith("judge.")]
    # Each for itself: a surprised judge must not take the others' step from them.
    norms = [torch.nn.utils.clip_grad_norm_(part, config.clip) for part in (others, judge)]
    named["gradient"] = float(norms[0])
    if all(bool(torch.isfinite(norm)) for norm in norms):
        state.optimizer.step()
    return named
