"""The postcodes of a plan: which ward each will have, from a release, a table, boundaries or the one successor.

``lay_out`` reckons them anew from what stands today, so it may run as often as one likes before a plan is applied.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.models.area_changes import AreaPlan
from app.services.area_changes.steps import Tomorrow
from geo.boundaries import WardIndex

BLOCK = 50_000

_AS_THEY_ARE = sa.text(
    """
    UPDATE area_plan_postcodes pp
    SET old_at = p.at, old_ward_code = p.ward_code, old_quality = p.quality, old_live = p.live,
        old_release_id = p.release_id
    FROM postcodes p WHERE pp.plan_id = :plan AND p.postcode = pp.postcode
    """
)
# What a whole release does not name any more is in use no more; where it was is still known.
_GONE = sa.text(
    """
    INSERT INTO area_plan_postcodes (plan_id, postcode, at, ward_code, quality, live)
    SELECT :plan, p.postcode, p.at, p.ward_code, p.quality, false FROM postcodes p
    WHERE p.live ON CONFLICT DO NOTHING
    """
)
_BLOCK = sa.text(
    """
    SELECT p.postcode, p.at[0], p.at[1], p.ward_code FROM postcodes p
    WHERE p.postcode > :after AND p.ward_code = ANY(CAST(:wards AS text[])) ORDER BY p.postcode LIMIT :most
    """
)
_PLACED = """
    INSERT INTO area_plan_postcodes (plan_id, postcode, at, ward_code, quality, live)
    SELECT :plan, p.postcode, p.at, given.ward, p.quality, p.live
    FROM unnest(CAST(:postcodes AS text[]), CAST(:wards AS text[])) AS given(postcode, ward)
    JOIN postcodes p ON p.postcode = given.postcode
"""
_BY_BOUNDARY = sa.text(_PLACED + " ON CONFLICT DO NOTHING")
# Of a ward that ends: what no table and no boundary says otherwise about goes to its one successor.
_ONE_SUCCESSOR = sa.text(
    """
    WITH became AS (SELECT * FROM unnest(CAST(:ended AS text[]), CAST(:into AS text[])) AS b(ward, successor))
    INSERT INTO area_plan_postcodes (plan_id, postcode, at, ward_code, quality, live)
    SELECT :plan, p.postcode, p.at, b.successor, p.quality, p.live
    FROM became b JOIN postcodes p ON p.ward_code = b.ward
    ON CONFLICT (plan_id, postcode) DO UPDATE SET ward_code = excluded.ward_code
        WHERE area_plan_postcodes.ward_code = ANY(CAST(:ended AS text[]))
    """
)
_WITHOUT = sa.text(
    """
    SELECT count(*) FROM postcodes p LEFT JOIN area_plan_postcodes pp ON pp.plan_id = :plan AND pp.postcode = p.postcode
    WHERE p.ward_code = ANY(CAST(:ended AS text[])) AND p.live AND coalesce(pp.live, true)
        AND (pp.postcode IS NULL OR pp.ward_code = ANY(CAST(:ended AS text[])))
    """
)
_NO_WARD_THEN = sa.text(
    """
    SELECT pp.ward_code, count(*) FROM area_plan_postcodes pp
    WHERE pp.plan_id = :plan AND pp.live
        AND NOT EXISTS (SELECT 1 FROM unnest(CAST(:wards AS text[])) AS w(ward) WHERE w.ward = pp.ward_code)
    GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5
    """
)
# The ward that the nearest postcode in use will have, for a spot ``{at}``.
NEAREST = """
    SELECT coalesce(n2.ward_code, n.ward_code) AS ward FROM postcodes n
    LEFT JOIN LATERAL (
        SELECT x.ward_code, x.live FROM area_plan_postcodes x
        WHERE x.plan_id = :plan AND x.postcode = n.postcode OFFSET 0
    ) n2 ON true
    WHERE n.live AND coalesce(n2.live, true) ORDER BY n.at <-> {at} LIMIT 1
"""
# Nobody lives by a postcode that is in use no more, or did not say so: it follows its neighbours.
_ENDED_ONES = sa.text(
    f"""
    WITH wards AS (SELECT ward FROM unnest(CAST(:wards AS text[])) AS w(ward)), lost AS MATERIALIZED (
        SELECT p.postcode, p.at, p.quality FROM postcodes p
        LEFT JOIN area_plan_postcodes pp ON pp.plan_id = :plan AND pp.postcode = p.postcode
        WHERE NOT coalesce(pp.live, p.live)
            AND NOT EXISTS (SELECT 1 FROM wards w WHERE w.ward = coalesce(pp.ward_code, p.ward_code))
        UNION ALL
        SELECT pp.postcode, pp.at, pp.quality FROM area_plan_postcodes pp
        WHERE pp.plan_id = :plan AND NOT pp.live AND NOT EXISTS (SELECT 1 FROM wards w WHERE w.ward = pp.ward_code)
            AND NOT EXISTS (SELECT 1 FROM postcodes p WHERE p.postcode = pp.postcode)
    )
    INSERT INTO area_plan_postcodes (plan_id, postcode, at, ward_code, quality, live)
    SELECT :plan, l.postcode, l.at, near.ward, l.quality, false
    FROM lost l CROSS JOIN LATERAL ({NEAREST.format(at="l.at")}) near
    ON CONFLICT (plan_id, postcode) DO UPDATE SET ward_code = excluded.ward_code
    """
)


def lay_out(session: Session, plan: AreaPlan, after: Tomorrow, index: WardIndex | None) -> None:
    """Reckon the postcodes of a plan. ``index``: its own boundaries. Invalid when one in use would have no ward."""
    mine: dict[str, Any] = {"plan": plan.id}
    if plan.release_id is not None:
        session.execute(_GONE, mine)
    elif index is not None:
        _by_boundary(session, plan, after, index)
    wards = [code for code in after.ended if after.before[code].kind == "ward"]
    alone = {code: next(iter(after.ended[code])) for code in wards if len(after.ended[code]) == 1}
    session.execute(_ONE_SUCCESSOR, mine | {"ended": list(alone), "into": list(alone.values())})
    left = session.execute(_WITHOUT, mine | {"ended": wards}).scalar_one()
    if left:
        raise Invalid(
            "postcodes",
            f"Of the wards that end, {left:,} postcodes in use have no new ward. "
            "Add the boundaries of the new wards, a release of postcodes or a table.",
        )
    then = sorted(after.wards())
    unknown = session.execute(_NO_WARD_THEN, mine | {"wards": then}).all()
    if unknown:
        codes = ", ".join(row[0] for row in unknown)
        raise Invalid("postcodes", f"Postcodes in use lie in wards that there will not be: {codes}.")
    session.execute(_ENDED_ONES, mine | {"wards": then})
    session.execute(_AS_THEY_ARE, mine)


def _by_boundary(session: Session, plan: AreaPlan, after: Tomorrow, index: WardIndex) -> None:
    wards = sorted({*index.codes, *(code for code in after.ended if after.before[code].kind == "ward")})
    last = ""
    while True:
        found = session.execute(_BLOCK, {"after": last, "wards": wards, "most": BLOCK}).all()
        if not found:
            return
        last = found[-1][0]
        lies_in = index.wards_at([row[1] for row in found], [row[2] for row in found])
        changed = [
            (row[0], ward) for row, ward in zip(found, lies_in, strict=True) if ward and ward != row[3]
        ]
        session.execute(
            _BY_BOUNDARY,
            {
                "plan": plan.id,
                "postcodes": [one for one, _ in changed],
                "wards": [one for _, one in changed],
            },
        )


_APPLY = sa.text(
    """
    INSERT INTO postcodes (postcode, at, ward_code, quality, live, release_id)
    SELECT postcode, at, ward_code, quality, live, coalesce(CAST(:release AS text), old_release_id)
    FROM area_plan_postcodes WHERE plan_id = :plan
    ON CONFLICT (postcode) DO UPDATE SET at = excluded.at, ward_code = excluded.ward_code,
        quality = excluded.quality, live = excluded.live, release_id = excluded.release_id
    """
)
# What a plan leaves as it is need not be remembered; of a release only that it was named.
_PRUNE = sa.text(
    """
    DELETE FROM area_plan_postcodes WHERE plan_id = :plan AND CAST(:release AS text) IS NULL
        AND ward_code = old_ward_code AND live = old_live AND quality = old_quality AND at ~= old_at
    """
)
_RESTORE = sa.text(
    """
    UPDATE postcodes p SET at = pp.old_at, ward_code = pp.old_ward_code, quality = pp.old_quality,
        live = pp.old_live, release_id = pp.old_release_id
    FROM area_plan_postcodes pp
    WHERE pp.plan_id = :plan AND p.postcode = pp.postcode AND pp.old_ward_code IS NOT NULL
    """
)
_FORGET = sa.text(
    """
    DELETE FROM postcodes p USING area_plan_postcodes pp
    WHERE pp.plan_id = :plan AND pp.old_ward_code IS NULL AND p.postcode = pp.postcode
    """
)


def apply(session: Session, plan: AreaPlan) -> None:
    """Let the postcodes be as the plan has them."""
    values = {"plan": plan.id, "release": plan.release_id}
    session.execute(_PRUNE, values)
    session.execute(_APPLY, values)


def restore(session: Session, plan: AreaPlan) -> None:
    """Let them be as they were before the plan; what was new with its release is not known any more."""
    session.execute(_RESTORE, {"plan": plan.id})
    session.execute(_FORGET, {"plan": plan.id})
