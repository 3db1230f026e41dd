"""The SQL of the migration for the register's cells that models cannot say: who may do what, and whose cell a spot is.

The site reads cells and never writes one: who could make a cell small could make a blind answer speak of somebody.
"""

from __future__ import annotations

from migrations.ground_sql import APP, WORKER

# table: (what the app may do, what the worker may do). Nobody may TRUNCATE.
RIGHTS = {"register_cells": ("SELECT", "SELECT, INSERT, DELETE")}

# The one cell of a position, or NULL beyond all of them. For whoever may read cells; made once the schema is there.
CELL_AT = """
    CREATE FUNCTION register.cell_at(spot point) RETURNS integer LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (
        SELECT c.id FROM public.register_cells c
        WHERE c.outline @> box(spot, spot) AND c.west <= spot[0] AND spot[0] < c.east
            AND c.south <= spot[1] AND spot[1] < c.north
    )
"""


def grants() -> list[str]:
    """One GRANT per table and role."""
    return [
        f"GRANT {rights} ON {table} TO {role}"
        for table, both in RIGHTS.items()
        for role, rights in zip((APP, WORKER), both, strict=True)
    ]
