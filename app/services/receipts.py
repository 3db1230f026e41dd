"""Receipts: raw events are committed first and merged later, in bulk and in id order.

Merging twice changes nothing: a status moves only upwards. A receipt that comes before its row
waits. One event of a SendGrid call proves that the whole call was taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.receipts import RawEvent
from app.services import listening, outgoing, unreachable
from app.services.ledger import evidence
from messaging.types import DeliveryRef, DeliveryStatus, Receipt

LONGEST_BODY = 2_000_000  # characters of one webhook call
MOST_BYTES = 1_500_000  # of raw events in one transaction: about 5,000 receipts
MOST_EVENTS = 2_000
# Texts from people in one transaction: each may be thanked, and the counter of what that costs stays locked until
# its end, while somebody on the site waits for a code.
MOST_TEXTS = 20

Parser = Callable[[str], "Parsed"]


@dataclass(frozen=True, slots=True)
class Parsed:
    """What one raw event held."""

    receipts: Sequence[Receipt] = ()
    problem: str | None = None


@dataclass(slots=True)
class Merged:
    """What a merge did: raw events read, deliveries moved, receipts that wait, suppressions.

    ``more``: it took as much as one transaction takes, or texts before receipts, so that there may be more.
    """

    events: int = 0
    moved: int = 0
    early: int = 0
    suppressed: int = 0
    problems: int = 0
    more: bool = False


def store(session: Session, source: str, body: str) -> None:
    """Keep a webhook call as it came. The caller commits, then answers, then rings."""
    session.execute(sa.insert(RawEvent).values(source=source, body=body))


# A text from a resident may be a STOP: it never waits behind receipts.
_TAKE = """
    SELECT id, octet_length(body) FROM raw_events
    WHERE merged_at IS NULL AND source {which} 'twilio-inbound'
    ORDER BY id LIMIT :most FOR UPDATE {skip}
"""
# Texts in their order, one merger at a time: a STOP must not overtake the START before it.
_TAKE_INBOUND = sa.text(_TAKE.format(which="=", skip=""))
_TAKE_RECEIPTS = sa.text(_TAKE.format(which="<>", skip="SKIP LOCKED"))
_READ = sa.text(
    "SELECT id, source, body, received_at FROM raw_events WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id"
)
_MERGED = sa.text(
    """
    UPDATE raw_events SET merged_at = now(), problem = r.problem
    FROM unnest(CAST(:ids AS bigint[]), CAST(:problems AS text[])) AS r(id, problem)
    WHERE raw_events.id = r.id
    """
)


def merge(session: Session, parsers: Mapping[str, Parser], most: int = MOST_EVENTS) -> Merged:
    """Merge up to ``most`` raw events, texts from people first.

    ``parsers``: source → function from body to Parsed, for every source. An
    event that cannot be read is kept with its problem, and stops no other.
    """
    done = Merged()
    texts, rows = True, _take(session, _TAKE_INBOUND, min(most, MOST_TEXTS), done)
    if not rows:
        texts, rows = False, _take(session, _TAKE_RECEIPTS, most, done)
    receipts: list[Receipt] = []
    problems: dict[int, str | None] = {}
    unread: set[tuple[str, datetime]] = set()
    for event_id, source, body, received_at in rows:
        parsed = parsers[source](body)
        receipts.extend(parsed.receipts)
        problems[event_id] = parsed.problem
        if parsed.problem is not None:
            done.problems += 1
            unread.add((source, received_at))
    done.events = len(problems)
    done.more = done.more or texts
    _apply(session, receipts, done)
    # Of a service message nothing is merged, but who complains about one is left alone.
    reported = {(r.ref.dispatch, r.suppress) for r in receipts if r.suppress}
    done.suppressed += outgoing.suppress(session, (r for r in reported if r[1] != unreachable.STOP))
    done.suppressed += unreachable.stop_by_message(
        session, [message for message, why in reported if why == unreachable.STOP]
    )
    if unread:
        listening.note(session, unread)  # what cannot be read may have spoken of anybody
    if problems:
        session.execute(_MERGED, {"ids": list(problems), "problems": list(problems.values())})
    return done


def _apply(session: Session, found: Sequence[Receipt], done: Merged) -> None:
    told = evidence.apply(session, found)
    done.moved += told.moved
    done.early += told.early
    done.suppressed += unreachable.suppress(session, told.known)


def _take(session: Session, which: sa.TextClause, most: int, done: Merged) -> Sequence[Any]:
    """Lock raw events that nobody else holds, as many as fit; what was locked beyond is free at the commit."""
    ids: list[int] = []
    room = MOST_BYTES
    waiting = session.execute(which, {"most": most}).all()
    done.more = len(waiting) == most
    for event_id, size in waiting:
        if room <= 0:
            done.more = True
            break
        ids.append(event_id)
        room -= size
    return session.execute(_READ, {"ids": ids}).all() if ids else []


_EARLY = sa.text(
    """
    DELETE FROM early_receipts e
    USING (
        SELECT e.id FROM early_receipts e
        JOIN batches b ON b.dispatch_id = e.dispatch_id AND b.n = e.batch_n
        JOIN deliveries d ON d.dispatch_id = e.dispatch_id AND d.contact_id = b.contact_ids[e.ordinal]
        ORDER BY e.id LIMIT :most
    ) due
    WHERE e.id = due.id
    RETURNING e.dispatch_id, e.batch_n, e.attempt_n, e.ordinal, e.status, e.at, e.provider_ref, e.reason, e.suppress
    """
)


def merge_early(session: Session, most: int = 5_000) -> Merged:
    """Merge receipts that came before their rows, now that the rows are there."""
    done = Merged()
    receipts = [
        Receipt(DeliveryRef(d, b, a, o), DeliveryStatus(status), at, ref, reason, suppress)
        for d, b, a, o, status, at, ref, reason, suppress in session.execute(_EARLY, {"most": most})
    ]
    _apply(session, receipts, done)
    return done
