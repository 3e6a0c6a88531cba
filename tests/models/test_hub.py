"""Downloads with the real client library from a hub that the test serves itself; no outside network."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from smarthdr_cli.errors import ModelError
from smarthdr_cli.models import hub
from smarthdr_cli.models.hub import HubRepository, hub_repository
from smarthdr_cli.models.weights import ManifestEntry, fetch
from tests.support.hub_server import COMMIT, Server, client, serving

DATA = b"the weights" * 1000
ENTRY = ManifestEntry("base", "base.safetensors", hashlib.sha256(DATA).hexdigest(), len(DATA), "MIT")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(DATA) as running:
        yield running


def _fetch(
    cache: Path, endpoint: str, entry: ManifestEntry = ENTRY, revision: str = COMMIT, offline: bool = False
) -> str:
    """What a fresh interpreter gets: the path, or the one line and the exit code of the error."""
    code = """if True:
        import json, sys
        from smarthdr_cli.errors import SmartHDRError
        from smarthdr_cli.models.weights import ManifestEntry, fetch
        assert "huggingface_hub" not in sys.modules
        try:
            print(fetch(ManifestEntry(**json.loads(sys.argv[1]))))
        except SmartHDRError as error:
            print(error.exit_code, error)"""
    environment = client(cache, endpoint, revision, offline)
    command = [sys.executable, "-c", code, json.dumps(vars(entry))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_downloaded_file_is_not_requested_again(server: Server, tmp_path: Path) -> None:
    endpoint = server.endpoint
    path = Path(_fetch(tmp_path, endpoint))
    assert path.read_bytes() == DATA
    assert path.is_relative_to(tmp_path)  # HF_HOME
    assert f"GET /owner/name/resolve/{COMMIT}/base.safetensors" in server.seen
    asked = server.requested("base.safetensors")
    assert _fetch(tmp_path, endpoint) == _fetch(tmp_path, endpoint, offline=True) == str(path)
    assert server.requested("base.safetensors") == asked


def test_a_download_must_have_the_listed_digest(server: Server, tmp_path: Path) -> None:
    server.data = DATA[:-1] + b"!"
    line = _fetch(tmp_path, server.endpoint, revision="v1.0")
    assert line.startswith("4 ")
    assert "not the base that manifest.toml lists" in line


def test_a_file_that_the_repository_lacks(server: Server, tmp_path: Path) -> None:
    absent = ManifestEntry("absent", "absent.safetensors", ENTRY.sha256, ENTRY.size, "MIT")
    line = _fetch(tmp_path, server.endpoint, absent)
    assert line.startswith(f"4 owner/name@{COMMIT} does not provide absent.safetensors (HTTP 404)")


def test_a_damaged_cached_copy_is_downloaded_again(server: Server, tmp_path: Path) -> None:
    endpoint = server.endpoint
    path = Path(_fetch(tmp_path, endpoint, revision="v1.0"))
    path.write_bytes(b"damaged")
    assert "not the base that manifest.toml lists" in _fetch(tmp_path, endpoint, revision="v1.0", offline=True)
    assert Path(_fetch(tmp_path, endpoint, revision="v1.0")).read_bytes() == DATA


INSTEAD = "put base.safetensors into $SMARTHDR_HOME/weights, or give its path as --weights"


def test_offline_and_not_cached(tmp_path: Path) -> None:
    line = _fetch(tmp_path, "http://127.0.0.1:9", offline=True)
    again = "unset it and run smarthdr models download base"
    assert line == f"4 base is not on this machine and HF_HUB_OFFLINE is set: {again}, or {INSTEAD}"


@pytest.mark.slow  # the client library tries again for 20 seconds
def test_unreachable_and_not_cached(tmp_path: Path) -> None:
    line = _fetch(tmp_path, "http://127.0.0.1:9")
    assert line.startswith(
        "4 base is not on this machine and http://127.0.0.1:9 cannot be reached: connect and run smarthdr "
    )
    assert line.endswith(INSTEAD)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(28, "No space left on device"),
            "base.safetensors cannot be downloaded from owner/name@[0-9a-f]*: .*No space left",
        ),
        (ConnectionError(), "base.safetensors cannot be downloaded from owner/name@[0-9a-f]*: ConnectionError"),
        (OSError("first line\nsecond"), "owner/name@[0-9a-f]*: first line$"),
    ],
)
def test_a_failed_download_is_one_line(monkeypatch: pytest.MonkeyPatch, error: OSError, message: str) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def broken(*_: object, local_files_only: bool = False, **__: object) -> str:
        raise LocalEntryNotFoundError("none") if local_files_only else error

    monkeypatch.setenv(hub.REPOSITORY_VARIABLE, f"owner/name@{COMMIT}")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", broken)
    with pytest.raises(ModelError, match=message) as caught:
        fetch(ENTRY)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("revision", [COMMIT, "v1.0", "1.2.3", "v2", "v1.0.0-rc1"])
def test_pinned_revisions(monkeypatch: pytest.MonkeyPatch, revision: str) -> None:
    monkeypatch.setenv("SMARTHDR_HUB_REPO", f" owner/name@{revision}\n")
    assert hub_repository() == HubRepository("owner/name", revision)


@pytest.mark.parametrize(
    "text",
    [
        "owner/name",
        "owner/name@",
        "owner/name@main",
        "owner/name@HEAD",
        "owner/name@0123abc-dirty/x",
        "owner@v1",
        "a/b/c@v1",
        "../x@v1",
    ],
)
def test_revisions_that_are_not_pinned_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SMARTHDR_HUB_REPO", text)
    with pytest.raises(ModelError, match="must be owner/name@revision") as caught:
        fetch(ENTRY)
    assert caught.value.exit_code == 4


def test_an_invalid_repository_name_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMARTHDR_HUB_REPO", "owner/na--me@v1.0")
    with pytest.raises(ModelError, match=r"cannot be downloaded from owner/na--me@v1\.0: ") as caught:
        fetch(ENTRY)
    assert "\n" not in str(caught.value)


def test_no_repository_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(hub.REPOSITORY_VARIABLE, raising=False)
    assert hub_repository() is None
    with pytest.raises(ModelError, match="set SMARTHDR_HUB_REPO=owner/name@revision"):
        fetch(ENTRY)
