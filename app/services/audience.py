"""The audience: an expression that says who, and the one SELECT it becomes.

An expression is ``{"areas": [codes], "except_areas": [codes]}``; topic, channels and controller
come from the alert. Recipient = contact point: two people at one address are one recipient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.models.alerts import TOPICS
from geo.area_codes import DRAWN, AreaCodeError, kind_of
from messaging.types import Channel

MOST_AREAS = 2_000


@dataclass(frozen=True, slots=True)
class Audience:
    """Who an alert is for; made by ``parse`` alone, so it is always valid in form."""

    controller: UUID
    topic: str
    channels: tuple[str, ...]
    areas: tuple[str, ...]
    except_areas: tuple[str, ...] = ()


def _codes(expression: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = expression.get(key, [])
    if not isinstance(value, list) or not all(isinstance(v, str) and 0 < len(v) <= 60 for v in value):
        raise Invalid("audience", f"“{key}” must be a list of area codes.")
    if len(value) > MOST_AREAS:
        raise Invalid("audience", f"Choose at most {MOST_AREAS:,} areas.")
    if any("\x00" in v for v in value):
        raise Invalid("audience", "An area code may not hold a null character.")
    return tuple(dict.fromkeys(value))


def parse(
    expression: Mapping[str, Any], *, controller: UUID, topic: str, channels: Sequence[str]
) -> Audience:
    """Read an expression from outside; Invalid says in plain English what is wrong."""
    if not isinstance(expression, Mapping):
        raise Invalid("audience", "Say who the alert is for.")
    unknown = set(expression) - {"areas", "except_areas"}
    if unknown:
        raise Invalid("audience", f"Unknown part of the audience: {', '.join(sorted(map(str, unknown)))}.")
    areas = _codes(expression, "areas")
    if not areas:
        raise Invalid("audience", "Choose at least one area.")
    if topic not in TOPICS:
        raise Invalid("topic", f"Choose one of these topics: {', '.join(TOPICS)}.")
    wanted = tuple(dict.fromkeys(channels))
    if not wanted or any(c not in set(Channel) for c in wanted):
        raise Invalid("channels", "Choose e-mail, text message or both.")
    return Audience(controller, topic, wanted, areas, _codes(expression, "except_areas"))


# Areas as they are today, with everything below them. By itself: a recursive query inside the next one would keep
# PostgreSQL from sharing that among its processes.
_WANTED = sa.text(
    """
    WITH RECURSIVE tree AS (
        SELECT id FROM areas WHERE code = ANY(CAST(:areas AS text[])) AND valid_to IS NULL
        UNION
        SELECT a.id FROM areas a JOIN tree ON a.parent_id = tree.id WHERE a.valid_to IS NULL AND NOT a.kind = ANY(:drawn)
    ), except_tree AS (
        SELECT id FROM areas WHERE code = ANY(CAST(:except_areas AS text[])) AND valid_to IS NULL
        UNION
        SELECT a.id FROM areas a JOIN except_tree ON a.parent_id = except_tree.id
        WHERE a.valid_to IS NULL AND NOT a.kind = ANY(:drawn)
    )
    SELECT (SELECT coalesce(array_agg(id ORDER BY id), '{}') FROM (SELECT id FROM tree EXCEPT SELECT id FROM except_tree) t),
        (SELECT coalesce(array_agg(id ORDER BY id), '{}') FROM except_tree WHERE :overlapping)
    """
)

# The one SELECT: places ∩ areas ∧ topic ∧ consent ∧ channel − suppressed. Nobody stands in it twice.
RECIPIENTS = """
    WITH recipients AS (
        SELECT c.id, c.channel
        FROM contact_points c
        WHERE c.channel = ANY(CAST(:channels AS text[])) AND c.confirmed_at IS NOT NULL
          AND EXISTS (
              SELECT 1 FROM subscriptions s JOIN place_areas pa ON pa.place_id = s.place_id
              WHERE s.contact_id = c.id AND s.topic = :topic AND s.ended_at IS NULL
                AND s.controller_id = :controller
                AND pa.area_id = ANY(CAST(:wanted AS int[])) AND pa.valid_to IS NULL
                -- Drawn areas overlap the others: who lies in one that is left out must be asked place by place.
                AND NOT EXISTS (
                    SELECT 1 FROM place_areas x WHERE x.place_id = s.place_id
                        AND x.area_id = ANY(CAST(:unwanted AS int[])) AND x.valid_to IS NULL)
          )
          AND EXISTS (
              SELECT 1 FROM consents k
              WHERE k.contact_id = c.id AND k.controller_id = :controller AND k.purpose = 'alerts'
                AND k.withdrawn_at IS NULL
          )
          AND NOT EXISTS (
              SELECT 1 FROM suppressions x
              WHERE x.digest = c.digest AND x.channel = c.channel AND x.lifted_at IS NULL
                AND (x.controller_id IS NULL OR x.controller_id = :controller)
                AND (x.topic IS NULL OR x.topic = :topic)
          )
    )
"""

_COUNT = sa.text(RECIPIENTS + "SELECT channel, count(*) FROM recipients GROUP BY channel")
_UNKNOWN = sa.text(
    """
    SELECT wanted.code FROM unnest(CAST(:codes AS text[])) AS wanted(code)
    WHERE NOT EXISTS (SELECT 1 FROM areas a WHERE a.code = wanted.code AND a.valid_to IS NULL)
    LIMIT 5
    """
)


def parameters(session: Session, audience: Audience) -> dict[str, Any]:
    """What ``RECIPIENTS`` asks for, with today's areas."""
    areas = {
        "areas": list(audience.areas),
        "except_areas": list(audience.except_areas),
        "drawn": [str(kind) for kind in DRAWN],
        "overlapping": any(map(_drawn, (*audience.areas, *audience.except_areas))),
    }
    wanted, unwanted = session.execute(_WANTED, areas).one()
    return {
        "controller": audience.controller,
        "topic": audience.topic,
        "channels": list(audience.channels),
        "wanted": wanted,
        "unwanted": unwanted,
    }


def _drawn(code: str) -> bool:
    try:
        return kind_of(code) in DRAWN
    except AreaCodeError:
        return False


def count(session: Session, audience: Audience) -> dict[str, int]:
    """Recipients per channel, as the freeze would find them now."""
    require_known(session, audience)
    found = {row[0]: row[1] for row in session.execute(_COUNT, parameters(session, audience))}
    return {channel: found.get(channel, 0) for channel in audience.channels}


def require_known(session: Session, audience: Audience) -> None:
    """Invalid when an area is not one of today's: a typing error must not shrink an audience."""
    codes = [*audience.areas, *audience.except_areas]
    unknown = session.execute(_UNKNOWN, {"codes": codes}).scalars().all()
    if unknown:
        raise Invalid("audience", f"No area of today has the code {', '.join(unknown)}.")
