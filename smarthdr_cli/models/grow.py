"""From a trained network to a deeper one that computes the same: how a deep one is trained at a shallow one's cost.

Gong et al. 2019, "Efficient training of BERT by progressively stacking", grows by copying layers; here what is added
starts as the identity (Chen et al. 2016, "Net2Net"), so that nothing learned is lost at the change.
"""

from torch import Tensor, nn

from smarthdr_cli.models.gfhdr_blocks import ContextLayer


def grown(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of ``model`` (gfhdr) that computes what a shallower gfhdr with ``state`` does.

    Blocks keep their first layers; those which ``state`` lacks start as the identity. The result holds every entry of
    ``model``'s own state. Raises ValueError where anything else is missing, left over or of another shape.
    """
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    added = {
        f"{name}."
        for name, module in model.named_modules()
        if isinstance(module, ContextLayer) and not any(key.startswith(f"{name}.") for key in state)
    }
    lacking = [name for name in own.keys() - state.keys() if not name.startswith(tuple(added))]
    odd = sorted(lacking) + sorted(state.keys() - own.keys())
    odd += [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
    if odd:
        raise ValueError(f"cannot grow: {odd[0]} is not the same in both")
    for name in added:
        for last in ("attention.proj", "mlp.2", "local.body.2"):  # what each branch ends in
            for part in ("weight", "bias"):
                own[f"{name}{last}.{part}"].zero_()
    return own | state
