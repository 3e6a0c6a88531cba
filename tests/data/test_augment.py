"""Flips, turns and channel orders, which images, masks and flow follow alike."""

import itertools

import pytest
import torch

from smarthdr_cli.data.augment import Augmentation, augment
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.pairwise import warp

pytestmark = pytest.mark.unit
GEOMETRIES = [Augmentation(flip, turns, (2, 0, 1)) for flip, turns in itertools.product((False, True), range(4))]


@pytest.mark.parametrize("augmentation", GEOMETRIES, ids=lambda a: f"{'flip' if a.flip else 'plain'}-{a.turns}")
def test_warping_commutes_with_augmentation(augmentation):
    generator = torch.Generator().manual_seed(0)
    other = torch.rand(1, 3, 20, 26, generator=generator)
    flow = torch.randint(-3, 4, (1, 2, 20, 26), generator=generator).float()
    before = augmentation.colour(warp(other, flow))
    after = warp(augmentation.colour(other), augmentation.flow(flow))
    assert before.shape[-2:] == ((26, 20) if augmentation.turns % 2 else (20, 26))
    assert (before - after)[..., 4:-4, 4:-4].abs().max() < 1e-4


def test_only_colour_reorders_channels():
    image = torch.arange(3.0).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert Augmentation(False, 0, (2, 0, 1)).colour(image)[0, :, 0, 0].tolist() == [2, 0, 1]
    assert torch.equal(Augmentation(False, 0, (2, 0, 1)).geometry(image), image)


def test_geometry_is_undone():
    image = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(1))
    for augmentation in GEOMETRIES:
        assert torch.equal(augmentation.undo_geometry(augmentation.geometry(image)), image)


def test_draws_cover_all_48_and_repeat_with_the_seed():
    generator = torch.Generator().manual_seed(2)
    drawn = [Augmentation.draw(generator) for _ in range(800)]
    assert len(set(drawn)) == 48
    again = torch.Generator().manual_seed(2)
    assert drawn == [Augmentation.draw(again) for _ in range(800)]


def test_every_field_of_a_batch_is_augmented():
    batch = Batch(torch.rand(2, 3, 3, 8, 12), torch.zeros(2, 3), torch.rand(2, 3, 1, 8, 12), torch.rand(2, 3, 8, 12),
                  torch.rand(2, 2, 2, 8, 12), torch.rand(2, 2, 1, 8, 12))  # fmt: skip
    augmentation = Augmentation(True, 1, (1, 2, 0))
    out = augment(batch, augmentation)
    assert torch.equal(out.frames[1, 2], augmentation.colour(batch.frames[1, 2]))
    assert torch.equal(out.target, augmentation.colour(batch.target))
    assert torch.equal(out.valid, augmentation.geometry(batch.valid))
    assert torch.equal(out.visible, augmentation.geometry(batch.visible))
    assert torch.equal(out.evs, batch.evs)
    bare = augment(Batch(batch.frames, batch.evs, batch.valid), augmentation)
    assert bare.target is bare.flow is bare.visible is None


@pytest.mark.parametrize("augmentation", GEOMETRIES)
def test_colour_is_undone(augmentation):
    image = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(3))
    assert torch.equal(augmentation.undo_colour(augmentation.colour(image)), image)


def test_spread_mixes_turns_and_orders():
    assert Augmentation.spread(1) == [Augmentation(False, 0, (0, 1, 2))]
    four = Augmentation.spread(4)
    assert {view.turns for view in four} == {0, 1, 2, 3}
    assert len({view.order for view in four}) == 4
    assert len({(view.flip, view.turns) for view in Augmentation.spread(8)}) >= 7
    every = set(Augmentation.spread(48))
    assert len(every) == 48
    assert every > set(GEOMETRIES)
    for count in (0, 49):
        with pytest.raises(ValueError, match="48 augmentations"):
            Augmentation.spread(count)
