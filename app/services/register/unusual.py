"""Unusual searching: a few named rules, each one statement over an organisation's searches.

A rule says nothing of guilt: what it finds is looked at by somebody outside the searcher's line, who writes down what
came of it. Searches of a finding that was closed count for its rule no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

LATELY = timedelta(days=3)  # what is judged: longer than a worker may be away unseen
USUAL = timedelta(days=28)  # what it is held against
MOST = 200  # people to a rule and run

# What was searched lately, by whom; nothing that somebody has explained or referred already.
_LATELY = """
    lately AS MATERIALIZED (
        SELECT s.id, s.staff_id, s.investigation_id, s.opened_at, s.opened_at AT TIME ZONE 'Europe/London' AS here,
            s.kind, s.centre, s.radius, s.outline, s.route, s.cells
        FROM register_searches s
        WHERE s.organisation_id = :organisation AND s.opened_at > CAST(:now AS timestamptz) - CAST(:span AS interval)
            AND s.opened_at <= :now
            AND NOT EXISTS (
                SELECT 1 FROM search_findings f
                WHERE f.staff_id = s.staff_id AND f.rule = :rule AND f.state <> 'open' AND s.id = ANY(f.searches)
                    AND f.closed_at > CAST(:now AS timestamptz) - CAST(:span AS interval))
    )
"""
_NIGHT = "({0}::time >= '22:00' OR {0}::time < '06:00')".replace("::time", "\\:\\:time")
# How much two searches share of the smaller one, where neither is a multiple of the other.
_SAME = """
    b.cells && a.cells
    AND cardinality(b.cells) <= 4 * cardinality(a.cells) AND cardinality(a.cells) <= 4 * cardinality(b.cells)
    AND 10 * cardinality(ARRAY(SELECT unnest(a.cells) INTERSECT SELECT unnest(b.cells)))
        >= 6 * least(cardinality(a.cells), cardinality(b.cells))
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``title`` and ``words``: as pages print it; ``find``: (staff_id, ids of searches) of one organisation."""

    name: str
    title: str
    words: str
    find: str
    span: timedelta = LATELY
    values: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """Searches of one person that a rule finds unusual."""

    rule: str
    staff_id: UUID
    searches: list[UUID]


RULES: tuple[Rule, ...] = (
    Rule(
        "volume",
        "Many searches in a day",
        "More than 20 searches in one day, and more than three times what this person usually makes in a day of "
        "searching, or more than six times what people of the organisation do.",
        """
        days AS (
            SELECT staff_id, min(opened_at) AS began, count(*) AS n, array_agg(id) AS searches
            FROM lately GROUP BY staff_id, CAST(here AS date) HAVING count(*) > :floor
        )
        SELECT d.staff_id, d.searches FROM days d CROSS JOIN LATERAL (
            SELECT count(*) AS days, avg(n) AS usual FROM (
                SELECT count(*) AS n FROM register_searches s
                WHERE s.staff_id = d.staff_id AND s.opened_at < d.began
                    AND s.opened_at > d.began - CAST(:usual AS interval)
                GROUP BY CAST(s.opened_at AT TIME ZONE 'Europe/London' AS date)) own
        ) own
        CROSS JOIN LATERAL (
            SELECT coalesce((SELECT avg(n) FROM (
                SELECT count(*) AS n FROM register_searches s
                WHERE s.organisation_id = :organisation
                    AND s.opened_at <= CAST(:now AS timestamptz) - CAST(:span AS interval)
                    AND s.opened_at > CAST(:now AS timestamptz) - CAST(:span AS interval) - CAST(:usual AS interval)
                GROUP BY s.staff_id, CAST(s.opened_at AT TIME ZONE 'Europe/London' AS date)) o), 0) AS usual
        ) everybody
        WHERE d.n > 3 * CASE WHEN own.days >= 5 THEN own.usual ELSE everybody.usual END OR d.n > 6 * everybody.usual
        """,
        values={"floor": 20},
    ),
    Rule(
        "hours",
        "At night, by somebody who does not work then",
        "Three searches or more in one night, between 10pm and 6am in London, by somebody who made fewer than a fifth "
        "of their searches of the four weeks before at night.",
        f"""
        nights AS (
            SELECT staff_id, min(opened_at) AS began, array_agg(id) AS searches FROM lately
            WHERE {_NIGHT.format("here")}
            GROUP BY staff_id, CAST(here - interval '6 hours' AS date) HAVING count(*) >= :floor
        )
        SELECT n.staff_id, n.searches FROM nights n CROSS JOIN LATERAL (
            SELECT count(*) AS all_, count(*) FILTER (WHERE {_NIGHT.format("here")}) AS at_night FROM (
                SELECT s.opened_at AT TIME ZONE 'Europe/London' AS here FROM register_searches s
                WHERE s.staff_id = n.staff_id AND s.opened_at < n.began
                    AND s.opened_at > n.began - CAST(:usual AS interval)) own
        ) own
        WHERE own.at_night * 5 < own.all_ OR own.all_ = 0
        """,
        values={"floor": 3},
    ),
    Rule(
        "lone-case",
        "One case, again and again, that nobody else works on",
        "Ten searches or more within four weeks for one case reference that nobody else has searched for, over more "
        "than three days, and no owner was ever asked.",
        """
        cases AS (
            SELECT staff_id, investigation_id, array_agg(id) AS searches FROM lately
            GROUP BY staff_id, investigation_id
            HAVING count(*) >= :floor AND max(opened_at) - min(opened_at) > interval '3 days'
        )
        SELECT c.staff_id, c.searches FROM cases c
        WHERE NOT EXISTS (
                SELECT 1 FROM register_searches s
                WHERE s.investigation_id = c.investigation_id AND s.staff_id <> c.staff_id)
            AND NOT EXISTS (SELECT 1 FROM camera_requests r WHERE r.investigation_id = c.investigation_id)
        """,
        USUAL,
        {"floor": 10},
    ),
    Rule(
        "many-cases",
        "Many case references, each searched for once",
        "Eight case references or more within four weeks, each searched for once, by this person alone and with no "
        "owner asked within three days; and they are two thirds of all this person's references.",
        """
        cases AS (
            SELECT staff_id, investigation_id, array_agg(id) AS searches FROM lately
            GROUP BY staff_id, investigation_id HAVING min(opened_at) < CAST(:now AS timestamptz) - interval '3 days'
        ), idle AS (
            SELECT c.*, cardinality(c.searches) = 1
                AND NOT EXISTS (
                    SELECT 1 FROM register_searches s
                    WHERE s.investigation_id = c.investigation_id AND s.id <> c.searches[1])
                AND NOT EXISTS (SELECT 1 FROM camera_requests r WHERE r.investigation_id = c.investigation_id) AS idle
            FROM cases c
        )
        SELECT staff_id, array_agg(searches[1]) FILTER (WHERE idle) FROM idle GROUP BY staff_id
        HAVING count(*) FILTER (WHERE idle) >= :floor AND 3 * count(*) FILTER (WHERE idle) >= 2 * count(*)
        """,
        USUAL,
        {"floor": 8},
    ),
    Rule(
        "same-place",
        "The same place, for one case after another",
        "Searches of the same place for five different cases or more within four weeks, where colleagues have searched "
        "for fewer: a street, or somebody who lives there, may be what is looked for.",
        f"""
        again AS (
            SELECT a.id, a.staff_id, a.investigation_id, a.cells, a.opened_at, b.searches, b.cases
            FROM lately a CROSS JOIN LATERAL (
                SELECT array_agg(b.id) AS searches,
                    count(DISTINCT b.investigation_id) FILTER (WHERE b.investigation_id <> a.investigation_id) + 1
                        AS cases
                FROM register_searches b
                WHERE b.staff_id = a.staff_id AND b.opened_at <= a.opened_at
                    AND b.opened_at > a.opened_at - CAST(:usual AS interval) AND {_SAME}
                    AND NOT EXISTS (
                        SELECT 1 FROM search_findings f
                        WHERE f.staff_id = b.staff_id AND f.rule = :rule AND f.state <> 'open'
                            AND b.id = ANY(f.searches))
            ) b WHERE b.cases >= :floor
        )
        SELECT a.staff_id, array_agg(DISTINCT x.id) FROM again a CROSS JOIN LATERAL unnest(a.searches) AS x(id)
        WHERE a.cases > (
            SELECT count(DISTINCT b.investigation_id) FROM register_searches b
            WHERE b.organisation_id = :organisation AND b.staff_id <> a.staff_id AND b.opened_at <= a.opened_at
                AND b.opened_at > a.opened_at - CAST(:usual AS interval) AND {_SAME})
        GROUP BY a.staff_id
        """,
        values={"floor": 5},
    ),
    Rule(
        "home",
        "Where the searcher lives",
        "A search that reaches into the ward where this person lives, or lived within the last year.",
        """
        homes AS (
            SELECT h.staff_id, h.ward_code FROM staff_homes h
            WHERE h.staff_id IN (SELECT staff_id FROM lately)
                AND (h.until IS NULL OR h.until > CAST(:now AS timestamptz) - interval '1 year')
        ), became AS (
            SELECT h.staff_id, a.id, a.code, a.valid_to FROM homes h JOIN areas a ON a.code = h.ward_code
            UNION
            SELECT b.staff_id, n.id, n.code, n.valid_to
            FROM became b JOIN area_successors x ON x.area_id = b.id JOIN areas n ON n.id = x.successor_id
        )
        SELECT s.staff_id, array_agg(DISTINCT s.id) FROM lately s JOIN became b ON b.staff_id = s.staff_id
        WHERE b.valid_to IS NULL AND EXISTS (
            SELECT 1 FROM postcodes p WHERE p.ward_code = b.code AND p.live AND CASE
                WHEN s.outline IS NOT NULL THEN p.at <@ s.outline
                WHEN s.route IS NOT NULL THEN p.at <-> s.route <= greatest(coalesce(s.radius, 0), 50)
                ELSE p.at <@ circle(s.centre, greatest(coalesce(s.radius, 0), 50)) END)
        GROUP BY s.staff_id
        """,
    ),
    Rule(
        "sweep",
        "Much ground in a short time",
        "Five searches or more within an hour that together touch 250 cells or more: whoever does so may be drawing a map "
        "of where cameras are.",
        """
        paced AS (
            SELECT staff_id, opened_at, count(*) OVER (
                PARTITION BY staff_id ORDER BY opened_at RANGE BETWEEN interval '1 hour' PRECEDING AND CURRENT ROW) AS n
            FROM lately
        ), swept AS (
            SELECT p.staff_id, b.searches FROM paced p CROSS JOIN LATERAL (
                SELECT array_agg(DISTINCT b.id) AS searches, count(DISTINCT c.id) AS cells
                FROM lately b CROSS JOIN LATERAL unnest(b.cells) AS c(id)
                WHERE b.staff_id = p.staff_id AND b.opened_at <= p.opened_at
                    AND b.opened_at >= p.opened_at - interval '1 hour'
            ) b WHERE p.n >= :floor AND b.cells >= :cells
        )
        SELECT staff_id, array_agg(DISTINCT x.id) FROM swept CROSS JOIN LATERAL unnest(searches) AS x(id)
        GROUP BY staff_id
        """,
        values={"floor": 5, "cells": 250},
    ),
)
BY_NAME = {one.name: one for one in RULES}


def find(session: Session, rule: Rule, organisation: UUID, *, now: datetime) -> list[Found]:
    """Whose searches of one organisation a rule finds unusual now, those of before that nobody has closed included."""
    recursive = "RECURSIVE " if rule.name == "home" else ""
    values = {"organisation": organisation, "now": now, "span": rule.span, "usual": USUAL, "rule": rule.name}
    rows = session.execute(
        sa.text(f"WITH {recursive}{_LATELY}, {rule.find} LIMIT :most"),
        {**values, **rule.values, "most": MOST},
    )
    return [Found(rule.name, staff, list(searches)) for staff, searches in rows]
