"""Names of every kind: of files and folders, as inputs and as outputs."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import corpus
from .conftest import OFF, STATED

NAMES = [
    "ünï ©öde 写真 🌅", "with spaces  twice", "-leading", "--output", "-", "a\nnew line", "tab\there",
    "[red]markup",
    "quote'\"s", "star*?[x]", "%s{first}$HOME`x`", "a" * 240, "dots...", "back\\slash", "esc\x1b[31m",
]  # fmt: skip
if sys.platform == "linux":
    NAMES.append(os.fsdecode(b"latin-\xe9"))
posix = pytest.mark.skipif(sys.platform == "win32", reason="names that Windows does not take")


def write(folder: Path, stem: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}{number}.jpg" for number in range(len(corpus.EVS))]
    for path, ev in zip(paths, corpus.EVS, strict=True):
        path.write_bytes(corpus.READ["plain.jpg"](ev))
    return paths


@posix
@pytest.mark.parametrize("stem", NAMES, ids=ascii)
def test_fuse(smarthdr: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stem: str) -> None:
    """As typed in the folder itself, where a leading dash is an option's unless ``--`` stands before it."""
    write(tmp_path / "in", stem)
    monkeypatch.chdir(tmp_path / "in")
    out = Path(f"{stem}.exr")
    files = [path.name for path in sorted(Path().iterdir())]
    result = smarthdr("fuse", *STATED, *OFF, "--json", "-o", out, "--preview", f"{stem}.png", "--", *files)
    assert result.exit_code == 0, result.stderr
    assert sorted(json.loads(result.stdout)["files"]) == files
    assert sorted(p.name for p in Path().iterdir()) == sorted([*files, f"{stem}.exr", f"{stem}.png"])
    missing = smarthdr("info", "--", f"{stem}.gone")
    assert missing.exit_code == 3
    assert missing.stderr.count("\n") == 1
    assert "\x1b" not in missing.stderr


@posix
def test_group_and_batch(smarthdr: Any, tmp_path: Path, refused: Callable[..., str]) -> None:
    """Folders and files of every name, through JSON lines and back."""
    for stem in NAMES:
        if not stem.startswith("aa"):  # the results' own endings make those too long
            write(tmp_path / "shoot" / stem, stem)
    sets: list[dict[str, Any]] = [
        {"name": folder.name, "frames": [str(p) for p in sorted(folder.iterdir())], "confidence": 1.0}
        for folder in sorted((tmp_path / "shoot").iterdir())
    ]
    described = tmp_path / "sets.jsonl"
    described.write_text("".join(json.dumps(one) + "\n" for one in sets))
    result = smarthdr("batch", "--sets", described, "-o", tmp_path / "out", "--json", "-q", *STATED, *OFF)
    assert result.exit_code == 0, result.stderr
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["status"] for record in records] == ["ok"] * len(sets)
    for record in records:
        assert all(Path(entry["path"]).stat().st_size == entry["bytes"] for entry in record["outputs"])
    grouped = smarthdr("group", tmp_path / "shoot", "--json")
    assert grouped.exit_code == 0, grouped.stderr
    told = [json.loads(line) for line in grouped.stdout.splitlines()]
    named = {path for line in told for path in line.get("frames", [line.get("file")])}
    assert named == {path for one in sets for path in one["frames"]}
    table = smarthdr("group", tmp_path / "shoot")
    assert table.exit_code == 0
    assert "\x1b" not in table.stdout
