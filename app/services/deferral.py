"""When messages wait: quiet hours, weekly caps and digests, decided once at the freeze (decision 0026).

The rules are one chain of SQL, which the freeze acts on and a forecast only counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.services import audience
from app.services.audience import Audience


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of those whom a message would go to: who gets it later, in a digest, or not at all because it is over by then."""

    later: int = 0
    digest: int = 0
    too_late: int = 0


HELD = """
    held AS (
        SELECT unnest(CAST(:emails AS bigint[])) AS id, 'email' AS channel
        UNION ALL SELECT unnest(CAST(:phones AS bigint[])), 'sms'
    )
"""
# A week ends when London's clock shows the same time on the same day. It is counted back from the last message that
# is due, even one that still waits: so no seven days anywhere hold more than the cap.
PLAN = """
    asked AS MATERIALIZED (  -- so that each is looked up once
        SELECT h.id, h.channel, p.quiet_from, p.quiet_until, p.weekly_cap, coalesce(p.digest, 'none') AS digest,
            p.digest_hour, p.digest_weekday,
            (
                SELECT date_bin('30 minutes', ((s.at AT TIME ZONE 'Europe/London') + interval '7 days')
                    AT TIME ZONE 'Europe/London' + interval '30 minutes' - interval '1 microsecond', '2000-01-01 00:00Z')
                FROM contact_sends s WHERE s.contact_id = h.id AND s.at > CAST(:starts AS timestamptz) - interval '8 days'
                ORDER BY s.at DESC OFFSET p.weekly_cap - 1 LIMIT 1
            ) AS room_at
        FROM held h LEFT JOIN contact_preferences p ON p.contact_id = h.id
    ), ruled AS (
        SELECT asked.*, greatest(CAST(:starts AS timestamptz), CASE WHEN weekly_cap IS NOT NULL THEN room_at END) AS from_at,
            channel = 'email' AND (digest <> 'none' OR (weekly_cap IS NOT NULL AND coalesce(room_at > :starts, false)))
                AS digested
        FROM asked
    ), joined AS MATERIALIZED (
        SELECT ruled.*, CASE WHEN digested THEN (
                SELECT min(i.due_at) FROM digest_items i WHERE i.contact_id = ruled.id
                  AND i.controller_id = :controller AND i.state = 'waiting' AND i.due_at > :starts
            ) END AS open_digest
        FROM ruled
    ), slots AS MATERIALIZED (
        -- Many wait for the same moment: the clock is asked once for all of them.
        SELECT k.*, quiet_end(
            CASE WHEN k.hour < 0 THEN k.from_at
                ELSE digest_at(k.from_at, CAST(k.hour AS smallint), CAST(nullif(k.weekday, -1) AS smallint)) END,
            CAST(nullif(k.q_from, -1) AS smallint), CAST(nullif(k.q_until, -1) AS smallint)) AS at
        FROM (
            SELECT DISTINCT from_at, coalesce(digest_hour, -1) AS hour, coalesce(digest_weekday, -1) AS weekday,
                coalesce(quiet_from, -1) AS q_from, coalesce(quiet_until, -1) AS q_until
            FROM joined
        ) k
    ), planned AS MATERIALIZED (
        SELECT j.*, coalesce(j.open_digest, s.at) AS at
        FROM joined j JOIN slots s ON s.from_at = j.from_at AND s.hour = coalesce(j.digest_hour, -1)
            AND s.weekday = coalesce(j.digest_weekday, -1) AND s.q_from = coalesce(j.quiet_from, -1)
            AND s.q_until = coalesce(j.quiet_until, -1)
    )
"""
# A digest that is due is not planned anew; only who has quiet hours now still gets it after them.
PLAN_DIGEST = """
    planned AS (
        SELECT h.id, h.channel, p.quiet_from, p.quiet_until, false AS digested,
            CASE WHEN p.quiet_from IS NULL THEN CAST(:starts AS timestamptz)
                ELSE quiet_end(:starts, p.quiet_from, p.quiet_until) END AS at
        FROM held h LEFT JOIN contact_preferences p ON p.contact_id = h.id
    )
"""
TAKEN = """
    digests AS (
        INSERT INTO digest_items (dispatch_id, contact_id, controller_id, due_at)
        SELECT :dispatch, id, :controller, at FROM planned WHERE digested
    ), counted AS (
        -- A digest counts once, however much goes into it; what is over before it could leave does not count.
        INSERT INTO contact_sends (contact_id, at, dispatch_id)
        SELECT id, at, :dispatch FROM planned
        WHERE weekly_cap IS NOT NULL AND CASE WHEN digested THEN open_digest IS NULL ELSE at < :expires_at END
    )
"""
_FORECAST = sa.text(
    audience.RECIPIENTS
    + f"""
    , held AS (
        SELECT r.id, r.channel FROM recipients r JOIN contact_preferences p ON p.contact_id = r.id
    ), {PLAN}
    SELECT count(*) FILTER (WHERE NOT digested AND at > :starts AND at < :expires_at),
        count(*) FILTER (WHERE digested), count(*) FILTER (WHERE NOT digested AND at >= :expires_at)
    FROM planned
    """
)


def forecast(session: Session, who: Audience, *, starts: datetime, expires_at: datetime) -> Forecast:
    """What a freeze of the bulk lane would put off now; nothing is taken."""
    values = audience.parameters(session, who) | {"starts": starts, "expires_at": expires_at}
    return Forecast(*session.execute(_FORECAST, values).one())


_PUT_OFF = sa.text(
    """
    WITH asleep AS (
        SELECT dispatch_id, n, CAST(quiet_end(greatest(CAST(:now AS timestamptz), not_before), quiet_from, quiet_until)
            AS timestamptz) AS wakes
        FROM batches WHERE state = 'waiting' AND not_after <= :now
        ORDER BY dispatch_id, n LIMIT 1000 FOR UPDATE SKIP LOCKED
    ), moved AS (
        UPDATE batches b
        SET not_before = least(wakes, b.expires_at),
            not_after = CASE WHEN wakes < b.expires_at THEN quiet_start(wakes, b.quiet_from, b.quiet_until) END
        FROM asleep a WHERE b.dispatch_id = a.dispatch_id AND b.n = a.n
        RETURNING b.dispatch_id, b.contact_ids, b.not_before
    ), counted AS (
        -- Those with a cap get their next one a week after this one leaves, not after it should have left.
        UPDATE contact_sends s SET at = m.not_before
        FROM moved m CROSS JOIN LATERAL unnest(m.contact_ids) AS u(contact_id)
        WHERE s.contact_id = u.contact_id AND s.dispatch_id = m.dispatch_id AND s.at < m.not_before
    )
    SELECT count(*) FROM moved
    """
)


def put_off(session: Session, *, now: datetime) -> int:
    """Batches that did not leave before their people's quiet hours began wait until those end; how many."""
    done: int = session.execute(_PUT_OFF, {"now": now}).scalar_one()
    return done
