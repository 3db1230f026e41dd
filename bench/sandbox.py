"""How much the provider sandbox takes, with all its checks on: it must never be the bottleneck.

The sandbox runs as a process of its own; this one sends bodies built beforehand over kept
connections. ``per_second`` is by the clock, ``per_core_second`` by the sandbox's CPU time: the
second says more on a machine that others use as well.

    python -m bench.sandbox [--channel sms|email|both] [--seconds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

from bench import record

ROOT = Path(__file__).resolve().parent.parent
CONNECTIONS = {"sms": 32, "email": 4}
PEOPLE = 1_000
DISPATCH = "0" * 31 + "1"
LINE = "Thieves are taking tools from vans in this ward: please take yours indoors tonight. "


def mail_body(batch: int) -> bytes:
    """One call of 1,000 personalisations, about 300 KiB."""
    people = [
        {
            "to": [{"email": f"person{batch}-{n}@example-{n % 40}.example"}],
            "substitutions": {
                "%name%": f"Person {n}",
                "%ward%": "Bow East",
                "%stop%": f"https://w.example/s/{n:040x}",
            },
            "headers": {"List-Unsubscribe": f"<https://w.example/s/{n:040x}>"},
            "custom_args": {"wl": f"{DISPATCH}.{batch}.1.{n}"},
        }
        for n in range(PEOPLE)
    ]
    off = {"enable": False}
    call = {
        "personalizations": people,
        "from": {"email": "alerts@wardlink.example", "name": "Wardlink"},
        "subject": "%ward%: van thefts",
        "content": [
            {"type": "text/plain", "value": f"Dear %name%, {LINE * 20} %stop%"},
            {"type": "text/html", "value": f"<p>Dear %name%, {LINE * 20}</p><p>%stop%</p>"},
        ],
        "headers": {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"},
        "tracking_settings": {"click_tracking": off, "open_tracking": off, "subscription_tracking": off},
    }
    return json.dumps(call, separators=(",", ":")).encode()


def text_body(n: int) -> bytes:
    return urlencode(
        {
            "To": f"+4479{n % 100_000_000:08d}",
            "From": f"+4477009{n % 20:05d}",
            "Body": LINE,
            "StatusCallback": f"http://127.0.0.1:9/hooks/twilio/status?ref={DISPATCH}.{n // 1000}.1.{n % 1000}#rc=3&rp=all",
            "ValidityPeriod": "36000",
        }
    ).encode()


def requests(channel: str, told: dict[str, str], count: int) -> list[bytes]:
    """Whole requests, ready to be written."""
    if channel == "email":
        head = f"POST /v3/mail/send HTTP/1.1\r\nAuthorization: Bearer {told['sendgrid_key']}\r\n"
        kind, bodies = "application/json", [mail_body(n) for n in range(count)]
    else:
        secret = base64.b64encode(f"{told['account_sid']}:{told['auth_token']}".encode()).decode()
        path = f"/2010-04-01/Accounts/{told['account_sid']}/Messages.json"
        head = f"POST {path} HTTP/1.1\r\nAuthorization: Basic {secret}\r\n"
        kind, bodies = "application/x-www-form-urlencoded", [text_body(n) for n in range(count)]
    head += f"Host: 127.0.0.1\r\nContent-Type: {kind}\r\n"
    return [f"{head}Content-Length: {len(b)}\r\n\r\n".encode() + b for b in bodies]


class Load(asyncio.Protocol):
    """One kept connection: the next request as soon as the last is answered."""

    def __init__(self, bodies: Iterator[bytes], expected: bytes, until: float) -> None:
        self.bodies, self.expected, self.until = bodies, expected, until
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answered = 0
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(next(self.bodies))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found or len(rest) < int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
            return
        if not head.startswith(self.expected):
            self.done.set_exception(RuntimeError(self.buffer[:400].decode()))
            return
        self.buffer = b""
        self.answered += 1
        if time.monotonic() < self.until:
            self.transport.write(next(self.bodies))
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def load(port: int, channel: str, bodies: list[bytes], seconds: float) -> tuple[int, float]:
    """(requests answered as they should be, seconds)."""
    endless = itertools.cycle(bodies)
    expected = b"HTTP/1.1 202" if channel == "email" else b"HTTP/1.1 201"
    loop, began = asyncio.get_running_loop(), time.monotonic()
    made = [
        (await loop.create_connection(lambda: Load(endless, expected, began + seconds), "127.0.0.1", port))[1]
        for _ in range(CONNECTIONS[channel])
    ]
    await asyncio.gather(*(m.done for m in made))
    return sum(m.answered for m in made), time.monotonic() - began


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return round(int(next(x for x in lines if x.startswith("VmHWM")).split()[1]) / 1024, 1)


def measure(channel: str, seconds: float) -> dict[str, Any]:
    import uvloop

    with tempfile.TemporaryDirectory(prefix="wardlink-bench-") as folder:
        command = [sys.executable, "-m", "messaging.sandbox", "--state", folder, "--receipts", "off"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                process.stdout.readline()
                told = json.loads(Path(folder, "sandbox.json").read_bytes())
                bodies = requests(channel, told, 40 if channel == "email" else 20_000)
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(load(told["port"], channel, bodies, 0.5))
                    before = cpu_seconds(process.pid)
                    calls, took = runner.run(load(told["port"], channel, bodies, seconds))
                spent = cpu_seconds(process.pid) - before
                peak = peak_mb(process.pid)
            finally:
                process.terminate()
    n = calls * (PEOPLE if channel == "email" else 1)
    return {
        "bench": "sandbox",
        "case": "checks on",
        "channel": channel,
        "n": n,
        "seconds": round(took, 3),
        "per_second": round(n / took),
        "per_core_second": round(n / spent),
        "body_bytes": len(bodies[0]),
        "peak_mb": peak,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--channel", choices=("sms", "email", "both"), default="both")
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    channels = ("sms", "email") if given.channel == "both" else (given.channel,)
    return max([record.finish(measure(channel, given.seconds)) for channel in channels])


if __name__ == "__main__":
    sys.exit(main())
