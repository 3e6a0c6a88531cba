"""The loss of docs/METHOD.md, section 4, for one estimate and its target, with or without a weight on its pixels.

L = L^r + lambda_v L^v + lambda_k L^k (arXiv 2511.12939), and beyond the paper: the error's square, the merge before the
residual, displacement and trust where a synthetic burst knows them. A pixel of weight 0 contributes to nothing.
"""

from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.base import Prediction
from smarthdr_cli.train import losses
from smarthdr_cli.train.config import TrainConfig
from smarthdr_cli.train.perceptual_losses import VGGFeatures
from smarthdr_cli.train.perceptual_losses import perceptual as vgg_distance

Terms = dict[str, Tensor]


def objective(
    out: Prediction, batch: Batch, config: TrainConfig, weight: Tensor | None = None, vgg: VGGFeatures | None = None, *,
    judged: float = 1.0,
) -> tuple[Tensor, Terms]:  # fmt: skip
    """The loss of an estimate against ``batch.target``, and its terms by name, detached and not yet weighted.

    ``judged``: factor of the judge's term, which is left out at 0.
    """
    assert batch.target is not None
    scale, target = batch.scale_short, batch.target
    terms = {"reconstruction": (1.0, losses.reconstruction(out.radiance, target, scale, weight))}
    if config.weight_square:
        terms["square"] = (config.weight_square, losses.squared(out.radiance, target, scale, weight))
    if judged:
        terms["uncertainty"] = (judged * config.weight_uncertainty, losses.uncertainty(
            out.radiance, target, out.log_sigma, scale, detach=config.detach, floor=config.sigma_floor, mask=weight,
        ))  # fmt: skip
    if out.detail is not None and config.weight_merged:
        merged = losses.reconstruction(out.detail.merged, target, scale, weight)
        terms["merged"] = (config.weight_merged, merged)
    if vgg is not None and config.weight_vgg:
        terms["vgg"] = (config.weight_vgg, vgg_distance(vgg, out.radiance, target, scale, weight))
    if out.detail is not None and batch.flow is not None:
        terms["motion"] = (config.weight_motion, losses.motion(out.detail.flows, batch))
        terms["trust"] = (config.weight_trust, losses.trust(out.detail, batch))
    total = sum((factor * value for factor, value in terms.values()), out.radiance.new_zeros(()))
    return total, {name: value.detach() for name, (_, value) in terms.items()}
