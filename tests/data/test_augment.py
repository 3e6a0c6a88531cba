"""Flips, turns and channel orders that images, masks and displacements follow together."""

import itertools

import pytest
import torch

from smarthdr_cli.data.augment import Augmentation, augment
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.pairwise import warp

ALL = [Augmentation(flip, turns, (2, 0, 1)) for flip, turns in itertools.product((False, True), range(4))]


@pytest.mark.parametrize("how", ALL, ids=lambda h: f"{'flip' if h.flip else 'plain'}-{h.turns}")
def test_a_turned_displacement_still_finds_its_pixel(how):
    """Whole-pixel displacements: seeing through them before or after the augmentation is the same picture."""
    generator = torch.Generator().manual_seed(0)
    other = torch.rand(1, 3, 20, 26, generator=generator)
    flow = torch.randint(-3, 4, (1, 2, 20, 26), generator=generator).float()
    before = how.colour(warp(other, flow))
    after = warp(how.colour(other), how.displacement(flow))
    assert before.shape[-2:] == ((26, 20) if how.turns % 2 else (20, 26))
    assert (before - after)[..., 4:-4, 4:-4].abs().max() < 1e-4


def test_colours_are_reordered_and_only_colours():
    image = torch.arange(3.0).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert Augmentation(False, 0, (2, 0, 1)).colour(image)[0, :, 0, 0].tolist() == [2, 0, 1]
    assert torch.equal(Augmentation(False, 0, (2, 0, 1)).image(image), image)


def test_every_augmentation_has_an_inverse():
    image = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(1))
    for how in ALL:
        moved = how.image(image)
        back = torch.rot90(moved, -how.turns, (-2, -1))
        assert torch.equal(back.flip(-1) if how.flip else back, image)


def test_draws_are_all_48_and_repeat_with_the_seed():
    generator = torch.Generator().manual_seed(2)
    drawn = [Augmentation.draw(generator) for _ in range(800)]
    assert len(set(drawn)) == 48
    again = torch.Generator().manual_seed(2)
    assert drawn == [Augmentation.draw(again) for _ in range(800)]


def test_a_batch_is_augmented_whole():
    batch = Batch(torch.rand(2, 3, 3, 8, 12), torch.zeros(2, 3), torch.rand(2, 3, 1, 8, 12), torch.rand(2, 3, 8, 12),
                  torch.rand(2, 2, 2, 8, 12), torch.rand(2, 2, 1, 8, 12))  # fmt: skip
    how = Augmentation(True, 1, (1, 2, 0))
    out = augment(batch, how)
    assert torch.equal(out.frames[1, 2], how.colour(batch.frames[1, 2]))
    assert torch.equal(out.target, how.colour(batch.target))
    assert torch.equal(out.valid, how.image(batch.valid))
    assert torch.equal(out.visible, how.image(batch.visible))
    assert torch.equal(out.evs, batch.evs)
    bare = augment(Batch(batch.frames, batch.evs, batch.valid), how)
    assert bare.target is bare.flow is bare.visible is None


@pytest.mark.parametrize("how", ALL)
def test_colours_come_back_in_order(how):
    image = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(3))
    assert torch.equal(how.uncoloured(how.colour(image)), image)


def test_a_few_views_differ_as_much_as_they_can():
    assert Augmentation.spread(1) == [Augmentation(False, 0, (0, 1, 2))]
    four = Augmentation.spread(4)
    assert {view.turns for view in four} == {0, 1, 2, 3}
    assert len({view.order for view in four}) == 4
    assert len({(view.flip, view.turns) for view in Augmentation.spread(8)}) >= 7
    every = set(Augmentation.spread(48))
    assert len(every) == 48
    assert every > set(ALL)
    for count in (0, 49):
        with pytest.raises(ValueError, match="48 augmentations"):
            Augmentation.spread(count)
