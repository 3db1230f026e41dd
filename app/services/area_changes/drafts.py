"""Drafts for areas that end: they are for what follows. What was sent says for ever what it said."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

# Binds what: whose areas' codes are replaced by those of their successors.
_FOLLOW = sa.text(
    """
    WITH codes AS (
        SELECT a.code, array_agg(n.code ORDER BY s.share DESC, n.code) AS successors
        FROM area_plan_areas e JOIN areas a ON a.id = e.area_id
        JOIN area_successors s ON s.area_id = a.id JOIN areas n ON n.id = s.successor_id
        WHERE e.plan_id = :plan AND e.what = :what GROUP BY a.code
    ), old AS (
        SELECT d.id, d.audience FROM alerts d, (SELECT array_agg(code) AS all FROM codes) every
        WHERE d.state = 'draft' AND d.sent_at IS NULL
            AND (jsonb_exists_any(d.audience -> 'areas', every.all)
                OR jsonb_exists_any(d.audience -> 'except_areas', every.all))
    ), new AS (
        SELECT o.id, o.audience AS was, (
            SELECT jsonb_object_agg(part.key, CASE WHEN part.key NOT IN ('areas', 'except_areas') THEN part.value ELSE (
                SELECT coalesce(jsonb_agg(t.code ORDER BY t.place, t.nth), '[]') FROM (
                    SELECT DISTINCT ON (coalesce(x.code, one.code)) coalesce(x.code, one.code) AS code,
                        one.place, coalesce(x.nth, 0) AS nth
                    FROM jsonb_array_elements_text(part.value) WITH ORDINALITY one(code, place)
                    LEFT JOIN codes c ON c.code = one.code
                    LEFT JOIN LATERAL unnest(c.successors) WITH ORDINALITY x(code, nth) ON true
                    ORDER BY 1, 2, 3
                ) t) END)
            FROM jsonb_each(o.audience) part) AS now
        FROM old o
    ), told AS (
        INSERT INTO area_plan_effects (plan_id, follower, was, now)
        SELECT :plan, 'drafts', jsonb_build_object('id', id, 'audience', was),
            jsonb_build_object('id', id, 'audience', now) FROM new WHERE :what = 'ended'
    ), changed AS (
        UPDATE alerts d SET audience = new.now, changed_at = :at FROM new WHERE d.id = new.id
    )
    SELECT count(*) FROM new
    """
)
_BACK = sa.text(
    """
    WITH back AS (
        UPDATE alerts d SET audience = e.was -> 'audience', changed_at = :at FROM area_plan_effects e
        WHERE e.plan_id = :plan AND e.follower = 'drafts' AND d.id = CAST(e.was ->> 'id' AS uuid)
            AND d.state = 'draft' AND d.sent_at IS NULL AND d.audience = e.now -> 'audience'
        RETURNING 1
    )
    SELECT count(*) FROM back
    """
)


def apply(session: Session, plan: UUID, now: datetime) -> int:
    """How many drafts followed."""
    return int(session.execute(_FOLLOW, {"plan": plan, "what": "ended", "at": now}).scalar_one())


def reverse(session: Session, plan: UUID, now: datetime) -> int:
    """Drafts as they were, unless somebody changed them in between: those follow like new ones."""
    back = session.execute(_BACK, {"plan": plan, "at": now}).scalar_one()
    return int(back) + int(session.execute(_FOLLOW, {"plan": plan, "what": "begun", "at": now}).scalar_one())
