"""What a result has to state: everything that shapes it, nothing that does not."""

import dataclasses
import json

import pytest

from smarthdr_cli.batch.anchor import CommonExposure
from smarthdr_cli.batch.settings import _FREE, Settings, Writing, model_digest, recorded, response_digest
from smarthdr_cli.errors import InputError, ModelError, UsageError
from smarthdr_cli.fusion.fuse_options import FuseOptions

OTHER = {
    "weights": "x", "device": "cpu", "precision": "fp32", "tile": "256", "max_memory": 1e9, "max_pixels": 10**6,
    "reference": 2,
    "align": "none", "response": "srgb", "deghost": "strong", "evs": (-1.0, 0.0, 1.0), "exposure_times": (0.1, 0.2),
    "exposure_check": "fix", "gains": "off", "colorspace": "acescg", "anchor": "short",
}  # fmt: skip
WRITINGS = [
    Writing("hdr"), Writing("tif"), Writing(compression="piz"), Writing(float32=True), Writing(embed_uncertainty=True),
]  # fmt: skip


def say(fuse=None, writing=None, common=None, responses=(), curve="X jpeg", model="m"):
    return recorded(Settings(fuse or FuseOptions(), writing or Writing(), common, responses), curve, model)


def test_every_option_counts_or_is_known_not_to():
    assert set(OTHER) == set(FuseOptions.__dataclass_fields__)
    plain = FuseOptions(precision="bf16")
    for name, value in OTHER.items():
        changed = say(dataclasses.replace(plain, **{name: value}))
        assert (changed == say(plain)) == (name in _FREE - {"response", "precision"}), name
    for writing in WRITINGS:
        assert say(writing=writing) != say()


def test_previews_and_maps_beside_it_do_not_count():
    assert say(writing=Writing(preview="jpg", uncertainty="exr")) == say()


def test_the_model_and_the_common_exposure_count():
    assert say(model="n") != say()
    assert say(common=CommonExposure(-7.0)) != say()
    assert say(common=CommonExposure(-7.0)) != say(common=CommonExposure(-6.0))


def test_it_is_the_same_after_json():
    full = say(FuseOptions(evs=(-1.0, 0.0, 1.0), reference=2), common=CommonExposure(-7.123456))
    assert json.loads(json.dumps(full)) == full


def test_a_calibration_file_counts_by_its_contents(tmp_path):
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text("one")
    second.write_text("one")
    assert response_digest(str(first)) == response_digest(str(second))
    second.write_text("two")
    assert response_digest(str(first)) != response_digest(str(second))
    assert response_digest("srgb") == "srgb"
    with pytest.raises(InputError, match=r"missing\.toml cannot be read: no such file"):
        response_digest(str(tmp_path / "missing.toml"))
    own = say(responses=(("X jpeg", str(first)),))
    assert own["response"] == response_digest(str(first))
    assert say(responses=(("X jpeg", str(first)),), curve="Y jpeg")["response"] == "auto"


def test_paths_of_a_set(tmp_path):
    base = tmp_path / "a.b"
    assert Writing().paths(base) == {"result": tmp_path / "a.b.exr"}
    every = Writing("tif", "tif", "png").paths(base)
    assert [p.name for p in every.values()] == ["a.b-uncertainty.png", "a.b-preview.tif", "a.b.tif"]
    assert list(every)[-1] == "result"  # it is moved last: where it is, the rest is
    assert Writing("exr", "jpg", "exr").paths(base)["uncertainty"].name == "a.b-uncertainty.exr"


def test_options_that_exclude_each_other():
    for result in ("hdr", "tif"):
        for option in ({"float32": True}, {"embed_uncertainty": True}, {"compression": "piz"}):
            with pytest.raises(UsageError, match=r"is an option of \.exr"):
                Writing(result, **option)
    with pytest.raises(UsageError, match="--anchor"):
        Settings(FuseOptions(anchor="short"), Writing(), CommonExposure(0.0)).check()
    with pytest.raises(UsageError, match="--align"):
        Settings(FuseOptions(align="yes"), Writing()).check()
    Settings(FuseOptions(), Writing(), CommonExposure(0.0)).check()


def test_the_digest_of_the_weights_is_the_one_a_fusion_records():
    from smarthdr_cli.models.checkpoint import load_model

    assert model_digest(FuseOptions()) == load_model()[1].sha256
    assert model_digest(FuseOptions(deghost="off", weights="nowhere")) == "none"
    with pytest.raises(ModelError):
        model_digest(FuseOptions(weights="nowhere"))
