"""Who may do what with what the sixth migration made."""

from __future__ import annotations

from migrations.ground_sql import APP, WORKER

# table: (what the app may do, what the worker may do). Nobody may TRUNCATE.
RIGHTS = {
    "web_listening": ("SELECT, INSERT, UPDATE (seen_at, ended_at)", "SELECT, DELETE"),
    "webhook_refusals": ("SELECT, INSERT", "SELECT, INSERT, DELETE"),
    "heard_calls": ("SELECT", "SELECT, INSERT, DELETE"),
    "silent_batches": ("SELECT", "SELECT, INSERT, UPDATE, DELETE"),
    "inbound_polls": ("SELECT", "SELECT, INSERT, UPDATE"),
    # The worker keeps texts that it read from a provider's list.
    "raw_events": ("SELECT, INSERT", "SELECT, INSERT, UPDATE (merged_at, problem), DELETE"),
}
MADE = ("web_listening", "webhook_refusals", "heard_calls", "silent_batches", "inbound_polls")
TAKEN_BACK = f"REVOKE INSERT ON raw_events FROM {WORKER}"


def grants() -> list[str]:
    """One GRANT per table and role."""
    found = [
        f"GRANT {rights} ON {table} TO {role}"
        for table, both in RIGHTS.items()
        for role, rights in zip((APP, WORKER), both, strict=True)
    ]
    return [*found, f"GRANT UPDATE (ask_at) ON attempts TO {WORKER}"]
