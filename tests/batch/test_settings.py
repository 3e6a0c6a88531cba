"""What a result must state: every option that changes it, and no other."""

import dataclasses
import json

import pytest

from smarthdr_cli.batch.batch_options import OutputFiles
from smarthdr_cli.batch.common_exposure import CommonExposure
from smarthdr_cli.batch.settings import Settings, model_digest, recorded, response_digest
from smarthdr_cli.errors import InputError, ModelError, UsageError
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.output.write_options import WriteOptions

OTHER = {
    "weights": "x", "device": "cpu", "precision": "fp32", "tile": "256", "max_memory": 1e9, "max_pixels": 10**6,
    "reference": 2, "align": "none", "response": "srgb", "deghost": "strong", "ev": (-1.0, 0.0, 1.0),
    "exposure_times": (0.1, 0.2),
    "exposure_check": "fix", "gains": "off", "colorspace": "acescg", "anchor": "short",
}  # fmt: skip
ROUNDING_ONLY = {"device", "tile", "max_memory", "max_pixels", "weights"}  # "weights": by the digest of the model


def stated(fuse=None, curve="X jpeg", model="m", **settings):
    return recorded(Settings(fuse or FuseOptions(), **settings), curve, model)


def test_every_option_is_recorded_unless_it_changes_rounding_only():
    assert set(OTHER) == set(FuseOptions.__dataclass_fields__)
    plain = FuseOptions(precision="bf16")
    for name, value in OTHER.items():
        changed = stated(dataclasses.replace(plain, **{name: value}))
        assert (changed == stated(plain)) == (name in ROUNDING_ONLY), name
    for form in ("hdr", "tif"):
        assert stated(files=OutputFiles(form)) != stated()
    for option in ({"compression": "zip"}, {"float32": True}, {"embed_uncertainty": True}):
        assert stated(write=WriteOptions(**option)) != stated()


def test_the_look_is_recorded_where_the_result_has_one():
    vivid = WriteOptions(look="vivid")
    assert stated(files=OutputFiles("jpg"), write=vivid) != stated(files=OutputFiles("jpg"))
    assert stated(files=OutputFiles(preview=True), write=vivid) == stated(files=OutputFiles(preview=True))


def test_defaults_are_not_recorded():
    assert set(stated()) == {
        "model", "response", "precision", "format", "compression", "float", "embed_uncertainty"
    }  # fmt: skip


def test_previews_and_maps_are_not_recorded():
    assert stated(files=OutputFiles(preview=True, uncertainty_format="exr")) == stated()


def test_the_model_and_the_common_exposure_are_recorded():
    assert stated(model="n") != stated()
    assert stated(common=CommonExposure(-7.0)) != stated()
    assert stated(common=CommonExposure(-7.0)) != stated(common=CommonExposure(-6.0))


def test_json_round_trip():
    full = stated(FuseOptions(ev=(-1.0, 0.0, 1.0), reference=2), common=CommonExposure(-7.123456))
    assert json.loads(json.dumps(full)) == full


def test_a_calibration_file_is_recorded_by_its_contents(tmp_path):
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text("one")
    second.write_text("one")
    assert response_digest(str(first)) == response_digest(str(second))
    second.write_text("two")
    assert response_digest(str(first)) != response_digest(str(second))
    assert response_digest("srgb") == "srgb"
    with pytest.raises(InputError, match=r"missing\.toml cannot be read: no such file"):
        response_digest(str(tmp_path / "missing.toml"))
    own = stated(responses=(("X jpeg", str(first)),))
    assert own["response"] == response_digest(str(first))
    assert stated(responses=(("X jpeg", str(first)),), curve="Y jpeg")["response"] == "auto"


def test_options_that_exclude_each_other():
    for result in ("hdr", "tif"):
        for option in ({"float32": True}, {"embed_uncertainty": True}, {"compression": "zip"}):
            with pytest.raises(UsageError, match=r"is an option of \.exr"):
                Settings(files=OutputFiles(result), write=WriteOptions(**option))
    for files, option in ((OutputFiles(), {"look": "vivid"}), (OutputFiles("hdr"), {"preview_ev": 1.0})):
        with pytest.raises(UsageError, match=r"is an option of --preview, \.jpg"):
            Settings(files=files, write=WriteOptions(**option))
        Settings(files=dataclasses.replace(files, preview=True), write=WriteOptions(**option))
    with pytest.raises(UsageError, match="--anchor"):
        Settings(FuseOptions(anchor="short"), common=CommonExposure(0.0))
    with pytest.raises(UsageError, match="--align"):
        Settings(FuseOptions(align="yes")).check()
    Settings(common=CommonExposure(0.0)).check()


def test_the_digest_of_the_weights_is_that_of_a_fusion():
    from smarthdr_cli.models.checkpoint import load_model

    assert model_digest(FuseOptions()) == load_model()[1].sha256
    assert model_digest(FuseOptions(deghost="off", weights="nowhere")) == "none"
    with pytest.raises(ModelError):
        model_digest(FuseOptions(weights="nowhere"))
