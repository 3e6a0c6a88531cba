"""From options to weights that fuse takes."""

import numpy as np
import pytest
import torch

from smarthdr_cli.data.synth.export import write_radiance
from smarthdr_cli.errors import InputError, ModelError, UsageError
from smarthdr_cli.fusion.pipeline import fuse
from smarthdr_cli.models.base import build_model
from smarthdr_cli.models.checkpoint import load_model, save_checkpoint
from smarthdr_cli.train import run
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.run import begin, held_out_batches, run_training


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    real = held_out_batches
    monkeypatch.setattr(run, "held_out_batches", lambda bank, count, seed, device: real(bank, count, seed, device, 48))


@pytest.fixture(scope="module")
def panoramas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine")
    for number in range(3):
        light = np.random.default_rng(number).gamma(1.0, 1.0, (96, 160, 3)).astype(np.float32)
        write_radiance(folder / f"place_{number}.exr", light)
    return folder


def test_a_run_ends_in_weights_that_fuse(values, panoramas, tmp_path):
    import cv2

    summary = run_training(tmp_path / "run", values | {"iterations": 2}, panoramas, device="cpu")
    model, checkpoint = load_model(tmp_path / "run" / "model.safetensors")
    assert checkpoint.sha256 == summary["sha256"]
    assert checkpoint.config["name"] == "saf"
    assert checkpoint.calibration is not None
    assert checkpoint.calibration.samples > 1000
    assert checkpoint.record["steps"] == 2
    assert checkpoint.record["sources"] == 2
    assert checkpoint.record["config"]["batch"] == 2
    assert {"psnr_mu", "reference", "merged"} == set(checkpoint.metrics)
    assert checkpoint.licence
    assert not model.training
    light = np.random.default_rng(0).uniform(0.05, 0.7, (40, 48, 3))
    files = []
    for ev in (-2, 0, 2):
        files.append(tmp_path / f"{len(files)}.png")
        cv2.imwrite(str(files[-1]), np.round(np.clip(light * 2.0**ev, 0, 1) ** (1 / 2.2) * 65535).astype(np.uint16))
    out = fuse(files, weights=tmp_path / "run" / "model.safetensors", evs=(-2, 0, 2), response="gamma2.2", align="none",
               device="cpu", precision="fp32", reference=2)  # fmt: skip
    assert np.abs(out.radiance[..., ::-1] / light - 1).mean() < 0.05
    assert out.report.fuser.model["sha256"] == summary["sha256"]


def test_weights_that_make_no_picture_are_nothing_to_begin_with(values, tmp_path):
    config, path = train_config(values), tmp_path / "wild.safetensors"
    state = {name: torch.full_like(value, 1e30) for name, value in build_model(config.model).state_dict().items()}
    save_checkpoint(path, state, config.model)
    with pytest.raises(ModelError, match=r"wild\.safetensors: not usable weights"):
        begin(tmp_path, config, torch.device("cpu"), resume=False, init=str(path))


def test_resume_and_init_go_on_from_weights(values, panoramas, tmp_path):
    first = run_training(tmp_path / "a", values | {"iterations": 1}, panoramas, device="cpu")
    again = run_training(tmp_path / "a", values | {"iterations": 3}, panoramas, device="cpu", resume=True)
    assert (first["record"]["steps"], again["record"]["steps"]) == (1, 3)
    started = run_training(tmp_path / "b", values | {"iterations": 1, "learning_rate": 0.0}, panoramas, device="cpu",
                           init=str(tmp_path / "a" / "model.safetensors"))  # fmt: skip
    a, _ = load_model(tmp_path / "a" / "model.safetensors")
    b, _ = load_model(started["weights"])
    for name, value in a.state_dict().items():
        assert torch.allclose(value, b.state_dict()[name], atol=2e-3), name


def test_a_deeper_gfhdr_starts_from_a_shallow_one_and_no_other(values, panoramas, tmp_path):
    small = {"name": "gfhdr", "dim": 12, "blocks": 1, "heads": 3, "window": 4, "squeeze": 4, "drop_path": 0.0}
    still = values | {"iterations": 1, "learning_rate": 0.0}
    models = {}
    for depth, init in ((1, None), (3, str(tmp_path / "1" / "model.safetensors"))):
        run_training(
            tmp_path / str(depth), still | {"model": small | {"depth": depth}}, panoramas, device="cpu", init=init
        )
        models[depth], _ = load_model(tmp_path / str(depth) / "model.safetensors")
    frames = torch.rand(1, 3, 6, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(
            models[3].predict(frames).radiance, models[1].predict(frames).radiance, rtol=0, atol=1e-3
        )
    with pytest.raises(ModelError, match="its gfhdr config makes it"):
        run_training(tmp_path / "wide", still | {"model": small | {"dim": 24, "depth": 3}}, panoramas, device="cpu",
                     init=str(tmp_path / "1" / "model.safetensors"))  # fmt: skip


def test_what_cannot_start_says_why(values, panoramas, tmp_path):
    with pytest.raises(UsageError, match="batch"):
        run_training(tmp_path, {"bach": 2}, panoramas, device="cpu")
    with pytest.raises(InputError, match="no training state"):
        run_training(tmp_path / "none", values, panoramas, device="cpu", resume=True)
    with pytest.raises(InputError, match="no training"):
        run_training(tmp_path / "none", values, tmp_path, device="cpu")


def test_held_out_batches_repeat(bank):
    a, b = (held_out_batches(bank, 4, 7, torch.device("cpu"), 32) for _ in range(2))
    assert len(a) == 2
    assert all(torch.equal(x.frames, y.frames) for x, y in zip(a, b, strict=True))
