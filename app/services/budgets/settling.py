"""Settling: what a dispatch reserved and did not use is given back when it ends, once."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.services.budgets.reserving import ADD, LOCK_NOT_AVAILABLE

MOST = 500
PATIENCE = "200ms"

# A dispatch's part of the counters is what it reserved until it ends, and from then on what it used. Taken by the
# provider and in doubt is used; stopped, erased, expired and refused is not. The difference is what moves, so that a
# dispatch that goes on once more (a doubt was disproved) is settled once more.
_SETTLE = sa.text(
    f"""
    WITH due AS (
        SELECT r.*, d.finished_at IS NOT NULL AS ended
        FROM reservations r JOIN dispatches d ON d.id = r.dispatch_id
        WHERE r.settled_at IS NULL AND (d.finished_at IS NOT NULL OR NOT r.counted)
        ORDER BY r.dispatch_id LIMIT :most FOR UPDATE OF r SKIP LOCKED
    ), used AS (
        SELECT sent.dispatch_id, coalesce(sum(n) FILTER (WHERE channel = 'email'), 0) AS emails,
            coalesce(sum(n * per) FILTER (WHERE channel = 'sms'), 0) AS segments
        FROM (
            SELECT due.dispatch_id, b.channel, b.reserved_segments / b.size AS per,
                b.accepted + b.delivered + b.bounced + b.complained + b.in_doubt AS n
            FROM due LEFT JOIN batches b ON b.dispatch_id = due.dispatch_id WHERE due.ended
        ) sent GROUP BY sent.dispatch_id
    ), target AS (
        SELECT due.*, used.emails AS used_emails, used.segments AS used_segments,
            ceil((used.emails * due.email_pence + used.segments * due.segment_pence) * 100) AS used_cost
        FROM due LEFT JOIN used USING (dispatch_id)
    ), settled AS (
        UPDATE reservations r
        SET counted = true, settled_at = CASE WHEN t.ended THEN clock_timestamp() END,
            spent_emails = t.used_emails, spent_segments = t.used_segments, spent_cost = t.used_cost
        FROM target t WHERE r.dispatch_id = t.dispatch_id
        RETURNING r.organisation_id, r.day,
            coalesce(t.used_emails, t.emails)
                - CASE WHEN t.counted THEN coalesce(t.spent_emails, t.emails) ELSE 0 END AS emails,
            coalesce(t.used_segments, t.segments)
                - CASE WHEN t.counted THEN coalesce(t.spent_segments, t.segments) ELSE 0 END AS segments,
            coalesce(t.used_cost, t.cost) - CASE WHEN t.counted THEN coalesce(t.spent_cost, t.cost) ELSE 0 END AS cost
    ), change AS (
        SELECT organisation_id, p.period, p.starts, sum(emails) AS emails, sum(segments) AS segments, sum(cost) AS cost
        FROM settled s
        CROSS JOIN LATERAL (VALUES ('day', s.day), ('month', CAST(date_trunc('month', s.day) AS date)))
            AS p(period, starts)
        GROUP BY 1, 2, 3
    ), added AS ({ADD.format(change="change")} RETURNING 1)
    SELECT count(*) FROM settled
    """
)


def settle(session: Session, most: int = MOST) -> int:
    """Give back what ended dispatches did not use, and count those of risk to life; how many were settled.

    To do it again moves nothing. A counter that a freeze holds is not waited for: the next call finds the same.
    """
    try:
        with session.begin_nested():
            session.execute(sa.text(f"SET LOCAL lock_timeout = '{PATIENCE}'"))
            settled: int = session.execute(_SETTLE, {"most": most}).scalar_one()
            session.execute(sa.text("SET LOCAL lock_timeout = DEFAULT"))
    except sa.exc.OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        return 0
    return settled
