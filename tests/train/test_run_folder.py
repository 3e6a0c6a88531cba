"""Run folders: numbered, and what an earlier run in one asks of the next."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from smarthdr_cli.data.datasets import SceneFiles
from smarthdr_cli.data.splits import SceneBand, Split
from smarthdr_cli.data.synth.config import Variety
from smarthdr_cli.errors import InputError, ModelError, UsageError
from smarthdr_cli.models.base import build_model
from smarthdr_cli.models.checkpoint import save_checkpoint
from smarthdr_cli.train import run_folder as room
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.request import Request
from smarthdr_cli.train.run_folder import (
    Earlier,
    completed,
    earlier,
    free_folder,
    going_on,
    merged,
    same_data,
    same_split,
    with_backbone,
)  # fmt: skip
from smarthdr_cli.train.state import load_train_state, new_state, save_state

CPU = torch.device("cpu")


def test_folders_are_numbered_and_empty_ones_go(tmp_path):
    base = tmp_path / "runs"
    (base / "002").mkdir(parents=True)
    with free_folder(base) as first, free_folder(base) as third:
        assert (first, third) == (base / "001", base / "003")
        (third / "state.pt").touch()
    assert sorted(p.name for p in base.iterdir()) == ["002", "003"]
    with pytest.raises(ZeroDivisionError), free_folder(base):
        raise ZeroDivisionError
    assert not first.exists()


def test_options_are_merged_and_networks_replaced():
    under = {"batch": 2, "masks": {"side": 16, "top": 0.5}, "model": {"name": "saf", "encoder": 8}}
    over = {"batch": 4, "masks": {"top": 0.9}, "model": {"name": "gfhdr"}}
    assert merged(under, over) == {"batch": 4, "masks": {"side": 16, "top": 0.9}, "model": {"name": "gfhdr"}}
    assert under["masks"] == {"side": 16, "top": 0.5}


@pytest.mark.parametrize(
    ("table", "backbone", "result"),
    [
        (None, None, None),
        (None, "gfhdr", {"name": "gfhdr"}),
        ({"name": "saf"}, "gfhdr", {"name": "gfhdr"}),
        ({"dim": 8}, "gfhdr", {"name": "gfhdr", "dim": 8}),
        ({"name": "saf", "encoder": 8}, None, {"name": "saf", "encoder": 8}),
        ({"name": "saf", "encoder": 8}, "saf", {"name": "saf", "encoder": 8}),
    ],
)
def test_a_backbone_takes_the_sizes_of_its_table(table, backbone, result):
    values = {"batch": 2} | ({} if table is None else {"model": table})
    assert with_backbone(values, backbone) == {"batch": 2} | ({} if result is None else {"model": result})


def test_a_backbone_that_contradicts_its_table():
    with pytest.raises(UsageError, match="sizes of saf"):
        with_backbone({"model": {"name": "saf", "encoder": 8}}, "gfhdr")
    with pytest.raises(UsageError, match="saf, gfhdr"):
        with_backbone({"model": {"encoder": 8}}, None)


def test_a_saved_run_is_known_again(values, tmp_path):
    config = train_config(values)
    state = new_state(config, CPU)
    state.step = 5
    save_state(tmp_path / "state.pt", state, config)
    found = earlier(tmp_path)
    assert (found.request, found.step) == (None, 5)
    assert train_config(found.values) == config
    asked = Request("scenes", None, ("a", "b"), ("mine",), (1, 2))
    asked.save(tmp_path)
    assert earlier(tmp_path).request == asked
    (tmp_path / "state.pt").write_bytes(b"no state")
    with pytest.raises(InputError, match=r"state\.pt"):
        earlier(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        "", "no JSON", "[]", "3", "null", "[" * 100_000, '{"batch": "many"}', '{"batch": 0}', '{"synth": []}',
        '{"synth": {"variety": 3}}', '{"model": []}', '{"model": {}}', '{"model": {"name": "fas"}}',
        '{"model": {"name": "saf", "encoder": "wide"}}', '{"colour": 1}',
    ],
)  # fmt: skip
def test_a_run_whose_options_cannot_be_used_is_refused(values, tmp_path, options):
    config, path = train_config(values), tmp_path / "state.pt"
    save_state(path, new_state(config, CPU), config)
    torch.save(torch.load(path, weights_only=True) | {"config": options}, path)
    with pytest.raises(InputError, match=r"no options of a run .*restore the file from a copy") as caught:
        earlier(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")


def test_the_state_of_the_shipped_weights_can_be_resumed(tmp_path):
    """It was saved when there were options that are gone since."""
    shutil.copy(Path(__file__).parents[2] / "weights" / "resume" / "saf-base.pt", tmp_path / "state.pt")
    before = earlier(tmp_path)
    assert set(before.values) > {"weight_gradient", "weight_ms_ssim", "noise_iso"}
    config = train_config(going_on(before, {}, tmp_path))
    assert (config.weight_square, config.finest) == (40.0, 1)
    assert load_train_state(tmp_path / "state.pt", config, CPU).step == before.step == 19_566


def test_a_run_from_before_there_was_variety_goes_on_without(values, tmp_path):
    config = train_config(values)
    state = new_state(config, CPU)
    save_state(tmp_path / "state.pt", state, config)
    content = torch.load(tmp_path / "state.pt", weights_only=True)
    old = json.loads(content["config"])
    del old["synth"]["variety"]
    torch.save(content | {"config": json.dumps(old)}, tmp_path / "state.pt")
    before = earlier(tmp_path)
    kept = train_config(going_on(before, {}, tmp_path)).synth
    assert kept.variety == Variety()
    assert (kept.height, kept.frames) == (config.synth.height, config.synth.frames)
    given = train_config(going_on(before, {"synth": {"variety": {"depth": 0.5}}}, tmp_path)).synth
    assert given.variety == Variety(depth=0.5)


def test_a_resumed_run_keeps_network_and_seed(values, tmp_path):
    saved = train_config(values | {"seed": 3}).to_dict() | {"weight_vgg": 0.0}
    before = Earlier(saved, Request("scenes"), 5)
    assert going_on(before, {}, tmp_path) == saved
    assert going_on(before, {"batch": 7, "seed": 3}, tmp_path) == saved | {"batch": 7}
    assert going_on(before, {"model": {"name": "saf"}}, tmp_path) == saved  # called by its name
    full = {"radius": 2, "limit": 4.0} | saved["model"]
    assert going_on(before, {"model": full}, tmp_path)["model"] == full  # the same with its defaults written out
    for other in ({"name": "gfhdr"}, saved["model"] | {"encoder": 16}):
        with pytest.raises(UsageError, match="another network"):
            going_on(before, {"model": other}, tmp_path)
    with pytest.raises(UsageError, match=r"--seed 4: .* drawn from 3"):
        going_on(before, {"seed": 4}, tmp_path)
    assert going_on(Earlier(saved, None, 5), {"seed": 4}, tmp_path)["seed"] == 4  # streams draw no labels


def test_features_that_come_late_have_their_weight(values, tmp_path):
    saved = train_config(values).to_dict() | {"weight_vgg": 0.0}
    late = going_on(Earlier(saved, Request(), 5), {"vgg": "file"}, tmp_path)
    assert train_config(late).weight_vgg == train_config({}).weight_vgg
    kept = going_on(Earlier(saved | {"vgg": "file"}, Request(), 5), {"vgg": "other"}, tmp_path)
    assert kept["weight_vgg"] == 0.0
    said = going_on(Earlier(saved, Request(), 5), {"vgg": "file", "weight_vgg": 0.5}, tmp_path)
    assert said["weight_vgg"] == 0.5


def test_a_resumed_run_keeps_its_data(tmp_path):
    saved = Request("scenes", None, 5, ("mine",), (1, 2))
    assert same_data(saved, Request(), tmp_path) == Request("scenes", None, 5, ("mine",), None)
    assert same_data(saved, Request("scenes", None, 5, ("mine",), (3, 4)), tmp_path).epochs == (3, 4)
    for given, said in (
        (Request("other"), "--data: .* on scenes"), (Request(labeled=4), "--labeled: .* on 5"),
        (Request(labeled=("a",)), "--labeled"), (Request(labeled=0), "--labeled"),
        (Request(unlabeled=("yours",)), "--unlabeled: .* on mine"), (Request(panoramas="hdri"), "--panoramas: .* none"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            same_data(saved, given, tmp_path)
    with pytest.raises(UsageError, match="own synthetic scenes"):
        same_data(Request(), Request("scenes"), tmp_path)


def split(labeled, unlabeled, bottom=1.0):
    parts = [tuple(SceneBand(SceneFiles(name, "train", (), None, None, "gamma2.2"), 0.0, bottom) for name in names)
             for names in (labeled, "h", unlabeled)]  # fmt: skip
    return Split(*parts)


def test_scenes_that_have_changed_are_noticed(tmp_path):
    drawn = split("ab", "cd")
    Request("scenes").save(tmp_path, drawn)
    same_split(tmp_path, drawn)
    with pytest.raises(InputError, match=r"come or gone since it was begun \(c, x\)"):
        same_split(tmp_path, split("ab", "dx"))
    for other in (split("ac", "bd"), split("ba", "cd"), split("ab", "cd", 0.5)):
        with pytest.raises(InputError, match="labeled scenes are no longer the same"):
            same_split(tmp_path, other)
    content = json.loads((tmp_path / "run.json").read_text())
    content.pop("split")
    (tmp_path / "run.json").write_text(json.dumps(content))
    same_split(tmp_path, split("xy", "z"))  # nothing is remembered of what it was
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json"):
        same_split(tmp_path, drawn)


def test_what_is_found_out(values, tmp_path, monkeypatch):
    for dtype, word in ((torch.bfloat16, "bf16"), (torch.float32, "fp32")):
        monkeypatch.setattr(room, "resolve_precision", lambda option, device, dtype=dtype: dtype)
        assert completed({}, init=None, precision=None, device=CPU) == {"precision": word}
        assert completed({"precision": "fp32"}, init=None, precision="auto", device=CPU) == {"precision": word}
    assert completed({"precision": "fp32"}, init=None, precision=None, device=CPU) == {"precision": "fp32"}
    assert completed({"precision": "fp32"}, init=None, precision="bf16", device=CPU) == {"precision": "bf16"}
    assert completed({}, init=None, precision=None, device=torch.device("cuda")) == {"precision": "bf16"}
    path = tmp_path / "w.safetensors"
    save_checkpoint(path, build_model(values["model"]).state_dict(), values["model"])
    assert completed({}, init=str(path), precision="fp32", device=CPU)["model"] == values["model"]
    own = values["model"] | {"encoder": 4}
    assert completed({"model": own}, init=str(path), precision="fp32", device=CPU)["model"] == own
    before = torch.get_rng_state()
    with pytest.raises(ModelError, match="'encoder'"):
        completed({"model": {"name": "saf", "encodr": 4}}, init=None, precision="fp32", device=CPU)
    assert torch.equal(torch.get_rng_state(), before)
