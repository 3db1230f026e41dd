"""The SQL of the seventh migration that models cannot say: two functions, and who may do what."""

from __future__ import annotations

from migrations.ground_sql import APP, WORKER

SEALER = "wardlink_sealer"

FUNCTIONS = [
    # The sealer sees nothing but the record, and yet says that it lives: so this runs as the owner.
    """
    CREATE FUNCTION heartbeat(a_kind text, a_host text, an_instance uuid, queue_away boolean) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        INSERT INTO public.heartbeats AS h (kind, instance, host, began_at, at, queue_away_since)
        VALUES (a_kind, an_instance, left(a_host, 100), clock_timestamp(), clock_timestamp(),
            CASE WHEN queue_away THEN clock_timestamp() END)
        ON CONFLICT (kind, instance) DO UPDATE SET at = excluded.at,
            queue_away_since = CASE WHEN queue_away THEN coalesce(h.queue_away_since, excluded.at) END
    $$
    """,
    "REVOKE ALL ON FUNCTION heartbeat(text, text, uuid, boolean) FROM PUBLIC",
    f"GRANT EXECUTE ON FUNCTION heartbeat(text, text, uuid, boolean) TO {WORKER}, {SEALER}",
    # Only the sealer reads the list of what waits to be sealed; how long it is, and since when, is no secret.
    """
    CREATE FUNCTION unsealed(most integer, OUT waiting bigint, OUT oldest timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        SELECT count(*), min(e.at)
        FROM (SELECT entry_id FROM public.audit_pending ORDER BY entry_id LIMIT least(most, 10000)) p
        JOIN public.audit_entries e ON e.id = p.entry_id
    $$
    """,
    "REVOKE ALL ON FUNCTION unsealed(integer) FROM PUBLIC",
    f"GRANT EXECUTE ON FUNCTION unsealed(integer) TO {APP}, {WORKER}",
]
DROPPED = [
    "DROP FUNCTION heartbeat(text, text, uuid, boolean)",
    "DROP FUNCTION unsealed(integer)",
]

_ALARM = "told_at, tellings, over_since, cleared_at, over_told_at, detail"

# table: (what the app may do, what the worker may do). Nobody may TRUNCATE.
RIGHTS = {
    "heartbeats": ("SELECT", "SELECT, DELETE"),
    "doubt_samples": ("SELECT", "SELECT, INSERT, DELETE"),
    "alarms": (f"SELECT, INSERT, UPDATE ({_ALARM})", f"SELECT, INSERT, UPDATE ({_ALARM}), DELETE"),
    "alarm_posts": (
        "SELECT, INSERT",
        "SELECT, INSERT, UPDATE (not_before, tries, closed_at, outcome, reason), DELETE",
    ),
}


def grants() -> list[str]:
    """One GRANT per table and role."""
    return [
        f"GRANT {rights} ON {table} TO {role}"
        for table, both in RIGHTS.items()
        for role, rights in zip((APP, WORKER), both, strict=True)
    ]
