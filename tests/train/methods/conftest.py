"""Crops of the batch of two bursts, their truth as pseudo-labels, and configs of a short run."""

from dataclasses import replace

import pytest
import torch

from smarthdr_cli.data.crops import Crops
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.pseudo_labels import Pseudo


@pytest.fixture
def crops(batch):
    return Crops(replace(batch, target=None, flow=None, visible=None), (0, 1), (5, 16), (0, 40))


@pytest.fixture
def pseudo(batch):
    """The truth as the label, and a sigma of three levels: a wide stripe, a narrow one, the rest."""
    sigma = torch.full((2, 1, 48, 48), 0.01)
    sigma[0, :, :, 10:34] = 0.5
    sigma[1, :, 20:23] = 0.2
    return Pseudo(batch.target, sigma)


@pytest.fixture
def config_of(values):
    """A config of method smarthdr with masks of 16 pixels and further options."""
    weights = {"weight_merged": 0.5, "weight_uncertainty": 0.2, "weight_judge_unlabeled": 1.0}
    return lambda **options: train_config(values | {"method": "smarthdr", "masks": {"side": 16}} | weights | options)
