"""benchmarks/release/train_finer_motion.py: bursts with their coarse motion, and a decoder that learns from them."""

from argparse import Namespace
from dataclasses import replace

import pytest
import torch

from benchmarks.release import train_finer_motion as training
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.errors import InputError
from smarthdr_cli.models.checkpoint import load_model, save_checkpoint
from smarthdr_cli.models.saf import SAF
from tests.support import bursts

COARSE = replace(bursts.SMALL, finest=1)


def shifted_batch(seed=0, shift=2):
    """Two frames of one exposure, displaced from the reference by ``shift`` px to the right."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.nn.functional.interpolate(
        torch.rand(1, 3, 40, 50, generator=generator), scale_factor=4, mode="bicubic"
    ).clamp(0, 1)
    ref, left, right = (wide[..., 20:148, 20 - x : 180 - x] for x in (0, shift, -shift))
    flow = torch.zeros(1, 2, 2, 128, 160)
    flow[:, 0, 0], flow[:, 1, 0] = shift, -shift
    frames = torch.stack([ref, left, right], dim=1)
    return Batch(frames, torch.zeros(1, 3), torch.ones(1, 3, 1, 128, 160), None, flow, torch.ones(1, 2, 1, 128, 160))


@pytest.fixture(scope="module")
def pairs():
    with torch.inference_mode():
        return training.make_pairs(bursts.random_network(config=COARSE, flow=0.0), shifted_batch())


def test_pairs_survive_their_file(pairs, tmp_path):
    pairs.save(tmp_path / "0.pt")
    again = training.FramePairs.load(tmp_path / "0.pt")
    assert again.ref.shape == (2, 3, 128, 160)
    assert again.hidden.shape[-2:] == (32, 40)
    torch.testing.assert_close(again.other.float(), pairs.other, atol=1e-3, rtol=1e-3)


def test_a_crop_shows_one_place_of_everything(pairs):
    crop = pairs.crop(1, 8, 12)
    assert torch.equal(crop.ref, pairs.ref[1:, :, 8:104, 12:108])
    assert torch.equal(crop.logit, pairs.logit[1:, :, 2:26, 3:27])
    assert crop.missed() == pytest.approx(0.5)  # of a cell: 2 px, and nothing moved
    assert replace(crop, visible=0 * crop.visible).missed() == 0


def test_the_crop_with_the_most_to_correct_is_drawn(pairs):
    solved = replace(pairs, coarse=pairs.coarse.clone())
    solved.coarse[:, :, :, 20:] = torch.nn.functional.avg_pool2d(pairs.flow, 4)[:, :, :, 20:] / 4
    crops = training.draw_crops(solved, 12, torch.Generator().manual_seed(0))
    assert sum(crop.missed() for crop in crops) / len(crops) > solved.missed()


def test_the_finer_levels_alone_learn_the_displacement(pairs, tmp_path):
    """From a file to a file: everything else stays as it was."""
    config = vars(COARSE)
    old = tmp_path / "old.safetensors"
    save_checkpoint(old, SAF(COARSE).half().state_dict(), config, {"stage": "test"}, None, "CC0-1.0", {})
    pairs.save(tmp_path / "0.pt")
    training.train(Namespace(weights=old, bursts=tmp_path, held_out=tmp_path, finer=8, minutes=0.1, rate=3e-3, batch=3,
                             threads=1, out=tmp_path / "new.safetensors"))  # fmt: skip
    (before, _), (after, checkpoint) = load_model(old), load_model(tmp_path / "new.safetensors")
    assert after.config == replace(COARSE, finer=8)
    assert checkpoint.record["stage"] == "test"
    assert checkpoint.record["finer_motion"]["updates"] > 5
    kept = before.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in after.state_dict().items() if name in kept)
    scores = training.validation(after, training.draw_crops(pairs, 4, torch.Generator().manual_seed(1)))
    assert scores["finer"] < 0.7 * scores["coarse"]


def test_without_bursts_there_is_nothing_to_learn(tmp_path):
    old = tmp_path / "old.safetensors"
    save_checkpoint(old, SAF(COARSE).half().state_dict(), vars(COARSE), {}, None, "CC0-1.0", {})
    options = Namespace(weights=old, bursts=tmp_path, held_out=tmp_path, finer=8, threads=1)
    with pytest.raises(InputError, match="no bursts"):
        training.train(options)
