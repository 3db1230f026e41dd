"""The SQL of the register that models cannot say: the role of the gate, its schema, and rights.

The gate's role owns the functions of the schema ``register`` and nothing else; it alone may read what says where a
camera is or whose it is. Nobody signs in as it.
"""

from __future__ import annotations

from migrations.ground_sql import APP, WORKER

GATE = "wardlink_gate"

# What only functions of the gate may touch. Nothing of it is granted to the app or to a worker.
PRIVATE = ("camera_owners", "cameras", "request_recipients", "disclosures", "register_tickets")

# table: (what the app may do, what the worker may do), of what says nothing about an owner.
RIGHTS = {
    "register_settings": ("SELECT, INSERT, UPDATE", "SELECT"),
    "investigations": ("SELECT, UPDATE (closed_at)", "SELECT"),
    "register_lifts": ("SELECT", "SELECT"),
    "register_searches": ("SELECT", "SELECT"),
    "search_withholdings": ("SELECT, INSERT", "SELECT"),
    "camera_requests": ("SELECT", "SELECT"),
}

# What the gate itself may do. It deletes nothing but by a foreign key that cascades, and owners and tickets.
GATE_RIGHTS = {
    "camera_owners": "SELECT, INSERT, UPDATE, DELETE",
    "cameras": "SELECT, INSERT, UPDATE, DELETE",
    "request_recipients": "SELECT, INSERT, UPDATE",
    "disclosures": "SELECT, INSERT",
    "register_tickets": "SELECT, INSERT, UPDATE (settled, lapsed_at), DELETE",
    "register_settings": "SELECT",
    "investigations": "SELECT, INSERT",
    "register_lifts": "SELECT, INSERT, UPDATE (used_at)",
    "register_searches": "SELECT, INSERT, UPDATE (settled, lapsed_at)",
    "search_withholdings": "SELECT",
    "camera_requests": "SELECT, INSERT, UPDATE (dispatch_id, state, closed_at, closed_why, outcome_enc)",
    "audit_entries": (
        "SELECT (id), INSERT (version, at, actor_kind, actor_id, organisation_id, area_code, subject, event, "
        "s62, why, origin, detail)"
    ),
    "web_sessions": "SELECT (digest, staff_id, contact_id, half, expires_at, seen_at, stepped_up_at)",
    "staff": "SELECT (id, organisation_id, team_id, state)",
    "organisations": "SELECT",
    "role_grants": "SELECT",
    "areas": "SELECT",
    "teams": "SELECT",
    "team_areas": "SELECT",
    "postcodes": "SELECT",
    "contact_points": "SELECT (id, channel, confirmed_at, synthetic)",
}


# An owner agreed with one controller, so a search looks at that one's cameras alone, without a look at each owner.
CONTROLLER = (
    """
    CREATE FUNCTION camera_controller() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        NEW.controller_id := (SELECT o.controller_id FROM public.camera_owners o WHERE o.id = NEW.owner_id);
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER camera_controller BEFORE INSERT OR UPDATE OF owner_id, controller_id ON cameras
    FOR EACH ROW EXECUTE FUNCTION camera_controller()
    """,
    "REVOKE ALL ON FUNCTION camera_controller() FROM PUBLIC",
)


def grants() -> list[str]:
    """The schema, and one GRANT per table and role."""
    found = [
        f"CREATE SCHEMA register AUTHORIZATION {GATE}",
        f"GRANT USAGE ON SCHEMA register TO {APP}, {WORKER}",
        f"GRANT USAGE ON SCHEMA public TO {GATE}",
    ]
    found += [f"GRANT {rights} ON {table} TO {GATE}" for table, rights in GATE_RIGHTS.items()]
    found += [
        f"GRANT {rights} ON {table} TO {role}"
        for table, both in RIGHTS.items()
        for role, rights in zip((APP, WORKER), both, strict=True)
    ]
    return found


def drop() -> list[str]:
    """The way back: the schema with its functions, and what the gate may do on tables that stay."""
    kept = [table for table in GATE_RIGHTS if table not in PRIVATE and table not in RIGHTS]
    return [
        "DROP SCHEMA register CASCADE",
        f"REVOKE USAGE ON SCHEMA public FROM {GATE}",
        *(f"REVOKE ALL ON {table} FROM {GATE}" for table in kept),
    ]
