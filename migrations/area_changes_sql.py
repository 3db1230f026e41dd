"""The SQL of the tenth migration that models cannot say: who may do what.

The worker applies what is due, so it may write what follows a change: areas, postcodes, where places lie, roles by
area. What alerts said when they were sent stays guarded.
"""

from __future__ import annotations

from migrations.ground_sql import APP, WORKER

_PLAN = "state, steps, began_at, applied_at, reversed_at, prepared_to, done, total, failed, counts"
_JOURNAL = "SELECT, INSERT, UPDATE, DELETE"

# table: (what the app may do, what the worker may do). Nobody may TRUNCATE.
RIGHTS = {
    "area_plans": (f"SELECT, INSERT, UPDATE ({_PLAN})", f"SELECT, UPDATE ({_PLAN})"),
    "area_plan_areas": ("SELECT, INSERT", "SELECT, INSERT"),
    "area_plan_postcodes": (_JOURNAL, _JOURNAL),
    "area_moves": ("SELECT, INSERT, DELETE", "SELECT, INSERT, DELETE"),
    "area_plan_effects": ("SELECT, INSERT", "SELECT, INSERT"),
    "area_shapes": ("SELECT, INSERT, UPDATE (ended_by)", "SELECT, INSERT, UPDATE (ended_by)"),
    # Older tables, with what they had.
    "areas": ("SELECT, INSERT, UPDATE", "SELECT, INSERT, UPDATE"),
    "area_successors": ("SELECT, INSERT, DELETE", "SELECT, INSERT, DELETE"),
    "releases": ("SELECT, INSERT, UPDATE (loaded_at)", "SELECT, INSERT, UPDATE (loaded_at)"),
    "postcodes": ("SELECT, INSERT, UPDATE, DELETE", "SELECT, INSERT, UPDATE, DELETE"),
    "place_areas": ("SELECT, INSERT, UPDATE, DELETE", "SELECT, INSERT, UPDATE, DELETE"),
    "alert_areas": ("SELECT, INSERT, DELETE", "SELECT, INSERT, DELETE"),
    "team_areas": ("SELECT, INSERT, DELETE", "SELECT, INSERT, DELETE"),
}
_WORKER_BESIDES = (
    f"GRANT INSERT, UPDATE (ends_at, taken_at, taken_by) ON role_grants TO {WORKER}",
    f"GRANT INSERT, DELETE ON group_roles TO {WORKER}",
    f"GRANT UPDATE (audience, changed_at) ON alerts TO {WORKER}",
)
# What the migration takes back when it is undone.
_NEW = {
    "areas": ("", "INSERT, UPDATE"),
    "area_successors": ("", "INSERT, DELETE"),
    "releases": ("UPDATE (loaded_at)", "INSERT, UPDATE (loaded_at)"),
    "postcodes": ("", "INSERT, UPDATE, DELETE"),
    "place_areas": ("", "INSERT, UPDATE, DELETE"),
    "alert_areas": ("DELETE", "INSERT, DELETE"),
    "team_areas": ("", "INSERT, DELETE"),
    "role_grants": ("", "INSERT, UPDATE (ends_at, taken_at, taken_by)"),
    "group_roles": ("", "INSERT, DELETE"),
    "alerts": ("", "UPDATE (audience, changed_at)"),
}


def grants() -> list[str]:
    """One GRANT per table and role, and what an old table gets besides."""
    found = [
        f"GRANT {rights} ON {table} TO {role}"
        for table, both in RIGHTS.items()
        for role, rights in zip((APP, WORKER), both, strict=True)
    ]
    return [*found, *_WORKER_BESIDES]


def revokes() -> list[str]:
    """What takes the new rights on old tables away."""
    return [
        f"REVOKE {rights} ON {table} FROM {role}"
        for table, both in _NEW.items()
        for role, rights in zip((APP, WORKER), both, strict=True)
        if rights
    ]
