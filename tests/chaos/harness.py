"""One dispatch, real worker processes, the provider sandbox, and faults that strike in mid-send."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from app import queue
from app.cli.stack import Child, SandboxHandle, Stack, wait_until
from app.embedded.keys import ensure_keys
from app.registry import Registry
from app.services import consent, dispatch, inbound, synthetic
from messaging.types import Channel
from tests.chaos import verdict
from tests.chaos.servers import private_valkey
from tests.conftest import Database
from tests.factories import ACTOR, TOPIC, Makes

LEASE_SECONDS = 5
FINISH_SECONDS = 40.0
NOWHERE = "http://127.0.0.1:9"  # no site: receipts are off unless a case has one
OPEN_TEXTS = 50

_ADDRESSES = {Channel.EMAIL: "person{}@people.example", Channel.SMS: "+447700900{:06d}"}


@dataclass(slots=True)
class Scene:
    """A frozen dispatch of ``recipients`` people, spread evenly over ``senders`` batches.

    ``doubtful``: the attempts that were open when a worker was struck dead: only they may end in
    doubt. ``stops``: contact → Unix time of a committed STOP.
    """

    stack: Stack
    sandbox: SandboxHandle
    database: Database
    registry: Registry
    channel: Channel
    redis_url: str
    dispatch: UUID
    addresses: dict[int, str]
    doubtful: set[tuple[int, int]] = field(default_factory=set)
    stops: dict[int, float] = field(default_factory=dict)
    started: int = 0

    @property
    def recipients(self) -> int:
        return len(self.addresses)

    # -- processes
    def worker(self, sabotage: str | None = None) -> Child:
        """A bulk worker; with ``sabotage``, one whose safeguard of that name is switched off."""
        self.started += 1
        name = f"worker-{self.started}"
        if sabotage is None:
            return self.stack.worker("bulk", name)
        return self.stack.run(name, ["tests.chaos.saboteur", sabotage, "bulk"])

    def scheduler(self) -> Child:
        return self.stack.worker("scheduler")

    def asleep(self, child: Child) -> None:
        child.process.send_signal(signal.SIGSTOP)

    def awake(self, child: Child) -> None:
        child.process.send_signal(signal.SIGCONT)

    # -- the sandbox
    def hold(self, start: int, when: str, times: int | None = None) -> None:
        """Calls that come once ``start`` recipients were accepted wait, ``times`` of them."""
        self.sandbox.faults(**{str(self.channel): {"hold": {"start": start, "when": when, "times": times}}})

    def no_more_holds(self) -> None:
        """Later calls pass; those that are held stay held."""
        self.sandbox.faults(**{str(self.channel): {}})

    def release(self) -> None:
        self.sandbox.ask("POST", "release", {"channel": str(self.channel)})

    def mid_send(self) -> bool:
        """The condition of every strike: an open mail call or ≥ 50 open texts, 20–80 % accepted."""
        gauge = self.sandbox.gauge()
        is_open = (
            gauge["open_mail"] >= 1 if self.channel is Channel.EMAIL else gauge["open_sms"] >= OPEN_TEXTS
        )
        share = gauge["accepted"][str(self.channel)] / self.recipients
        return bool(is_open and 0.2 <= share <= 0.8)

    def strike_when(self, ready: Callable[[], object], strike: Callable[[], object], *, what: str) -> None:
        """Strike once ``ready`` and in mid-send; AssertionError if mid-send is missed."""
        deadline = time.monotonic() + 25
        while not (ready() and self.mid_send()):
            assert time.monotonic() < deadline, f"no moment to strike ({what}): {self.sandbox.gauge()}"
            time.sleep(0.01)
        self.doubtful |= self.open_attempts()
        assert self.mid_send(), f"mid-send was over before the strike ({what}): {self.sandbox.gauge()}"
        strike()
        self.doubtful |= self.open_attempts()  # opened between the look and the strike

    # -- the database
    def rows(self, statement: str, **values: Any) -> list[Any]:
        with self.registry.sessions() as session:
            return list(session.execute(sa.text(statement), {"dispatch": self.dispatch} | values))

    def one(self, statement: str, **values: Any) -> Any:
        return self.rows(statement, **values)[0][0]

    def open_attempts(self) -> set[tuple[int, int]]:
        """(batch, attempt) of the attempts open now."""
        found = self.rows(
            "SELECT batch_n, n FROM attempts WHERE dispatch_id = :dispatch AND closed_at IS NULL"
        )
        return {(batch, attempt) for batch, attempt in found}

    def stop_some(self, count: int = 10) -> int:
        """People of batches that nobody has claimed yet say STOP, one by one; how many count.

        Each batch is looked at again after the commit: the STOP of somebody whose batch was
        claimed meanwhile came too late to prove anything.
        """
        untouched = (
            "SELECT b.n, b.sender_id, u.contact_id FROM batches b "
            "CROSS JOIN LATERAL unnest(b.contact_ids) WITH ORDINALITY AS u(contact_id, ordinal) "
            "WHERE b.dispatch_id = :dispatch AND b.state = 'waiting' AND b.tries = 0 AND u.ordinal % 20 = 3 "
            "ORDER BY b.n DESC, u.ordinal LIMIT :count"
        )
        asked: dict[int, tuple[int, float]] = {}
        for batch, sender, contact in self.rows(untouched, count=count):
            with self.registry.sessions.begin() as session:
                if self.channel is Channel.SMS:
                    digest = session.execute(
                        sa.text("SELECT digest FROM contact_points WHERE id = :id"), {"id": contact}
                    ).scalar_one()
                    inbound.stop(session, sender, digest)
                else:
                    consent.leave_by_link(session, contact, self.dispatch, how="link", origin="test")
            asked[contact] = (batch, time.time())
        still = {
            row[0]
            for row in self.rows(
                "SELECT n FROM batches WHERE dispatch_id = :dispatch AND state = 'waiting' AND tries = 0"
            )
        }
        self.stops |= {contact: at for contact, (batch, at) in asked.items() if batch in still}
        return len(self.stops)

    def finished(self) -> bool:
        return bool(
            self.one(
                "SELECT finished_at IS NOT NULL AND NOT EXISTS "
                "(SELECT 1 FROM batches b WHERE b.dispatch_id = d.id AND b.state <> 'done') "
                "FROM dispatches d WHERE d.id = :dispatch"
            )
        )

    def finish(self) -> None:
        """Let held calls go, and wait until the dispatch has ended."""
        self.sandbox.ask("DELETE", "faults")
        wait_until(self.finished, seconds=FINISH_SECONDS, what="the end of the dispatch")

    def verdict(self) -> verdict.Verdict:
        with self.registry.sessions() as session:
            return verdict.reach(
                session,
                self.sandbox.log,
                self.dispatch,
                addresses=self.addresses,
                stops=self.stops,
                doubtful=self.doubtful,
            )


@contextmanager
def scene(
    database: Database, folder: Path, channel: Channel, *, recipients: int = 2_400, senders: int = 12
) -> Iterator[Scene]:
    """A dispatch frozen in ``database``, a sandbox, a Valkey of its own; everything ends with it."""
    local = Path(os.environ["LOCAL_DIR"])
    stack = Stack(folder / "processes", {})
    doorbell = queue._connection
    registry: Registry | None = None
    try:
        redis_url = private_valkey(stack)
        stack.environ |= database.environ() | ensure_keys(local) | {"HEADS_DIR": str(folder / "heads")}
        stack.environ |= {
            "REDIS_URL": redis_url,
            "LEASE_SECONDS": str(LEASE_SECONDS),
            "PROVIDER_TIMEOUT_SECONDS": "2",
            "WARDLINK_ENV": "test",
        }
        sandbox = stack.sandbox(NOWHERE, "--receipts", "off", "--sender-rate", "100000")
        registry = database.open(REDIS_URL=redis_url, **sandbox.environ())
        dispatch_id, addresses = _freeze(registry, channel, recipients, senders)
        yield Scene(stack, sandbox, database, registry, channel, redis_url, dispatch_id, addresses)
    finally:
        stack.stop()
        if registry is not None:
            registry.engine.dispose()
        queue._connection = doorbell


def _freeze(
    registry: Registry, channel: Channel, recipients: int, senders: int
) -> tuple[UUID, dict[int, str]]:
    """People, an alert to them, and its dispatch: (dispatch, contact → address)."""
    chance = random.Random(f"chaos {channel} {recipients} {senders}")
    with registry.sessions.begin() as session:
        makes = Makes(session)
        makes.wording()
        organisation = makes.organisation()
        for _ in range(senders):
            makes.sender(organisation, str(channel), rate=10_000.0)
        borough, ward, _ = makes.borough()
        # The freeze places people by the remainder of their id: equal remainders, equal batches.
        people = [
            synthetic.SyntheticPerson(
                contact_id=chance.getrandbits(55) * senders + i % senders,
                channel=channel,
                address=_ADDRESSES[channel].format(i),
                name="Amara",
                postcode="SE15 4AA",
                ward_code=ward.code,
                borough_code=borough.code,
                agreed=True,
            )
            for i in range(recipients)
        ]
        synthetic.load(session, people, organisation.id, [TOPIC], actor=ACTOR)
        alert = makes.alert(organisation, [borough], channels=[str(channel)])
    with registry.sessions.begin() as session:
        frozen = dispatch.send(session, alert.id, token="chaos token", actor=ACTOR, public_url=NOWHERE)
    assert (frozen.recipients, frozen.batches) == (recipients, senders)
    return frozen.id, {p.contact_id: p.address for p in people}
