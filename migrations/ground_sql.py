"""The SQL of the first migration that models cannot say: partitions, a guard, and who may do what."""

from __future__ import annotations

APP, WORKER = "wardlink_app", "wardlink_worker"

# A dispatch id is a UUIDv7: its first 48 bits are milliseconds, so a range of ids is a range of time.
PARTITIONS = [
    """
    CREATE FUNCTION ledger_make_partitions(months integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        month timestamptz := date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
        made integer := 0;
        part text;
        low text;
        high text;
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('wardlink.partitions'));
        FOR i IN 0..least(greatest(months, 1), 120) LOOP
            part := 'deliveries_' || to_char(month AT TIME ZONE 'UTC', 'YYYYMM');
            low := rpad(lpad(to_hex(CAST(extract(epoch FROM month) * 1000 AS bigint)), 12, '0'), 32, '0');
            high := rpad(lpad(to_hex(CAST(extract(epoch FROM month + interval '1 month') * 1000 AS bigint)),
                              12, '0'), 32, '0');
            -- A month that was not made in time stays where its rows went.
            IF to_regclass('public.' || part) IS NULL AND NOT EXISTS (
                SELECT 1 FROM public.deliveries_default
                WHERE dispatch_id >= CAST(low AS uuid) AND dispatch_id < CAST(high AS uuid))
            THEN
                EXECUTE format(
                    'CREATE TABLE public.%I PARTITION OF public.deliveries FOR VALUES FROM (%L) TO (%L) '
                    'WITH (fillfactor = 80)', part, CAST(low AS uuid), CAST(high AS uuid));
                made := made + 1;
            END IF;
            month := (month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC';
        END LOOP;
        RETURN made;
    END $$
    """,
    "REVOKE ALL ON FUNCTION ledger_make_partitions(integer) FROM PUBLIC",
    f"GRANT EXECUTE ON FUNCTION ledger_make_partitions(integer) TO {WORKER}",
    # A row that no month holds is kept, not refused.
    "CREATE TABLE deliveries_default PARTITION OF deliveries DEFAULT WITH (fillfactor = 80)",
    "SELECT ledger_make_partitions(3)",
]

CONSENT_GUARD = [
    """
    CREATE FUNCTION consents_guard() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        IF (NEW.id, NEW.controller_id, NEW.channel, NEW.purpose, NEW.wording_id, NEW.given_at, NEW.how, NEW.evidence)
           IS DISTINCT FROM
           (OLD.id, OLD.controller_id, OLD.channel, OLD.purpose, OLD.wording_id, OLD.given_at, OLD.how, OLD.evidence)
           OR (OLD.withdrawn_at IS NOT NULL
               AND (NEW.withdrawn_at, NEW.withdrawn_how) IS DISTINCT FROM (OLD.withdrawn_at, OLD.withdrawn_how))
           OR (OLD.contact_id IS DISTINCT FROM NEW.contact_id AND NEW.contact_id IS NOT NULL)
           OR (OLD.pseudonym IS NOT NULL AND NEW.pseudonym IS DISTINCT FROM OLD.pseudonym)
        THEN
            RAISE EXCEPTION 'consent is append-only: only a withdrawal or an erasure may be added'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        RETURN NEW;
    END $$
    """,
    "REVOKE ALL ON FUNCTION consents_guard() FROM PUBLIC",
    "CREATE TRIGGER consents_guard BEFORE UPDATE ON consents FOR EACH ROW EXECUTE FUNCTION consents_guard()",
]

# What of a batch may change: who is in it may not.
BATCH_STATE = (
    "state, tries, lease_token, lease_until, not_before, accepted, delivered, bounced, complained, refused, stopped, "
    "erased, expired, in_doubt"
)

# table: (what the app may do, what the worker may do). Nobody may TRUNCATE.
RIGHTS = {
    "organisations": ("SELECT, INSERT, UPDATE", "SELECT"),
    "senders": ("SELECT, INSERT, UPDATE", "SELECT"),
    "sender_controllers": ("SELECT, INSERT, DELETE", "SELECT"),
    "sender_pace": ("SELECT, INSERT", "SELECT, UPDATE"),
    "areas": ("SELECT, INSERT, UPDATE", "SELECT"),
    "area_successors": ("SELECT, INSERT, DELETE", "SELECT"),
    "releases": ("SELECT, INSERT", "SELECT"),
    "postcodes": ("SELECT, INSERT, UPDATE, DELETE", "SELECT"),
    "contact_points": ("SELECT, INSERT, UPDATE, DELETE", "SELECT"),
    "people": ("SELECT, INSERT, UPDATE, DELETE", "SELECT"),
    "person_contact_points": ("SELECT, INSERT, DELETE", "SELECT"),
    "places": ("SELECT, INSERT, UPDATE, DELETE", "SELECT"),
    "place_areas": ("SELECT, INSERT, UPDATE, DELETE", "SELECT"),
    "subscriptions": ("SELECT, INSERT, UPDATE, DELETE", "SELECT"),
    "erasures": ("SELECT, INSERT", "SELECT"),
    "wordings": ("SELECT, INSERT", "SELECT"),
    "consents": (
        "SELECT, INSERT, UPDATE (withdrawn_at, withdrawn_how, contact_id, pseudonym)",
        "SELECT, UPDATE (withdrawn_at, withdrawn_how)",
    ),
    "suppressions": ("SELECT, INSERT, UPDATE (lifted_at)", "SELECT, INSERT, UPDATE (lifted_at, reason)"),
    "alerts": ("SELECT, INSERT, UPDATE (state)", "SELECT"),
    "dispatches": (
        "SELECT, INSERT, UPDATE (state, stopped_at, recipients)",
        "SELECT, UPDATE (state, finished_at)",
    ),
    "dispatch_contents": ("SELECT, INSERT", "SELECT"),
    "batches": ("SELECT, INSERT, UPDATE (not_before)", f"SELECT, UPDATE ({BATCH_STATE})"),
    "attempts": ("SELECT", "SELECT, INSERT, UPDATE (closed_at, outcome, provider_ref, reason)"),
    "deliveries": ("SELECT, UPDATE (provider_ref)", "SELECT, INSERT, UPDATE"),
    "raw_events": ("SELECT, INSERT", "SELECT, UPDATE (merged_at, problem), DELETE"),
    "early_receipts": ("SELECT", "SELECT, INSERT, DELETE"),
    "alembic_version": ("SELECT", "SELECT"),
}


def grants() -> list[str]:
    """One GRANT per table and role."""
    return [
        f"GRANT {rights} ON {table} TO {role}"
        for table, both in RIGHTS.items()
        for role, rights in zip((APP, WORKER), both, strict=True)
    ]
