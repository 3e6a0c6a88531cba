"""manifest.toml: round trip, checks, and that the repository's own lists what it holds."""

import re
from pathlib import Path

import pytest

from smarthdr_cli.errors import ModelError
from smarthdr_cli.models.weights import ManifestEntry, read_manifest, weights_dir

GOOD = ManifestEntry("saf-base", "saf-base.safetensors", "0" * 64, 12, 'MIT "or" \\ not', default=True)


def test_round_trip_and_several_entries(tmp_path: Path) -> None:
    other = ManifestEntry("other", "other.safetensors", "a" * 64, 0, "CC0")
    (tmp_path / "manifest.toml").write_text("# weights\n" + GOOD.to_toml() + "\n" + other.to_toml(), "utf-8")
    assert read_manifest(tmp_path) == (GOOD, other)


def test_a_folder_without_one_lists_nothing(tmp_path: Path) -> None:
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
