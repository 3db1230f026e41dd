"""The SQL of the second migration that models cannot say: what was sent stays as it was, and who may do what."""

from __future__ import annotations

from migrations.ground_sql import APP, WORKER

# Alerts that were sent before there were pages: when, and to which areas.
SENT_BEFORE = [
    """
    UPDATE alerts a SET sent_at = d.first
    FROM (SELECT alert_id, min(frozen_at) AS first FROM dispatches WHERE NOT exercise GROUP BY alert_id) d
    WHERE d.alert_id = a.id
    """,
    """
    INSERT INTO alert_areas (alert_id, area_id, sent_at)
    SELECT DISTINCT a.id, r.id, a.sent_at
    FROM alerts a
    CROSS JOIN LATERAL jsonb_array_elements_text(a.audience -> 'areas') AS wanted(code)
    JOIN areas r ON r.code = wanted.code AND r.valid_to IS NULL
    WHERE a.sent_at IS NOT NULL AND NOT a.restricted
    """,
]

# People who were sent an alert can look it up: it must go on saying what it said to them.
ALERT_GUARD = [
    """
    CREATE FUNCTION alerts_guard() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        IF OLD.state = 'sent' AND (
            TG_OP = 'DELETE'
            OR to_jsonb(NEW) - 'sent_at' IS DISTINCT FROM to_jsonb(OLD) - 'sent_at'
            OR (OLD.sent_at IS NOT NULL AND NEW.sent_at IS DISTINCT FROM OLD.sent_at)
        ) THEN
            RAISE EXCEPTION 'an alert that was sent cannot be changed' USING ERRCODE = 'insufficient_privilege';
        END IF;
        RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    END $$
    """,
    "REVOKE ALL ON FUNCTION alerts_guard() FROM PUBLIC",
    "CREATE TRIGGER alerts_guard BEFORE UPDATE OR DELETE ON alerts FOR EACH ROW EXECUTE FUNCTION alerts_guard()",
]

_DRAFT = (
    "state, sent_at, changed_at, kind, urgency, topic, language, headline, body, what_to_do, how_to_tell, sms_text, "
    "channels, audience, restricted, expires_at"
)
_FATE = (
    "state, tries, not_before, opened_at, closed_at, provider_ref, reason, address_enc, subject_enc, text_enc, "
    "html_enc, stop_url_enc"
)
_CODE = "contact_id, code_digest, code_expires_at, link_digest, tries, sent, used_at, refused_at"

# table: (what the app may do, what the worker may do). Nobody may TRUNCATE.
RIGHTS = {
    "alerts": (f"SELECT, INSERT, DELETE, UPDATE ({_DRAFT})", "SELECT"),
    "alert_areas": ("SELECT, INSERT", "SELECT"),
    "teams": ("SELECT, INSERT, UPDATE", "SELECT"),
    "team_areas": ("SELECT, INSERT, DELETE", "SELECT"),
    "team_members": ("SELECT, INSERT, UPDATE, DELETE", "SELECT"),
    "staff": ("SELECT, INSERT, UPDATE", "SELECT (id, organisation_id, team_id, state)"),
    "staff_invitations": ("SELECT, INSERT, UPDATE (used_at), DELETE", "SELECT (digest, expires_at), DELETE"),
    "web_sessions": (
        "SELECT, INSERT, UPDATE (seen_at, expires_at, half), DELETE",
        "SELECT (digest, expires_at), DELETE",
    ),
    "signups": ("SELECT, INSERT, DELETE", "SELECT (id, expires_at), DELETE"),
    "confirmations": (
        f"SELECT, INSERT, UPDATE ({_CODE}), DELETE",
        "SELECT (id, expires_at), DELETE",
    ),
    "confirmation_refusals": ("SELECT, INSERT, UPDATE (until)", "SELECT, DELETE"),
    "rate_counters": ("SELECT, INSERT, UPDATE (count)", "SELECT, INSERT, UPDATE (count), DELETE"),
    "service_messages": ("SELECT, INSERT", f"SELECT, INSERT, UPDATE ({_FATE}), DELETE"),
    "replies": ("SELECT, INSERT, UPDATE (state, name_enc, last_at, closed_at, closed_by)",
                "SELECT, INSERT, UPDATE (state, last_at, closed_at, closed_by)"),
    "reply_messages": ("SELECT, INSERT", "SELECT, INSERT"),
    # A text from a number that we do not know yet can be answered.
    "contact_points": ("SELECT, INSERT, UPDATE, DELETE", "SELECT, INSERT"),
}  # fmt: skip

# What the tables of before get back when one goes back over this migration.
TAKEN_BACK = [
    f"REVOKE DELETE, UPDATE ({_DRAFT}) ON alerts FROM {APP}",
    f"GRANT UPDATE (state) ON alerts TO {APP}",
    f"REVOKE INSERT ON contact_points FROM {WORKER}",
]


def grants() -> list[str]:
    """One GRANT per table and role."""
    return [
        f"GRANT {rights} ON {table} TO {role}"
        for table, both in RIGHTS.items()
        for role, rights in zip((APP, WORKER), both, strict=True)
    ]
