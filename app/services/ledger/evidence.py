"""What receipts say of the ledger: deliveries move upwards, and what comes before its row is kept for it.

Merging twice changes nothing. One event of a SendGrid call proves that the whole call was taken. Locks are taken in
one order everywhere: attempts, deliveries, batches, each in the order of their keys.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.services.ledger import results
from messaging.types import Channel, DeliveryStatus, Receipt

# Why an attempt counts as not taken that nobody has proved so: its provider was silent for long enough. An event
# that comes all the same is stronger.
SILENCE = "silence"


@dataclass(slots=True)
class Moved:
    """Deliveries moved, receipts kept for rows to come, and (contact id, receipt) of all that led somewhere."""

    moved: int = 0
    early: int = 0
    known: Sequence[tuple[int, Receipt]] = ()


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


def apply(session: Session, receipts: Sequence[Receipt]) -> Moved:
    """Move each delivery to the highest status reported; keep what came before its row."""
    done = Moved()
    known = done.known = _resolve(session, receipts)
    if not known:
        return done
    # One receipt per delivery: its highest. The others say nothing more.
    best: dict[tuple[UUID, int], Receipt] = {}
    for contact_id, receipt in known:
        key = (receipt.ref.dispatch, contact_id)
        if key not in best or receipt.status > best[key].status:
            best[key] = receipt
    # Attempts, then deliveries, then batches, each in order: mergers and senders cannot meet head on.
    attempts = sorted({(r.ref.dispatch, r.ref.batch, r.ref.attempt) for _, r in known})
    changes = _prove_taken(session, attempts, done)
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
    session.execute(_HEARD, _stretches(attempts))
    return done


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
        WHERE a.outcome = 'in_doubt' OR (a.outcome = 'not_taken' AND a.reason = :silence)
        ORDER BY a.dispatch_id, a.batch_n, a.n FOR UPDATE OF a
    ), taken AS (
        UPDATE attempts a SET outcome = 'taken', reason = 'proved by an event'
        FROM doubted d
        WHERE a.dispatch_id = d.dispatch_id AND a.batch_n = d.batch_n AND a.n = d.n
        RETURNING a.dispatch_id, a.batch_n, a.n
    ), was AS (
        SELECT d.dispatch_id, d.contact_id, d.status FROM taken t
        JOIN batches b ON b.dispatch_id = t.dispatch_id AND b.n = t.batch_n
        CROSS JOIN LATERAL unnest(b.contact_ids) AS u(contact_id)
        JOIN deliveries d ON d.dispatch_id = t.dispatch_id AND d.contact_id = u.contact_id
            AND d.attempt_n = t.n AND d.status IN (0, 10)
        ORDER BY d.dispatch_id, d.contact_id FOR UPDATE OF d
    ), moved AS (
        UPDATE deliveries d SET status = 30, reason = NULL, at = now()
        FROM was WHERE d.dispatch_id = was.dispatch_id AND d.contact_id = was.contact_id
        RETURNING d.dispatch_id, d.batch_n, was.status
    )
    SELECT dispatch_id, batch_n, count(*), count(*) FILTER (WHERE status = 10) FROM moved GROUP BY 1, 2 ORDER BY 1, 2
    """
)


def _stretches(attempts: Sequence[tuple[UUID, int, int]]) -> dict[str, object]:
    return {
        "dispatches": [a[0] for a in attempts],
        "batches": [a[1] for a in attempts],
        "attempts": [a[2] for a in attempts],
        "email": str(Channel.EMAIL),
    }


def _prove_taken(
    session: Session, attempts: Sequence[tuple[UUID, int, int]], done: Moved
) -> dict[tuple[UUID, int], Counter[str]]:
    """Any one event carrying our attempt: the whole call was taken. What that changes per batch."""
    changes: dict[tuple[UUID, int], Counter[str]] = defaultdict(Counter)
    for dispatch, batch, n, doubted in session.execute(
        _PROVE, _stretches(attempts) | {"silence": SILENCE}
    ).all():
        done.moved += n
        changes[dispatch, batch].update(in_doubt=-doubted, accepted=n)
    return changes


# Which calls of e-mail were heard of at all: without it a silence says nothing.
_HEARD = sa.text(
    """
    INSERT INTO heard_calls (dispatch_id, batch_n, attempt_n, provider, opened_at)
    SELECT a.dispatch_id, a.batch_n, a.n, a.provider, a.opened_at
    FROM unnest(CAST(:dispatches AS uuid[]), CAST(:batches AS int[]), CAST(:attempts AS int[]))
        AS r(dispatch_id, batch_n, n)
    JOIN attempts a USING (dispatch_id, batch_n, n)
    JOIN batches b ON b.dispatch_id = a.dispatch_id AND b.n = a.batch_n AND b.channel = :email
    WHERE NOT EXISTS (
        SELECT 1 FROM heard_calls h WHERE h.dispatch_id = r.dispatch_id AND h.batch_n = r.batch_n AND h.attempt_n = r.n)
    ORDER BY 1, 2, 3
    ON CONFLICT DO NOTHING
    """
)
