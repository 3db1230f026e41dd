"""What operators look at: how the service stands, in figures from PostgreSQL alone, none of them about a person.

Never counts the ledger: batches carry counters, attempts and partial indexes say the rest, and whatever could be
without end is counted up to a bound. Times are the database's, ages in seconds.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.services import heartbeats, standing
from app.services.heartbeats import Beat
from app.services.standing import BrakeNow, ProviderNow

LANES = {0: "urgent", 1: "bulk"}
CHANNELS = ("email", "sms")
PROVIDERS = ("sendgrid", "twilio", "twilio-2", "smtp", "notify")
OTHER = "other"  # a name that is none of ours: whatever somebody typed never becomes a label
STATUSES = (
    "accepted", "delivered", "bounced", "complained", "refused", "stopped", "erased", "expired", "in_doubt",
)  # fmt: skip
OUTCOMES = ("taken", "not_taken", "in_doubt", "refused")
CLASSES = (
    "connection", "timeout", "rate-limited", "provider-error", "account", "refused-request", "unreadable",
    "worker-lost", OTHER,
)  # fmt: skip
BOUND = 10_000  # the most that is counted of anything without end

_WAITING = sa.text(
    """
    SELECT b.lane, count(*), count(*) FILTER (WHERE r.ready),
        CAST(extract(epoch FROM clock_timestamp() - min(greatest(b.not_before, d.frozen_at)) FILTER (WHERE r.ready))
            AS float8)
    FROM batches b JOIN dispatches d ON d.id = b.dispatch_id
    CROSS JOIN LATERAL (SELECT b.not_before <= clock_timestamp() AND d.state = 'running'
        AND (b.not_after IS NULL OR b.not_after > clock_timestamp())) AS r(ready)
    WHERE b.state = 'waiting' GROUP BY b.lane
    """
)
# A lane that moves does not stand still, however much is in it: what a slow number carries waits behind its like.
_IDLE = sa.text(
    """
    WITH moving AS MATERIALIZED (
        SELECT DISTINCT m.sender_id FROM attempts a
        JOIN batches m ON m.dispatch_id = a.dispatch_id AND m.n = a.batch_n
        WHERE a.provider = ANY(CAST(:providers AS text[])) AND a.closed_at IS NOT NULL
          AND a.closed_at > now() - interval '30 seconds' AND a.outcome = 'taken'
    )
    SELECT CAST(extract(epoch FROM clock_timestamp() - min(greatest(b.not_before, d.frozen_at))) AS float8)
    FROM batches b JOIN dispatches d ON d.id = b.dispatch_id
    WHERE b.state = 'waiting' AND b.lane = :lane AND b.not_before <= now() AND d.state = 'running'
      AND (b.not_after IS NULL OR b.not_after > now()) AND b.sender_id NOT IN (SELECT sender_id FROM moving)
    """
)
_CLAIMED = sa.text("SELECT lane, count(*) FROM batches WHERE state = 'claimed' GROUP BY lane")
# A dispatch's id is made at its send and holds the time: the batches of a day are a range of the primary key.
_DAY = sa.text(
    f"""
    SELECT b.channel, s.provider, {", ".join(f"sum(b.{status})" for status in STATUSES)}
    FROM batches b JOIN senders s ON s.id = b.sender_id
    WHERE b.dispatch_id >= CAST(:since AS uuid) GROUP BY b.channel, s.provider
    """
)
# now() and not the clock: only what stays the same within a statement can be looked up in an index.
_HOUR = sa.text(
    """
    SELECT provider, outcome,
        CASE
            WHEN outcome = 'taken' THEN ''
            WHEN reason ~ '^(dns|connect|tls|pool|reset|closed)' THEN 'connection'
            WHEN reason ~ '^(timeout|deadline)' THEN 'timeout'
            WHEN reason IN ('429', '20429') THEN 'rate-limited'
            WHEN reason ~ '^5[0-9][0-9]$' THEN 'provider-error'
            WHEN reason IN ('account', '401', '403', '20003') THEN 'account'
            WHEN reason ~ '^(4[0-9][0-9]|[0-9]{5})$' OR reason = 'content' THEN 'refused-request'
            WHEN reason ~ '^(unreadable|too-large)' THEN 'unreadable'
            WHEN reason = 'worker lost' THEN 'worker-lost'
            ELSE 'other'
        END,
        count(*),
        coalesce(sum(ordinal_to - ordinal_from + 1) FILTER (
            WHERE outcome = 'taken' AND closed_at > now() - interval '5 minutes'), 0)
    FROM attempts
    WHERE provider = ANY(CAST(:providers AS text[])) AND closed_at IS NOT NULL
      AND closed_at > now() - interval '1 hour'
    GROUP BY 1, 2, 3
    """
)
_DOUBT = sa.text("SELECT channel, sum(in_doubt) FROM batches WHERE in_doubt > 0 GROUP BY channel")
_RECEIPTS = sa.text(
    """
    SELECT
        (SELECT count(*) FROM (SELECT 1 FROM raw_events WHERE merged_at IS NULL LIMIT :bound) x),
        (SELECT CAST(extract(epoch FROM clock_timestamp() - received_at) AS float8)
         FROM raw_events WHERE merged_at IS NULL ORDER BY id LIMIT 1),
        (SELECT count(*) FROM (SELECT 1 FROM early_receipts LIMIT :bound) x)
    """
)
_SEALER = sa.text(
    "SELECT waiting, CAST(extract(epoch FROM clock_timestamp() - oldest) AS float8) FROM unsealed(:bound)"
)
_POST = sa.text(
    """
    SELECT count(*), CAST(extract(epoch FROM clock_timestamp() - min(not_before)) AS float8) FROM (
        SELECT not_before FROM service_messages
        WHERE state = 'waiting' AND not_before <= now() AND expires_at > now()
        ORDER BY not_before LIMIT :bound) x
    """
)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Something that waits: how much (counted up to a bound), and how old the oldest is in seconds."""

    waiting: int = 0
    oldest: float = 0.0


@dataclass(frozen=True, slots=True)
class Lane:
    """Batches of one lane. ``ready`` may be claimed now; ``oldest`` is for how long the first of them could be."""

    waiting: int = 0
    ready: int = 0
    claimed: int = 0
    oldest: float = 0.0


@dataclass(frozen=True, slots=True)
class Sight:
    """How everything stands at one moment."""

    lanes: Mapping[str, Lane]
    day: Mapping[
        tuple[str, str], Mapping[str, int]
    ]  # (channel, provider) → status → recipients of a day's dispatches
    attempts: Mapping[tuple[str, str], int]  # (provider, outcome) → attempts of the last hour
    failures: Mapping[tuple[str, str], int]  # (provider, class) → the same, those not taken
    rates: Mapping[str, float]  # provider → recipients taken a second, over five minutes
    doubt: Mapping[str, int]  # channel → recipients in doubt now
    receipts: Backlog
    early: int
    sealer: Backlog
    post: Backlog
    beats: Sequence[Beat]
    providers: Sequence[ProviderNow]
    brakes: Sequence[BrakeNow]

    @property
    def in_doubt(self) -> int:
        return sum(self.doubt.values())


def look(session: Session) -> Sight:
    """Everything at once, in a dozen short queries."""
    hour = session.execute(_HOUR, {"providers": list(PROVIDERS)}).all()
    attempts: Counter[tuple[str, str]] = Counter()
    failures: Counter[tuple[str, str]] = Counter()
    taken: Counter[str] = Counter()
    for name, outcome, kind, tries, recipients in hour:
        provider = known(name)
        attempts[provider, outcome] += tries
        taken[provider] += int(recipients)
        if kind:
            failures[provider, kind] += tries
    receipts, early, sealer, post = backlogs(session)
    return Sight(
        lanes=lanes(session),
        day=_day(session),
        attempts=attempts,
        failures=failures,
        rates={provider: n / 300 for provider, n in taken.items()},
        doubt=doubt(session),
        receipts=receipts,
        early=early,
        sealer=sealer,
        post=post,
        beats=heartbeats.latest(session),
        providers=standing.providers(session),
        brakes=standing.brakes(session),
    )


def lanes(session: Session) -> dict[str, Lane]:
    """Each lane with its batches; both are always there."""
    waiting = {lane: (n, ready, oldest) for lane, n, ready, oldest in session.execute(_WAITING)}
    claimed: dict[int, int] = dict(session.execute(_CLAIMED).all())
    found = {}
    for lane, name in LANES.items():
        n, ready, oldest = waiting.get(lane, (0, 0, None))
        found[name] = Lane(n, ready, claimed.get(lane, 0), max(0.0, oldest or 0.0))
    return found


def idle(session: Session, lane: int = 0) -> float:
    """For how many seconds the oldest ready batch could have been sent, of those whose sender moves nothing at all."""
    values = {"lane": lane, "providers": list(PROVIDERS)}
    return max(0.0, session.execute(_IDLE, values).scalar_one() or 0.0)


def known(provider: str) -> str:
    return provider if provider in PROVIDERS else OTHER


def _day(session: Session) -> dict[tuple[str, str], Counter[str]]:
    found: dict[tuple[str, str], Counter[str]] = {}
    for channel, provider, *counts in session.execute(_DAY, {"since": _id_at(time.time() - 86_400)}):
        total = found.setdefault((channel, known(provider)), Counter())
        total.update(dict(zip(STATUSES, map(int, counts), strict=True)))
    return found


def _id_at(seconds: float) -> UUID:
    """The lowest id that could be made at this moment: a UUIDv7 begins with its milliseconds."""
    return UUID(int=max(0, int(seconds * 1000)) << 80)


def backlogs(session: Session) -> tuple[Backlog, int, Backlog, Backlog]:
    """Raw events not yet merged, early receipts, entries not yet sealed, service messages that are due."""
    values = {"bound": BOUND}
    raw, raw_age, early = session.execute(_RECEIPTS, values).one()
    unsealed, unsealed_age = session.execute(_SEALER, values).one()
    due, due_age = session.execute(_POST, values).one()
    return (
        Backlog(raw, max(0.0, raw_age or 0.0)),
        early,
        Backlog(unsealed, max(0.0, unsealed_age or 0.0)),
        Backlog(due, max(0.0, due_age or 0.0)),
    )


def doubt(session: Session) -> dict[str, int]:
    """Channel → recipients in doubt now, from the batches' counters."""
    return {channel: int(n) for channel, n in session.execute(_DOUBT)}
