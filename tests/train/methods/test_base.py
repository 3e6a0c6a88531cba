"""A target: geometry kept under augmentation, weight-0 pixels absent from the loss, weights of its terms."""

from itertools import permutations, product

import pytest
import torch

from smarthdr_cli.data.augment import Augmentation
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.train.methods import METHODS, method_class
from smarthdr_cli.train.methods.base import Method, Target
from smarthdr_cli.train.state import generator, new_state
from smarthdr_cli.train.step import semi_supervised_loss
from tests.support.training import hole, pair

CPU = torch.device("cpu")
NAMES = {f"unlabeled_{name}" for name in ("reconstruction", "uncertainty", "merged")}
AUGMENTATIONS = [
    Augmentation(flip, turns, order)
    for flip, turns, order in [
        *product((False, True), range(4), [(0, 1, 2)]),
        *((True, 3, order) for order in permutations(range(3))),
    ]
]


def target_of(crops, radiance, weight, **options):
    return Target(Batch(crops.batch.frames, crops.batch.evs, crops.batch.valid, radiance), weight, **options)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_frames_targets_and_weights_are_augmented_alike(augmentation):
    radiance, _ = pair(height=32, width=32)
    weight = (radiance.mean(dim=1, keepdim=True) > radiance.mean()).float()
    frames = radiance[:, None].expand(-1, 3, -1, -1, -1)
    evs = torch.tensor([[0.0, -1, 1]] * 2)
    batch = Batch(frames, evs, weight[:, None].expand(-1, 3, -1, -1, -1), radiance)
    target = Target(batch, weight, structure=radiance * 2).augmented(augmentation)
    assert torch.equal(target.batch.frames[:, 0], target.batch.target)
    assert torch.equal(target.structure, target.batch.target * 2)
    assert torch.equal(target.weight, target.batch.valid[:, 0])
    bright = (target.batch.target.mean(dim=1, keepdim=True) > radiance.mean()).float()
    assert (bright == target.weight).float().mean() > 0.999  # the channels are summed in another order
    assert torch.equal(target.batch.target, augmentation.colour(radiance))


@pytest.mark.parametrize("strong", [True, False])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e30])
def test_the_loss_of_a_step_ignores_pixels_of_weight_0(config_of, crops, pseudo, strong, bad):
    """Value and every gradient are the same bit for bit, whatever the target holds there."""
    config = config_of(strong=strong)
    weight = hole(pseudo.radiance)
    hidden = (weight == 0).expand_as(pseudo.radiance)
    results = []
    for radiance in (pseudo.radiance, torch.where(hidden, bad, pseudo.radiance)):
        student = new_state(config, CPU).student
        target = target_of(crops, radiance, weight)
        loss, terms = semi_supervised_loss(student, None, target, config, generator(4))
        loss.backward()
        results.append((loss.detach(), [p.grad for p in student.parameters() if p.grad is not None]))
        assert terms.keys() >= NAMES
    assert torch.isfinite(results[0][0])
    assert torch.equal(results[0][0], results[1][0])
    assert all(torch.equal(a, b) and a.isfinite().all() for a, b in zip(results[0][1], results[1][1], strict=True))


def test_a_target_of_weight_0_everywhere_teaches_nothing(config_of, crops, pseudo):
    config = config_of()
    target = target_of(crops, pseudo.radiance * torch.nan, torch.zeros_like(pseudo.sigma))
    student = new_state(config, CPU).student
    loss, _ = semi_supervised_loss(student, None, target, config, generator(4))
    loss.backward()
    assert loss == 0
    assert all((p.grad == 0).all() for p in student.parameters() if p.grad is not None)


def test_weight_unlabeled_scales_the_unlabelled_loss(config_of, batch, crops, pseudo):
    target = target_of(crops, pseudo.radiance, hole(pseudo.radiance))
    losses = {}
    for weight in (0.0, 1.0, 3.0):
        config = config_of(weight_unlabeled=weight)
        student = new_state(config, CPU).student
        losses[weight] = float(semi_supervised_loss(student, batch, target, config, generator(4))[0].detach())
    labelled_alone = semi_supervised_loss(new_state(config, CPU).student, batch, None, config, generator(4))[0]
    assert losses[0.0] == pytest.approx(float(labelled_alone.detach()))
    assert losses[3.0] - losses[0.0] == pytest.approx(3 * (losses[1.0] - losses[0.0]), rel=1e-4)


def test_weak_augmentation_keeps_the_order_of_channels(config_of, batch, monkeypatch):
    used = []
    real = Augmentation.colour
    monkeypatch.setattr(Augmentation, "colour", lambda self, image: (used.append(self), real(self, image))[1])
    for strong in (False, True):
        used.clear()
        config = config_of(strong=strong)
        student = new_state(config, CPU).student
        with torch.no_grad():
            for step in range(6):
                semi_supervised_loss(student, batch, Target(batch), config, generator(step))
        labelled, unlabelled = used[::4], used[2::4]  # frames and target of each
        assert {augmentation.order for augmentation in labelled} == {(0, 1, 2)}
        assert (len({augmentation.order for augmentation in unlabelled}) > 1) == strong
        assert len({(augmentation.flip, augmentation.turns) for augmentation in unlabelled}) > 2


@pytest.mark.parametrize(
    ("share", "from_teacher", "trained"), [(0.0, True, False), (0.5, True, True), (0.0, False, True)]
)
def test_the_uncertainty_head_learns_from_pseudo_labels_only_by_weight_judge_unlabeled(
    config_of, crops, pseudo, share, from_teacher, trained
):
    """Targets that are no pseudo-labels train it in any case."""
    config = config_of(weight_judge_unlabeled=share)
    student = new_state(config, CPU).student
    target = target_of(crops, pseudo.radiance, hole(pseudo.radiance), from_teacher=from_teacher)
    semi_supervised_loss(student, None, target, config, generator(4))[0].backward()
    head = [p.grad for name, p in student.named_parameters() if name.startswith("judge.")]
    assert any(grad is not None and bool(grad.any()) for grad in head) == trained


@pytest.mark.parametrize("from_teacher", [True, False])
def test_only_pseudo_labels_are_tied_to_the_cells_of_the_reference(config_of, crops, pseudo, from_teacher):
    config = config_of(weight_cells=1.0)
    target = target_of(crops, pseudo.radiance, hole(pseudo.radiance), from_teacher=from_teacher)
    _, terms = semi_supervised_loss(new_state(config, CPU).student, None, target, config, generator(4))
    assert ("unlabeled_cells" in terms) == from_teacher


@pytest.mark.parametrize("name", METHODS)
def test_every_entry_of_the_table_is_a_method(config_of, name):
    method = method_class(name)(config_of(method=name))
    assert Method in type(method).__mro__
    assert 0 <= method.first_unlabeled <= method.config.iterations
