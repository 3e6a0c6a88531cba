"""From what the user named to a network ready to run: find the file, check it, build its model, fill it."""

from pathlib import Path

from torch import nn

from smarthdr_cli.errors import ModelError
from smarthdr_cli.models.build import build_model
from smarthdr_cli.models.checkpoint import Checkpoint, load_checkpoint, load_state
from smarthdr_cli.models.find import find_weights


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
    except (ValueError, RuntimeError) as error:  # sizes no layer can have
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"{path}: no network has this config: {line}") from error
    load_state(model, checkpoint)
    return model.eval(), checkpoint
