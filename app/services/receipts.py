"""Receipts: raw events are committed first and merged later, in bulk and in id order.

Merging twice changes nothing: a status moves only upwards. A receipt that comes before its row
waits. One event of a SendGrid call proves that the whole call was taken.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.receipts import RawEvent
from app.services.ledger import results
from messaging.types import Channel, DeliveryStatus, Receipt

LONGEST_BODY = 2_000_000  # characters of one webhook call

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
    inbound: list[str] = field(default_factory=list)


def store(session: Session, source: str, body: str) -> None:
    """Keep a webhook call as it came. The caller commits, then answers, then rings."""
    session.execute(sa.insert(RawEvent).values(source=source, body=body))


_TAKE = sa.text(
    """
    SELECT id, source, body FROM raw_events
    WHERE merged_at IS NULL ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED
    """
)
_MERGED = sa.text(
    """
    UPDATE raw_events SET merged_at = now(), problem = r.problem
    FROM unnest(CAST(:ids AS bigint[]), CAST(:problems AS text[])) AS r(id, problem)
    WHERE raw_events.id = r.id
    """
)


def merge(session: Session, parsers: Mapping[str, Parser], most: int = 500) -> Merged:
    """Merge up to ``most`` raw events, then the early receipts whose rows have appeared.

    ``parsers``: source → function from body to Parsed; a source without one is left alone. An
    event that cannot be read is kept with its problem, and stops no other.
    """
    done = Merged()
    rows = session.execute(_TAKE, {"most": most}).all()
    receipts: list[Receipt] = []
    problems: dict[int, str | None] = {}
    for event_id, source, body in rows:
        if source not in parsers:
            continue
        parsed = parsers[source](body)
        receipts.extend(parsed.receipts)
        problems[event_id] = parsed.problem
        done.problems += parsed.problem is not None
    done.events = len(problems)
    _apply(session, receipts, done)
    if problems:
        session.execute(_MERGED, {"ids": list(problems), "problems": list(problems.values())})
    return done


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
    from messaging.types import DeliveryRef

    done = Merged()
    receipts = [
        Receipt(DeliveryRef(d, b, a, o), DeliveryStatus(status), at, ref, reason, suppress)
        for d, b, a, o, status, at, ref, reason, suppress in session.execute(_EARLY, {"most": most})
    ]
    _apply(session, receipts, done)
    return done


# One row per delivery (its highest status), found through the frozen array; locked in id order so
# that two mergers cannot meet head on.
_APPLY = sa.text(
    """
    WITH input AS (
        SELECT * FROM unnest(CAST(:dispatches AS uuid[]), CAST(:batches AS int[]), CAST(:attempts AS int[]),
            CAST(:ordinals AS int[]), CAST(:statuses AS smallint[]), CAST(:reasons AS text[]),
            CAST(:refs AS text[]), CAST(:places AS int[]))
            AS r(dispatch_id, batch_n, attempt_n, ordinal, status, reason, provider_ref, place)
    ), touched AS (
        SELECT DISTINCT dispatch_id, batch_n FROM input
    ), members AS (
        SELECT t.dispatch_id, t.batch_n, u.contact_id, u.ordinal
        FROM touched t JOIN batches b ON b.dispatch_id = t.dispatch_id AND b.n = t.batch_n
        CROSS JOIN LATERAL unnest(b.contact_ids) WITH ORDINALITY AS u(contact_id, ordinal)
    ), best AS (
        SELECT DISTINCT ON (i.dispatch_id, i.batch_n, i.ordinal) i.*, m.contact_id
        FROM input i JOIN members m USING (dispatch_id, batch_n, ordinal)
        ORDER BY i.dispatch_id, i.batch_n, i.ordinal, i.status DESC
    ), was AS (
        SELECT d.dispatch_id, d.contact_id, d.status FROM deliveries d
        JOIN best USING (dispatch_id, contact_id)
        ORDER BY d.dispatch_id, d.contact_id FOR UPDATE OF d
    ), moved AS (
        UPDATE deliveries d
        SET status = best.status, reason = nullif(best.reason, ''), at = now(), attempt_n = best.attempt_n,
            provider_ref = coalesce(d.provider_ref, best.provider_ref)
        FROM best JOIN was USING (dispatch_id, contact_id)
        WHERE d.dispatch_id = best.dispatch_id AND d.contact_id = best.contact_id AND best.status > was.status
        RETURNING d.dispatch_id, best.batch_n, was.status AS old, d.status AS new
    ), changes AS (
        SELECT dispatch_id, batch_n, old, new, count(*) AS n FROM moved GROUP BY 1, 2, 3, 4
    )
    SELECT 'change', dispatch_id, batch_n, old, new, n, NULL::bigint FROM changes
    UNION ALL
    SELECT 'early', b.dispatch_id, b.batch_n, NULL, NULL, i.place, NULL FROM best b
        JOIN input i USING (dispatch_id, batch_n, ordinal)
        LEFT JOIN was USING (dispatch_id, contact_id) WHERE was.contact_id IS NULL
    """.replace("NULL::bigint", "CAST(NULL AS bigint)")
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
        "refs": [r.provider_ref for r in receipts],
    }


def _apply(session: Session, receipts: Sequence[Receipt], done: Merged) -> None:
    # Ordinals of ours fit their column; anything else is somebody's invention.
    receipts = [r for r in receipts if 1 <= r.ref.ordinal <= 1_000]
    if not receipts:
        return
    changes: dict[tuple[UUID, int], Counter[str]] = defaultdict(Counter)
    early: list[Receipt] = []
    values = _columns(receipts) | {"places": list(range(len(receipts)))}
    for what, dispatch, batch, old, new, n, _ in session.execute(_APPLY, values).all():
        if what == "early":
            early.append(receipts[n])
            continue
        done.moved += n
        if old in results.COUNTERS:
            changes[dispatch, batch][results.COUNTERS[DeliveryStatus(old)]] -= n
        changes[dispatch, batch][results.COUNTERS[DeliveryStatus(new)]] += n
    for (dispatch, batch), counters in sorted(changes.items()):
        results.count(session, dispatch, batch, counters)
    if early:
        session.execute(
            _KEEP,
            _columns(early) | {"suppress": [r.suppress for r in early], "ats": [r.at for r in early]},
        )
        done.early = len(early)
    _prove_taken(session, receipts, done)
    done.suppressed += _suppress(session, receipts)


_PROVE = sa.text(
    """
    WITH proof AS (
        SELECT DISTINCT * FROM unnest(CAST(:dispatches AS uuid[]), CAST(:batches AS int[]), CAST(:attempts AS int[]))
            AS r(dispatch_id, batch_n, n)
    ), taken AS (
        UPDATE attempts a SET outcome = 'taken', reason = 'proved by an event'
        FROM proof p JOIN batches b ON b.dispatch_id = p.dispatch_id AND b.n = p.batch_n AND b.channel = :email
        WHERE a.dispatch_id = p.dispatch_id AND a.batch_n = p.batch_n AND a.n = p.n AND a.outcome = 'in_doubt'
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


def _prove_taken(session: Session, receipts: Sequence[Receipt], done: Merged) -> None:
    """Any one event carrying our attempt: the whole call was taken."""
    attempts = sorted({(r.ref.dispatch, r.ref.batch, r.ref.attempt) for r in receipts})
    values = {
        "dispatches": [a[0] for a in attempts],
        "batches": [a[1] for a in attempts],
        "attempts": [a[2] for a in attempts],
        "email": str(Channel.EMAIL),
    }
    for dispatch, batch, n in session.execute(_PROVE, values).all():
        done.moved += n
        results.count(session, dispatch, batch, Counter({"in_doubt": -n, "accepted": n}))


# A bounce says that the address is dead, for everybody; a complaint or an unsubscribe is about
# the controller who wrote.
_SUPPRESS = sa.text(
    """
    INSERT INTO suppressions (channel, digest, digest_key, controller_id, reason)
    SELECT DISTINCT c.channel, c.digest, c.digest_key,
        CASE r.why WHEN 'bounce' THEN NULL ELSE b.controller_id END, r.why
    FROM unnest(CAST(:dispatches AS uuid[]), CAST(:batches AS int[]), CAST(:ordinals AS int[]),
                CAST(:whys AS text[])) AS r(dispatch_id, batch_n, ordinal, why)
    JOIN batches b ON b.dispatch_id = r.dispatch_id AND b.n = r.batch_n
    JOIN contact_points c ON c.id = b.contact_ids[r.ordinal]
    ON CONFLICT DO NOTHING
    """
)


def _suppress(session: Session, receipts: Sequence[Receipt]) -> int:
    why = [r for r in receipts if r.suppress]
    if not why:
        return 0
    values = {
        "dispatches": [r.ref.dispatch for r in why],
        "batches": [r.ref.batch for r in why],
        "ordinals": [r.ref.ordinal for r in why],
        "whys": [r.suppress for r in why],
    }
    added = session.execute(_SUPPRESS, values)
    return int(added.rowcount)  # type: ignore[attr-defined]
