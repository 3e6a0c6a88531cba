"""Manifests, the order in which names are searched, and where the shipped weights are in each kind of install."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import smarthdr_cli
from smarthdr_cli.errors import ModelError
from smarthdr_cli.models import weights
from smarthdr_cli.models.weights import (
    KnownWeights,
    ManifestEntry,
    find_weights,
    known_weights,
    read_manifest,
    weights_dir,
)

PACKAGE = Path(smarthdr_cli.__file__).resolve().parent
GOOD = ManifestEntry("saf-base", "saf-base.safetensors", "0" * 64, 12, 'MIT "or" \\ not', default=True)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped weights with two files there and a third only listed."""
    folder = tmp_path / "shipped"
    _fill(folder, {"base": b"base weights", "other": b"other weights", "hubbed": b"on the hub"})
    (folder / "hubbed.safetensors").unlink()
    monkeypatch.setattr(weights, "weights_dir", lambda: folder)
    monkeypatch.delenv("SMARTHDR_HOME", raising=False)
    monkeypatch.delenv("SMARTHDR_HUB_REPO", raising=False)
    return folder


@pytest.fixture
def home(tmp_path: Path, shipped: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home" / "weights"
    folder.mkdir(parents=True)
    monkeypatch.setenv("SMARTHDR_HOME", str(tmp_path / "home"))
    return folder


def _fill(folder: Path, files: dict[str, bytes], default: str = "base") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / f"{name}.safetensors").write_bytes(data)
    entries = [ManifestEntry.of(folder / f"{name}.safetensors", name, "MIT", default=name == default) for name in files]
    (folder / "manifest.toml").write_text("\n".join(entry.to_toml() for entry in entries))


def _refused(spec: str | Path | None, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        find_weights(spec)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


def test_names_and_the_default_come_from_the_manifest(shipped: Path) -> None:
    assert find_weights() == find_weights("base") == shipped / "base.safetensors"
    assert find_weights("other") == shipped / "other.safetensors"
    _refused("bass", "no weights are called 'bass'; known are base, other, hubbed")


def test_paths_are_files_or_run_folders(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    run.mkdir()
    _refused(run, "a folder without best.safetensors or model.safetensors")
    (run / "model.safetensors").write_bytes(b"last")
    assert find_weights(run) == run / "model.safetensors"
    (run / "best.safetensors").write_bytes(b"best")
    assert find_weights(str(run)) == run / "best.safetensors"
    assert find_weights(str(run / "model.safetensors")) == run / "model.safetensors"
    monkeypatch.chdir(run)
    assert find_weights("best.safetensors").read_bytes() == b"best"
    assert find_weights(".").read_bytes() == b"best"
    _refused("absent.safetensors", "absent.safetensors: no such weights file")
    _refused(tmp_path / "absent", "absent: no such weights file")


def test_a_name_is_never_a_path_in_the_working_folder(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("base", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "best.safetensors").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert find_weights("base") == shipped / "base.safetensors"
    assert find_weights("./base") == Path("base/best.safetensors")
    _refused("mine", r"no weights are called 'mine' \(a file or folder needs a /")


def test_the_home_folder_comes_before_the_shipped_weights(shipped: Path, home: Path) -> None:
    assert find_weights("base") == shipped / "base.safetensors"
    (home / "base.safetensors").write_bytes(b"base weights")
    assert find_weights("base") == home / "base.safetensors"
    (home / "base.safetensors").write_bytes(b"something else")
    _refused("base", "not the base that manifest.toml lists")
    _fill(home, {"base": b"my own base", "more": b"more"}, default="more")  # its own manifest counts there
    assert find_weights("base") == home / "base.safetensors"
    assert find_weights() == home / "more.safetensors"
    assert find_weights("other") == shipped / "other.safetensors"


def test_a_file_only_listed_at_home_does_not_hide_the_shipped_one(shipped: Path, home: Path) -> None:
    _fill(home, {"base": b"my own base"})
    (home / "base.safetensors").unlink()
    assert find_weights("base") == shipped / "base.safetensors"


def test_unlisted_files_in_the_home_folder_are_named_by_their_stem(shipped: Path, home: Path) -> None:
    (home / "trained.safetensors").write_bytes(b"x")
    assert find_weights("trained") == home / "trained.safetensors"


def test_damaged_shipped_weights_are_never_used(shipped: Path) -> None:
    (shipped / "base.safetensors").write_bytes(b"base weightz")
    _refused(None, "not the base that manifest.toml lists")


def test_known_weights(shipped: Path, home: Path) -> None:
    (home / "trained.safetensors").write_bytes(b"x")
    found = {item.name: item for item in known_weights()}
    assert list(found) == ["base", "other", "hubbed", "trained"]
    listed = {entry.name: entry for entry in read_manifest(shipped)}
    assert found["base"] == KnownWeights("base", shipped / "base.safetensors", listed["base"], True)
    assert found["hubbed"] == KnownWeights("hubbed", None, listed["hubbed"], False)
    assert found["trained"] == KnownWeights("trained", home / "trained.safetensors", None, False)
    assert [item.licence for item in found.values()] == ["MIT", "MIT", "MIT", None]


def test_listed_weights_that_are_missing_come_from_the_hub(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refused("hubbed", "hubbed is not on this machine: set SMARTHDR_HUB_REPO=owner/name@revision to download it")
    monkeypatch.setattr(weights, "fetch", lambda entry: tmp_path / entry.file)
    assert find_weights("hubbed") == tmp_path / "hubbed.safetensors"


def test_nothing_installed_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMARTHDR_HOME", raising=False)
    monkeypatch.setattr(smarthdr_cli, "__file__", str(tmp_path / "smarthdr_cli" / "__init__.py"))
    _refused(None, "no weights were installed with smarthdr")
    _refused("base", "no weights are called 'base'; known are none")
    assert known_weights() == []
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "manifest.toml").write_text("")
    _refused(None, "no default weights are installed")


def _layout_finds(path: Path, cwd: Path) -> tuple[Path, Path]:
    """The package's folder and its weights, as a fresh interpreter with only ``path`` in front sees them."""
    code = "import smarthdr_cli; from smarthdr_cli.models.weights import find_weights as find; "
    code += "print(smarthdr_cli.__path__[0]); print(find())"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SMARTHDR")} | {"PYTHONPATH": str(path)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, check=True
    )
    package, weights = done.stdout.split("\n")[:2]
    return Path(package), Path(weights)


def _copy_package(target: Path) -> None:
    shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__", "_weights"))


def test_a_wheel_has_weights_inside_the_package(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    _copy_package(site / "smarthdr_cli")
    _fill(site / "smarthdr_cli" / "_weights", {"base": b"in the wheel"})
    _fill(site / "weights", {"base": b"somebody else's folder"})
    (tmp_path / "elsewhere").mkdir()
    package, weights = _layout_finds(site, tmp_path / "elsewhere")
    assert package == site / "smarthdr_cli"
    assert weights == site / "smarthdr_cli" / "_weights" / "base.safetensors"


def test_a_checkout_and_an_editable_install_have_weights_beside_the_package(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    _copy_package(checkout / "smarthdr_cli")
    _fill(checkout / "weights", {"base": b"in the checkout"})
    # Run in the checkout, and, as an editable install does, from elsewhere through a .pth entry on the path; also
    # through a link to the package.
    links = tmp_path / "links"
    links.mkdir()
    (links / "smarthdr_cli").symlink_to(checkout / "smarthdr_cli")
    for path, cwd in ((checkout, checkout), (checkout, tmp_path), (links, tmp_path)):
        assert _layout_finds(path, cwd)[1] == checkout / "weights" / "base.safetensors"


def test_this_installation_has_weights() -> None:
    assert (weights_dir() / "manifest.toml").is_file()


def test_a_manifest_round_trip(tmp_path: Path) -> None:
    other = ManifestEntry("other", "other.safetensors", "a" * 64, 0, "CC0")
    (tmp_path / "manifest.toml").write_text("# weights\n" + GOOD.to_toml() + "\n" + other.to_toml(), "utf-8")
    assert read_manifest(tmp_path) == (GOOD, other)


def test_a_folder_without_a_manifest_lists_nothing(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) == ()
    assert read_manifest(tmp_path / "absent") == ()


def test_a_file_is_checked_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"weights")
    entry = ManifestEntry.of(path, "w", "MIT")
    entry.check(path)
    for contents in (b"weightz", b"weight", b""):
        path.write_bytes(contents)
        with pytest.raises(ModelError, match=r"not the w that manifest.toml lists"):
            entry.check(path)
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        entry.check(tmp_path / "absent")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[weights", "cannot be read"),
        ("\udcff", "cannot be read"),
        ("x = " + "[" * 100_000, "cannot be read"),
        ("x = " + "9" * 5000, "cannot be read"),
        ("[other]\n", "only"),
        ("weights = 3", "only"),
        ("weights = [3]", "manifest.toml: "),
        ("[[weights]]\nname = 'x'", "missing"),
        (GOOD.to_toml() + "colour = 3", "unexpected keyword argument 'colour'"),
        (GOOD.to_toml().replace("bytes = 12", "bytes = 'x'"), "size must be int"),
        (GOOD.to_toml().replace("saf-base.safetensors", "../x.safetensors"), "not a bare name"),
        (GOOD.to_toml().replace("0" * 64, "0" * 63 + "G"), "64 hex"),
        (GOOD.to_toml() * 2, "listed twice"),
        (GOOD.to_toml() + GOOD.to_toml().replace("saf-base", "b"), "more than one default"),
    ],
)
def test_a_damaged_manifest_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match=re.escape("manifest.toml")) as caught:
        read_manifest(tmp_path)
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)


def test_the_shipped_manifest_lists_every_shipped_file() -> None:
    folder = weights_dir()
    entries = read_manifest(folder)
    present = {path.name for path in folder.glob("*.safetensors")}
    assert present <= {entry.file for entry in entries}
    for entry in entries:
        if entry.file in present:
            entry.check(folder / entry.file)
