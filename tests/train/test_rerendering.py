"""What a prediction must have in common with its reference."""

import numpy as np
import pytest
import torch

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.train.rerendering import CELL, cell_consistency, code


def tone(light):
    return np.log(1 + 5000 * np.clip(light, 0, None)) / np.log(5001)


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(0)
    frames = torch.rand(2, 3, 3, 32, 40, generator=draw) * 0.3 + 0.1
    frames[0, 0, :, :8, :8] = 1.0  # clipped
    frames[1, 0, 1, 20, 20] = 1e-5  # a pixel too dark for its whole cell
    valid = torch.ones(2, 3, 1, 32, 40)
    valid[1, 0, :, :, 39] = 0.0
    return Batch(frames, torch.tensor([[0.0, -2.0, 2.0], [0.0, -1.0, 1.0]]), valid)


def test_cells_are_compared_where_the_reference_saw_them_well(batch):
    """Against a walk over the cells."""
    predicted = torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(1))
    gaps = []
    for b, scale in enumerate((0.25, 0.5)):
        frame, seen = batch.frames[b, 0].numpy(), batch.valid[b, 0, 0].numpy()
        for y in range(0, 32, CELL):
            for x in range(0, 40, CELL):
                cell = np.s_[:, y : y + CELL, x : x + CELL]
                codes = code(torch.from_numpy(frame[cell])).numpy()
                if codes.min() > 0.1 and codes.max() < 0.9 and seen[cell[1:]].all():
                    ours, theirs = predicted[b].numpy()[cell].mean((1, 2)), frame[cell].mean((1, 2))
                    gaps.append(np.abs(tone(ours * scale) - tone(theirs * scale)))
    assert len(gaps) == 2 * 20 - 1 - 1 - 4
    assert float(cell_consistency(predicted, batch)) == pytest.approx(np.mean(gaps), rel=1e-4)


def test_less_noise_is_no_disagreement_and_another_colour_is(batch):
    noise = torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(2)) * 0.02
    cells = torch.nn.functional.avg_pool2d(noise, CELL).repeat_interleave(CELL, -1).repeat_interleave(CELL, -2)
    quiet = float(cell_consistency(batch.frames[:, 0] + noise - cells, batch))
    cast = float(cell_consistency(batch.frames[:, 0] * torch.tensor([1.05, 1.0, 1.0]).view(3, 1, 1), batch))
    assert quiet < 1e-6
    assert cast > 1e-3


def test_nothing_well_exposed_asks_for_nothing(batch):
    black = Batch(torch.zeros_like(batch.frames), batch.evs, batch.valid)
    predicted = torch.rand(2, 3, 32, 40, requires_grad=True)
    loss = cell_consistency(predicted, black)
    loss.backward()
    assert loss.item() == 0
    assert not predicted.grad.any()
