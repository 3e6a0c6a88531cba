"""What one update of a run on scenes is given: this process's crops, cut and searched for motion ahead of it."""

from dataclasses import dataclass

import torch

from smarthdr_cli.data.crops import Crops, CropSampler
from smarthdr_cli.train import distributed
from smarthdr_cli.train.config import TrainConfig
from smarthdr_cli.train.optical_flow import Flows, dense_flows


@dataclass(frozen=True)
class Given:
    """``flows``: of the unlabelled crops, where what is learned from them needs any."""

    labeled: Crops | None
    unlabeled: Crops | None
    flows: Flows | None

    def to(self, device: torch.device) -> "Given":
        """The same on another device."""
        labeled, unlabeled = (None if crops is None else crops.to(device) for crops in (self.labeled, self.unlabeled))
        flows = None if self.flows is None else Flows(*(field.to(device) for field in self.flows))
        return Given(labeled, unlabeled, flows)


def given(labeled: CropSampler | None, unlabeled: CropSampler | None, config: TrainConfig, step: int) -> Given:
    """The crops of ``step``. Nothing on the device takes part, so that it can be done while the one before is learned
    from.
    """
    later = step >= config.first_unlabeled
    early = config.method == "fshdr" or config.smae_stage1
    crops = _share(unlabeled if later or early else None, step)
    moving = config.method in ("selfhdr", "fshdr") or (config.method == "smarthdr" and config.fill != "none")
    flows = dense_flows(crops.batch) if crops is not None and later and moving else None
    return Given(_share(labeled, step), crops, flows)


def _share(sampler: CropSampler | None, step: int) -> Crops | None:
    if sampler is None:
        return None
    return sampler.cut(sampler.draw_positions(step)[distributed.rank() :: distributed.count()])
