"""A dispatch that was sent to everybody, and the site that is told what became of it: the ground of bench.receipts."""

from __future__ import annotations

import os
import secrets
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import redis
import sqlalchemy as sa
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.cli.stack import Child, Stack, StackError, answers, free_port, wait_until
from app.registry import Registry, open_registry
from app.services import dispatch
from bench import ground
from bench.posting import PATIENCE, Call
from config.fields import Part
from messaging.types import Channel, DeliveryStatus

_SENT = (
    """
    INSERT INTO attempts (dispatch_id, batch_n, n, provider, sender_id, ordinal_from, ordinal_to, closed_at, outcome,
        lease_token)
    SELECT dispatch_id, n, 1, :provider, sender_id, 1, size, clock_timestamp(), 'taken', dispatch_id
    FROM batches WHERE dispatch_id = :dispatch
    """,
    """
    INSERT INTO deliveries (dispatch_id, contact_id, batch_n, ordinal, attempt_n, status)
    SELECT b.dispatch_id, u.contact_id, b.n, u.ordinal, 1, 30
    FROM batches b CROSS JOIN LATERAL unnest(b.contact_ids) WITH ORDINALITY AS u(contact_id, ordinal)
    WHERE b.dispatch_id = :dispatch
    """,
    "UPDATE batches SET state = 'done', accepted = size WHERE dispatch_id = :dispatch",
)
_SIZES = sa.text("SELECT n, size FROM batches WHERE dispatch_id = :dispatch ORDER BY n")
_WAITS = sa.text(
    "SELECT EXISTS (SELECT 1 FROM raw_events WHERE merged_at IS NULL) OR EXISTS (SELECT 1 FROM early_receipts)"
)
_KEPT = sa.text("SELECT md5(body), count(*) FROM raw_events WHERE problem IS NULL GROUP BY 1")
_STANDS = sa.text("SELECT batch_n, ordinal, status FROM deliveries WHERE dispatch_id = :dispatch")


@dataclass(slots=True)
class Place:
    """A dispatch that was sent to everybody, and the site that is told what became of it."""

    registry: Registry
    sent: UUID
    sizes: list[tuple[int, int]]  # (batch, recipients)
    port: int
    web: Child
    merger: Child
    key: ec.EllipticCurvePrivateKey
    token: str
    posted: Counter[str] = field(
        default_factory=Counter
    )  # md5 of a raw event → how often it was answered 2xx
    expected: dict[tuple[int, int], int] = field(default_factory=dict)  # (batch, ordinal) → status

    def waits(self) -> bool:
        with self.registry.sessions() as session:
            return bool(session.execute(_WAITS).scalar_one())

    def merged(self) -> None:
        """Wait until nothing waits any more."""
        wait_until(
            lambda: not self.waits() or not (self.web.alive() and self.merger.alive()),
            seconds=PATIENCE,
            what="the merger",
        )
        for child in (self.web, self.merger):
            if not child.alive():
                raise StackError(f"{child.name} ended:\n{child.last_words()}")

    def lost(self) -> int:
        """Raw events answered for and not there, and deliveries that do not stand where the last word put them."""
        with self.registry.sessions() as session:
            kept: Counter[str] = Counter(dict(map(tuple, session.execute(_KEPT))))
            stands = {(b, o): s for b, o, s in session.execute(_STANDS, {"dispatch": self.sent})}
        missing: int = sum((self.posted - kept).values())
        misplaced = sum(int(stands.get(place, 0) != status) for place, status in self.expected.items())
        return missing + misplaced

    def expect(self, batch: int, ordinal: int, status: DeliveryStatus) -> None:
        place = (batch, ordinal)
        self.expected[place] = max(self.expected.get(place, 0), status)


def settle(stack: Stack, channel: Channel, people: int) -> Place:
    """People, an alert that reached them all, the site, a merger and a scheduler; all is up when this returns."""
    endpoints = ground.services()
    key, token = ec.generate_private_key(ec.SECP256R1()), secrets.token_hex(16)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    os.environ.update(
        TWILIO_ACCOUNT_SID="AC" + secrets.token_hex(16),
        TWILIO_AUTH_TOKEN=token,
        SENDGRID_API_KEY="SG.bench",
        SENDGRID_WEBHOOK_KEY="".join(public.decode().splitlines()[1:-1]),
        TWILIO_BASE_URL="http://127.0.0.1:9",
        SENDGRID_BASE_URL="http://127.0.0.1:9",
    )
    registry = open_registry(part=Part.APP)
    print(f"Making {people:,} people and their ledger …", file=sys.stderr, flush=True)
    audience = ground.settle(registry, channel, people)
    ground.analyse(os.environ["OWNER_DATABASE_URL"])
    with registry.sessions.begin() as session:
        sent = dispatch.send(
            session,
            audience.alert,
            token=f"bench-{audience.alert.hex}",
            actor=ground.ACTOR,
            public_url=ground.PUBLIC_URL,
        ).id
    owner = sa.create_engine(os.environ["OWNER_DATABASE_URL"])
    provider = "sendgrid" if channel is Channel.EMAIL else "twilio"
    with owner.begin() as connection:
        for statement in _SENT:
            text = sa.text(statement)
            values = {"dispatch": sent, "provider": provider}
            connection.execute(text, {k: v for k, v in values.items() if k in text._bindparams})
    owner.dispose()
    ground.analyse(os.environ["OWNER_DATABASE_URL"])
    with registry.sessions() as session:
        sizes = [(n, size) for n, size in session.execute(_SIZES, {"dispatch": sent})]
    port = free_port()
    web = stack.run(
        "web",
        ["gunicorn", "--config", "python:config.gunicorn", "bench.bare:create()"],
        WEB_HOST="127.0.0.1",
        WEB_PORT=str(port),
        WEB_WORKERS="1",
    )
    stack.ready(web, lambda: answers(f"http://127.0.0.1:{port}/health/live"))
    merger = stack.worker("receipts")
    with redis.Redis.from_url(endpoints.redis_url) as valkey:
        wait_until(lambda: valkey.scard("rq:workers") == 1 or not merger.alive(), what="the merger")
    stack.worker("scheduler")
    return Place(registry, sent, sizes, port, web, merger, key, token)


def note(here: Place, answered: Sequence[Call]) -> None:
    """Remember what was answered for."""
    for call in answered:
        here.posted[call.digest] += 1
        for place in call.says:
            here.expect(*place)
