"""The SQL of the eleventh migration that models cannot say: evidence goes only under a pseudonym, and rights."""

from __future__ import annotations

from migrations.front_door_sql import _FATE
from migrations.ground_sql import APP, WORKER

# The worker may delete evidence that has had its time; a consent that names a contact point is nobody's to delete.
EVIDENCE_GUARD = [
    """
    CREATE FUNCTION consents_keep() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        IF OLD.pseudonym IS NULL THEN
            RAISE EXCEPTION 'a consent is deleted only under its pseudonym' USING ERRCODE = 'insufficient_privilege';
        END IF;
        RETURN OLD;
    END $$
    """,
    "REVOKE ALL ON FUNCTION consents_keep() FROM PUBLIC",
    "CREATE TRIGGER consents_keep BEFORE DELETE ON consents FOR EACH ROW EXECUTE FUNCTION consents_keep()",
]
DROPPED = ["DROP TRIGGER consents_keep ON consents", "DROP FUNCTION consents_keep()"]

_CHOICE = "withdrawn_at, withdrawn_how, contact_id, pseudonym"

# table: (what the app may do, what the worker may do). Nobody may TRUNCATE.
RIGHTS = {
    "consents": (f"SELECT, INSERT, UPDATE ({_CHOICE})", f"SELECT, UPDATE ({_CHOICE}), DELETE"),
    "retention_runs": ("SELECT", "SELECT, INSERT, UPDATE (removed, oldest_left, ran_at), DELETE"),
    # A code that waits for an address that is erased is not sent.
    "service_messages": ("SELECT, INSERT, DELETE", f"SELECT, INSERT, UPDATE ({_FATE}), DELETE"),
    "replies": (
        "SELECT, INSERT, UPDATE (state, name_enc, last_at, closed_at, closed_by)",
        "SELECT, INSERT, UPDATE (state, last_at, closed_at, closed_by), DELETE",
    ),
}
TAKEN_BACK = [
    f"REVOKE DELETE, UPDATE (contact_id, pseudonym) ON consents FROM {WORKER}",
    f"REVOKE DELETE ON service_messages FROM {APP}",
    f"REVOKE DELETE ON replies FROM {WORKER}",
    f"REVOKE SELECT (controller_id) ON signups FROM {WORKER}",
]


def grants() -> list[str]:
    """One GRANT per table and role, and what an old table gets besides."""
    found = [
        f"GRANT {rights} ON {table} TO {role}"
        for table, both in RIGHTS.items()
        for role, rights in zip((APP, WORKER), both, strict=True)
    ]
    # Sign-ups are counted by organisation as they go.
    return [*found, f"GRANT SELECT (controller_id) ON signups TO {WORKER}"]
