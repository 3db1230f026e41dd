"""``python -m messaging.sandbox --port N --state DIR``: runs until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from messaging.sandbox.server import Sandbox
from messaging.sandbox.settings import SandboxConfig


def _sender(text: str) -> tuple[str, float]:
    sender, _, rate = text.rpartition("=")
    try:
        if sender and 0 < float(rate) <= 1_000_000:
            return sender, float(rate)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not SENDER=SEGMENTS_PER_SECOND")


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text!r} is not an http address")
    return text


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def _rate(text: str) -> float:
    return _sender(f"default={text}")[1]


def _delay(text: str) -> float:
    try:
        if 0 <= float(text) <= 86_400:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 86400")


def arguments(argv: list[str]) -> SandboxConfig:
    """Read a command line. SystemExit with a message for one that cannot be."""
    parser = argparse.ArgumentParser(
        "wardlink sandbox", description="A local stand-in for Twilio and SendGrid."
    )
    parser.add_argument("--state", type=Path, required=True, help="folder for keys, sandbox.json and the log")
    parser.add_argument("--port", type=_port, default=0, help="0 takes a free one (default)")
    parser.add_argument("--account-sid", help="Twilio account (default: made at random and kept)")
    parser.add_argument("--auth-token", help="its token")
    parser.add_argument("--sendgrid-key", help="SendGrid API key")
    parser.add_argument("--events-url", type=_url, help="where e-mail events are posted")
    parser.add_argument("--inbound-url", type=_url, help="where texts from phones are posted")
    parser.add_argument("--sender", type=_sender, action="append", default=[], metavar="SENDER=RATE")
    parser.add_argument(
        "--sender-rate", type=_rate, default=10.0, help="segments per second of any other sender"
    )
    parser.add_argument("--receipts", choices=("on", "off"), default="on")
    parser.add_argument("--delivery-delay", type=_delay, default=0.2, help="seconds from sent to delivered")
    parser.add_argument(
        "--event-day", type=_delay, default=86_400.0, help="seconds for which a batch of events is tried"
    )
    parser.add_argument(
        "--event-longest-gap", type=_delay, default=15.0, help="longest pause between two tries, in seconds"
    )
    parser.add_argument(
        "--second", action="store_true", help="open the second providers too: Twilio account, SMTP, Notify"
    )
    given = parser.parse_args(argv)
    return SandboxConfig(
        state=given.state,
        port=given.port,
        account_sid=given.account_sid,
        auth_token=given.auth_token,
        sendgrid_key=given.sendgrid_key,
        events_url=given.events_url,
        inbound_url=given.inbound_url,
        senders=dict(given.sender),
        sender_rate=given.sender_rate,
        receipts=given.receipts == "on",
        delivery_delay=given.delivery_delay,
        event_day=given.event_day,
        event_longest_gap=given.event_longest_gap,
        second=given.second,
    )


async def _serve(config: SandboxConfig) -> None:
    sandbox = Sandbox(config)
    await sandbox.start()
    enough = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, enough.set)
    # Credentials stand in sandbox.json only: what is printed may end in a log.
    shown = {k: sandbox.described()[k] for k in ("port", "pid", "base_url", "acceptance_log")}
    sys.stdout.write(json.dumps(shown) + "\n")
    sys.stdout.flush()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)  # calls of 1,000 make many short-lived objects
    await enough.wait()
    await sandbox.stop()


def _run(main: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)


def main(argv: list[str] | None = None) -> int:
    """Run a sandbox until it is told to stop; 1 with a line on stderr if it cannot start."""
    config = arguments(sys.argv[1:] if argv is None else argv)
    try:
        _run(_serve(config))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"The sandbox could not start: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
