"""A Hugging Face hub that a test serves itself: one repository, one revision, one file."""

import hashlib
import http.server
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Server(http.server.ThreadingHTTPServer):
    """``data``: the contents of base.safetensors of owner/name. ``seen``: all requests."""

    def __init__(self, data: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = data
        self.seen: list[str] = []

    def requested(self, file: str) -> int:
        """How often ``file`` was requested."""
        return sum(request.endswith(file) for request in self.seen)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def _answer(self, body: bool) -> None:
        self.server.seen.append(f"{self.command} {self.path}")
        data = self.server.data
        if self.path not in (f"/owner/name/resolve/{rev}/base.safetensors" for rev in (COMMIT, "v1.0")):
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(data: bytes) -> Iterator[Server]:
    with Server(data) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()


def client(cache: Path, endpoint: str, revision: str = COMMIT, offline: bool = False) -> dict[str, str]:
    """The environment of a process that uses the hub at ``endpoint``, without a proxy; its cache is ``cache``."""
    inherited = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and not k.startswith("HF_")}
    return inherited | {
        "HF_HOME": str(cache),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "HF_HUB_DISABLE_XET": "1",
        "SMARTHDR_HUB_REPO": f"owner/name@{revision}",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
