"""Which provider is asked: how each one fared lately, and who is down until a trial says otherwise.

The scheduler judges each second; workers read. Rates are taken from attempts that closed, never by counting
the ledger. A provider is judged by the attempts that were opened since its state last changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.models.routes import DOWN, TRYING, UP, ProviderState
from messaging.types import Channel

log = structlog.get_logger(__name__)

WINDOW_SECONDS = 120  # attempts that closed before that say nothing any more
NEWEST = 20  # attempts at most that a rate is taken from
LEAST = 3  # failed attempts without which nobody is judged: one bad call is no outage
DOWN_AT = 25  # percent of calls failed over the newest attempts; or in each of the newest LEAST
TRIALS = 3  # calls that test a provider that was down
FIRST_WAIT, LONGEST_WAIT = 10, 160  # seconds before a trial, doubled with each fall in a row
TRIAL_SECONDS = 60  # a trial without an end by then: those calls were lost, others are made
STEADY_SECONDS = 600  # up for so long: the next fall is the first one again

_EVENTS = {DOWN: "provider:down", UP: "provider:up"}

# How each configured provider fared, one short range of an index each.
_RATES = sa.text(
    """
    SELECT r.channel, r.provider, r.place, p.state, p.trials, p.falls,
        CAST(extract(epoch FROM clock_timestamp() - p.since) AS float8) AS seconds,
        p.retry_at <= clock_timestamp() AS due, a.calls, a.failed_percent, a.failed_newest, a.failed_calls
    FROM unnest(CAST(:channels AS text[]), CAST(:providers AS text[]), CAST(:places AS smallint[]))
        AS r(channel, provider, place)
    LEFT JOIN provider_states p ON p.channel = r.channel AND p.provider = r.provider
    CROSS JOIN LATERAL (
        SELECT count(*) AS calls, CAST(coalesce(avg(n.failed_percent), 0) AS int) AS failed_percent,
            count(*) FILTER (WHERE n.place <= :least AND n.failed_percent >= :down_at) AS failed_newest,
            count(*) FILTER (WHERE n.failed_percent >= :down_at) AS failed_calls
        FROM (
            SELECT t.failed_percent, row_number() OVER (ORDER BY t.closed_at DESC) AS place
            FROM attempts t JOIN senders s ON s.id = t.sender_id
            WHERE t.provider = r.provider AND s.channel = r.channel AND t.closed_at IS NOT NULL
              -- now() and not the clock: only what stays the same in a statement can be looked up in an index.
              AND t.closed_at > now() - make_interval(secs => :window) AND t.closed_at >= p.since
              AND t.opened_at >= p.since AND t.failed_percent IS NOT NULL
            ORDER BY t.closed_at DESC LIMIT :newest
        ) n
    ) a
    ORDER BY r.channel, r.place
    """
)


_GONE = sa.text(
    """
    DELETE FROM provider_states p WHERE NOT EXISTS (
        SELECT 1 FROM unnest(CAST(:channels AS text[]), CAST(:providers AS text[])) AS r(channel, provider)
        WHERE r.channel = p.channel AND r.provider = p.provider)
    """
)


@dataclass(frozen=True, slots=True)
class Change:
    """A provider that went down, or came up again."""

    channel: str
    provider: str
    state: str
    calls: int
    failed_percent: int


def evaluate(session: Session, configured: Mapping[Channel, Sequence[str]]) -> list[Change]:
    """Judge every configured provider; what changed, logged and on the record. For the scheduler, each second.

    Commit at once: workers read the states.
    """
    order = [(str(c), name, place) for c, names in configured.items() for place, name in enumerate(names)]
    values = {
        "channels": [o[0] for o in order],
        "providers": [o[1] for o in order],
        "places": [o[2] for o in order],
        "window": WINDOW_SECONDS,
        "newest": NEWEST,
        "least": LEAST,
        "down_at": DOWN_AT,
    }
    session.execute(_GONE, values)
    changes = []
    for row in session.execute(_RATES, values).mappings().all():
        if row["state"] is None:
            state = ProviderState(channel=row["channel"], provider=row["provider"], place=row["place"])
            session.add(state)
            continue
        change = _judge(session, row)
        if change is not None:
            changes.append(change)
    session.flush()
    return changes


def _judge(session: Session, row: sa.RowMapping) -> Change | None:
    calls, failed, seconds = int(row["calls"]), int(row["failed_percent"]), float(row["seconds"])
    seen: dict[str, object] = {"calls": calls, "failed_percent": failed, "place": row["place"]}
    falls = int(row["falls"])
    new: str | None = None
    match row["state"]:
        case "up":
            many = failed >= DOWN_AT and failed * calls >= 100 * LEAST
            if many or row["failed_newest"] == LEAST:
                falls = 1 if seconds > STEADY_SECONDS else falls + 1
                new = DOWN
        case "down":
            if row["due"]:
                _move(session, row, TRYING, seen | {"trials": TRIALS, "retry_at": None})
        case "trying":
            if row["failed_calls"]:
                falls, new = falls + 1, DOWN
            elif calls >= TRIALS or (calls and seconds > TRIAL_SECONDS):
                new = UP
            elif seconds > TRIAL_SECONDS and not row["trials"]:
                _move(session, row, TRYING, seen | {"trials": TRIALS})
    if new is None:
        _note(session, row, seen)
        return None
    seen |= {"falls": min(falls, 30_000), "trials": 0, "retry_at": None}
    if new == DOWN:
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(falls - 1, 10))
        seen["retry_at"] = sa.func.clock_timestamp() + sa.func.make_interval(0, 0, 0, 0, 0, 0, wait)
    _move(session, row, new, seen)
    change = Change(str(row["channel"]), str(row["provider"]), new, calls, failed)
    (log.warning if new == DOWN else log.info)(
        f"provider_{new}",
        channel=change.channel,
        provider=change.provider,
        calls=calls,
        failed_percent=failed,
    )
    # A trial that fails is no news: it is on the record that the provider is down.
    if row["state"] != TRYING or new == UP:
        audit.record(
            session,
            event=_EVENTS[new],
            subject=f"provider:{change.provider}",
            actor=audit.SYSTEM,
            detail={"channel": change.channel, "calls": calls, "failed_percent": failed},
        )
    return change


def _move(session: Session, row: sa.RowMapping, state: str, values: dict[str, object]) -> None:
    _note(session, row, values | {"state": state, "since": sa.func.clock_timestamp()})


def _note(session: Session, row: sa.RowMapping, values: dict[str, object]) -> None:
    session.execute(
        sa.update(ProviderState)
        .where(ProviderState.channel == row["channel"], ProviderState.provider == row["provider"])
        .values(**values, looked_at=sa.func.clock_timestamp())
        .execution_options(synchronize_session=False)
    )


_TRIAL = sa.text(
    """
    UPDATE provider_states SET trials = trials - 1
    WHERE channel = :channel AND provider = :provider AND state = 'trying' AND trials > 0
    RETURNING trials
    """
)


def take_trial(session: Session, channel: Channel, provider: str) -> bool:
    """One of the few calls that may test a provider that was down, in the transaction that opens the attempt."""
    values = {"channel": str(channel), "provider": provider}
    return session.execute(_TRIAL, values).one_or_none() is not None


def states(session: Session) -> list[ProviderState]:
    """Every provider that the scheduler was set up with, in the order in which each channel asks them."""
    return list(
        session.scalars(
            sa.select(ProviderState)
            .order_by(ProviderState.channel, ProviderState.place, ProviderState.provider)
            .execution_options(populate_existing=True)
        )
    )


@dataclass(frozen=True, slots=True)
class SenderRoute:
    """A sender as the choice of a route sees it."""

    id: int
    channel: Channel
    provider: str
    address: str
    kind: str
    rate: float  # segments a second
    fallback: int | None


@dataclass(frozen=True, slots=True)
class Seen:
    """All that a worker must know to choose, read in one go."""

    states: Mapping[tuple[Channel, str], tuple[str, int, datetime]]  # → state, trials left, since when
    senders: Mapping[int, SenderRoute]
    braked: frozenset[int]  # senders whose bulk mail is held


_SENDERS = sa.text(
    """
    SELECT s.id, s.channel, s.provider, s.address, s.kind, s.segments_per_second, f.id,
        s.channel = 'email' AND EXISTS (
            SELECT 1 FROM brakes b
            WHERE b.released_at IS NULL AND b.domain = lower(split_part(s.address, '@', 2))
        )
    FROM senders s LEFT JOIN senders f ON f.id = s.fallback_sender_id AND f.active
    """
)


def read(session: Session) -> Seen:
    """States, senders and brakes: some dozens of rows, for a worker to keep for a second."""
    senders = session.execute(_SENDERS).all()
    return Seen(
        {(Channel(s.channel), s.provider): (s.state, s.trials, s.since) for s in states(session)},
        {r[0]: SenderRoute(r[0], Channel(r[1]), *r[2:7]) for r in senders},
        frozenset(r[0] for r in senders if r[7]),
    )
