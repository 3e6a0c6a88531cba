"""SmartHDR (arXiv 2511.12939): pseudo-labels where the teacher's uncertainty head is sure of them.

    w = M_pa M_pi   (train/uncertainty_masks.py),   y = the teacher's prediction

Beyond the paper, ``fill``: SelfHDR's colour target, made from the frames alone, takes the place of masked
pseudo-labels, or comes first with pseudo-labels in its gaps; then its structure target is learned everywhere too.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.crops import Crops
from smarthdr_cli.train import distributed
from smarthdr_cli.train.config import TrainConfig
from smarthdr_cli.train.methods import selfhdr
from smarthdr_cli.train.methods.base import Method, Statistic, Target
from smarthdr_cli.train.optical_flow import Flows
from smarthdr_cli.train.pseudo_labels import EpochLabels, Pseudo
from smarthdr_cli.train.uncertainty_masks import RUNNING_DECAY, SigmaRange, Thresholds, bilevel_mask

BEYOND_PAPER = {"views": 4, "weight_cells": 1.0, "fill": "selfhdr-first"}  # better in benchmarks/training/ablation.py
PUBLISHED = {"views": 1, "weight_cells": 0.0, "fill": "none"}  # the paper's own recipe


class SmartHDR(Method):
    """``sigma_range``: of sigma over unlabelled crops; ``labeled_range``: over labelled ones, for adaptive tau."""

    defaults: ClassVar[Mapping[str, Any]] = BEYOND_PAPER

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        decay = RUNNING_DECAY if config.pseudo == "step" else 1.0
        self.sigma_range, self.labeled_range = (
            SigmaRange(high_quantile=config.masks.top, patch=config.masks.side, decay=decay) for _ in range(2)
        )
        self.uses_flow = config.fill != "none"
        self.observes_labels = config.masks.adaptive

    def targets(self, crops: Crops, pseudo: Pseudo | None, flows: Flows | None) -> Target:
        """Pseudo-labels without what either mask drops, filled as ``fill`` says."""
        assert pseudo is not None
        config = self.config
        weight = self._mask(pseudo, crops, patch=config.masks.patch, pixel=config.masks.pixel)
        patches = self._mask(pseudo, crops, patch=config.masks.patch, pixel=False)
        coverage = {"kept": weight.mean(), "kept_patches": patches.mean()}
        radiance, structure = pseudo.radiance, None
        if config.fill != "none":
            colour = selfhdr.colour_target(crops.batch, flows)
            if config.fill == "selfhdr":
                radiance, weight = selfhdr.fill_masked(selfhdr.Component(radiance, weight), colour)
            else:
                radiance, weight = selfhdr.fill_masked(colour, selfhdr.Component(radiance, weight))
                structure = selfhdr.structure_target(crops.batch, colour.radiance).radiance
            coverage["kept_filled"] = weight.mean()
        return Target(replace(crops.batch, target=radiance), weight, structure, coverage=coverage)

    def _mask(self, pseudo: Pseudo, crops: Crops, *, patch: bool, pixel: bool) -> Tensor:
        masks = self.config.masks
        sigma_range: SigmaRange | None = self.sigma_range
        tau = Thresholds(masks.tau_patch, masks.tau_pixel)
        if masks.adaptive and not self.labeled_range.empty:  # then tau is in sigma's own units
            sigma_range, tau = None, self.labeled_range.quantile(masks.quantile)
        return bilevel_mask(
            pseudo.sigma, sigma_range, tau, masks.side, crops_origin(crops, pseudo.sigma.device),
            use_patch=patch, use_pixel=pixel, means=pseudo.means,
        )  # fmt: skip

    def observe(self, pseudo: Pseudo, crops: Crops) -> None:
        """The range of sigma."""
        origin = crops_origin(crops, pseudo.sigma.device)
        distributed.all_reduce_counts(
            self.sigma_range.histograms, lambda: self.sigma_range.update(pseudo.sigma, origin)
        )

    def observe_labeled(self, pseudo: Pseudo, batch: Batch) -> None:
        """The range of sigma where the truth is known."""
        distributed.all_reduce_counts(self.labeled_range.histograms, lambda: self.labeled_range.update(pseudo.sigma))

    def refresh(self, labels: EpochLabels) -> None:
        """Both ranges over whole scenes."""

        def update() -> None:
            for sigma, origin in labels.sigma_maps():
                self.sigma_range.update(sigma, origin)
            if self.config.masks.adaptive:
                for pseudo, _ in labels.labeled():
                    self.labeled_range.update(pseudo.sigma)

        distributed.recount((*self.sigma_range.histograms, *self.labeled_range.histograms), update)

    def statistics(self) -> dict[str, Statistic]:
        """Both ranges."""
        return {"limits": self.sigma_range, "trusted": self.labeled_range}

    def masks(self, pseudo: Pseudo, crops: Crops) -> dict[str, Tensor]:
        """Either level by itself."""
        if self.sigma_range.empty:
            return {}
        return {
            "patch_mask": self._mask(pseudo, crops, patch=True, pixel=False),
            "pixel_mask": self._mask(pseudo, crops, patch=False, pixel=True),
        }


def crops_origin(crops: Crops, device: torch.device) -> Tensor:
    """(B, 2) top row and left column of each crop in its scene."""
    return torch.tensor([crops.tops, crops.lefts], device=device).T
