"""The SQL of the fourth migration that models cannot say: London's clock, and who may do what."""

from __future__ import annotations

from migrations.ground_sql import APP, WORKER

# Whole hours only: London's clock changes at 01:00 UTC, so every border of quiet hours is a whole hour of UTC too,
# and an hour that comes twice is quiet both times or not at all. PostgreSQL reads a time that the clock jumps over
# as an hour later, and one that comes twice as the second, where we want the first.
FUNCTIONS = [
    # Whether it is quiet at this moment.
    """
    CREATE FUNCTION quiet_at(moment timestamptz, quiet_from smallint, quiet_until smallint) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT coalesce(CASE
            WHEN quiet_from < quiet_until THEN hour >= quiet_from AND hour < quiet_until
            ELSE hour >= quiet_from OR hour < quiet_until END, false)
        FROM (SELECT extract(hour FROM moment AT TIME ZONE 'Europe/London') AS hour) wall
    $$
    """,
    # The first moment from this one on that is not quiet.
    """
    CREATE FUNCTION quiet_end(moment timestamptz, quiet_from smallint, quiet_until smallint) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT CASE WHEN NOT quiet_at(moment, quiet_from, quiet_until) THEN moment
            WHEN (ends - interval '1 hour') AT TIME ZONE 'Europe/London' = wanted THEN ends - interval '1 hour'
            ELSE ends END
        FROM (SELECT moment AT TIME ZONE 'Europe/London' AS wall) w
        CROSS JOIN LATERAL (
            SELECT date_trunc('day', wall) + make_interval(
                days => CASE WHEN extract(hour FROM wall) < quiet_until THEN 0 ELSE 1 END,
                hours => CAST(quiet_until AS int)) AS wanted
        ) d
        CROSS JOIN LATERAL (SELECT wanted AT TIME ZONE 'Europe/London' AS ends) s
    $$
    """,
    # When it is quiet next, for a moment that is not; NULL without quiet hours. In the night of an hour that is jumped
    # over, quiet hours of only that hour seem to begin, and nothing comes of it.
    """
    CREATE FUNCTION quiet_start(moment timestamptz, quiet_from smallint, quiet_until smallint) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT CASE WHEN (starts - interval '1 hour') AT TIME ZONE 'Europe/London' = wanted
            THEN starts - interval '1 hour' ELSE starts END
        FROM (SELECT moment AT TIME ZONE 'Europe/London' AS wall) w
        CROSS JOIN LATERAL (
            SELECT date_trunc('day', wall) + make_interval(
                days => CASE WHEN extract(hour FROM wall) < quiet_from THEN 0 ELSE 1 END,
                hours => CAST(quiet_from AS int)) AS wanted
        ) d
        CROSS JOIN LATERAL (SELECT wanted AT TIME ZONE 'Europe/London' AS starts) s
    $$
    """,
    # The first digest from this moment on: each day at an hour, or only on a weekday (1 Monday … 7 Sunday).
    """
    CREATE FUNCTION digest_at(moment timestamptz, at_hour smallint, weekday smallint) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT (day + make_interval(
            days => CASE WHEN weekday IS NULL THEN 0
                ELSE (weekday - CAST(extract(isodow FROM day) AS int) + 7) % 7 END,
            hours => CAST(at_hour AS int))) AT TIME ZONE 'Europe/London'
        FROM (
            SELECT date_trunc('day', wall) + make_interval(
                days => CASE WHEN wall > date_trunc('day', wall) + make_interval(hours => CAST(at_hour AS int))
                    THEN 1 ELSE 0 END) AS day
            FROM (SELECT moment AT TIME ZONE 'Europe/London' AS wall) w
        ) d
    $$
    """,
]
SIGNATURES = (
    "quiet_at(timestamptz, smallint, smallint)",
    "quiet_end(timestamptz, smallint, smallint)",
    "quiet_start(timestamptz, smallint, smallint)",
    "digest_at(timestamptz, smallint, smallint)",
)

# table: (what the app may do, what the worker may do). Nobody may TRUNCATE.
RIGHTS = {
    "contact_preferences": ("SELECT, INSERT, UPDATE, DELETE", "SELECT"),
    "contact_sends": ("SELECT, INSERT, DELETE", "SELECT, UPDATE (at), DELETE"),
    "digest_items": (
        "SELECT, INSERT, UPDATE (state, settled_at)",
        "SELECT, UPDATE (state, due_at, digest_id, settled_at), DELETE",
    ),
    # The scheduler freezes digests.
    "dispatches": (
        "SELECT, INSERT, UPDATE (state, stopped_at, recipients, digested)",
        "SELECT, INSERT, UPDATE (state, finished_at, recipients)",
    ),
    "dispatch_contents": ("SELECT, INSERT", "SELECT, INSERT"),
    "batches": ("SELECT, INSERT, UPDATE (not_before, not_after)", "SELECT, INSERT, UPDATE (not_after)"),
}
TAKEN_BACK = [
    f"REVOKE INSERT, UPDATE (recipients) ON dispatches FROM {WORKER}",
    f"REVOKE INSERT ON dispatch_contents FROM {WORKER}",
    f"REVOKE INSERT ON batches FROM {WORKER}",
]


def grants() -> list[str]:
    """Everything that may be done, by table and by function."""
    return [
        *(
            f"GRANT {rights} ON {table} TO {role}"
            for table, both in RIGHTS.items()
            for role, rights in zip((APP, WORKER), both, strict=True)
        ),
        *(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC" for name in SIGNATURES),
        *(f"GRANT EXECUTE ON FUNCTION {name} TO {APP}, {WORKER}" for name in SIGNATURES),
    ]
