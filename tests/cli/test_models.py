"""``smarthdr models`` prints the weights of this machine; an error is one line and exit code 4."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from smarthdr_cli.models.checkpoint import read_header
from smarthdr_cli.models.weights import read_manifest, weights_dir

from .conftest import Run, parse

Refused = Callable[..., str]
(DEFAULT,) = [entry for entry in read_manifest(weights_dir()) if entry.default]
COUNT = f"{read_header(weights_dir() / DEFAULT.file).parameters:,}"


@pytest.fixture
def home(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SMARTHDR_HOME with one file that no manifest lists."""
    folder = tmp_path / "home" / "weights"
    folder.mkdir(parents=True)
    shutil.copy(weights, folder / "mine.safetensors")
    monkeypatch.setenv("SMARTHDR_HOME", str(folder.parent))
    return folder


def test_list(smarthdr: Run, home: Path) -> None:
    result = smarthdr("models", "list")
    assert (result.exit_code, result.stderr) == (0, "")
    head, *rows = result.stdout.splitlines()
    assert head.split() == ["name", "network", "parameters", "size", "licence", "state", "where"]
    row = next(row for row in rows if row.startswith(DEFAULT.name + " "))
    assert row.split()[1:] == ["saf", COUNT, "1.1", "MiB", "CC0-1.0", "default", "verified",
                               str(weights_dir() / DEFAULT.file), "(shipped)"]  # fmt: skip
    mine = next(row for row in rows if row.startswith("mine "))
    assert mine.split()[-3:] == ["unlisted", str(home / "mine.safetensors"), "(home)"]
    found = parse(smarthdr("models", "list", "--json").stdout)["weights"]
    assert [item["name"] for item in found] == [row.split()[0] for row in rows]
    assert next(item for item in found if item["default"])["sha256"] == DEFAULT.sha256


def test_list_includes_damaged_files(smarthdr: Run, home: Path) -> None:
    (home / "mine.safetensors").write_bytes(b"junk")
    result = smarthdr("models", "list")
    assert result.exit_code == 0
    assert "damaged" in result.stdout
    assert "mine.safetensors: not a safetensors file" in result.stdout


def test_show(smarthdr: Run, weights: Path) -> None:
    result = smarthdr("models", "show")
    assert (result.exit_code, result.stderr) == (0, "")
    facts = {line.split()[0]: line for line in result.stdout.partition("\n\n")[0].splitlines()}
    assert DEFAULT.sha256 in facts["sha256"]
    assert f"{COUNT} parameters" in facts["network"]
    assert "steps " in facts["training"]
    assert "68% quantile" in facts["calibration"]
    assert (weights_dir() / f"{DEFAULT.name}.md").read_text("utf-8").strip() in result.stdout
    found = parse(smarthdr("models", "show", weights, "--json").stdout)
    assert (found["name"], found["state"], found["card"], found["calibration"]) == ("stand-in", "unlisted", None, None)
    assert "none: the uncertainty orders pixels" in smarthdr("models", "show", weights).stdout


def test_show_missing_and_damaged_weights(refused: Refused, tmp_path: Path) -> None:
    assert "no weights are called 'bass'; known are saf-base" in refused(4, "models", "show", "bass")
    (tmp_path / "x.safetensors").write_bytes(b"junk")
    assert "not a safetensors file" in refused(4, "models", "show", tmp_path / "x.safetensors", "--json")


def test_verify(smarthdr: Run, home: Path) -> None:
    result = smarthdr("models", "verify")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [line.split()[:2] for line in result.stdout.splitlines()] == [
        ["verified", DEFAULT.name], ["verified", "gfhdr-base"], ["unlisted", "mine"],
    ]  # fmt: skip
    data = bytearray((weights_dir() / DEFAULT.file).read_bytes())
    data[-9] ^= 1
    (home / DEFAULT.file).write_bytes(data)  # comes before the shipped one
    broken = smarthdr("models", "verify", "--json")
    assert broken.exit_code == 4
    assert [item["state"] for item in parse(broken.stdout)["weights"]] == ["damaged", "verified", "unlisted"]
    assert len(broken.stderr.splitlines()) == 1
    assert "1 of 3 cannot be used; " in broken.stderr
    alone = smarthdr("models", "verify", DEFAULT.name)
    assert alone.exit_code == 4
    assert alone.stderr.startswith(f"smarthdr: {home / DEFAULT.file}: not the {DEFAULT.name} that manifest.toml lists")
    assert smarthdr("models", "verify", "mine").exit_code == 0


def test_download(smarthdr: Run, refused: Refused, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = smarthdr("models", "download")
    assert (every.exit_code, every.stderr) == (0, "")
    assert f"{DEFAULT.name}: here already, verified, " in every.stdout
    (home / "manifest.toml").write_text(
        f'[[weights]]\nname = "far"\nfile = "far.safetensors"\nsha256 = "{"0" * 64}"\nbytes = 9\nlicence = "MIT"\n'
    )
    line = refused(4, "models", "download", "far", "--json")
    assert "far is not on this machine: set SMARTHDR_HUB_REPO=owner/name@revision to download it" in line
    assert "no weights are called 'bass'" in refused(4, "models", "download", "bass")
    monkeypatch.setenv("SMARTHDR_HUB_REPO", "owner/name@main")
    assert "SMARTHDR_HUB_REPO=owner/name@main: must be owner/name@revision" in refused(4, "models", "download", "far")


def test_models_without_a_command_prints_its_help(smarthdr: Run) -> None:
    text = smarthdr("models").output
    assert [name for name in ("list", "show", "verify", "download") if name not in text] == []
