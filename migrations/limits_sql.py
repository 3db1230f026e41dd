"""The SQL of the third migration that models cannot say: months of the ledger that go, and who may do what."""

from __future__ import annotations

from migrations.ground_sql import APP, WORKER

# The least id of a month: ids are UUIDv7 and begin with their milliseconds.
FIRST_ID = """
    CREATE FUNCTION ledger_first_id(month timestamptz) RETURNS uuid
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
        SELECT CAST(rpad(lpad(to_hex(CAST(extract(epoch FROM month) * 1000 AS bigint)), 12, '0'), 32, '0') AS uuid)
    $$
"""

# Whoever waits for the whole ledger makes all others wait behind it: so not for long, and later again.
DROP_MONTH = """
    CREATE FUNCTION ledger_drop_month(month date, keep integer) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
    DECLARE
        begins timestamptz := CAST(month AS timestamp) AT TIME ZONE 'UTC';
        ends timestamptz := (CAST(month AS timestamp) + interval '1 month') AT TIME ZONE 'UTC';
        kept timestamptz := (date_trunc('month', now() AT TIME ZONE 'UTC')
                             - make_interval(months => greatest(keep, 3))) AT TIME ZONE 'UTC';
        first_id uuid := public.ledger_first_id(begins);
        end_id uuid := public.ledger_first_id(ends);
        part text := 'deliveries_' || to_char(month, 'YYYYMM');
    BEGIN
        IF extract(day FROM month) <> 1 THEN
            RAISE EXCEPTION 'a month begins on its first day' USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF ends > kept THEN
            RAISE EXCEPTION 'this month of the ledger is still kept' USING ERRCODE = 'invalid_parameter_value';
        END IF;
        PERFORM pg_advisory_xact_lock(hashtext('wardlink.partitions'));
        IF EXISTS (SELECT 1 FROM public.ledger_dropped d WHERE d.low = first_id) THEN
            RETURN false;
        END IF;
        IF EXISTS (SELECT 1 FROM public.dispatches d
                   WHERE d.id >= first_id AND d.id < end_id AND d.finished_at IS NULL) THEN
            RAISE EXCEPTION 'a dispatch of this month has not ended' USING ERRCODE = 'object_in_use';
        END IF;
        INSERT INTO public.ledger_dropped (low, high, month) VALUES (first_id, end_id, ledger_drop_month.month);
        IF to_regclass('public.' || part) IS NOT NULL THEN
            EXECUTE format('DROP TABLE public.%I', part);
        END IF;
        RETURN true;
    END $$
"""

# What named the recipients of those months besides their deliveries. The counters stay, for the reports.
FORGET = """
    CREATE FUNCTION ledger_forget(most integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        gone record;
        rows integer;
        total integer := 0;
    BEGIN
        FOR gone IN SELECT low, high FROM public.ledger_dropped WHERE emptied_at IS NULL ORDER BY low FOR UPDATE LOOP
            DELETE FROM public.deliveries_default WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM public.deliveries_default WHERE dispatch_id >= gone.low AND dispatch_id < gone.high
                LIMIT most - total));
            GET DIAGNOSTICS rows = ROW_COUNT;
            total := total + rows;
            DELETE FROM public.attempts WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM public.attempts WHERE dispatch_id >= gone.low AND dispatch_id < gone.high
                LIMIT most - total));
            GET DIAGNOSTICS rows = ROW_COUNT;
            total := total + rows;
            UPDATE public.batches SET contact_ids = '{}' WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM public.batches WHERE dispatch_id >= gone.low AND dispatch_id < gone.high
                AND cardinality(contact_ids) > 0 LIMIT most - total));
            GET DIAGNOSTICS rows = ROW_COUNT;
            total := total + rows;
            EXIT WHEN total >= most;
            UPDATE public.ledger_dropped SET emptied_at = now() WHERE low = gone.low;
        END LOOP;
        RETURN total;
    END $$
"""

FUNCTIONS = [
    FIRST_ID,
    DROP_MONTH,
    FORGET,
    "REVOKE ALL ON FUNCTION ledger_first_id(timestamptz) FROM PUBLIC",
    "REVOKE ALL ON FUNCTION ledger_drop_month(date, integer) FROM PUBLIC",
    "REVOKE ALL ON FUNCTION ledger_forget(integer) FROM PUBLIC",
    f"GRANT EXECUTE ON FUNCTION ledger_first_id(timestamptz) TO {APP}, {WORKER}",
    f"GRANT EXECUTE ON FUNCTION ledger_drop_month(date, integer), ledger_forget(integer) TO {WORKER}",
    "ALTER FUNCTION ledger_make_partitions(integer) SET lock_timeout = '1s'",
]
DROPPED = [
    "ALTER FUNCTION ledger_make_partitions(integer) RESET lock_timeout",
    "DROP FUNCTION ledger_drop_month(date, integer), ledger_forget(integer), ledger_first_id(timestamptz)",
]

_SETTLED = "counted, spent_emails, spent_segments, spent_cost, settled_at"

# table: (what the app may do, what the worker may do). Nobody may TRUNCATE.
RIGHTS = {
    "organisation_limits": ("SELECT, INSERT, UPDATE (most), DELETE", "SELECT"),
    "spend_counters": (
        "SELECT, INSERT, UPDATE (emails, segments, cost)",
        "SELECT, INSERT, UPDATE (emails, segments, cost)",
    ),
    "reservations": ("SELECT, INSERT", f"SELECT, INSERT, UPDATE ({_SETTLED})"),
    "ledger_dropped": ("SELECT", "SELECT"),
    # A pause sets a dispatch's batches aside at once.
    "batches": ("SELECT, INSERT, UPDATE (not_before, state)", "SELECT"),
}
TAKEN_BACK = [f"REVOKE UPDATE (state) ON batches FROM {APP}"]


def grants() -> list[str]:
    """One GRANT per table and role."""
    return [
        f"GRANT {rights} ON {table} TO {role}"
        for table, both in RIGHTS.items()
        for role, rights in zip((APP, WORKER), both, strict=True)
    ]
