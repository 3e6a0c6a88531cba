"""SMAE's rule for pseudo-labels, and its masked first stage (Yan et al., "SMAE: Few-shot Learning for HDR Deghosting
with Saturation-Aware Masked Autoencoders", CVPR 2023).

APSS (eqs. 14 to 18): re-render the reference's exposure from the prediction and compare it with the reference where
that is well exposed. The 85th percentile of this loss over labelled patches is the threshold tau; an unlabelled patch
weighs 1 up to tau and falls linearly to 0 at the maximum m over the unlabelled patches (eq. 17). Left open there and
chosen here: "well exposed" is a gamma code between 0.1 and 0.9 in every channel, the norm is a mean over those pixels,
and a patch without any has loss 0 as the formula gives it. A patch is SMAE's training crop of 128.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.merge import radiance
from smarthdr_cli.train.losses import weighted_mean
from smarthdr_cli.train.quantiles import LogHistogram
from smarthdr_cli.train.rerendering import code, rerender, well_exposed

PATCH = 128
PERCENTILE = 0.85
MASKED, MASKED_PATCH = 0.75, 8


def patch_loss(predicted: Tensor, batch: Batch, patch: int = PATCH) -> Tensor:
    """(B, rows, columns): mean L1 of gamma codes over the well-exposed pixels of each patch, 0 where there is none.

    ``predicted``: (B, 3, H, W) in reference units. Patches begin at the top left; those at the far edges have what is
    left. A prediction that is not finite there makes its patch's loss infinite.
    """
    reference = batch.frames[:, 0]
    seen = well_exposed(reference) * batch.valid[:, 0]
    gap = (rerender(predicted, torch.zeros_like(batch.evs[:, 0])) - code(reference)).abs().mean(dim=1, keepdim=True)
    gap = torch.where(torch.isfinite(predicted).all(dim=1, keepdim=True), gap, torch.full_like(gap, torch.inf))
    total = _patch_sums(torch.where(seen > 0, gap * seen, torch.zeros_like(gap)), patch)
    return total / _patch_sums(seen, patch).clamp(min=1)


def _patch_sums(value: Tensor, patch: int) -> Tensor:
    """(B, 1, H, W) to (B, rows, columns)."""
    _, _, h, w = value.shape
    padded = torch.nn.functional.pad(value, (0, -w % patch, 0, -h % patch))
    b, _, hh, ww = padded.shape
    return padded.view(b, hh // patch, patch, ww // patch, patch).sum(dim=(2, 4))


def weight_map(weights: Tensor, height: int, width: int, patch: int = PATCH) -> Tensor:
    """(B, rows, columns) weights of patches to (B, 1, H, W)."""
    wide = weights.repeat_interleave(patch, dim=1).repeat_interleave(patch, dim=2)
    return wide[:, None, :height, :width]


class Threshold:
    """tau and m of APSS from running distributions of patch losses, and the weights they give.

    ``top``: whose maximum m is, "unlabelled" (eq. 17) or "labelled". ``decay`` below 1 forgets the losses of older
    teachers, per update. Losses of 0 count as 1e-6.
    """

    def __init__(self, percentile: float = PERCENTILE, *, top: str = "unlabelled", decay: float = 1.0) -> None:
        if top not in ("unlabelled", "labelled"):
            raise ValueError(f"top = {top!r}: use unlabelled or labelled")
        self.percentile, self.top = percentile, top
        self.labelled = LogHistogram(1e-6, 1.0, bins=4096, decay=decay)
        self.unlabelled = LogHistogram(1e-6, 1.0, bins=4096, decay=decay)

    def update(self, losses: Tensor) -> None:
        """Add the patch losses of labelled crops; those that are not finite are left out."""
        self.labelled.update(losses)

    def update_unlabelled(self, losses: Tensor) -> None:
        """Add the patch losses of unlabelled crops."""
        self.unlabelled.update(losses)

    @property
    def levels(self) -> tuple[float, float]:
        """tau and m. Raises ValueError before there are losses to take them from."""
        top = self.unlabelled if self.top == "unlabelled" else self.labelled
        return self.labelled.quantile(self.percentile), top.quantile(1.0)

    def weights(self, losses: Tensor) -> Tensor:
        """Eq. 18: losses of any shape to weights in [0, 1]; 0 where the loss is not finite."""
        tau, m = self.levels
        falling = ((m - losses) / max(m - tau, 1e-12)).clamp(0, 1)
        weight = torch.where(losses <= tau, torch.ones_like(losses), falling)
        return torch.where(torch.isfinite(losses), weight, torch.zeros_like(losses))

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint must carry."""
        return {"labelled": self.labelled.counts.clone(), "unlabelled": self.unlabelled.counts.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up a saved state. Raises ValueError where it is of another size."""
        self.labelled.load_state_dict({"counts": state["labelled"]})
        self.unlabelled.load_state_dict({"counts": state["unlabelled"]})


@dataclass(frozen=True)
class MaskedBurst:
    """Stage 1: ``batch`` with the masked frames and no target; ``short``: (B, 3, H, W) radiance in reference units."""

    batch: Batch
    short: Tensor


def masked_frames(
    batch: Batch, generator: torch.Generator, *, share: float = MASKED, patch: int = MASKED_PATCH, shared: bool = False
) -> MaskedBurst:
    """Eqs. 1 and 2: all frames made from the shortest by exposure, then ``share`` of their 8x8 patches set to 0.

    Exactly that share of each frame's patches, drawn for each frame alone, or once for all with ``shared``. ``valid``
    stays 1 there: as in the paper the network is not told.
    """
    b, n, _, h, w = batch.frames.shape
    index = batch.evs.argmin(dim=1)
    each = torch.arange(b, device=batch.evs.device)
    light = radiance(batch.frames[each, index], batch.evs[each, index])
    frames = (light[:, None] * torch.exp2(batch.evs).view(b, n, 1, 1, 1)).clamp(0, 1)
    rows, columns = -(-h // patch), -(-w // patch)
    draw = torch.rand((b, 1 if shared else n, rows * columns), generator=generator, device=generator.device)
    hidden = draw.argsort(dim=2).argsort(dim=2) < round(share * rows * columns)
    keep = (~hidden).to(frames).view(b, -1, rows, columns)
    keep = keep.repeat_interleave(patch, dim=2).repeat_interleave(patch, dim=3)[:, :, None, :h, :w]
    bare = replace(
        batch, frames=frames * keep, valid=torch.ones_like(batch.valid), target=None, flow=None, visible=None
    )
    return MaskedBurst(bare, light)


def masked_loss(predicted: Tensor, burst: MaskedBurst, weight: Tensor | None = None) -> Tensor:
    """Eq. 8: L1 between the prediction and the short frame, both re-rendered at every exposure, not clipped; summed.

    ``predicted``: (B, 3, H, W) in reference units; ``weight``: (B, 1, H, W), 0 leaves a pixel out.
    """
    wanted = burst.short
    if weight is not None:
        kept = weight > 0
        predicted = torch.where(kept, predicted, torch.zeros_like(predicted))
        wanted = torch.where(kept, wanted, torch.zeros_like(wanted))
    total = predicted.new_zeros(())
    for ev in burst.batch.evs.unbind(dim=1):
        gap = (rerender(predicted, ev, clip=False) - rerender(wanted, ev, clip=False)).abs()
        total = total + weighted_mean(gap, weight)
    return total
