"""A grown gfhdr computes what the shallow one did, can learn in every layer, and takes nothing it should not."""

import dataclasses

import pytest
import torch
from smarthdr_cli.models.grow import grown

from smarthdr_cli.models.gfhdr import GFHDR, GFHDRConfig

SHALLOW = GFHDRConfig(dim=12, blocks=2, depth=1, heads=3, window=4, squeeze=4, drop_path=0.0)


def _network(config: GFHDRConfig, seed: int) -> GFHDR:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GFHDR(config)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_it_computes_the_same(depth: int) -> None:
    shallow = _network(SHALLOW, 0).eval()
    deep = _network(dataclasses.replace(SHALLOW, depth=depth), 1).eval()
    frames = torch.rand(1, 3, 6, 16, 16, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        before = shallow(frames)
        assert (deep(frames).radiance - before.radiance).abs().max() > 1e-4
        deep.load_state_dict(grown(deep, shallow.state_dict()))
        for one, other in zip(deep(frames), before, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_what_was_added_learns() -> None:
    deep = _network(dataclasses.replace(SHALLOW, depth=2), 1)
    deep.load_state_dict(grown(deep, _network(SHALLOW, 0).state_dict()))
    frames = torch.rand(1, 3, 6, 16, 16, generator=torch.Generator().manual_seed(2))
    deep(frames).radiance.square().mean().backward()
    for block in deep.backbone.body:
        for end in (block.layers[1].attention.proj, block.layers[1].mlp[2], block.layers[1].local.body[2]):
            assert end.weight.grad.abs().max() > 0


def test_another_width_is_left_for_the_loader_to_refuse() -> None:
    deep = _network(dataclasses.replace(SHALLOW, depth=2), 1)
    narrow = _network(dataclasses.replace(SHALLOW, dim=6), 0).state_dict()
    with pytest.raises(RuntimeError, match="size mismatch"):
        deep.load_state_dict(grown(deep, narrow))
