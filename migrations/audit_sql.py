"""The SQL of the record: tables, the trigger that lists what is unsealed, the guards, the grants.

Run by the first migration, as ``wardlink_owner``, after any general grant: the last
statements take back from every role what it must not have here.
"""

from __future__ import annotations

__all__ = ["audit_ddl", "audit_drop", "audit_grants", "audit_guards", "audit_tables"]

APP, WORKER, SEALER = "wardlink_app", "wardlink_worker", "wardlink_sealer"

# What an act says of itself. `id` is not here: the database alone numbers the entries.
WRITABLE = (
    "version, at, actor_kind, actor_id, organisation_id, area_code, subject, event, s62, why, origin, detail"
)


def audit_tables() -> list[str]:
    """CREATE TABLE for the three tables that ``app/models/audit.py`` describes."""
    return [
        r"""
        CREATE TABLE audit_entries (
            id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_audit_entries PRIMARY KEY,
            version smallint NOT NULL DEFAULT 1,
            at timestamptz NOT NULL DEFAULT clock_timestamp(),
            actor_kind text NOT NULL,
            actor_id text,
            organisation_id uuid,
            area_code text,
            subject text NOT NULL,
            event text NOT NULL,
            s62 text,
            why text,
            origin text,
            detail text,
            CONSTRAINT ck_audit_entries_version CHECK (version = 1),
            CONSTRAINT ck_audit_entries_at CHECK (at >= '2000-01-01 00:00Z' AND at < '9999-01-01 00:00Z'),
            CONSTRAINT ck_audit_entries_actor_kind CHECK (
                actor_kind IN ('staff', 'resident', 'owner', 'provider', 'operator', 'system')),
            CONSTRAINT ck_audit_entries_subject CHECK (subject ~ '^[a-z][a-z-]*:\S{1,200}$'),
            CONSTRAINT ck_audit_entries_event CHECK (event ~ '^[a-z][a-z-]*:[a-z][a-z-]*$'),
            CONSTRAINT ck_audit_entries_s62 CHECK (s62 IN (
                'collection', 'alteration', 'consultation', 'disclosure', 'combination', 'erasure')),
            CONSTRAINT ck_audit_entries_why CHECK (length(why) <= 2000)
        )
        """,
        "CREATE TABLE audit_pending (entry_id bigint CONSTRAINT pk_audit_pending PRIMARY KEY)",
        """
        CREATE TABLE audit_seals (
            seq bigint CONSTRAINT pk_audit_seals PRIMARY KEY,
            entry_id bigint NOT NULL CONSTRAINT uq_audit_seals_entry_id UNIQUE,
            prev bytea NOT NULL,
            hash bytea NOT NULL,
            sealed_at timestamptz NOT NULL DEFAULT clock_timestamp()
        )
        """,
    ]


def audit_guards() -> list[str]:
    """The trigger that fills ``audit_pending`` and those that refuse to change the record."""
    statements = [
        # Runs as the owner: no other role may write the list, or it could keep an entry off the chain.
        """
        CREATE FUNCTION audit_list_unsealed() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        BEGIN
            INSERT INTO public.audit_pending (entry_id) SELECT id FROM fresh;
            RETURN NULL;
        END $$
        """,
        """
        CREATE TRIGGER audit_list_unsealed AFTER INSERT ON audit_entries
        REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION audit_list_unsealed()
        """,
        """
        CREATE FUNCTION audit_refuse_change() RETURNS trigger
        LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
        BEGIN
            RAISE EXCEPTION 'the record cannot be changed: % on % refused', TG_OP, TG_TABLE_NAME
                USING ERRCODE = 'insufficient_privilege';
        END $$
        """,
        "REVOKE ALL ON FUNCTION audit_list_unsealed(), audit_refuse_change() FROM PUBLIC",
    ]
    statements += [
        f"""
        CREATE TRIGGER {table}_insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change()
        """
        for table in ("audit_entries", "audit_seals")
    ]
    return statements


def audit_grants() -> list[str]:
    """What each role may do here, after taking everything else back."""
    return [
        f"REVOKE ALL ON audit_entries, audit_pending, audit_seals FROM PUBLIC, {APP}, {WORKER}, {SEALER}",
        f"GRANT SELECT, INSERT ({WRITABLE}) ON audit_entries TO {APP}, {WORKER}",
        f"GRANT SELECT ON audit_seals TO {APP}, {WORKER}",
        f"GRANT SELECT ON audit_entries TO {SEALER}",
        f"GRANT SELECT, DELETE ON audit_pending TO {SEALER}",
        f"GRANT SELECT, INSERT ON audit_seals TO {SEALER}",
    ]


def audit_ddl() -> list[str]:
    """Everything, in order: tables, guards, grants."""
    return [*audit_tables(), *audit_guards(), *audit_grants()]


def audit_drop() -> list[str]:
    """The way back, for a downgrade of the first migration."""
    return [
        "DROP TABLE audit_seals, audit_pending, audit_entries",
        "DROP FUNCTION audit_list_unsealed(), audit_refuse_change()",
    ]
