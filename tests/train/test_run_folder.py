"""Run folders: numbered, run.json, the options and data of a resumed run, and TOML."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import strategies as st

from smarthdr_cli.data.datasets import SceneFiles
from smarthdr_cli.data.splits import SceneBand, Split
from smarthdr_cli.data.synth.config import Variety
from smarthdr_cli.errors import InputError, ModelError, UsageError
from smarthdr_cli.models.base import build_model
from smarthdr_cli.models.checkpoint import save_checkpoint
from smarthdr_cli.train import run_folder
from smarthdr_cli.train.config import TrainConfig, train_config
from smarthdr_cli.train.run_folder import (
    DataRequest,
    SavedRun,
    check_split,
    complete_options,
    merge_options,
    numbered_folder,
    read_saved_run,
    resumed_options,
    resumed_request,
    to_toml,
    with_backbone,
)
from smarthdr_cli.train.state import load_train_state, new_state, save_state

CPU = torch.device("cpu")
KEYS = st.from_regex(r"[a-z_][a-z0-9_]{0,9}", fullmatch=True)
PLAIN = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
VALUES = st.one_of(PLAIN, st.lists(PLAIN, max_size=4))
TABLES = st.recursive(
    st.dictionaries(KEYS, VALUES, max_size=4), lambda t: st.dictionaries(KEYS, st.one_of(VALUES, t), max_size=4)
)


def test_folders_are_numbered_and_empty_ones_removed(tmp_path):
    base = tmp_path / "runs"
    (base / "002").mkdir(parents=True)
    with numbered_folder(base) as first, numbered_folder(base) as third:
        assert (first, third) == (base / "001", base / "003")
        (third / "state.pt").touch()
    assert sorted(p.name for p in base.iterdir()) == ["002", "003"]
    with pytest.raises(ZeroDivisionError), numbered_folder(base):
        raise ZeroDivisionError
    assert not first.exists()


def test_options_are_merged_and_a_network_is_replaced_whole():
    under = {"batch": 2, "masks": {"side": 16, "top": 0.5}, "model": {"name": "saf", "encoder": 8}}
    over = {"batch": 4, "masks": {"top": 0.9}, "model": {"name": "gfhdr"}}
    assert merge_options(under, over) == {"batch": 4, "masks": {"side": 16, "top": 0.9}, "model": {"name": "gfhdr"}}
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


def test_a_backbone_that_contradicts_its_table_is_an_error():
    with pytest.raises(UsageError, match="sizes of saf"):
        with_backbone({"model": {"name": "saf", "encoder": 8}}, "gfhdr")
    with pytest.raises(UsageError, match="saf, gfhdr"):
        with_backbone({"model": {"encoder": 8}}, None)


def test_a_saved_run_is_read_back(values, tmp_path):
    config = train_config(values)
    state = new_state(config, CPU)
    state.step = 5
    save_state(tmp_path / "state.pt", state, config)
    saved_run = read_saved_run(tmp_path)
    assert (saved_run.request, saved_run.step) == (None, 5)
    assert train_config(saved_run.values) == config
    request = DataRequest("scenes", None, ("a", "b"), ("mine",), (1, 2))
    request.save(tmp_path)
    assert read_saved_run(tmp_path).request == request
    (tmp_path / "state.pt").write_bytes(b"no state")
    with pytest.raises(InputError, match=r"state\.pt"):
        read_saved_run(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        "", "no JSON", "[]", "3", "null", "[" * 100_000, '{"batch": "many"}', '{"batch": 0}', '{"synth": []}',
        '{"synth": {"variety": 3}}', '{"model": []}', '{"model": {}}', '{"model": {"name": "fas"}}',
        '{"model": {"name": "saf", "encoder": "wide"}}', '{"colour": 1}',
    ],
)  # fmt: skip
def test_a_run_with_unusable_options_is_rejected(values, tmp_path, options):
    config, path = train_config(values), tmp_path / "state.pt"
    save_state(path, new_state(config, CPU), config)
    torch.save(torch.load(path, weights_only=True) | {"config": options}, path)
    with pytest.raises(InputError, match=r"no options of a run .*restore the file from a copy") as caught:
        read_saved_run(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")


def test_the_state_of_the_shipped_weights_can_be_resumed(tmp_path):
    """It was saved with options that have been removed since."""
    shutil.copy(Path(__file__).parents[2] / "weights" / "resume" / "saf-base.pt", tmp_path / "state.pt")
    before = read_saved_run(tmp_path)
    assert set(before.values) > {"weight_gradient", "weight_ms_ssim", "noise_iso"}
    config = train_config(resumed_options(before, {}, tmp_path))
    assert (config.weight_square, config.finest) == (40.0, 1)
    assert load_train_state(tmp_path / "state.pt", config, CPU).step == before.step == 19_566


def test_a_run_saved_without_variety_resumes_without_it(values, tmp_path):
    config = train_config(values)
    state = new_state(config, CPU)
    save_state(tmp_path / "state.pt", state, config)
    content = torch.load(tmp_path / "state.pt", weights_only=True)
    old = json.loads(content["config"])
    del old["synth"]["variety"]
    torch.save(content | {"config": json.dumps(old)}, tmp_path / "state.pt")
    before = read_saved_run(tmp_path)
    kept = train_config(resumed_options(before, {}, tmp_path)).synth
    assert kept.variety == Variety()
    assert (kept.height, kept.frames) == (config.synth.height, config.synth.frames)
    given = train_config(resumed_options(before, {"synth": {"variety": {"depth": 0.5}}}, tmp_path)).synth
    assert given.variety == Variety(depth=0.5)


def test_a_resumed_run_keeps_network_and_seed(values, tmp_path):
    saved = train_config(values | {"seed": 3}).to_dict() | {"weight_vgg": 0.0}
    before = SavedRun(saved, DataRequest("scenes"), 5)
    assert resumed_options(before, {}, tmp_path) == saved
    assert resumed_options(before, {"batch": 7, "seed": 3}, tmp_path) == saved | {"batch": 7}
    assert resumed_options(before, {"model": {"name": "saf"}}, tmp_path) == saved  # called by its name
    full = {"radius": 2, "limit": 4.0} | saved["model"]
    assert resumed_options(before, {"model": full}, tmp_path)["model"] == full  # the same with its defaults written out
    for other in ({"name": "gfhdr"}, saved["model"] | {"encoder": 16}):
        with pytest.raises(UsageError, match="another network"):
            resumed_options(before, {"model": other}, tmp_path)
    with pytest.raises(UsageError, match=r"--seed 4: .* drawn from 3"):
        resumed_options(before, {"seed": 4}, tmp_path)
    assert resumed_options(SavedRun(saved, None, 5), {"seed": 4}, tmp_path)["seed"] == 4  # streams draw no labels


def test_vgg_features_given_at_a_resume_get_their_default_weight(values, tmp_path):
    saved = train_config(values).to_dict() | {"weight_vgg": 0.0}
    late = resumed_options(SavedRun(saved, DataRequest(), 5), {"vgg": "file"}, tmp_path)
    assert train_config(late).weight_vgg == train_config({}).weight_vgg
    kept = resumed_options(SavedRun(saved | {"vgg": "file"}, DataRequest(), 5), {"vgg": "other"}, tmp_path)
    assert kept["weight_vgg"] == 0.0
    explicit = resumed_options(SavedRun(saved, DataRequest(), 5), {"vgg": "file", "weight_vgg": 0.5}, tmp_path)
    assert explicit["weight_vgg"] == 0.5


def test_a_resumed_run_keeps_its_data(tmp_path):
    saved = DataRequest("scenes", None, 5, ("mine",), (1, 2))
    assert resumed_request(saved, DataRequest(), tmp_path) == DataRequest("scenes", None, 5, ("mine",), None)
    assert resumed_request(saved, DataRequest("scenes", None, 5, ("mine",), (3, 4)), tmp_path).epochs == (3, 4)
    for given, message in (
        (DataRequest("other"), "--data: .* on scenes"), (DataRequest(labeled=4), "--labeled: .* on 5"),
        (DataRequest(labeled=("a",)), "--labeled"), (DataRequest(labeled=0), "--labeled"),
        (DataRequest(unlabeled=("yours",)), "--unlabeled: .* on mine"),
        (DataRequest(panoramas="hdri"), "--panoramas: .* none"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            resumed_request(saved, given, tmp_path)
    with pytest.raises(UsageError, match="own synthetic scenes"):
        resumed_request(DataRequest(), DataRequest("scenes"), tmp_path)


def split(labeled, unlabeled, bottom=1.0):
    parts = [tuple(SceneBand(SceneFiles(name, "train", (), None, None, "gamma2.2"), 0.0, bottom) for name in names)
             for names in (labeled, "h", unlabeled)]  # fmt: skip
    return Split(*parts)


def test_changed_scenes_are_an_error(tmp_path):
    drawn = split("ab", "cd")
    DataRequest("scenes").save(tmp_path, drawn)
    check_split(tmp_path, drawn)
    with pytest.raises(InputError, match=r"come or gone since it was begun \(c, x\)"):
        check_split(tmp_path, split("ab", "dx"))
    for other in (split("ac", "bd"), split("ba", "cd"), split("ab", "cd", 0.5)):
        with pytest.raises(InputError, match="labeled scenes are no longer the same"):
            check_split(tmp_path, other)
    content = json.loads((tmp_path / "run.json").read_text())
    content.pop("split")
    (tmp_path / "run.json").write_text(json.dumps(content))
    check_split(tmp_path, split("xy", "z"))  # nothing is remembered of what it was
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json"):
        check_split(tmp_path, drawn)


def test_options_are_completed_from_weights_and_device(values, tmp_path, monkeypatch):
    for dtype, word in ((torch.bfloat16, "bf16"), (torch.float32, "fp32")):
        monkeypatch.setattr(run_folder, "resolve_precision", lambda option, device, dtype=dtype: dtype)
        assert complete_options({}, init=None, precision=None, device=CPU) == {"precision": word}
        assert complete_options({"precision": "fp32"}, init=None, precision="auto", device=CPU) == {"precision": word}
    assert complete_options({"precision": "fp32"}, init=None, precision=None, device=CPU) == {"precision": "fp32"}
    assert complete_options({"precision": "fp32"}, init=None, precision="bf16", device=CPU) == {"precision": "bf16"}
    assert complete_options({}, init=None, precision=None, device=torch.device("cuda")) == {"precision": "bf16"}
    path = tmp_path / "w.safetensors"
    save_checkpoint(path, build_model(values["model"]).state_dict(), values["model"])
    assert complete_options({}, init=str(path), precision="fp32", device=CPU)["model"] == values["model"]
    own = values["model"] | {"encoder": 4}
    assert complete_options({"model": own}, init=str(path), precision="fp32", device=CPU)["model"] == own
    before = torch.get_rng_state()
    with pytest.raises(ModelError, match="'encoder'"):
        complete_options({"model": {"name": "saf", "encodr": 4}}, init=None, precision="fp32", device=CPU)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("request_", [
    DataRequest(), DataRequest("d", "p", 3, ("a", "b"), (1, 2)), DataRequest("d", labeled=("001", "002")),
])  # fmt: skip
def test_a_request_survives_run_json(tmp_path, request_):
    request_.save(tmp_path / "new")
    assert DataRequest.load(tmp_path / "new") == request_


def test_a_damaged_run_json_is_an_input_error(tmp_path):
    short_of_a_number = {"data": None, "labeled": 1, "epochs": [1], "panoramas": None, "unlabeled": []}
    for text in (None, "", "[]", '{"data": null}', json.dumps(short_of_a_number)):
        if text is not None:
            (tmp_path / "run.json").write_text(text)
        with pytest.raises(InputError, match="not the record of a run on scenes"):
            DataRequest.load(tmp_path)


@drawn(TABLES)
def test_toml_reads_back(values):
    assert json.dumps(tomllib.loads(to_toml(values)), sort_keys=True) == json.dumps(values, sort_keys=True)


def test_toml_holds_every_option_of_a_config():
    assert train_config(tomllib.loads(to_toml(TrainConfig().to_dict()))) == TrainConfig()


def test_toml_rejects_values_without_a_form():
    with pytest.raises(ValueError, match="None"):
        to_toml({"a": None})
