"""The SQL of the migration of OpenID Connect that models cannot say: rights."""

from __future__ import annotations

from migrations.ground_sql import APP, WORKER

# table: (what the app may do, what the worker may do). Nobody may TRUNCATE.
RIGHTS = {"identity_domains": ("SELECT, INSERT, DELETE", "SELECT")}


def grants() -> list[str]:
    """One GRANT per table and role, and what an old table gets besides."""
    found = [
        f"GRANT {rights} ON {table} TO {role}"
        for table, both in RIGHTS.items()
        for role, rights in zip((APP, WORKER), both, strict=True)
    ]
    return [*found, f"GRANT UPDATE (oidc_sid) ON web_sessions TO {APP}"]
