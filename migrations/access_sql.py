"""The SQL of the ninth migration that models cannot say: the roles that staff had by their teams, and rights."""

from __future__ import annotations

from migrations.ground_sql import APP, WORKER

# Whoever could write to an area before can do so after: for a year, in which an administrator looks at it.
GRANT_AS_BEFORE = """
    INSERT INTO role_grants (id, staff_id, organisation_id, role, team_id, starts_at, ends_at, given_by)
    SELECT gen_random_uuid(), id, organisation_id, 'officer', team_id, now(), now() + interval '1 year', 'operator'
    FROM staff WHERE state <> 'left'
"""

_FACTS = "stepped_up_at, network, agent"

# table: (what the app may do, what the worker may do). Nobody may TRUNCATE.
RIGHTS = {
    "role_grants": ("SELECT, INSERT, UPDATE (area_id, ends_at, taken_at, taken_by)", "SELECT"),
    "agreements": ("SELECT, INSERT, UPDATE (title, reference, review_on, ended_at)", "SELECT"),
    "staff_passkeys": ("SELECT, INSERT, UPDATE (sign_count, name, used_at), DELETE", "SELECT (id, staff_id)"),
    "staff_recovery_codes": ("SELECT, INSERT, UPDATE (used_at), DELETE", "SELECT (digest, staff_id)"),
    "sign_in_ceremonies": ("SELECT, INSERT, DELETE", "SELECT (digest, expires_at), DELETE"),
    "identity_providers": ("SELECT, INSERT, UPDATE, DELETE", "SELECT (organisation_id)"),
    "group_roles": ("SELECT, INSERT, DELETE", "SELECT"),
}


def grants() -> list[str]:
    """One GRANT per table and role, and what an old table gets besides."""
    found = [
        f"GRANT {rights} ON {table} TO {role}"
        for table, both in RIGHTS.items()
        for role, rights in zip((APP, WORKER), both, strict=True)
    ]
    return [*found, f"GRANT UPDATE ({_FACTS}) ON web_sessions TO {APP}"]
