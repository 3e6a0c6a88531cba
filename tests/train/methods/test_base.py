"""What is learned from unlabelled crops: geometry kept, masked pixels absent, each method its own target."""

from dataclasses import replace
from itertools import permutations, product

import pytest
import torch
import train_pictures as made
from smarthdr_cli.train.draws import generator

from smarthdr_cli.data.augment import Augmentation
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.crops import Crops
from smarthdr_cli.train import uncertainty_masks
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.methods import base, selfhdr, smae
from smarthdr_cli.train.methods.base import Aim
from smarthdr_cli.train.pseudo_labels import Pseudo
from smarthdr_cli.train.state import new_state
from smarthdr_cli.train.step import semi_supervised_loss

CPU = torch.device("cpu")
TERMS = {"weight_merged": 0.5, "weight_uncertainty": 0.2,
         "weight_judge_unlabeled": 1.0}  # fmt: skip
NAMES = {f"unlabeled_{name}" for name in ("reconstruction", "uncertainty", "merged")}


@pytest.fixture
def crops(batch):
    bare = replace(batch, target=None, flow=None, visible=None)
    return Crops(bare, (0, 1), (5, 16), (0, 40))


@pytest.fixture
def pseudo(batch):
    """The truth as the label, and a sigma of three levels: a wide stripe, a narrow one, the rest."""
    sigma = torch.full((2, 1, 48, 48), 0.01)
    sigma[0, :, :, 10:34] = 0.5
    sigma[1, :, 20:23] = 0.2
    return Pseudo(batch.target, sigma)


@pytest.fixture
def limits():
    made = uncertainty_masks.SigmaRange(high_quantile=1.0, patch=16)
    made.update(torch.linspace(0.001, 0.5, 64 * 64).view(1, 1, 64, 64))
    return made


def config_of(values, **more):
    return train_config(values | {"method": "smarthdr", "masks": {"side": 16}} | TERMS | more)


@pytest.mark.parametrize("how", [Augmentation(f, t, o) for f, t, o in
                                 [*product((False, True), range(4), [(0, 1, 2)]),
                                  *((True, 3, o) for o in permutations(range(3)))]])  # fmt: skip
def test_frames_labels_and_weights_move_as_one(how):
    light, _ = made.pair(height=32, width=32)
    weight = (light.mean(dim=1, keepdim=True) > light.mean()).float()
    frames = light[:, None].expand(-1, 3, -1, -1, -1)
    batch = Batch(frames, torch.tensor([[0.0, -1, 1]] * 2), weight[:, None].expand(-1, 3, -1, -1, -1), light)
    aim = Aim(batch, weight, structure=light * 2, short=light / 2).under(how)
    assert torch.equal(aim.batch.frames[:, 0], aim.batch.target)
    assert torch.equal(aim.structure, aim.batch.target * 2)
    assert torch.equal(aim.short, aim.batch.target / 2)
    assert torch.equal(aim.weight, aim.batch.valid[:, 0])
    again = (aim.batch.target.mean(dim=1, keepdim=True) > light.mean()).float()
    assert (again == aim.weight).float().mean() > 0.999  # the channels are summed in another order
    assert torch.equal(aim.batch.target, how.colour(light))


@pytest.mark.parametrize("strong", [True, False])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e30])
def test_a_masked_pixel_is_not_in_the_loss_of_a_step(values, crops, pseudo, limits, strong, bad):
    """Whatever the teacher made of it: value and every gradient are the same bit for bit."""
    config = config_of(values, strong=strong)
    weight = base.smarthdr(pseudo, crops, limits, config, None).weight
    hidden = (weight == 0).expand_as(pseudo.radiance)
    assert 0.1 < hidden.float().mean() < 0.9
    found = []
    for light in (pseudo.radiance, torch.where(hidden, bad, pseudo.radiance)):
        aim = base.smarthdr(Pseudo(light, pseudo.sigma), crops, limits, config, None)
        assert torch.equal(aim.weight, weight)
        student = new_state(config, CPU).student
        loss, terms = semi_supervised_loss(student, None, aim, config, generator(4))
        loss.backward()
        found.append((loss.detach(), [p.grad for p in student.parameters() if p.grad is not None]))
        assert terms.keys() >= NAMES
    assert torch.isfinite(found[0][0])
    assert torch.equal(found[0][0], found[1][0])
    assert all(torch.equal(a, b) and a.isfinite().all() for a, b in zip(found[0][1], found[1][1], strict=True))


def test_all_masked_is_nothing_learned(values, crops, pseudo, limits):
    config = config_of(values)
    aim = base.smarthdr(Pseudo(pseudo.radiance * torch.nan, pseudo.sigma * torch.nan), crops, limits, config, None)
    assert aim.weight.sum() == 0
    student = new_state(config, CPU).student
    loss, _ = semi_supervised_loss(student, None, aim, config, generator(4))
    loss.backward()
    assert loss == 0
    assert all((p.grad == 0).all() for p in student.parameters() if p.grad is not None)


def test_the_unlabelled_part_weighs_what_it_is_told(values, batch, crops, pseudo, limits):
    losses = {}
    for weight in (0.0, 1.0, 3.0):
        config = config_of(values, weight_unlabeled=weight)
        aim = base.smarthdr(pseudo, crops, limits, config, None)
        student = new_state(config, CPU).student
        losses[weight] = float(semi_supervised_loss(student, batch, aim, config, generator(4))[0].detach())
    alone = semi_supervised_loss(new_state(config, CPU).student, batch, None, config, generator(4))[0]
    assert losses[0.0] == pytest.approx(float(alone.detach()))
    assert losses[3.0] - losses[0.0] == pytest.approx(3 * (losses[1.0] - losses[0.0]), rel=1e-4)


@pytest.mark.parametrize(("patch", "pixel"), [(True, True), (True, False), (False, True), (False, False)])
def test_the_weight_is_the_bilevel_mask(values, crops, pseudo, limits, patch, pixel):
    config = config_of(values, masks={"side": 16, "patch": patch, "pixel": pixel, "tau_patch": 0.3, "tau_pixel": 0.35})
    aim = base.smarthdr(pseudo, crops, limits, config, None)
    tau = uncertainty_masks.Thresholds(0.3, 0.35)
    wanted = torch.cat([
        uncertainty_masks.bilevel_mask(pseudo.sigma[b : b + 1], limits, tau, 16, (crops.tops[b], crops.lefts[b]),
                                       use_patch=patch, use_pixel=pixel) for b in range(2)
    ])  # fmt: skip
    assert torch.equal(aim.weight, wanted)
    assert aim.shares["kept"] == wanted.mean()
    assert aim.shares["kept_patches"] >= aim.shares["kept"]
    assert (aim.shares["kept"] == 1) == (not patch and not pixel)
    assert torch.equal(aim.batch.target, pseudo.radiance)


def test_adaptive_thresholds_are_in_sigmas_own_units(values, crops, pseudo, limits):
    config = config_of(values, masks={"side": 16, "patch": False, "adaptive": True})
    aim = base.smarthdr(pseudo, crops, limits, config, uncertainty_masks.Thresholds(0.1, 0.3))
    assert torch.equal(aim.weight, (pseudo.sigma < 0.3).float())


def test_what_the_masks_removed_is_filled_with_the_frames_own_target(values, crops, pseudo, limits):
    plain = base.smarthdr(pseudo, crops, limits, config_of(values), None)
    filled = base.smarthdr(pseudo, crops, limits, config_of(values, fill="selfhdr"), None)
    colour = selfhdr.color_target(crops.batch)
    kept = (plain.weight > 0).expand_as(pseudo.radiance)
    assert torch.equal(filled.batch.target[kept], pseudo.radiance[kept])
    new = (filled.weight > 0) & (plain.weight == 0)
    assert new.any()
    assert (colour.keep[new] > 0).all()
    wide = new.expand_as(pseudo.radiance)
    assert torch.equal(filled.batch.target[wide], colour.radiance[wide])
    assert filled.shares["kept_filled"] > plain.shares["kept"] == filled.shares["kept"]


def test_the_frames_own_target_comes_first_and_labels_fill_it(values, crops, pseudo, limits):
    plain = base.smarthdr(pseudo, crops, limits, config_of(values), None)
    found = base.smarthdr(pseudo, crops, limits, config_of(values, fill="selfhdr-first"), None)
    colour = selfhdr.color_target(crops.batch)
    own = (colour.keep > 0).expand_as(pseudo.radiance)
    assert torch.equal(found.batch.target[own], colour.radiance[own])
    assert torch.equal(found.batch.target[~own], pseudo.radiance[~own])
    assert torch.equal(found.weight, torch.maximum(colour.keep, plain.weight))
    assert 0 < float(((colour.keep == 0) & (plain.weight > 0)).float().mean()) < 1
    assert torch.equal(found.structure, selfhdr.structure_target(crops.batch, colour.radiance).radiance)


def test_smae_weighs_patches_by_rerendering(crops, pseudo):
    threshold = smae.Threshold()
    threshold.update(torch.full((50,), 0.001))
    threshold.update_unlabelled(torch.tensor([0.001, 0.5]))
    off = Pseudo(pseudo.radiance * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1), pseudo.sigma)
    good, bad = (base.weighted(p, crops, threshold) for p in (pseudo, off))
    assert good.weight.shape == (2, 1, 48, 48)
    assert torch.equal(good.weight[0], bad.weight[0])
    assert bad.weight[1].mean() < good.weight[1].mean()
    assert torch.equal(bad.batch.target, off.radiance)
    assert good.shares["kept"] == good.weight.mean()


def test_other_methods_make_their_own_batches(values, crops, pseudo):
    burst = base.artificial(pseudo, crops)
    assert burst.weight is None
    assert (burst.batch.target - pseudo.radiance.clamp(min=0)).abs().max() < 1e-6
    assert not torch.equal(burst.batch.frames[:, 1:], crops.batch.frames[:, 1:])
    own = base.self_supervised(crops)
    assert own.structure is not None
    assert torch.equal(own.weight, own.weight.round())
    hidden = base.masked(crops, generator(1))
    assert hidden.batch.target is None
    assert (hidden.batch.frames == 0).float().mean() > 0.7
    config = config_of(values)
    learned = ((burst, "reconstruction"), (own, "structure"), (hidden, "masked"), (Aim(crops.batch), "rerendered"))
    for aim, name in learned:
        student = new_state(config, CPU).student
        loss, terms = semi_supervised_loss(student, None, aim, config, generator(4))
        loss.backward()
        assert float(terms[f"unlabeled_{name}"]) > 0
        assert sum(float(p.grad.abs().sum()) for p in student.parameters() if p.grad is not None) > 0


def test_weak_augmentation_leaves_the_colours_in_order(values, batch, monkeypatch):
    seen = []
    real = Augmentation.colour
    monkeypatch.setattr(Augmentation, "colour", lambda self, image: (seen.append(self), real(self, image))[1])
    aim = Aim(batch)
    for strong in (False, True):
        seen.clear()
        config = config_of(values, strong=strong)
        student = new_state(config, CPU).student
        with torch.no_grad():
            for step in range(6):
                semi_supervised_loss(student, batch, aim, config, generator(step))
        labelled, unlabelled = seen[::4], seen[2::4]  # frames and target of each
        assert {how.order for how in labelled} == {(0, 1, 2)}
        assert (len({how.order for how in unlabelled}) > 1) == strong
        assert len({(how.flip, how.turns) for how in unlabelled}) > 2


def test_the_judge_learns_from_pseudo_labels_only_where_asked_to(values, crops, pseudo, limits):
    for share, method in ((0.0, "smarthdr"), (0.5, "smarthdr"), (0.0, "selfhdr")):
        config = config_of(values, weight_judge_unlabeled=share, method=method)
        student = new_state(config, CPU).student
        aim = base.smarthdr(pseudo, crops, limits, config, None)
        semi_supervised_loss(student, None, aim, config, generator(4))[0].backward()
        judge = [p.grad for name, p in student.named_parameters() if name.startswith("judge.")]
        moved = any(grad is not None and bool(grad.any()) for grad in judge)
        assert moved == (share > 0 or method == "selfhdr")  # SelfHDR's targets are no pseudo-labels, and all it has
