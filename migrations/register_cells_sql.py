"""The SQL of the migration for the register's cells that models cannot say: who may do what, and whose cell a spot is.

The site reads cells and never writes one: who could make a cell small could make a blind answer speak of somebody.
"""

from __future__ import annotations

from migrations.ground_sql import APP, WORKER

# table: (what the app may do, what the worker may do). Nobody may TRUNCATE.
RIGHTS = {"register_cells": ("SELECT", "SELECT, INSERT, DELETE")}


def grants() -> list[str]:
    """One GRANT per table and role."""
    return [
        f"GRANT {rights} ON {table} TO {role}"
        for table, both in RIGHTS.items()
        for role, rights in zip((APP, WORKER), both, strict=True)
    ]
