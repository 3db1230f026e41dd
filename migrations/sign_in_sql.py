"""Who may do what with what the thirteenth migration made."""

from __future__ import annotations

from migrations.ground_sql import APP, WORKER

# table: (what the app may do, what the worker may do). Nobody may TRUNCATE.
RIGHTS = {
    "staff_known_places": ("SELECT, INSERT, UPDATE (seen_at), DELETE", "SELECT, DELETE"),
}


def grants() -> list[str]:
    """One GRANT per table and role."""
    return [
        f"GRANT {rights} ON {table} TO {role}"
        for table, both in RIGHTS.items()
        for role, rights in zip((APP, WORKER), both, strict=True)
    ]
