"""The answer to a search of the register: blind, by cells and in bands. Exact numbers never leave the database."""

from __future__ import annotations

from migrations.ground_sql import APP
from migrations.register_gate_sql import function, opened

# Hours left until the first of the footage goes: name, below. The order is that of the answer.
LEFT = (("day", 24), ("three-days", 72), ("week", 168), ("more", None), ("gone", 0))
_LEFT_NAMES = "ARRAY[" + ", ".join(f"'{name}'" for name, _ in LEFT) + "]"
KINDS = ("doorbell", "fixed", "ptz", "dash-cam", "business")
# Fewer than so many, and nothing more is said of them.
LEAST = 3

_BAND = """
    CASE WHEN n < 3 THEN 'few' WHEN n <= 5 THEN '3-5' WHEN n <= 10 THEN '6-10' WHEN n <= 20 THEN '11-20'
        WHEN n <= 50 THEN '21-50' ELSE 'over-50' END
"""

_RUN = """
    DECLARE
        who record;
        found public.register_searches;
    BEGIN
        SELECT * INTO who FROM register._who(token, ARRAY['investigator'], true);
        SELECT * INTO found FROM public.register_searches s WHERE s.id = ticket FOR UPDATE;
        IF found.id IS NULL OR found.staff_id <> who.staff_id THEN
            RAISE EXCEPTION 'no such ticket' USING ERRCODE = 'WR002';
        END IF;
        PERFORM register._use(found.number, found.saw, found.opened_at, found.opened_xid, found.settled);
        RETURN register._blind(found);
    END
"""

_counts = ", ".join(
    [f"count(*) FILTER (WHERE m.rank = {rank}) AS left_{rank}" for rank in range(len(LEFT))]
    + [f"count(*) FILTER (WHERE m.kind = '{kind}') AS kind_{n}" for n, kind in enumerate(KINDS)]
)


def _bands(pairs: list[tuple[str, str]]) -> str:
    listed = ", ".join(
        f"'{name}', CASE WHEN t.{column} > 0 THEN register._band(t.{column}) END" for name, column in pairs
    )
    return f"CASE WHEN t.n >= {LEAST} THEN jsonb_strip_nulls(jsonb_build_object({listed})) END"


_LEFT = _bands([(name, f"left_{rank}") for rank, (name, _) in enumerate(LEFT)])
_FACTS = _bands([*((kind, f"kind_{n}") for n, kind in enumerate(KINDS)), ("night", "night")])
_RANK = (
    "CASE WHEN h.hours <= 0 THEN 4 "
    + " ".join(f"WHEN h.hours < {below} THEN {rank}" for rank, (_, below) in enumerate(LEFT) if below)
    + " ELSE 3 END"
)

# A camera is there by its cell alone: nothing of the answer depends on where in it the camera stands. An owner agreed
# with one controller, so nobody else's search finds them. The order, too, follows only what is said.
_BLIND = f"""
    DECLARE
        shift float8 := extract(epoch FROM search.window_from - clock_timestamp()) / 3600;
        targets box[];
        answer jsonb;
    BEGIN
        IF search.kind = 'view' THEN
            targets := ARRAY (SELECT s FROM register.squares(
                search.kind, search.centre, search.radius, search.outline, search.route) AS s);
        END IF;
        WITH matched AS (
            SELECT c.cell_id, c.kind, c.night, {_RANK} AS rank
            FROM public.cameras c
            CROSS JOIN LATERAL (SELECT shift + 24 * c.days_kept AS hours) h
            WHERE c.live AND c.controller_id = search.organisation_id AND c.cell_id = ANY (search.cells)
                AND (targets IS NULL OR EXISTS (
                    SELECT FROM public.register_cells k WHERE k.id = c.cell_id AND k.id = ANY (search.cells)
                    AND register.may_see(k.outline, CAST(c.bearing AS float8), CAST(c.field AS float8),
                        CAST(c.reach AS float8), targets)))
        ), totals AS (
            SELECT m.cell_id, count(*) AS n, min(m.rank) AS soonest, count(*) FILTER (WHERE m.night) AS night, {_counts}
            FROM matched m GROUP BY m.cell_id
        ), said AS (
            SELECT t.cell_id, t.soonest, register._band(t.n) AS band, {_LEFT} AS by_left, {_FACTS} AS facts
            FROM totals t
        )
        SELECT jsonb_build_object(
            'total', (SELECT CASE WHEN sum(n) > 0 THEN register._band(CAST(sum(n) AS bigint)) ELSE 'none' END FROM totals),
            'cells', coalesce((
                SELECT jsonb_agg(jsonb_build_object('cell', d.cell_id, 'box', jsonb_build_array(
                        k.west, k.south, k.east, k.north), 'total', d.band,
                        'soonest', ({_LEFT_NAMES})[d.soonest + 1], 'left', d.by_left, 'facts', d.facts)
                    ORDER BY d.soonest, array_position(ARRAY['over-50', '21-50', '11-20', '6-10', '3-5', 'few'], d.band),
                        d.cell_id)
                FROM said d JOIN public.register_cells k ON k.id = d.cell_id), '[]'))
        INTO answer;
        RETURN answer;
    END
"""


def functions() -> list[str]:
    """Answering, for the app to call."""
    return [
        f"CREATE FUNCTION register._band(n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN ({_BAND})",
        function("_blind(search public.register_searches)", "jsonb", _BLIND),
        function("run_search(ticket uuid, token text)", "jsonb", _RUN),
        opened("run_search(uuid, text)", APP),
    ]
