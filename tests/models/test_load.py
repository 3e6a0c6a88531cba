"""From a file to a running network, and what stands in the way."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from smarthdr_cli.errors import ModelError
from smarthdr_cli.models.base import build_model
from smarthdr_cli.models.checkpoint import load_model, save_checkpoint
from smarthdr_cli.models.gfhdr import GFHDR, GFHDRConfig

CONFIG = dataclasses.asdict(GFHDRConfig(dim=6, blocks=1, depth=2, heads=2, window=2, squeeze=2))


def _save(path: Path, config: dict[str, Any]) -> Path:
    save_checkpoint(path, build_model(CONFIG).state_dict(), config)
    return path


def test_a_saved_network_gives_the_same_picture(tmp_path: Path) -> None:
    model = build_model(CONFIG).eval()
    save_checkpoint(tmp_path / "best.safetensors", model.state_dict(), CONFIG, metrics={"psnr_mu": 40.0})
    loaded, checkpoint = load_model(tmp_path)
    assert isinstance(loaded, GFHDR)
    assert not loaded.training
    assert checkpoint.metrics == {"psnr_mu": 40.0}
    frames = torch.rand(1, 3, 6, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(loaded(frames).radiance, model(frames).radiance)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (CONFIG | {"name": "ghfdr"}, "unknown model 'ghfdr'"),
        (CONFIG | {"depht": 2}, "'depht'.*'depth'"),
        (CONFIG | {"dim": "6"}, "gfhdr setting 'dim' must be int, not '6'"),
        (CONFIG | {"dim": 7}, "7 is not a multiple"),
        ({"name": "saf", "encoder": 32.5}, "saf setting 'encoder' must be int, not 32.5"),
        ({"name": "saf", "refine": -4}, "the saf config does not fit together: saf's widths must be from 1 to 512"),
        ({"name": "saf", "encoder": 60_000}, "saf's widths must be from 1 to 512"),  # 130 GB of weights
        ({"name": "saf", "motion": 1 << 63}, "saf's widths must be from 1 to 512"),
        ({"name": "saf", "radius": 20_000}, "radius must be from 0 to 8"),
        ({"name": "saf", "limit": 10**400}, "saf setting 'limit' must be float"),
        (CONFIG | {"dim": 600_000}, "gfhdr's dim may be 256"),
        (CONFIG | {"depth": 10**9}, "its layers 64"),
        (CONFIG | {"window": 10_000}, "its window and mlp_ratio 16 at most"),
        (CONFIG | {"mlp_ratio": 10**9}, "its window and mlp_ratio 16 at most"),
        (CONFIG | {"dim": 8}, "its gfhdr config makes it"),
        (CONFIG | {"depth": 3}, "not the weights of its gfhdr config: lacks"),
        (CONFIG | {"depth": 1}, "not the weights of its gfhdr config: has"),
    ],
)
def test_a_config_that_does_not_fit_is_one_line(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    path = _save(tmp_path / "x.safetensors", config)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path)
    assert caught.value.exit_code == 4
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_no_such_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such weights file"):
        load_model(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("config", [CONFIG, {"name": "saf"}], ids=["gfhdr", "saf"])
@pytest.mark.parametrize("factor", [1e8, 1e30])
def test_weights_that_make_no_picture_are_not_usable(tmp_path: Path, config: dict[str, Any], factor: float) -> None:
    path = tmp_path / "wild.safetensors"
    state = {name: factor * torch.ones_like(tensor) for name, tensor in build_model(config).state_dict().items()}
    save_checkpoint(path, state, config)
    with pytest.raises(ModelError, match="not usable weights") as caught:
        load_model(path)
    assert caught.value.exit_code == 4
    assert str(caught.value).startswith(f"{path}: ")


def test_looking_whether_weights_are_usable_draws_no_random_number(tmp_path: Path) -> None:
    path = _save(tmp_path / "x.safetensors", CONFIG)
    torch.manual_seed(5)
    build_model(CONFIG)  # as loading it does
    expected = torch.rand(1)
    torch.manual_seed(5)
    load_model(path)
    assert torch.equal(torch.rand(1), expected)
