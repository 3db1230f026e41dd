"""``python -m bench.receipts``: what providers report, from the signed call over HTTP to the ledger's last row.

SendGrid: signed batches of events, accepted, committed before the 2xx and merged, against merging alone what lies
there already. Twilio: one signed form a callback, against a bare Flask view that checks the same signature and keeps
nothing. Both by turns in one run, so that what else the machine does falls on both alike.

Lost is judged by what was posted and answered with 2xx: each raw event must be there, and each delivery must stand
where the last word about it put it.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import orjson

from app import queue
from app.cli.stack import Stack, StackError
from app.services import receipts
from bench import bare, ground, record, start
from bench.posting import Call, post, request
from bench.told import Place, note, settle
from config.queues import Queue
from messaging.sandbox.callbacks import event_post, twilio_post
from messaging.sandbox.events import BATCH
from messaging.types import Channel, DeliveryRef, DeliveryStatus

CALLS_AT_ONCE = {"sendgrid": 4, "twilio": 8}  # connections: as many as a provider holds to one webhook
BOUNCE_EVERY = 100  # one recipient in so many
ROUNDS = 4  # of each kind
BECOMES = {
    "processed": DeliveryStatus.ACCEPTED,
    "delivered": DeliveryStatus.DELIVERED,
    "bounce": DeliveryStatus.BOUNCED,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = start.parser("receipts", __doc__)
    parser.add_argument("--provider", choices=("sendgrid", "twilio", "both"), default="both")
    parser.add_argument("--events", type=int, default=160_000, help="of SendGrid's over HTTP, about")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each of Twilio's turns")
    given = parser.parse_args(arguments)
    wanted = ("sendgrid", "twilio") if given.provider == "both" else (given.provider,)
    worst = 0
    for provider in wanted:
        stack = Stack(ground.LOCAL / "run", {})
        try:
            if provider == "sendgrid":
                result = sendgrid(stack, given.events)
            else:
                result = twilio(stack, given.seconds)
        except StackError as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            stack.stop()
        worst = max(worst, record.finish(result, results=given.results))
    return worst


# -- SendGrid
def sendgrid(stack: Stack, events: int) -> dict[str, Any]:
    """Rounds of merging alone and of the whole way by turns; the result for bench.record."""
    here = settle(stack, Channel.EMAIL, events)  # two events each, and half of them over HTTP
    print("Merging alone, and by way of HTTP …", file=sys.stderr, flush=True)
    parts = [here.sizes[n :: 2 * ROUNDS] for n in range(2 * ROUNDS)]
    alone: list[float] = []
    whole: list[float] = []
    seconds, total = 0.0, 0
    for n in range(ROUNDS):
        bodies = [*bodies_of(here, parts[2 * n])]
        took, count = merge_alone(here, bodies)
        alone.append(count / took)
        calls = [*calls_of(here, parts[2 * n + 1])]
        began = time.monotonic()
        answered = post(here.port, iter(calls), CALLS_AT_ONCE["sendgrid"])
        here.merged()
        took = time.monotonic() - began
        note(here, answered)
        count = sum(len(call.says) for call in answered)
        whole.append(count / took)
        seconds, total = seconds + took, total + count
    lost = here.lost()
    here.registry.engine.dispose()
    return {
        "bench": "receipts",
        "case": "SendGrid events, accepted and merged",
        "channel": "email",
        "n": total,
        "seconds": round(seconds, 3),
        "per_second": round(total / seconds),
        "merged_alone_per_second": round(statistics.median(alone)),
        "ratio": round(statistics.median(w / a for w, a in zip(whole, alone, strict=True)), 3),
        "lost": lost,
        "events_per_call": BATCH,
        "connections": CALLS_AT_ONCE["sendgrid"],
    }


def bodies_of(here: Place, batches: Sequence[tuple[int, int]]) -> Iterator[tuple[bytes, list[Any]]]:
    """Bodies as SendGrid posts them: each recipient is processed first, and then delivered or bounced."""
    said: list[dict[str, Any]] = []
    says: list[tuple[int, int, DeliveryStatus]] = []
    for batch, size in batches:
        for kind in ("processed", "delivered"):
            for ordinal in range(1, size + 1):
                bounces = kind == "delivered" and ordinal % BOUNCE_EVERY == 0
                told = "bounce" if bounces else kind
                status = BECOMES[told]
                said.append(event(here.sent, batch, ordinal, told))
                says.append((batch, ordinal, status))
                if len(said) == BATCH:
                    yield orjson.dumps(said) + b"\r\n", says
                    said, says = [], []
    if said:
        yield orjson.dumps(said) + b"\r\n", says


def event(sent: UUID, batch: int, ordinal: int, kind: str) -> dict[str, Any]:
    """One event with the documented fields of its kind."""
    call = f"{sent.hex[-12:]}{batch:010d}"
    made: dict[str, Any] = {
        "email": f"person{batch}-{ordinal}@people{ordinal % 40}.example",
        "timestamp": 1_790_000_000 + batch,
        "smtp-id": f"<{call}@geopod-ismtpd-8-0>",
        "event": kind,
        "category": [],
        "sg_event_id": f"{kind[:4]}-{ordinal:06d}-{call}",
        "sg_message_id": f"{call}.recvd-7d84f6dfd5-{ordinal:05d}-1-65F0A1B2-25.0",
        "wl": str(DeliveryRef(sent, batch, 1, ordinal)),
    }
    if kind == "delivered":
        made["response"] = "250 2.0.0 OK 1790000000 af79cd13be357-78d9a2f5c1fsi1234567185a.123 - gsmtp"
        made["tls"], made["ip"] = 1, "192.0.2.17"
    elif kind == "bounce":
        made |= {"type": "bounce", "status": "5.1.1", "reason": "550 5.1.1 The account does not exist."}
    return made


def calls_of(here: Place, batches: Sequence[tuple[int, int]]) -> Iterator[Call]:
    for body, says in bodies_of(here, batches):
        made = event_post("http://site/hooks/sendgrid/events", body, here.key, lambda _: None)
        yield Call(request(made.url, dict(made.headers), made.body), hashlib.md5(body).hexdigest(), says)


def merge_alone(here: Place, bodies: Sequence[tuple[bytes, list[Any]]]) -> tuple[float, int]:
    """Seconds from the commit of raw events, all at once, to the last of them merged; and how many events."""
    with here.registry.sessions.begin() as session:
        for body, says in bodies:
            receipts.store(session, "sendgrid", body.decode())
            for place in says:
                here.expect(*place)
    began = time.monotonic()
    queue.ring_now(Queue.RECEIPTS, "workers.receipts.merge")
    here.merged()
    return time.monotonic() - began, sum(len(says) for _, says in bodies)


# -- Twilio
def twilio(stack: Stack, seconds: float) -> dict[str, Any]:
    """Turns of a bare view and of our webhook; the result for bench.record."""
    turns = 2 * ROUNDS + 1
    here = settle(stack, Channel.SMS, max(2_000, int(turns * seconds * 2_500)))
    print("A bare view, and our webhook …", file=sys.stderr, flush=True)
    ours, theirs = callbacks(here), bares(here)
    connections = CALLS_AT_ONCE["twilio"]
    post(here.port, theirs, connections, 0.5)
    note(here, post(here.port, ours, connections, 0.5))
    rates: dict[str, list[float]] = {"bare": [], "ours": []}
    total, spent = 0, 0.0
    for n in range(turns):
        for kind in ("bare", "ours")[:: 1 if n % 2 else -1]:
            here.merged()  # what the turn before left would weigh on this one
            began = time.monotonic()
            answered = post(here.port, ours if kind == "ours" else theirs, connections, seconds)
            took = time.monotonic() - began
            rates[kind].append(len(answered) / took)
            if kind == "ours":
                note(here, answered)
                total, spent = total + len(answered), spent + took
    here.merged()
    lost = here.lost()
    here.registry.engine.dispose()
    ratios = [o / b for o, b in zip(rates["ours"], rates["bare"], strict=True)]
    return {
        "bench": "receipts",
        "case": "Twilio callbacks, accepted",
        "channel": "sms",
        "n": total,
        "seconds": round(spent, 3),
        "per_second": round(total / spent),
        "bare_per_second": round(statistics.median(rates["bare"])),
        "ratio": round(statistics.median(ratios), 3),
        "lost": lost,
        "connections": connections,
        "turns": turns,
    }


def _form(here: Place, batch: int, ordinal: int, status: str) -> tuple[str, dict[str, str]]:
    ref = str(DeliveryRef(here.sent, batch, 1, ordinal))
    sid = f"SM{batch:016x}{ordinal:016x}"
    return ref, {
        "AccountSid": os.environ["TWILIO_ACCOUNT_SID"],
        "ApiVersion": "2010-04-01",
        "From": "+447700901000",
        "MessageSid": sid,
        "MessageStatus": status,
        "RawDlrDoneDate": "2611250300",
        "SmsSid": sid,
        "SmsStatus": status,
        "To": f"+4477009{batch % 100:02d}{ordinal % 1000:03d}",
    }


def callbacks(here: Place) -> Iterator[Call]:
    """One callback of each delivery: delivered, or undelivered for one in a hundred."""
    for batch, size in here.sizes:
        for ordinal in range(1, size + 1):
            failed = ordinal % BOUNCE_EVERY == 0
            status = "undelivered" if failed else "delivered"
            ref, fields = _form(here, batch, ordinal, status)
            if failed:
                fields["ErrorCode"] = "30003"
            url = f"{ground.PUBLIC_URL}/hooks/twilio/status?ref={ref}"
            made = twilio_post(url, fields, here.token)
            kept = urlencode([*fields.items(), ("wl_ref", ref)]).encode()
            says = DeliveryStatus.BOUNCED if failed else DeliveryStatus.DELIVERED
            yield Call(
                request(made.url, dict(made.headers), made.body),
                hashlib.md5(kept).hexdigest(),
                ((batch, ordinal, says),),
            )


def bares(here: Place) -> Iterator[Call]:
    """The same forms to the bare view, without end."""
    made = []
    for ordinal in range(1, 501):
        ref, fields = _form(here, 0, ordinal, "delivered")
        one = twilio_post(f"{ground.PUBLIC_URL}{bare.PATH}?ref={ref}", fields, here.token)
        made.append(Call(request(one.url, dict(one.headers), one.body), ""))
    while True:
        yield from made


if __name__ == "__main__":
    sys.exit(main())
