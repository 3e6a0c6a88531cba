"""The noise floor against noise of known size: what it says, and what must not raise it."""

import pytest
import torch

from smarthdr_cli.fusion.noise import noise_floor, parts
from smarthdr_cli.models.merge import merge
from smarthdr_cli.models.tensor_ops import mu_law
from tests.support import bursts

EVS = torch.tensor([[0.0, -2.0, 2.0]])
SCALE = 0.25
WELL, READ = 1500.0, 4.0  # electrons: about ISO 4000


def light_of(level, side=160):
    """(1, 3, side, side) detail of a fifth around a level."""
    waves = torch.from_numpy(bursts.texture(side, side, low=-0.2, high=0.2)).permute(2, 0, 1)[None]
    return level * (1 + waves)


def frames_of(light, evs=EVS, well=WELL, read=READ, seed=0):
    """(1, N, 3, h, w) as a camera of that full well and read noise sees it, black level kept."""
    draw = torch.Generator().manual_seed(seed)
    exposed = torch.stack([light * 2.0 ** float(ev) for ev in evs[0]], dim=1)
    variance = exposed / well + (read / well) ** 2
    return (exposed + variance.sqrt() * torch.randn(exposed.shape, generator=draw)).clamp(max=1)


def floor_of(frames, trust=None, evs=EVS):
    trust = torch.ones(1, frames.shape[1] - 1, 1, *frames.shape[-2:]) if trust is None else trust
    merged, _ = merge(frames, evs, trust)
    return noise_floor(frames, evs, trust, merged, SCALE, parts(frames, evs, trust)), merged


@pytest.mark.parametrize("level", [0.02, 0.1, 0.6])
def test_two_thirds_of_the_errors_lie_below_it(level):
    light = light_of(level)
    floor, merged = floor_of(frames_of(light))
    error = (mu_law(merged.clamp(min=0) * SCALE) - mu_law(light * SCALE)).abs().mean(dim=1, keepdim=True)
    assert 0.58 < float((error < floor).float().mean()) < 0.78


def test_it_grows_as_the_noise_does():
    light = light_of(0.1)
    few, many = (float(floor_of(frames_of(light, well=well, read=0.0))[0].median()) for well in (1000.0, 16000.0))
    assert few / many == pytest.approx(4, rel=0.1)


def test_what_is_smooth_is_no_noise():
    """A stated exposure or a curve that is wrong moves whole areas, not one pixel against the next."""
    light = light_of(0.1)
    clean = frames_of(light, well=1e12, read=0.0)
    wrong = clean.clone()
    wrong[:, 2] = (wrong[:, 2] * 1.1) ** 1.02
    assert float(floor_of(clean)[0].max()) < 1e-4
    assert float(floor_of(wrong)[0].max()) < 0.15 * float(floor_of(frames_of(light))[0].median())


def test_a_frame_alone_says_nothing_of_its_noise():
    frames = frames_of(light_of(0.1))
    trust = torch.ones(1, 2, 1, 160, 160)
    trust[..., 80:] = 0
    floor, _ = floor_of(frames, trust)
    assert float(floor[..., :64].min()) > 0
    assert float(floor[..., 96:].max()) == 0


def test_the_edges_of_what_is_clipped_are_no_noise():
    """Specks that clip in one of two frames, whose exposures are stated a fifth of a stop wrong."""
    evs = torch.tensor([[0.0, 2.0]])
    frames = frames_of(light_of(0.1), evs, well=1e5, read=1.0)
    frames[:, 1] *= 2**0.2
    clipped = frames.clone()
    specks = torch.rand(1, 1, 160, 160, generator=torch.Generator().manual_seed(2)) < 0.01
    clipped[:, 1] = torch.where(specks, torch.ones(()), clipped[:, 1])
    (with_specks, _), (without, _) = (floor_of(each, evs=evs) for each in (clipped, frames))
    assert float((with_specks / without).median()) == pytest.approx(1, rel=0.1)


def test_frames_that_are_black_do_not_silence_the_others():
    evs = torch.tensor([[0.0, 2.0, -12.0, -10.0]])
    frames = frames_of(light_of(0.02), evs)
    frames[:, 2:] = 0
    (alone, _), (beside, _) = floor_of(frames[:, :2], evs=evs[:, :2]), floor_of(frames, evs=evs)
    assert float((beside / alone - 1).abs().max()) < 1e-3
    crushed = frames_of(light_of(0.004), EVS, read=1.0).clamp(min=0)
    crushed[:, 1] = 0
    (alone, _), (beside, _) = floor_of(crushed[:, ::2], evs=EVS[:, ::2]), floor_of(crushed)
    assert float((beside / alone).median()) == pytest.approx(1, rel=0.1)  # its black has weight in the merge, no more


def test_distrusted_frames_do_not_raise_it():
    frames = frames_of(light_of(0.1))
    ghost = frames.clone()
    ghost[:, 1, :, 40:120, 40:120] = torch.rand(1, 3, 80, 80, generator=torch.Generator().manual_seed(1))
    trust = torch.ones(1, 2, 1, 160, 160)
    trust[:, 0, :, 40:120, 40:120] = 0
    with_ghost, without = floor_of(ghost, trust)[0], floor_of(frames, trust)[0]
    assert float((with_ghost / without - 1).abs().max()) < 0.2  # the merge's weights see the ghost's level, no more
    assert float((with_ghost / without - 1)[..., :36, :].abs().max()) < 1e-5


def test_parts_equal_the_whole():
    frames = frames_of(light_of(0.1))
    whole, _ = floor_of(frames)
    part, _ = floor_of(frames[..., 40:120, 40:120])
    assert torch.allclose(part[..., 16:-16, 16:-16], whole[..., 56:104, 56:104], rtol=1e-4)


@pytest.mark.parametrize("side", [4, 8, 12])
def test_the_smallest_tiles(side):
    floor, _ = floor_of(frames_of(light_of(0.1, side)))
    assert floor.shape == (1, 1, side, side)
    assert bool(torch.isfinite(floor).all())


def test_where_all_is_clipped_it_is_finite():
    floor, _ = floor_of(torch.ones(1, 3, 3, 32, 32))
    assert bool(torch.isfinite(floor).all())


def test_many_stops_and_frames_that_are_the_same():
    """A stack of 14 stops, its ends black and white, and a frame that is there twice."""
    evs = torch.tensor([[0.0, -12.0, -10.0, -8.0, -4.0, 0.0, 1.7]])
    for level in (1e-4, 0.05, 0.9):
        frames = frames_of(light_of(level), evs).clamp(min=0)
        frames[:, 5] = frames[:, 0]
        for part in (frames, frames[:, :3], (frames * 255).round() / 255):
            floor, _ = floor_of(part, evs=evs[:, : part.shape[1]])
            assert bool(torch.isfinite(floor).all())
            assert float(floor.max()) <= 1
