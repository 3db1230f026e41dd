"""The SQL of the migration for reports of misuse that models cannot say: who may do what."""

from __future__ import annotations

from migrations.ground_sql import APP, WORKER

_END = "closed_at, closed_by, note_enc"

# table: (what the app may do, what the worker may do). Nobody may TRUNCATE.
RIGHTS = {
    # The worker removes what has had its time, and reads nothing of what was reported.
    "misuse_reports": (f"SELECT, INSERT, UPDATE ({_END})", "SELECT (id, closed_at, organisation_id), DELETE"),
}


def grants() -> list[str]:
    """One GRANT per table and role."""
    return [
        f"GRANT {rights} ON {table} TO {role}"
        for table, both in RIGHTS.items()
        for role, rights in zip((APP, WORKER), both, strict=True)
    ]
