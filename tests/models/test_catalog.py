"""The catalogue of files that were just written and then damaged, and descriptions with model cards."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from smarthdr_cli.errors import ModelError
from smarthdr_cli.models import hub, weights
from smarthdr_cli.models.base import build_model
from smarthdr_cli.models.catalog import describe, download, find_entry, list_weights, verify
from smarthdr_cli.models.checkpoint import save_checkpoint
from smarthdr_cli.models.uncertainty_calibration import Calibration
from smarthdr_cli.models.weights import ManifestEntry
from tests.support.hub_server import client, serving

SMALL = {"name": "saf", "encoder": 8, "motion": 8, "hidden": 4, "verify": 8, "refine": 8}
Fill = Callable[..., Path]


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint of a small network."""
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_checkpoint(path, build_model(SMALL).state_dict(), SMALL, licence="CC-BY-4.0")
    return path


@pytest.fixture
def fill(small: Path) -> Fill:
    """``fill(folder, *names)``: copies of the checkpoint under these names, all listed as MIT, the first by default."""

    def write(folder: Path, *names: str) -> Path:
        folder.mkdir(parents=True)
        for name in names:
            shutil.copy(small, folder / f"{name}.safetensors")
        entries = [ManifestEntry.of(folder / f"{name}.safetensors", name, "MIT", name == names[0]) for name in names]
        (folder / "manifest.toml").write_text("\n".join(entry.to_toml() for entry in entries))
        return folder

    return write


@pytest.fixture
def shipped(tmp_path: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files there and one only listed."""
    folder = fill(tmp_path / "shipped", "base", "other", "far")
    (folder / "far.safetensors").unlink()
    monkeypatch.setattr(weights, "weights_dir", lambda: folder)
    for name in ("SMARTHDR_HOME", "SMARTHDR_HUB_REPO"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SMARTHDR_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "weights"


def flip(path: Path, at: int = -9) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_listed_weights(shipped: Path, small: Path) -> None:
    found = {item.name: item for item in list_weights()}
    assert list(found) == ["base", "other", "far"]
    base = found["base"]
    assert (base.state, base.place, base.default, base.problem) == ("verified", "shipped", True, None)
    assert (base.network, base.licence, base.path) == ("saf", "MIT", shipped / "base.safetensors")
    assert base.parameters == sum(value.numel() for value in build_model(SMALL).parameters())
    assert base.size == small.stat().st_size
    assert base.sha256 == hashlib.sha256(small.read_bytes()).hexdigest()
    far = found["far"]
    assert (far.state, far.path, far.place, far.network, far.parameters) == ("absent", None, None, None, None)
    assert (far.size, far.sha256) == (base.size, base.sha256)  # as listed
    assert far.problem == "far is not on this machine: smarthdr models download far"


def test_json_has_plain_values(shipped: Path) -> None:
    values = json.loads(json.dumps([item.to_dict() for item in list_weights()], default=str))
    assert values[0]["bytes"] == (shipped / "base.safetensors").stat().st_size
    assert "size" not in values[0]


def test_weights_in_the_home_folder(shipped: Path, home: Path, fill: Fill, small: Path) -> None:
    fill(home, "base", "more")
    shutil.copy(small, home / "mine.safetensors")
    (home / "junk.safetensors").write_bytes(b"junk")
    found = {item.name: item for item in list_weights()}
    assert [found[name].place for name in ("base", "more", "other", "mine")] == ["home", "home", "shipped", "home"]
    assert (found["mine"].state, found["mine"].licence, found["mine"].default) == ("unlisted", "CC-BY-4.0", False)
    assert found["junk"].state == "damaged"
    assert "junk.safetensors: not a safetensors file" in str(found["junk"].problem)


@pytest.mark.parametrize("damage", ["bit", "cut", "header", "broken link"])
def test_damaged_weights_are_reported_and_the_others_listed(shipped: Path, damage: str) -> None:
    path = shipped / "other.safetensors"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "broken link":
        path.unlink()
        path.symlink_to(shipped / "loop")
        (shipped / "loop").symlink_to(path)
    else:
        flip(path, 40 if damage == "header" else -9)
    found = {item.name: item for item in list_weights()}
    assert found["base"].state == "verified"
    if damage == "broken link":
        assert found["other"].state == "absent"
    else:
        assert found["other"].state == "damaged"
        assert "not the other that manifest.toml lists" in str(found["other"].problem)


def test_verify_takes_everything_on_this_machine(shipped: Path) -> None:
    assert [(item.name, item.state) for item in verify()] == [("base", "verified"), ("other", "verified")]
    assert [(item.name, item.state) for item in verify(["far", "base"])] == [("far", "absent"), ("base", "verified")]
    with pytest.raises(ModelError, match="no weights are called 'bass'; known are base, other, far"):
        verify(["bass"])


def test_verify_loads_the_network(shipped: Path, home: Path) -> None:
    """Good headers, but tensors that do not fit: listing cannot detect that."""
    home.mkdir(parents=True)
    state = {name: value for name, value in build_model(SMALL).state_dict().items() if not name.startswith("judge")}
    save_checkpoint(home / "lame.safetensors", state, SMALL)
    save_checkpoint(home / "odd.safetensors", state, {"name": "oddnet"})
    broken = {name: value.clone() for name, value in build_model(SMALL).state_dict().items()}
    next(iter(broken.values())).fill_(torch.nan)
    save_checkpoint(home / "nan.safetensors", broken, SMALL)
    assert {item.name: item.state for item in list_weights() if item.place == "home"} == dict.fromkeys(
        ("lame", "odd", "nan"), "unlisted"
    )
    found = {item.name: item for item in verify()}
    assert {name: found[name].state for name in ("lame", "odd", "nan")} == dict.fromkeys(
        ("lame", "odd", "nan"), "damaged"
    )
    assert "lacks judge" in str(found["lame"].problem)
    assert "unknown model 'oddnet'" in str(found["odd"].problem)
    assert "not finite" in str(found["nan"].problem)
    assert found["base"].state == "verified"


def test_verify_of_paths(shipped: Path, small: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(small, run / "model.safetensors")
    own, listed = verify([run, str(shipped / "base.safetensors")])
    assert (own.name, own.state, own.place, own.path) == ("model", "unlisted", None, run / "model.safetensors")
    assert (listed.name, listed.state, listed.default) == ("base", "verified", True)
    flip(shipped / "base.safetensors")
    (listed,) = verify([shipped / "base.safetensors"])
    assert listed.state == "damaged"


def test_entries_are_found_by_name_and_path(shipped: Path) -> None:
    assert find_entry().name == find_entry("base").name == find_entry(shipped / "base.safetensors").name == "base"
    with pytest.raises(ModelError, match="no such weights file"):
        find_entry("absent.safetensors")


@pytest.fixture
def served(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in place of the hub: ``far`` comes from ``small``, into a cache that is asked first."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    cache = tmp_path / "cache"
    cache.mkdir()

    def answer(repo: str, file: str, revision: str, local_files_only: bool = False, **_: object) -> str:
        assert (repo, revision) == ("owner/name", "v1.0")
        path = cache / file
        if not path.exists():
            if local_files_only:
                raise LocalEntryNotFoundError("none")
            shutil.copy(small, path)
        return str(path)

    monkeypatch.setenv(hub.REPOSITORY_VARIABLE, "owner/name@v1.0")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", answer)
    return cache


def test_download_all(shipped: Path, served: Path) -> None:
    assert next(item for item in list_weights() if item.name == "far").state == "absent"
    done = {one.name: (one.path, one.fetched) for one in download()}
    assert done == {
        "base": (shipped / "base.safetensors", False),
        "other": (shipped / "other.safetensors", False),
        "far": (served / "far.safetensors", True),
    }
    far = next(item for item in list_weights() if item.name == "far")
    assert (far.state, far.place, far.path) == ("verified", "hub cache", served / "far.safetensors")
    assert [one.fetched for one in download(["far"])] == [False]
    assert [item.name for item in verify()] == ["base", "other", "far"]
    flip(served / "far.safetensors")
    assert next(item for item in list_weights() if item.name == "far").state == "damaged"


@pytest.mark.usefixtures("shipped")
def test_a_download_without_a_repository() -> None:
    with pytest.raises(ModelError, match="far is not on this machine: set SMARTHDR_HUB_REPO=owner/name@revision"):
        list(download(["far"]))
    assert [one.name for one in download(["base"])] == ["base"]


@pytest.mark.usefixtures("served")
def test_downloads_that_fail(shipped: Path) -> None:
    with pytest.raises(ModelError, match="no weights are called 'bass'"):
        list(download(["far", "bass"]))  # before the first download
    assert next(item for item in list_weights() if item.name == "far").state == "absent"
    flip(shipped / "base.safetensors")
    with pytest.raises(ModelError, match=r"base\.safetensors is damaged and comes before anything downloaded; remove"):
        list(download(["base"]))


def test_the_command_downloads_from_a_hub(shipped: Path, small: Path, tmp_path: Path) -> None:
    """The real client and the whole command, in a process of its own."""
    home = tmp_path / "far" / "weights"
    home.mkdir(parents=True)
    (home / "manifest.toml").write_text(
        ManifestEntry.of(small, "base", "MIT").to_toml().replace(small.name, "base.safetensors")
    )

    def command(*words: str, endpoint: str, offline: bool = False) -> subprocess.CompletedProcess[str]:
        environment = client(tmp_path / "hub", endpoint, offline=offline) | {"SMARTHDR_HOME": str(home.parent)}
        line = [sys.executable, "-m", "smarthdr_cli", "models", *words]
        return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120)

    with serving(small.read_bytes()) as server:
        offline = command("download", "base", endpoint=server.endpoint, offline=True)
        assert offline.returncode == 4
        assert "HF_HUB_OFFLINE is set: unset it and run smarthdr models download base" in offline.stderr
        done = command("download", "base", "--json", endpoint=server.endpoint)
        assert done.returncode == 0, done.stderr
        (one,) = json.loads(done.stdout)["weights"]
        assert one["fetched"]
        assert Path(one["path"]).read_bytes() == small.read_bytes()
    shown = command("list", "--json", endpoint="http://127.0.0.1:9", offline=True)
    base = next(item for item in json.loads(shown.stdout)["weights"] if item["name"] == "base")
    assert (base["state"], base["place"], base["path"]) == ("verified", "hub cache", one["path"])


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    path = shipped / "base.safetensors"
    curve = Calibration((0.01, 0.02), (0.005, 0.03), samples=1234, eight_bit=Calibration((0.01,), (0.02,), samples=5))
    save_checkpoint(
        path, build_model(SMALL).state_dict(), SMALL, {"steps": 7, "config": {"batch": 4}}, curve, "MIT", {"psnr": 30.0}
    )
    (shipped / "manifest.toml").write_text(ManifestEntry.of(path, "base", "MIT", default=True).to_toml())
    (shipped / "base.md").write_text("# base\n\nσ is calibrated.\n", "utf-8")
    monkeypatch.setattr(weights, "weights_dir", lambda: shipped)
    for name in ("SMARTHDR_HOME", "SMARTHDR_HUB_REPO"):
        monkeypatch.delenv(name, raising=False)
    return shipped


@pytest.mark.usefixtures("described")
def test_a_description_states_what_the_file_holds() -> None:
    found = describe("base")
    assert found.item.name == "base"
    assert found.config["encoder"] == 8
    assert found.config["limit"] == 4.0  # a default that the file does not state
    assert found.record == {"steps": 7, "config": {"batch": 4}}
    assert found.metrics == {"psnr": 30.0}
    assert found.calibration == {
        "quantile": 0.68, "samples": 1234, "knots": 2, "lowest": 0.005, "highest": 0.03,
        "eight_bit": {"quantile": 0.68, "samples": 5, "knots": 1, "lowest": 0.02, "highest": 0.02},
    }  # fmt: skip
    model = build_model(SMALL)
    assert found.parts["judge"] == sum(value.numel() for value in model.judge.parameters())  # type: ignore[union-attr]
    assert sum(found.parts.values()) == found.item.parameters
    assert found.card == "# base\n\nσ is calibrated.\n"
    assert set(found.to_dict()) >= {"name", "sha256", "path", "bytes", "parts", "config", "record", "card"}


def test_a_copy_has_the_card_of_the_listed_one(described: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "cache" / "0123abcd.safetensors"
    elsewhere.parent.mkdir()
    shutil.copy(described / "base.safetensors", elsewhere)
    assert describe(elsewhere).card == describe("base").card
    elsewhere.with_suffix(".md").write_text("its own")
    assert describe(elsewhere).card == "its own"
    save_checkpoint(elsewhere, build_model(SMALL).state_dict(), SMALL)  # another network under that name
    elsewhere.with_suffix(".md").unlink()
    found = describe(elsewhere)
    assert (found.card, found.calibration, found.item.state) == (None, None, "unlisted")


def test_a_card_that_is_not_text(described: Path) -> None:
    (described / "base.md").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match=r"base\.md: cannot be read"):
        describe()


def test_gfhdr_is_described_too(tmp_path: Path) -> None:
    config = {"name": "gfhdr", "dim": 12, "blocks": 1, "depth": 1, "heads": 2}
    with torch.random.fork_rng(devices=[]):
        model = build_model(config)
    save_checkpoint(tmp_path / "g.safetensors", model.state_dict(), config)
    found = describe(tmp_path / "g.safetensors")
    assert set(found.parts) == {"backbone", "judge"}
    assert found.item.network == found.config["name"] == "gfhdr"
