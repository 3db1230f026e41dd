"""The real server: whoever sends or takes a byte now and then holds no thread for ever."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.cli.stack import wait_until
from config.fields import PROJECT
from tests.browser.serving import environ
from tests.conftest import Database

SECONDS = 2  # a request's time here; in production it is half a minute
THREADS = 2


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def served(database: Database, folder: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (folder / "web.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.py", "--timeout", str(SECONDS), "wsgi:app"],
        cwd=PROJECT,
        env=os.environ
        | environ(database, port)
        | {"WEB_PORT": str(port), "WEB_WORKERS": "1", "WEB_THREADS": str(THREADS)},
        stdout=log,
        stderr=log,
    )
    try:
        wait_until(lambda: answers(port), what="the site", seconds=60)
        yield port
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def connected(port: int, first: bytes) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=10)
    made.sendall(first)
    return made


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        (
            b"POST /staff/sign-in HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: 1000\r\n\r\na="
        ),
        b"POST /hooks/sendgrid/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
    ids=["a header", "a form", "chunks"],
)
def test_those_who_drip_are_cut_off_and_the_next_is_answered(
    database: Database, tmp_path: Path, first: bytes
) -> None:
    with served(database, tmp_path) as port:
        slow = [connected(port, first) for _ in range(THREADS)]
        try:
            ended: set[int] = set()

            def drip() -> bool:
                """Send one byte more each; whether all were ended by the site."""
                for number, one in enumerate(slow):
                    if number in ended:
                        continue
                    try:
                        one.sendall(b"x")
                        one.settimeout(0.05)
                        if one.recv(1000) == b"":
                            ended.add(number)
                    except TimeoutError:
                        continue
                    except OSError:
                        ended.add(number)
                return len(ended) == THREADS

            began = time.monotonic()
            wait_until(drip, what="the end of those who drip", seconds=SECONDS + 10)
            assert time.monotonic() - began >= SECONDS - 1  # and none was cut before its time
            wait_until(lambda: answers(port), what="an answer to somebody else", seconds=5)
        finally:
            for one in slow:
                one.close()
