"""One dispatch, real worker processes, the provider sandbox, and faults that strike in mid-send."""

from __future__ import annotations

import signal
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa

from app import roles
from app.cli.stack import Child, SandboxHandle, Stack, wait_until
from app.registry import Registry
from app.services import consent, inbound
from messaging.types import Channel
from tests.chaos import ground, verdict
from tests.chaos.ground import Ground
from tests.conftest import Database

LEASE_SECONDS = 5
# Generous: the machine may be busy with other work, and a condition that holds is never waited for.
PATIENCE = 120.0
OPEN_TEXTS = 50


class MissedMoment(AssertionError):
    """The condition for a strike did not come, or had passed: the case says nothing."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What the sandbox's gauge showed when a fault struck."""

    open_calls: int
    accepted: int
    share: float  # of the recipients, accepted


def until(true: Callable[[], object], what: str) -> None:
    """Wait for a condition with a busy machine's patience."""
    wait_until(true, seconds=PATIENCE, what=what)


@dataclass(slots=True)
class Scene:
    """A frozen dispatch, spread evenly over its batches, and the processes that are to send it.

    ``doubtful``: the attempts that were open when a worker was struck dead: only they may end in
    doubt, and those whose reason a living worker gave, if it is one of ``reasons``. ``stops``:
    contact → Unix time of a committed STOP. ``harms``: what a case found by itself, by kind;
    ``notes``: what it would like to have shown. ``standing``: faults that last to the end.
    """

    stack: Stack
    sandbox: SandboxHandle
    database: Database
    registry: Registry
    channel: Channel
    redis_url: str
    ground: Ground
    port: int  # of the site
    receipts: bool
    doubtful: set[tuple[int, int]] = field(default_factory=set)
    reasons: set[str] = field(default_factory=lambda: {verdict.UNHEARD})
    stops: dict[int, float] = field(default_factory=dict)
    replies_lost: int = 0
    harms: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    moments: list[Moment] = field(default_factory=list)
    standing: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    started: int = 0

    @property
    def dispatch(self) -> UUID:
        return self.ground.dispatch

    @property
    def recipients(self) -> int:
        return len(self.ground.addresses)

    # -- processes
    def worker(self, sabotage: str | None = None, **environ: str) -> Child:
        """A bulk worker; with ``sabotage``, one whose safeguard of that name is switched off."""
        self.started += 1
        name = f"worker-{self.started}"
        module = ["workers.main", "bulk"] if sabotage is None else ["tests.chaos.saboteur", sabotage, "bulk"]
        return self.stack.run(name, module, **environ)

    def scheduler(self) -> Child:
        self.started += 1
        return self.stack.worker("scheduler", f"scheduler-{self.started}")

    def site(self) -> Child:
        """The web server with its webhooks, answering when this returns."""
        return self.stack.site(self.port)

    def merger(self) -> Child:
        """The worker that merges receipts and takes in what people text."""
        return self.stack.worker("receipts")

    def asleep(self, child: Child) -> None:
        child.process.send_signal(signal.SIGSTOP)

    def awake(self, child: Child) -> None:
        child.process.send_signal(signal.SIGCONT)

    # -- the sandbox
    def faults(self, **wanted: Any) -> None:
        """What goes wrong with calls of the scene's channel from now on, besides what is ``standing``."""
        base: dict[str, Any] = dict(self.standing)
        if self.channel is Channel.SMS:
            base["recipients"] = {"undelivered": [ground.BOUNCING_END]}
        self.sandbox.faults(**{str(self.channel): base | wanted})

    def hold(self, start: int, when: str, times: int | None = None, **more: Any) -> None:
        """Calls that come once ``start`` recipients were accepted wait, ``times`` of them."""
        self.faults(hold={"start": start, "when": when, "times": times}, **more)

    def no_more_holds(self) -> None:
        """Later calls pass; those that are held stay held."""
        self.faults()

    def release(self) -> None:
        """Those that are held go on."""
        self.sandbox.ask("POST", "release", {"channel": str(self.channel)})

    def mid_send(self) -> Moment | None:
        """The condition of every strike: an open mail call or ≥ 50 open texts, 20–80 % accepted."""
        gauge = self.sandbox.gauge()
        text = self.channel is Channel.SMS
        calls, accepted = gauge["open_sms" if text else "open_mail"], gauge["accepted"][str(self.channel)]
        share = accepted / self.recipients
        enough = calls >= (OPEN_TEXTS if text else 1) and 0.2 <= share <= 0.8
        return Moment(calls, accepted, share) if enough else None

    def strike_when(
        self, ready: Callable[[], object], strike: Callable[[], object], *, what: str, kills: bool = True
    ) -> None:
        """Strike once ``ready`` and in mid-send; MissedMoment if that does not come.

        ``kills``: a worker dies or sleeps by it, so what it had open may end in doubt.
        """
        deadline = time.monotonic() + PATIENCE
        while not (ready() and self.mid_send()):
            for child in self.stack.children:
                assert self.moments or child.alive(), f"{child.name} ended:\n{child.last_words()}"
            if time.monotonic() > deadline:
                raise MissedMoment(f"no moment to strike ({what}): {self.sandbox.gauge()}")
            time.sleep(0.01)
        if kills:
            self.doubtful |= self.open_attempts()
        moment = self.mid_send()
        if moment is None:
            raise MissedMoment(f"mid-send was over before the strike ({what}): {self.sandbox.gauge()}")
        self.moments.append(moment)
        strike()
        if kills:
            self._commits_are_in()
            self.doubtful |= self.open_attempts()  # opened between the look and the strike

    def _commits_are_in(self) -> None:
        """Wait for transactions that a worker committed right before it was struck.

        The database works on them without it: on a busy machine an attempt may come on record well
        after its worker's death. Those that wait for a lock stand where the case wants them.
        """
        query = (
            "SELECT pid, xact_start FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND usename = 'wardlink_worker' AND state = 'active' "
            "AND wait_event_type IS DISTINCT FROM 'Lock'"
        )
        with psycopg.connect(roles.libpq(self.database.admin), autocommit=True) as admin:
            busy = set(admin.execute(query))
            until(lambda: not busy & set(admin.execute(query)), "the commits of a struck worker")

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

    def taken_back(self) -> bool:
        """Whether every lease of a lost worker has been taken away, and its open calls put in doubt."""
        return not self.open_attempts() and not self.one(
            "SELECT count(*) FROM batches WHERE dispatch_id = :dispatch AND state = 'claimed'"
        )

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

    # -- the end
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
        self.faults()
        self.release()
        until(self.finished, "the end of the dispatch")

    def verdict(self, dispatch: UUID | None = None) -> verdict.Verdict:
        with self.registry.sessions() as session:
            return verdict.reach(
                session,
                self.sandbox.log,
                dispatch or self.dispatch,
                addresses=self.ground.addresses,
                stops=self.stops,
                doubtful=self.doubtful,
                reasons=self.reasons,
                receipts=self.receipts,
            )
