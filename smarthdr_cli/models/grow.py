"""From a trained gfhdr to a deeper one that computes the same: how a deep one is trained at a shallow one's cost.

Gong et al. 2019, "Efficient training of BERT by progressively stacking", grow a transformer while it learns; here what
is added starts as the identity (Chen et al. 2016, "Net2Net"), so that nothing learned is lost at the change.
"""

from collections.abc import Mapping

from torch import Tensor

from smarthdr_cli.models.gfhdr_layers import ContextLayer
from smarthdr_cli.models.judged import JudgedGFHDR

ENDS = ("attention.proj", "mlp.2", "local.body.2")  # of a layer's three branches; where they are 0 it is the identity


def grown(model: JudgedGFHDR, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` of a network with fewer layers in its blocks, and ``model``'s own for the layers it lacks, those made
    the identity. What else differs between the two is left as it is, for whoever loads it to refuse.
    """
    lacking = [
        f"{name}."
        for name, module in model.named_modules()
        if isinstance(module, ContextLayer) and not any(key.startswith(f"{name}.") for key in state)
    ]
    added = {name: tensor.clone() for name, tensor in model.state_dict().items() if name.startswith(tuple(lacking))}
    for layer in lacking:
        for end in ENDS:
            for part in ("weight", "bias"):
                added[f"{layer}{end}.{part}"].zero_()
    return {**added, **state}
