"""What names a cell goes over to the cells of a newer release: cameras, and the searches that owners learn of by them.

The worker builds cells and has no right on cameras, so a function of the gate does this, in the transaction that builds.
"""

from __future__ import annotations

from migrations.ground_sql import WORKER
from migrations.register_gate_sql import function, opened

# A search goes over to every cell that the former ones overlap: an owner is told of one search too many, never of one
# too few. Neighbours that only touch do not overlap.
_REASSIGN = """
    DECLARE
        moved integer;
        margin point := point(0.5, 0.5);
    BEGIN
        UPDATE public.cameras c SET cell_id = n.id
        FROM public.register_cells n
        WHERE n.release_id = release AND n.outline @> box(c.at, c.at)
            AND n.west <= c.at[0] AND c.at[0] < n.east AND n.south <= c.at[1] AND c.at[1] < n.north
            AND c.cell_id <> n.id;
        GET DIAGNOSTICS moved = ROW_COUNT;
        IF EXISTS (
            SELECT FROM public.cameras c
            WHERE NOT EXISTS (SELECT FROM public.register_cells n WHERE n.id = c.cell_id AND n.release_id = release))
        THEN
            RAISE EXCEPTION 'a camera lies in no cell of the new release' USING ERRCODE = 'WR003';
        END IF;
        WITH became AS MATERIALIZED (
            SELECT o.id AS former, n.id AS now
            FROM public.register_cells o
            JOIN public.register_cells n ON n.release_id = release
                AND n.outline && box(o.outline[0] - margin, o.outline[1] + margin)
            WHERE o.release_id <> release
        ), gone AS (
            SELECT s.id, array_agg(DISTINCT b.now ORDER BY b.now) AS cells
            FROM public.register_searches s CROSS JOIN LATERAL unnest(s.cells) AS c (id)
            JOIN became b ON b.former = c.id
            GROUP BY s.id
        )
        UPDATE public.register_searches s SET cells = gone.cells FROM gone WHERE s.id = gone.id;
        RETURN moved;
    END
"""


def rights(gate: str) -> list[str]:
    """What the gate needs besides. By the tables' owner."""
    return [f"GRANT UPDATE (cells) ON register_searches TO {gate}"]


def functions() -> list[str]:
    """For the worker, when it builds the cells of a release."""
    return [function("reassign(release text)", "integer", _REASSIGN), opened("reassign(text)", WORKER)]
