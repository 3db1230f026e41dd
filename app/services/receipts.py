"""Receipts: raw events are committed first and merged later, in bulk and in id order.

Merging twice changes nothing: a status moves only upwards. A receipt that comes before its row
waits. One event of a SendGrid call proves that the whole call was taken.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.models.receipts import RawEvent
from app.services import outgoing
from app.services.ledger import results
from messaging.types import Channel, DeliveryRef, DeliveryStatus, Receipt

LONGEST_BODY = 2_000_000  # characters of one webhook call
MOST_BYTES = 1_500_000  # of raw events in one transaction: about 5,000 receipts
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
    """What a merge did: raw events read, deliveries moved, receipts that wait, suppressions."""

    events: int = 0
    moved: int = 0
    early: int = 0
    suppressed: int = 0
    problems: int = 0


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
_READ = sa.text("SELECT id, source, body FROM raw_events WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id")
_MERGED = sa.text(
    """
    UPDATE raw_events SET merged_at = now(), problem = r.problem
    FROM unnest(CAST(:ids AS bigint[]), CAST(:problems AS text[])) AS r(id, problem)
    WHERE raw_events.id = r.id
    """
)


def merge(session: Session, parsers: Mapping[str, Parser], most: int = 500) -> Merged:
    """Merge up to ``most`` raw events, texts from people first.

    ``parsers``: source → function from body to Parsed, for every source. An
    event that cannot be read is kept with its problem, and stops no other.
    """
    done = Merged()
    rows = _take(session, _TAKE_INBOUND, min(most, MOST_TEXTS)) or _take(session, _TAKE_RECEIPTS, most)
    receipts: list[Receipt] = []
    problems: dict[int, str | None] = {}
    for event_id, source, body in rows:
        parsed = parsers[source](body)
        receipts.extend(parsed.receipts)
        problems[event_id] = parsed.problem
        done.problems += parsed.problem is not None
    done.events = len(problems)
    _apply(session, receipts, done)
    # Of a service message nothing is merged, but who complains about one is left alone.
    done.suppressed += outgoing.suppress(
        session, ((r.ref.dispatch, r.suppress) for r in receipts if r.suppress)
    )
    if problems:
        session.execute(_MERGED, {"ids": list(problems), "problems": list(problems.values())})
    return done


def _take(session: Session, which: sa.TextClause, most: int) -> Sequence[Any]:
    """Lock raw events that nobody else holds, as many as fit; what was locked beyond is free at the commit."""
    ids: list[int] = []
    room = MOST_BYTES
    for event_id, size in session.execute(which, {"most": most}).all():
        if room <= 0:
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


_MEMBERS = sa.text(
    """
    SELECT b.dispatch_id, b.n, b.contact_ids
    FROM unnest(CAST(:dispatches AS uuid[]), CAST(:batches AS int[])) AS r(dispatch_id, n)
    JOIN batches b USING (dispatch_id, n)
    """
)
# In id order, so that two mergers cannot meet head on.
_LOCK = sa.text(
    """
    SELECT d.dispatch_id, d.contact_id, d.status
    FROM unnest(CAST(:dispatches AS uuid[]), CAST(:contacts AS bigint[])) AS r(dispatch_id, contact_id)
    JOIN deliveries d USING (dispatch_id, contact_id)
    ORDER BY d.dispatch_id, d.contact_id FOR UPDATE OF d
    """
)
_MOVE = sa.text(
    """
    UPDATE deliveries d
    SET status = r.status, reason = nullif(r.reason, ''), at = now(), attempt_n = r.attempt_n,
        provider_ref = coalesce(d.provider_ref, (
            -- An e-mail's names the whole call and stands with the attempt; who was erased gets no name back.
            SELECT r.provider_ref FROM contact_points c WHERE c.id = d.contact_id AND c.channel = 'sms'))
    FROM unnest(CAST(:dispatches AS uuid[]), CAST(:contacts AS bigint[]), CAST(:attempts AS int[]),
        CAST(:statuses AS smallint[]), CAST(:reasons AS text[]), CAST(:refs AS text[]))
        AS r(dispatch_id, contact_id, attempt_n, status, reason, provider_ref)
    WHERE d.dispatch_id = r.dispatch_id AND d.contact_id = r.contact_id
    """
)
_KEEP = sa.text(
    """
    INSERT INTO early_receipts (dispatch_id, batch_n, attempt_n, ordinal, status, reason, suppress, provider_ref, at)
    SELECT * FROM unnest(CAST(:dispatches AS uuid[]), CAST(:batches AS int[]), CAST(:attempts AS int[]),
        CAST(:ordinals AS smallint[]), CAST(:statuses AS smallint[]), CAST(:reasons AS text[]),
        CAST(:suppress AS text[]), CAST(:refs AS text[]), CAST(:ats AS timestamptz[]))
    """
)


def _columns(receipts: Sequence[Receipt]) -> dict[str, object]:
    return {
        "dispatches": [r.ref.dispatch for r in receipts],
        "batches": [r.ref.batch for r in receipts],
        "attempts": [r.ref.attempt for r in receipts],
        "ordinals": [r.ref.ordinal for r in receipts],
        "statuses": [int(r.status) for r in receipts],
        "reasons": [r.reason[:200] for r in receipts],
        "refs": [r.provider_ref and r.provider_ref.replace("\x00", "") for r in receipts],
    }


def _apply(session: Session, receipts: Sequence[Receipt], done: Merged) -> None:
    """Move each delivery to the highest status reported; keep what came before its row."""
    known = _resolve(session, receipts)
    if not known:
        return
    # One receipt per delivery: its highest. The others say nothing more.
    best: dict[tuple[UUID, int], Receipt] = {}
    for contact_id, receipt in known:
        key = (receipt.ref.dispatch, contact_id)
        if key not in best or receipt.status > best[key].status:
            best[key] = receipt
    # Attempts, then deliveries, then batches, each in order: mergers and senders cannot meet head on.
    changes = _prove_taken(session, [r for _, r in known], done)
    keys = list(best)
    where = {"dispatches": [k[0] for k in keys], "contacts": [k[1] for k in keys]}
    was = {(d, c): status for d, c, status in session.execute(_LOCK, where)}
    higher = [k for k in keys if k in was and best[k].status > was[k]]
    if higher:
        values = _columns([best[k] for k in higher])
        session.execute(_MOVE, values | {"contacts": [k[1] for k in higher]})
    done.moved += len(higher)
    for key in higher:
        counters = changes[key[0], best[key].ref.batch]
        if was[key] in results.COUNTERS:
            counters[results.COUNTERS[DeliveryStatus(was[key])]] -= 1
        counters[results.COUNTERS[best[key].status]] += 1
    for (dispatch, batch), counters in sorted(changes.items()):
        results.count(session, dispatch, batch, counters)
    early = [best[k] for k in keys if k not in was]
    if early:
        session.execute(
            _KEEP, _columns(early) | {"suppress": [r.suppress for r in early], "ats": [r.at for r in early]}
        )
        done.early += len(early)
    done.suppressed += _suppress(session, known)


def _resolve(session: Session, receipts: Sequence[Receipt]) -> list[tuple[int, Receipt]]:
    """Contact ids by way of the frozen arrays; a reference that leads nowhere is somebody's invention."""
    touched = sorted({(r.ref.dispatch, r.ref.batch) for r in receipts if r.ref.batch < 1 << 31})
    if not touched:
        return []
    values = {"dispatches": [t[0] for t in touched], "batches": [t[1] for t in touched]}
    members = {(d, n): ids for d, n, ids in session.execute(_MEMBERS, values)}
    found = []
    for receipt in receipts:
        ids = members.get((receipt.ref.dispatch, receipt.ref.batch), ())
        if 1 <= receipt.ref.ordinal <= len(ids) and receipt.ref.attempt < 1 << 31:
            found.append((ids[receipt.ref.ordinal - 1], receipt))
    return found


_PROVE = sa.text(
    """
    WITH proof AS (
        SELECT DISTINCT * FROM unnest(CAST(:dispatches AS uuid[]), CAST(:batches AS int[]), CAST(:attempts AS int[]))
            AS r(dispatch_id, batch_n, n)
    ), doubted AS (
        SELECT a.dispatch_id, a.batch_n, a.n
        FROM proof p JOIN attempts a USING (dispatch_id, batch_n, n)
        JOIN batches b ON b.dispatch_id = p.dispatch_id AND b.n = p.batch_n AND b.channel = :email
        WHERE a.outcome = 'in_doubt'
        ORDER BY a.dispatch_id, a.batch_n, a.n FOR UPDATE OF a
    ), taken AS (
        UPDATE attempts a SET outcome = 'taken', reason = 'proved by an event'
        FROM doubted d
        WHERE a.dispatch_id = d.dispatch_id AND a.batch_n = d.batch_n AND a.n = d.n
        RETURNING a.dispatch_id, a.batch_n, a.n
    ), was AS (
        SELECT d.dispatch_id, d.contact_id FROM taken t
        JOIN batches b ON b.dispatch_id = t.dispatch_id AND b.n = t.batch_n
        CROSS JOIN LATERAL unnest(b.contact_ids) AS u(contact_id)
        JOIN deliveries d ON d.dispatch_id = t.dispatch_id AND d.contact_id = u.contact_id
            AND d.attempt_n = t.n AND d.status = 10
        ORDER BY d.dispatch_id, d.contact_id FOR UPDATE OF d
    ), moved AS (
        UPDATE deliveries d SET status = 30, reason = NULL, at = now()
        FROM was WHERE d.dispatch_id = was.dispatch_id AND d.contact_id = was.contact_id
        RETURNING d.dispatch_id, d.batch_n
    )
    SELECT dispatch_id, batch_n, count(*) FROM moved GROUP BY 1, 2 ORDER BY 1, 2
    """
)


def _prove_taken(
    session: Session, receipts: Sequence[Receipt], done: Merged
) -> dict[tuple[UUID, int], Counter[str]]:
    """Any one event carrying our attempt: the whole call was taken. What that changes per batch."""
    changes: dict[tuple[UUID, int], Counter[str]] = defaultdict(Counter)
    attempts = sorted({(r.ref.dispatch, r.ref.batch, r.ref.attempt) for r in receipts})
    values = {
        "dispatches": [a[0] for a in attempts],
        "batches": [a[1] for a in attempts],
        "attempts": [a[2] for a in attempts],
        "email": str(Channel.EMAIL),
    }
    for dispatch, batch, n in session.execute(_PROVE, values).all():
        done.moved += n
        changes[dispatch, batch].update(in_doubt=-n, accepted=n)
    return changes


# A bounce says that the address is dead, for everybody; a complaint or an unsubscribe is about
# the controller who wrote.
_SUPPRESS = sa.text(
    """
    INSERT INTO suppressions (channel, digest, digest_key, controller_id, reason)
    SELECT DISTINCT c.channel, c.digest, c.digest_key,
        CASE CAST(:why AS text) WHEN 'bounce' THEN NULL ELSE d.controller_id END, CAST(:why AS text)
    FROM unnest(CAST(:contacts AS bigint[])) AS r(contact_id)
    JOIN dispatches d ON d.id = :dispatch
    JOIN contact_points c ON c.id = r.contact_id
    ORDER BY 1, 2
    -- A complaint outranks an unsubscribe: a fresh yes lifts the one and not the other.
    ON CONFLICT (digest, channel, controller_id, topic, sender_id) WHERE lifted_at IS NULL
        DO UPDATE SET reason = excluded.reason
        WHERE suppressions.reason IN ('left', 'unsubscribe') AND excluded.reason = 'complaint'
    """
)


def _suppress(session: Session, known: Sequence[tuple[int, Receipt]]) -> int:
    """Put out of reach whoever's receipts say so; on the record by dispatch and reason."""
    groups: dict[tuple[UUID, str], list[int]] = defaultdict(list)
    for contact_id, receipt in known:
        if receipt.suppress:
            groups[receipt.ref.dispatch, receipt.suppress].append(contact_id)
    total = 0
    # The same order everywhere: two mergers may meet the same address.
    for (dispatch, why), contacts in sorted(groups.items(), key=lambda g: (g[0][1], g[0][0])):
        added: int = session.execute(  # type: ignore[attr-defined]
            _SUPPRESS, {"dispatch": dispatch, "why": why, "contacts": contacts}
        ).rowcount
        if added:
            audit.record(
                session,
                event="suppression:add",
                subject=f"dispatch:{dispatch}",
                actor=audit.Actor(audit.ActorKind.PROVIDER, origin="worker:receipts"),
                detail={"reason": why, "added": added},
            )
        total += added
    return total
