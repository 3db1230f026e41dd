"""Roles on areas that end: granted on what follows, for the term that they had; and back.

The old grant is taken, not changed, so that it says who had what until when. Somebody whose grants meet in one area
has one there, as long as the longest of them.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.services.area_changes.links import ROUTES

_APPLY = sa.text(
    """
    WITH old AS (
        SELECT g.* FROM role_grants g
        JOIN area_plan_areas e ON e.area_id = g.area_id AND e.plan_id = :plan AND e.what = 'ended'
        WHERE g.taken_at IS NULL AND g.ends_at > :now
    ), wanted AS (
        SELECT o.staff_id, o.organisation_id, o.role, s.successor_id, min(o.starts_at) AS starts_at,
            max(o.ends_at) AS ends_at, min(o.source) AS source
        FROM old o JOIN area_successors s ON s.area_id = o.area_id GROUP BY 1, 2, 3, 4
    ), met AS (
        SELECT g.id, to_jsonb(g) AS was, w.ends_at FROM role_grants g
        JOIN wanted w ON w.staff_id = g.staff_id AND w.role = g.role AND w.successor_id = g.area_id
        WHERE g.taken_at IS NULL AND w.ends_at > g.ends_at
    ), longer AS (
        UPDATE role_grants g SET ends_at = met.ends_at FROM met WHERE g.id = met.id
        RETURNING met.was, to_jsonb(g) AS now
    ), added AS (
        INSERT INTO role_grants AS g
            (id, staff_id, organisation_id, role, area_id, starts_at, ends_at, source, given_by)
        SELECT gen_random_uuid(), w.staff_id, w.organisation_id, w.role, w.successor_id, w.starts_at, w.ends_at,
            w.source, :by
        FROM wanted w WHERE NOT EXISTS (
            SELECT 1 FROM role_grants g WHERE g.staff_id = w.staff_id AND g.role = w.role
                AND g.area_id = w.successor_id AND g.team_id IS NULL AND g.taken_at IS NULL)
        RETURNING to_jsonb(g) AS now
    ), taken AS (
        UPDATE role_grants g SET taken_at = :now, taken_by = :by FROM old WHERE g.id = old.id
    ), told AS (
        INSERT INTO area_plan_effects (plan_id, follower, was, now)
        SELECT :plan, 'role_grants', to_jsonb(old), CAST(NULL AS jsonb) FROM old
        UNION ALL SELECT :plan, 'role_grants', NULL, added.now FROM added
        UNION ALL SELECT :plan, 'role_grants', longer.was, longer.now FROM longer
    )
    SELECT count(*) FROM old
    """
)
_JOURNAL = f"""
    {ROUTES}, added AS (
        SELECT g.*, CAST(e.now ->> 'ends_at' AS timestamptz) AS meant FROM area_plan_effects e
        JOIN role_grants g ON g.id = CAST(e.now ->> 'id' AS uuid)
        WHERE e.plan_id = :plan AND e.follower = 'role_grants' AND e.was IS NULL AND g.taken_at IS NULL
    )
"""
# Whoever lost what the plan gave them, in between, does not get back what they had before.
_BACK = sa.text(
    f"""
    WITH {_JOURNAL}, old AS (
        SELECT g.*, CAST(NULL AS timestamptz) AS meant FROM area_plan_effects e
        JOIN role_grants g ON g.id = CAST(e.was ->> 'id' AS uuid)
        WHERE e.plan_id = :plan AND e.follower = 'role_grants' AND e.now IS NULL AND g.taken_by = :by
    ), standing AS (
        SELECT o.id, max(a.ends_at) FILTER (WHERE a.ends_at <> a.meant) AS otherwise
        FROM old o JOIN routes r ON r.from_id = o.area_id
        JOIN role_grants g ON g.staff_id = o.staff_id AND g.role = o.role AND g.area_id = r.to_id
            AND g.taken_at IS NULL
        LEFT JOIN added a ON a.id = g.id
        GROUP BY o.id
    ), reopened AS (
        UPDATE role_grants g SET taken_at = NULL, taken_by = NULL, ends_at = coalesce(s.otherwise, g.ends_at)
        FROM standing s WHERE g.id = s.id RETURNING 1
    ), ended AS (
        UPDATE role_grants g SET taken_at = :now, taken_by = :by FROM added a WHERE g.id = a.id
    ), shorter AS (
        UPDATE role_grants g SET ends_at = CAST(e.was ->> 'ends_at' AS timestamptz) FROM area_plan_effects e
        WHERE e.plan_id = :plan AND e.follower = 'role_grants' AND e.was IS NOT NULL AND e.now IS NOT NULL
            AND g.id = CAST(e.was ->> 'id' AS uuid) AND g.ends_at = CAST(e.now ->> 'ends_at' AS timestamptz)
    )
    SELECT count(*) FROM reopened
    """
)
_LATER = sa.text(
    """
    WITH later AS (
        SELECT g.* FROM role_grants g
        JOIN area_plan_areas b ON b.area_id = g.area_id AND b.plan_id = :plan AND b.what = 'begun'
        WHERE g.taken_at IS NULL AND g.ends_at > :now
    ), back AS (
        INSERT INTO role_grants (id, staff_id, organisation_id, role, area_id, starts_at, ends_at, source, given_by)
        SELECT gen_random_uuid(), l.staff_id, l.organisation_id, l.role, s.successor_id, min(l.starts_at),
            max(l.ends_at), min(l.source), min(l.given_by)
        FROM later l JOIN area_successors s ON s.area_id = l.area_id GROUP BY 2, 3, 4, 5
        ON CONFLICT DO NOTHING
    ), taken AS (
        UPDATE role_grants g SET taken_at = :now, taken_by = :by FROM later l WHERE g.id = l.id
    )
    SELECT count(*) FROM later
    """
)


def apply(session: Session, plan: UUID, now: datetime) -> int:
    """Grant on the successors what was granted on areas that ended. How many grants followed."""
    values = {"plan": plan, "now": now, "by": f"plan:{plan}"}
    return int(session.execute(_APPLY, values).scalar_one())


def reverse(session: Session, plan: UUID, now: datetime) -> int:
    """Give back what was held before; what was granted in between follows to where its area came from."""
    values = {"plan": plan, "now": now, "by": f"plan:{plan}"}
    back = session.execute(_BACK, values).scalar_one()
    return int(back) + int(session.execute(_LATER, values).scalar_one())
