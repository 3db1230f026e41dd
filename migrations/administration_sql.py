"""The SQL of the migration of administration that models cannot say: rights."""

from __future__ import annotations

from migrations.ground_sql import APP, WORKER

# table: (what the app may do, what the worker may do). Nobody may TRUNCATE.
RIGHTS = {"reminders": ("SELECT", "SELECT, INSERT, DELETE")}

# Who is told that a role ends is written to by name; what they sign in with is no worker's business.
_TOLD = "email_enc, name_enc"
TAKEN_BACK = [f"REVOKE SELECT ({_TOLD}) ON staff FROM {WORKER}"]


def grants() -> list[str]:
    """One GRANT per table and role, and what an old table gets besides."""
    found = [
        f"GRANT {rights} ON {table} TO {role}"
        for table, both in RIGHTS.items()
        for role, rights in zip((APP, WORKER), both, strict=True)
    ]
    return [*found, f"GRANT SELECT ({_TOLD}) ON staff TO {WORKER}"]
