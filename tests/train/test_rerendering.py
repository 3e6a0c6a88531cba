"""Gamma codes, exposure, and the cells in which a prediction must agree with its reference."""

import numpy as np
import pytest
import torch

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.train.rerendering import CELL, MIN_LIGHT, cell_consistency, gamma_code, rerender, well_exposed

pytestmark = pytest.mark.unit


def test_codes_are_gamma_2_2_clipped_as_the_frame():
    light = torch.tensor([0.0, MIN_LIGHT, 0.25, 1.0, 3.0])
    assert gamma_code(light).tolist() == pytest.approx([MIN_LIGHT ** (1 / 2.2)] * 2 + [0.25 ** (1 / 2.2), 1, 1])
    assert gamma_code(light, clip=False)[-1] == pytest.approx(3 ** (1 / 2.2))
    image = torch.full((2, 3, 1, 1), 0.2)
    assert rerender(image, torch.tensor([1.0, -1.0]))[:, 0, 0, 0].tolist() == pytest.approx(
        [0.4 ** (1 / 2.2), 0.1 ** (1 / 2.2)]
    )


def test_well_exposed_means_every_channel_between_codes_0_1_and_0_9():
    colours = torch.tensor([[0.5, 0.5, 0.5], [0.5, 0.5, 0.9], [0.5, 0.001, 0.5], [0.007, 0.78, 0.1], [0.5, 0.8, 0.5]])
    frame = colours.T[None, :, None]
    assert well_exposed(frame)[0, 0, 0].tolist() == [1, 0, 0, 1, 0]


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


def test_cells_are_compared_where_all_of_the_reference_is_well_exposed(batch):
    """Against a loop over the cells."""
    predicted = torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(1))
    gaps = []
    for b, scale in enumerate((0.25, 0.5)):
        frame, valid = batch.frames[b, 0].numpy(), batch.valid[b, 0, 0].numpy()
        for y in range(0, 32, CELL):
            for x in range(0, 40, CELL):
                cell = np.s_[:, y : y + CELL, x : x + CELL]
                codes = gamma_code(torch.from_numpy(frame[cell])).numpy()
                if codes.min() > 0.1 and codes.max() < 0.9 and valid[cell[1:]].all():
                    ours, theirs = predicted[b].numpy()[cell].mean((1, 2)), frame[cell].mean((1, 2))
                    gaps.append(np.abs(tone(ours * scale) - tone(theirs * scale)))
    assert len(gaps) == 2 * 20 - 1 - 1 - 4
    assert float(cell_consistency(predicted, batch)) == pytest.approx(np.mean(gaps), rel=1e-4)


def test_noise_costs_nothing_and_a_colour_cast_does(batch):
    noise = torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(2)) * 0.02
    cells = torch.nn.functional.avg_pool2d(noise, CELL).repeat_interleave(CELL, -1).repeat_interleave(CELL, -2)
    quiet = float(cell_consistency(batch.frames[:, 0] + noise - cells, batch))
    cast = float(cell_consistency(batch.frames[:, 0] * torch.tensor([1.05, 1.0, 1.0]).view(3, 1, 1), batch))
    assert quiet < 1e-6
    assert cast > 1e-3


def test_without_well_exposed_cells_the_loss_is_0(batch):
    black = Batch(torch.zeros_like(batch.frames), batch.evs, batch.valid)
    predicted = torch.rand(2, 3, 32, 40, requires_grad=True)
    loss = cell_consistency(predicted, black)
    loss.backward()
    assert loss.item() == 0
    assert not predicted.grad.any()
