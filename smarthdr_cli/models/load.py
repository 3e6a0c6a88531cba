"""From what the user named to a network ready to run: find the file, check it, build its model, fill it."""

from pathlib import Path

import torch
from torch import nn

from smarthdr_cli.errors import ModelError
from smarthdr_cli.models.base import build_model
from smarthdr_cli.models.checkpoint import Checkpoint, load_checkpoint, load_state
from smarthdr_cli.models.judged import gfhdr_input
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.weights import find_weights

MAX_OUTPUT = 1e4  # radiance, pixels of motion and logits of shipped and of untrained networks stay below 10


def load_model(spec: str | Path | None = None) -> tuple[nn.Module, Checkpoint]:
    """The network ``spec`` means (a path, a name, or None for the default) and the checkpoint it came from.

    The network is on the CPU, float32, in eval mode. Raises ModelError for whatever stands in the way.
    """
    path = find_weights(spec)
    checkpoint = load_checkpoint(path)
    try:
        model = build_model(checkpoint.config)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    load_state(model, checkpoint)
    check_usable(model.eval(), path)
    return model, checkpoint


@torch.no_grad()
def check_usable(model: nn.Module, path: Path) -> None:
    """Run ``model``, in eval mode and filled from ``path``, on a small burst of noise.

    Raises ModelError where its output is not finite or beyond all bounds.
    """
    side = 32
    light = 4 * torch.rand((1, 1, 3, side, side), generator=torch.Generator().manual_seed(0))
    evs = torch.tensor([[0.0, -2.0, 2.0]])
    frames = (light * torch.exp2(evs).view(1, 3, 1, 1, 1)).clamp(0, 1)  # the reference first
    device = next(model.parameters()).device
    if isinstance(model, SAF):
        seen = model(frames.to(device), evs.to(device), torch.ones_like(frames[:, :, :1]).to(device))
        outputs = (seen.radiance, seen.log_sigma, seen.trust_logit, *seen.flows)
    else:
        order = [1, 0, 2]
        outputs = model(gfhdr_input(frames[:, order], evs[:, order]).to(device))
    if not all(bool((output.abs() <= MAX_OUTPUT).all()) for output in outputs):
        raise ModelError(
            f"{path}: not usable weights: the network's output is not finite, or beyond all bounds; use other --weights"
        )
