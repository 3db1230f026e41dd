"""``make audit`` tells three things apart: nothing known, something known, and that it could not ask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.advisories import CLEAR, KNOWN, LOCKS, PROJECT, UNASKED

HASH = "a" * 64
HOLE = {
    "id": "PYSEC-2099-1",
    "summary": "A hole",
    "affected": [
        {
            "package": {"name": "flask", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
        }
    ],
}


class Sources:
    """Both sources on this machine. ``python``, ``npm``: what they know; ``status``: what they answer."""

    def __init__(self) -> None:
        self.python: dict[str, object] = {}
        self.npm: dict[str, object] = {}
        self.status = 200
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, path: str, body: bytes) -> tuple[int, object]:
        self.asked.append(path)
        if self.status != 200:
            return self.status, {"error": "away"}
        if path == "/v1/query":
            found = self.python.get(json.loads(body)["package"]["name"])
            return 200, {"vulns": [found]} if found else {}
        if path.endswith("/advisories/bulk"):
            return 200, self.npm
        return 404, {}


@pytest.fixture
def sources() -> Iterator[Sources]:
    made = Sources()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, said = made.answer(self.path, body)
            text = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: object) -> None:
            return

    made.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)  # type: ignore[attr-defined]
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def run(sources: Sources, folder: Path, lock: str | None = None) -> tuple[int, str]:
    """The command as make runs it, with a small lock file."""
    if lock is None:
        lock = str(folder / "lock.txt")
        Path(lock).write_text(f"flask==3.1.3 \\\n    --hash=sha256:{HASH}\n")
    (folder / "package.json").write_text(
        json.dumps({"name": "x", "version": "1.0.0", "dependencies": {"left": "1.0.0"}})
    )
    packages = {
        "": {"name": "x", "version": "1.0.0", "dependencies": {"left": "1.0.0"}},
        "node_modules/left": {"version": "1.0.0", "integrity": "sha512-x"},
    }
    (folder / "package-lock.json").write_text(
        json.dumps({"name": "x", "lockfileVersion": 3, "packages": packages})
    )
    words = [
        "--osv-url",
        f"{sources.url}/v1/query",
        "--registry",
        sources.url,
        "--lock",
        lock,
        "--folder",
        str(folder),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.advisories", *words],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        env=os.environ | {"npm_config_cache": str(folder / "cache"), "npm_config_fetch_retries": "0"},
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.long
def test_nothing_known_is_an_all_clear_only_when_everything_was_asked(
    sources: Sources, tmp_path: Path
) -> None:
    status, said = run(sources, tmp_path)
    assert (status, "Nothing is known." in said) == (CLEAR, True), said
    assert said.count("1 asked about, 0 known, 0 not asked") == 2
    assert len(sources.asked) >= 2


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("where", ["python", "npm"])
def test_a_known_advisory_fails_with_its_name(sources: Sources, tmp_path: Path, where: str) -> None:
    if where == "python":
        sources.python = {"flask": HOLE}
    else:
        hole = {"id": 1, "url": "https://x.example", "title": "Left is wrong", "severity": "high"}
        sources.npm = {"left": [hole | {"vulnerable_versions": "<2", "cwe": [], "cvss": {"score": 0}}]}
    status, said = run(sources, tmp_path)
    assert status == KNOWN, said
    assert ("flask 3.1.3: PYSEC-2099-1, mended in 99.1" if where == "python" else "Left is wrong") in said


@pytest.mark.slow
@pytest.mark.long
def test_a_source_that_does_not_answer_is_no_all_clear(sources: Sources, tmp_path: Path) -> None:
    sources.status = 503
    status, said = run(sources, tmp_path)
    assert (status, "COULD NOT ASK" in said) == (UNASKED, True), said
    assert said.count("0 asked about, 0 known, 1 not asked") == 2


@pytest.mark.slow
@pytest.mark.long
def test_a_lock_file_that_cannot_be_read_is_no_all_clear(sources: Sources, tmp_path: Path) -> None:
    for text in (None, "", "flask==3.1.3\n"):  # not there, empty, without hashes
        lock = tmp_path / "broken.txt"
        lock.unlink(missing_ok=True)
        if text is not None:
            lock.write_text(text)
        status, said = run(sources, tmp_path, str(lock))
        assert (status, "COULD NOT ASK" in said) == (UNASKED, True), said


def test_every_lock_file_of_the_project_is_asked_about() -> None:
    assert {Path(lock).name for lock in LOCKS} == {
        path.name for path in (PROJECT / "requirements").glob("*.txt")
    }
