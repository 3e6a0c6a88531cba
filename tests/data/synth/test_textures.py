"""Places in the sources: their own pixels at scale 1, wrapped, and out of focus where asked for."""

import torch

from smarthdr_cli.data.synth.textures import Texture, sample_source


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def grid(height, width):
    return torch.stack(torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")[::-1], -1)


def test_sources_are_sampled_bilinearly_at_their_own_pixels(bank):
    points = grid(5, 7)
    _, height, width = bank.mips[0][1].shape
    corner = torch.tensor([100 / width, 50 / height])
    seen = sample_source(bank, 1, points, corner, 1.0)
    assert torch.allclose(seen, bank.mips[0][1][:, 50:55, 100:107].float(), rtol=1e-3)
    wrapped = sample_source(bank, 1, points, torch.tensor([(width - 3) / width, 50 / height]), 1.0)
    wanted = torch.cat([bank.mips[0][1][:, 50:55, -3:], bank.mips[0][1][:, 50:55, :4]], dim=-1).float()
    assert torch.allclose(wrapped, wanted, rtol=1e-3)


def test_soft_is_the_same_place_with_less_detail(bank):
    points, centre = grid(64, 64), torch.tensor([0.3, 0.5])
    sharp, soft, softer = (sample_source(bank, 0, points, centre, 1.0, level) for level in (0, 1, 2))
    detail = [float(light.diff(dim=-1).abs().mean()) for light in (sharp, soft, softer)]
    assert detail[0] > 1.3 * detail[1] > 1.6 * detail[2]
    for light in (soft, softer):  # no shift: coarse blocks agree, but for what crosses their edges
        blocks = [torch.nn.functional.avg_pool2d(each, 16) for each in (sharp, light)]
        assert float((blocks[0] - blocks[1]).abs().mean() / blocks[0].mean()) < 0.15


def test_soft_places_are_drawn_at_their_share(bank):
    drawn = Texture.draw(bank, seeded(), 600, 0.3).soft
    assert set(drawn) == {0, 1, 2}
    assert 0.2 < sum(level > 0 for level in drawn) / 600 < 0.4
    plain = Texture.draw(bank, seeded(), 600)
    assert plain.soft == [0] * 600
    assert plain.source == Texture.draw(bank, seeded(), 600, 0.3).source
