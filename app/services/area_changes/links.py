"""Tables of *owner × area*, such as the areas of teams: how their rows follow areas that end, and go back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

# What a plan's ended areas became, as it was applied, whatever was reversed since.
ROUTES = """
    routes AS (
        SELECT e.area_id AS from_id, CAST(one AS int) AS to_id
        FROM area_plan_areas e CROSS JOIN LATERAL jsonb_array_elements_text(e.after -> 'into') one
        WHERE e.plan_id = :plan AND e.what = 'ended'
    )
"""


@dataclass(frozen=True, slots=True)
class Link:
    """A table whose rows say *this owner, this area*.

    ``owner``: the columns that say whose; ``carried``: others that a new row takes over; ``made``: the name of an id
    that each new row needs, or empty; ``keeps``: the row on the area that ended stays too, for it is history.
    """

    table: str
    owner: tuple[str, ...]
    carried: tuple[str, ...] = ()
    made: str = ""
    keeps: bool = False

    def _own(self, alias: str = "") -> str:
        return ", ".join(f"{alias}{column}" for column in (*self.owner, *self.carried))

    @property
    def _made(self) -> tuple[str, str]:
        return (f", {self.made}", ", gen_random_uuid()") if self.made else ("", "")

    def _same(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{column} IS NOT DISTINCT FROM {right}.{column}" for column in self.owner)

    def apply(self, session: Session, plan: UUID, now: datetime) -> int:
        """Rows on areas that ended: to each successor, once. How many followed."""
        gone = f"gone AS (DELETE FROM {self.table} t USING old WHERE t.ctid = old.spot), "
        found = session.execute(
            sa.text(
                f"""
                WITH old AS (
                    SELECT t.ctid AS spot, t.* FROM {self.table} t
                    JOIN area_plan_areas e ON e.area_id = t.area_id AND e.plan_id = :plan AND e.what = 'ended'
                ), added AS (
                    INSERT INTO {self.table} AS t ({self._own()}, area_id{self._made[0]})
                    SELECT {self._own("w.")}, w.successor_id{self._made[1]} FROM (
                        SELECT DISTINCT {self._own("o.")}, s.successor_id
                        FROM old o JOIN area_successors s ON s.area_id = o.area_id) w
                    ON CONFLICT DO NOTHING RETURNING to_jsonb(t) AS made
                ), {"" if self.keeps else gone} told AS (
                    INSERT INTO area_plan_effects (plan_id, follower, was, now)
                    SELECT :plan, '{self.table}', to_jsonb(old) - 'spot', CAST(NULL AS jsonb) FROM old
                    UNION ALL SELECT :plan, '{self.table}', CAST(NULL AS jsonb), added.made FROM added
                )
                SELECT count(*) FROM old
                """
            ),
            {"plan": plan},
        )
        return int(found.scalar_one())

    def reverse(self, session: Session, plan: UUID, now: datetime) -> int:
        """What was added goes, what was there comes back where its owner still has a part; later rows go back too."""
        table = self.table
        read = (
            f"SELECT x.* FROM area_plan_effects e CROSS JOIN LATERAL jsonb_populate_record(CAST(NULL AS {table}), "
            f"e.{{which}}) x WHERE e.plan_id = :plan AND e.follower = '{table}' AND e.{{which}} IS NOT NULL"
        )
        begun = "SELECT area_id FROM area_plan_areas WHERE plan_id = :plan AND what = 'begun'"
        found = session.execute(
            sa.text(
                f"""
                WITH {ROUTES}, was AS ({read.format(which="was")}), made AS ({read.format(which="now")}), here AS (
                    SELECT t.ctid AS spot, t.* FROM {table} t
                    WHERE t.area_id IN ({begun} UNION SELECT area_id FROM made)
                ), derived AS (
                    SELECT h.* FROM here h JOIN made m ON m.area_id = h.area_id AND {self._same("m", "h")}
                ), later AS (
                    SELECT h.* FROM here h
                    WHERE h.area_id IN ({begun}) AND NOT EXISTS (SELECT 1 FROM derived d WHERE d.spot = h.spot)
                ), restored AS (
                    SELECT w.* FROM was w WHERE EXISTS (
                        SELECT 1 FROM {table} t JOIN routes r ON r.to_id = t.area_id
                        WHERE r.from_id = w.area_id AND {self._same("t", "w")})
                ), doomed AS (
                    SELECT spot FROM derived {"" if self.keeps else "UNION SELECT spot FROM later"}
                ), gone AS (DELETE FROM {table} t USING doomed WHERE t.ctid = doomed.spot), back AS (
                    INSERT INTO {table} ({self._own()}, area_id{self._made[0]})
                    SELECT {self._own("w.")}, w.area_id{f", w.{self.made}" if self.made else ""} FROM restored w
                    ON CONFLICT DO NOTHING
                ), followed AS (
                    INSERT INTO {table} ({self._own()}, area_id{self._made[0]})
                    SELECT {self._own("w.")}, w.successor_id{self._made[1]} FROM (
                        SELECT DISTINCT {self._own("l.")}, s.successor_id
                        FROM later l JOIN area_successors s ON s.area_id = l.area_id
                        WHERE NOT EXISTS (
                            SELECT 1 FROM restored w WHERE w.area_id = s.successor_id AND {self._same("w", "l")})) w
                    ON CONFLICT DO NOTHING
                )
                SELECT (SELECT count(*) FROM restored) + (SELECT count(*) FROM later)
                """
            ),
            {"plan": plan},
        )
        return int(found.scalar_one())
