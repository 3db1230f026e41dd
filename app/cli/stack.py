"""Wardlink's own processes as children of this one: for the demo, benchmarks and process tests.

Every child ends with its parent, however that ends, and writes its log to a file of its own.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from app.embedded.identity import die_with_parent

PROJECT = Path(__file__).resolve().parents[2]
WORKERS = {
    "urgent": ["workers.main", "urgent"],
    "bulk": ["workers.main", "bulk"],
    "receipts": ["workers.main", "receipts"],
    "back": ["workers.main", "back"],
    "scheduler": ["workers.schedule"],
    "sealer": ["workers.sealer"],
}
PATIENCE = 30.0


class StackError(RuntimeError):
    """A process did not come up; the message names it and shows the end of its log."""


# Everything asked here is on this machine: a proxy from the environment must not come between.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def taken(port: int) -> bool:
    """Whether somebody holds this port of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(true: Callable[[], object], *, seconds: float = PATIENCE, what: str = "a condition") -> None:
    """Look every 20 ms until ``true()``; StackError when it stays false."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise StackError(f"Waited {seconds:g} seconds in vain for {what}.")
        time.sleep(0.02)


@dataclass(slots=True)
class Child:
    """One process of ours."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """kill -9, and reap it."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2_000:] if self.log.exists() else ""


def second_environ(info: Mapping[str, Any]) -> dict[str, str]:
    """The settings that make a sandbox's second providers ours; ``info``: what it says of itself."""
    return {
        "TWILIO_2_ACCOUNT_SID": info["second_account_sid"],
        "TWILIO_2_AUTH_TOKEN": info["second_auth_token"],
        "SMTP_URL": info["smtp_url"],
        "NOTIFY_BASE_URL": info["base_url"],
        "NOTIFY_API_KEY": info["notify_key"],
        "NOTIFY_SMS_TEMPLATE": info["notify_sms_template"],
        "NOTIFY_EMAIL_TEMPLATE": info["notify_email_template"],
    }


@dataclass(slots=True)
class SandboxHandle:
    """The sandbox as a process, with its control room."""

    url: str
    info: Mapping[str, Any]
    child: Child

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One call to /control/…; urllib's errors are raised as they are."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/control/{path}", data=data, method=method)  # noqa: S310
        with _DIRECT.open(request, timeout=PATIENCE) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found

    def gauge(self) -> dict[str, Any]:
        return self.ask("GET", "gauge")

    def counts(self, dispatch: str) -> dict[str, Any]:
        return self.ask("GET", f"counts?dispatch={dispatch}")

    def faults(self, **channels: Any) -> None:
        self.ask("POST", "faults", channels)

    def inbox(self, to: str, channel: str = "") -> list[dict[str, Any]]:
        """The newest messages to whoever's address holds ``to``, the newest first."""
        found: list[dict[str, Any]] = self.ask("GET", f"inbox?{urlencode({'to': to, 'channel': channel})}")[
            "messages"
        ]
        return found

    def text(self, theirs: str, ours: str, body: str) -> None:
        """Somebody texts one of our numbers."""
        self.ask("POST", "inbound", {"from": theirs, "to": ours, "body": body})

    @property
    def log(self) -> Path:
        return Path(self.info["acceptance_log"])

    def environ(self) -> dict[str, str]:
        """The settings that make this sandbox the provider."""
        return {
            "TWILIO_BASE_URL": self.url,
            "TWILIO_ACCOUNT_SID": self.info["account_sid"],
            "TWILIO_AUTH_TOKEN": self.info["auth_token"],
            "SENDGRID_BASE_URL": self.url,
            "SENDGRID_API_KEY": self.info["sendgrid_key"],
            "SENDGRID_WEBHOOK_KEY": self.info["event_webhook_public_key"],
        } | (second_environ(self.info) if "smtp_url" in self.info else {})


@dataclass(slots=True)
class Stack:
    """Children that share one environment; ``folder`` takes their logs and the sandbox's state."""

    folder: Path
    environ: dict[str, str]
    children: list[Child] = field(default_factory=list)

    def run(self, name: str, module: Sequence[str], **environ: str) -> Child:
        """Start ``python -m module …``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / f"{name}.log"
        path = os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH"))))
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", *module],
                cwd=PROJECT,
                env={**os.environ, **self.environ, **environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C in the terminal is the parent's to pass on
                preexec_fn=die_with_parent(),
            )
        child = Child(name, process, log)
        self.children.append(child)
        return child

    def worker(self, kind: str, name: str | None = None, **environ: str) -> Child:
        """One of WORKERS."""
        return self.run(name or kind, WORKERS[kind], **environ)

    def sandbox(self, site: str, *flags: str, port: int = 0, second: bool = False) -> SandboxHandle:
        """The provider sandbox, reporting to the webhooks of ``site``; ready when this returns.

        ``second``: with the second providers, and the settings that make them ours.
        """
        state = self.folder / "sandbox"
        (state / "sandbox.json").unlink(missing_ok=True)
        state.mkdir(parents=True, exist_ok=True)
        child = self.run(
            "sandbox",
            [
                "messaging.sandbox", "--state", str(state), "--port", str(port),
                "--events-url", f"{site}/hooks/sendgrid/events", "--inbound-url", f"{site}/hooks/twilio/inbound",
                *flags, *["--second"] * second,
            ],
        )  # fmt: skip
        self.ready(child, (state / "sandbox.json").exists)
        info = json.loads((state / "sandbox.json").read_text())
        handle = SandboxHandle(info["base_url"], info, child)
        self.environ |= handle.environ()
        return handle

    def site(self, port: int, *, workers: int = 1) -> Child:
        """The web server, answering when this returns."""
        child = self.run(
            "web",
            ["gunicorn", "--config", "python:config.gunicorn", "wsgi:app"],
            WEB_HOST="127.0.0.1",
            WEB_PORT=str(port),
            WEB_WORKERS=str(workers),
        )
        self.ready(child, lambda: answers(f"http://127.0.0.1:{port}/health/live"))
        return child

    def ready(self, child: Child, is_ready: Callable[[], bool]) -> None:
        try:
            wait_until(lambda: is_ready() or not child.alive(), what=child.name)
        except StackError:
            raise StackError(f"{child.name} did not start:\n{child.last_words()}") from None
        if not is_ready():
            raise StackError(f"{child.name} ended with {child.process.returncode}:\n{child.last_words()}")

    def stop(self) -> None:
        """Ask all children to end, the last started first; kill who does not within 30 seconds."""
        for child in reversed(self.children):
            if child.alive():
                child.process.send_signal(signal.SIGCONT)
                child.process.terminate()
        deadline = time.monotonic() + PATIENCE
        for child in self.children:
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
        self.children.clear()


def answers(url: str) -> bool:
    """Whether a page of this machine answers with 200."""
    try:
        with _DIRECT.open(url, timeout=2) as answer:
            return int(answer.status) == 200
    except (OSError, http.client.HTTPException):
        return False
