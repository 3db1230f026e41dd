"""The front door: teams, staff and sessions, sign-ups and codes, service messages, replies, public alerts.

Revision: 0002, after 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import front_door_sql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = (
    "reply_messages",
    "replies",
    "web_sessions",
    "staff_invitations",
    "staff",
    "alert_areas",
    "team_members",
    "team_areas",
    "confirmations",
    "signups",
    "confirmation_refusals",
    "rate_counters",
    "service_messages",
)


def upgrade() -> None:
    op.create_table(
        "confirmation_refusals",
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("channel", "digest", name=op.f("pk_confirmation_refusals")),
    )
    op.create_index(op.f("ix_confirmation_refusals_until"), "confirmation_refusals", ["until"], unique=False)
    op.create_table(
        "rate_counters",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("window", sa.DateTime(timezone=True), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "key", "window", name=op.f("pk_rate_counters")),
    )
    op.create_index("ix_rate_counters_window", "rate_counters", ["window"], unique=False)
    op.create_table(
        "service_messages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("controller_id", sa.Uuid(), nullable=True),
        sa.Column("sender_id", sa.Integer(), nullable=True),
        sa.Column("contact_id", sa.BigInteger(), nullable=True),
        sa.Column("address_enc", sa.LargeBinary(), nullable=True),
        sa.Column("subject_enc", sa.LargeBinary(), nullable=True),
        sa.Column("text_enc", sa.LargeBinary(), nullable=True),
        sa.Column("html_enc", sa.LargeBinary(), nullable=True),
        sa.Column("stop_url_enc", sa.LargeBinary(), nullable=True),
        sa.Column("segments", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("synthetic", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("tries", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("provider_ref", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("channel IN ('email', 'sms')", name=op.f("ck_service_messages_channel")),
        sa.CheckConstraint(
            "kind IN ('confirm', 'manage', 'invitation', 'help', 'reply-receipt', 'reply-answer')",
            name=op.f("ck_service_messages_kind"),
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'sending', 'sent', 'refused', 'in_doubt', 'expired')",
            name=op.f("ck_service_messages_state"),
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contact_points.id"],
            name=op.f("fk_service_messages_contact_id_contact_points"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["controller_id"],
            ["organisations.id"],
            name=op.f("fk_service_messages_controller_id_organisations"),
        ),
        sa.ForeignKeyConstraint(
            ["sender_id"], ["senders.id"], name=op.f("fk_service_messages_sender_id_senders")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service_messages")),
    )
    op.create_index(op.f("ix_service_messages_contact_id"), "service_messages", ["contact_id"], unique=False)
    op.create_index(op.f("ix_service_messages_created_at"), "service_messages", ["created_at"], unique=False)
    op.create_index(
        "ix_service_messages_sending",
        "service_messages",
        ["opened_at"],
        unique=False,
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_index(
        "ix_service_messages_waiting",
        "service_messages",
        ["not_before"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "signups",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("controller_id", sa.Uuid(), nullable=False),
        sa.Column("postcode", sa.Text(), nullable=False),
        sa.Column("topics", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("wording_id", sa.Integer(), nullable=False),
        sa.Column("salutation_enc", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["controller_id"], ["organisations.id"], name=op.f("fk_signups_controller_id_organisations")
        ),
        sa.ForeignKeyConstraint(["wording_id"], ["wordings.id"], name=op.f("fk_signups_wording_id_wordings")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signups")),
        sa.UniqueConstraint("digest", name=op.f("uq_signups_digest")),
    )
    op.create_index(op.f("ix_signups_expires_at"), "signups", ["expires_at"], unique=False)
    op.create_table(
        "teams",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("controller_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("about", sa.Text(), server_default="", nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["controller_id"], ["organisations.id"], name=op.f("fk_teams_controller_id_organisations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teams")),
    )
    op.create_index(
        "ix_teams_name",
        "teams",
        ["controller_id", "name"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "confirmations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("signup_id", sa.Uuid(), nullable=True),
        sa.Column("contact_id", sa.BigInteger(), nullable=True),
        sa.Column("page_digest", sa.LargeBinary(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("address_enc", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("digest_key", sa.SmallInteger(), nullable=False),
        sa.Column("form_version", sa.SmallInteger(), nullable=False),
        sa.Column("code_digest", sa.LargeBinary(), nullable=True),
        sa.Column("code_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("link_digest", sa.LargeBinary(), nullable=True),
        sa.Column("tries", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("sent", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(purpose = 'subscribe') = (signup_id IS NOT NULL)", name=op.f("ck_confirmations_signup")
        ),
        sa.CheckConstraint("channel IN ('email', 'sms')", name=op.f("ck_confirmations_channel")),
        sa.CheckConstraint("purpose IN ('subscribe', 'manage')", name=op.f("ck_confirmations_purpose")),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contact_points.id"],
            name=op.f("fk_confirmations_contact_id_contact_points"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["signup_id"], ["signups.id"], name=op.f("fk_confirmations_signup_id_signups"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_confirmations")),
        sa.UniqueConstraint("link_digest", name=op.f("uq_confirmations_link_digest")),
        sa.UniqueConstraint("page_digest", name=op.f("uq_confirmations_page_digest")),
    )
    op.create_index("ix_confirmations_address", "confirmations", ["channel", "digest"], unique=False)
    op.create_index(op.f("ix_confirmations_contact_id"), "confirmations", ["contact_id"], unique=False)
    op.create_index(op.f("ix_confirmations_expires_at"), "confirmations", ["expires_at"], unique=False)
    op.create_index(op.f("ix_confirmations_signup_id"), "confirmations", ["signup_id"], unique=False)
    op.create_table(
        "staff",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=True),
        sa.Column("email_enc", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("digest_key", sa.SmallInteger(), nullable=False),
        sa.Column("name_enc", sa.LargeBinary(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("totp_secret_enc", sa.LargeBinary(), nullable=True),
        sa.Column("totp_step", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), server_default="invited", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("enrolled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state <> 'active' OR (password_hash IS NOT NULL AND totp_secret_enc IS NOT NULL)",
            name=op.f("ck_staff_factors"),
        ),
        sa.CheckConstraint("state IN ('invited', 'active', 'left')", name=op.f("ck_staff_state")),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_staff_organisation_id_organisations")
        ),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_staff_team_id_teams")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff")),
        sa.UniqueConstraint("digest", name=op.f("uq_staff_digest")),
    )
    op.create_index(op.f("ix_staff_organisation_id"), "staff", ["organisation_id"], unique=False)
    op.create_index(op.f("ix_staff_team_id"), "staff", ["team_id"], unique=False)
    op.create_table(
        "team_areas",
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("area_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_team_areas_area_id_areas")),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_team_areas_team_id_teams")),
        sa.PrimaryKeyConstraint("team_id", "area_id", name=op.f("pk_team_areas")),
    )
    op.create_index(op.f("ix_team_areas_area_id"), "team_areas", ["area_id"], unique=False)
    op.create_table(
        "team_members",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("name_agreed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("position", sa.SmallInteger(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "name IS NULL OR name_agreed_at IS NOT NULL", name=op.f("ck_team_members_name_agreed")
        ),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_team_members_team_id_teams")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_team_members")),
    )
    op.create_index(op.f("ix_team_members_team_id"), "team_members", ["team_id"], unique=False)
    op.create_table(
        "alert_areas",
        sa.Column("alert_id", sa.Uuid(), nullable=False),
        sa.Column("area_id", sa.Integer(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.id"], name=op.f("fk_alert_areas_alert_id_alerts")),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_alert_areas_area_id_areas")),
        sa.PrimaryKeyConstraint("alert_id", "area_id", name=op.f("pk_alert_areas")),
    )
    op.create_index("ix_alert_areas_list", "alert_areas", ["area_id", "sent_at", "alert_id"], unique=False)
    op.create_table(
        "replies",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("controller_id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=True),
        sa.Column("alert_id", sa.Uuid(), nullable=True),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("name_enc", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.Text(), server_default="new", nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_by", sa.Uuid(), nullable=True),
        sa.CheckConstraint("state IN ('new', 'answered', 'closed')", name=op.f("ck_replies_state")),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.id"], name=op.f("fk_replies_alert_id_alerts")),
        sa.ForeignKeyConstraint(["closed_by"], ["staff.id"], name=op.f("fk_replies_closed_by_staff")),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contact_points.id"],
            name=op.f("fk_replies_contact_id_contact_points"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["controller_id"], ["organisations.id"], name=op.f("fk_replies_controller_id_organisations")
        ),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_replies_team_id_teams")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replies")),
    )
    op.create_index(op.f("ix_replies_contact_id"), "replies", ["contact_id"], unique=False)
    op.create_index("ix_replies_inbox", "replies", ["controller_id", "state", "last_at", "id"], unique=False)
    op.create_index(
        "ix_replies_team_inbox",
        "replies",
        ["controller_id", "team_id", "state", "last_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_replies_thread",
        "replies",
        ["alert_id", "contact_id", "controller_id"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.create_table(
        "staff_invitations",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["staff_id"], ["staff.id"], name=op.f("fk_staff_invitations_staff_id_staff"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_staff_invitations")),
    )
    op.create_index(op.f("ix_staff_invitations_staff_id"), "staff_invitations", ["staff_id"], unique=False)
    op.create_index(
        op.f("ix_staff_invitations_expires_at"), "staff_invitations", ["expires_at"], unique=False
    )
    op.create_table(
        "web_sessions",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=True),
        sa.Column("contact_id", sa.BigInteger(), nullable=True),
        sa.Column("half", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(staff_id IS NULL) <> (contact_id IS NULL)", name=op.f("ck_web_sessions_who")),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contact_points.id"],
            name=op.f("fk_web_sessions_contact_id_contact_points"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["staff_id"], ["staff.id"], name=op.f("fk_web_sessions_staff_id_staff"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_web_sessions")),
    )
    op.create_index(op.f("ix_web_sessions_contact_id"), "web_sessions", ["contact_id"], unique=False)
    op.create_index(op.f("ix_web_sessions_expires_at"), "web_sessions", ["expires_at"], unique=False)
    op.create_index(op.f("ix_web_sessions_staff_id"), "web_sessions", ["staff_id"], unique=False)
    op.create_table(
        "reply_messages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("reply_id", sa.Uuid(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("body_enc", sa.LargeBinary(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=True),
        sa.Column("once", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(direction = 'out') = (staff_id IS NOT NULL)", name=op.f("ck_reply_messages_who")
        ),
        sa.CheckConstraint("channel IN ('web', 'sms', 'email')", name=op.f("ck_reply_messages_channel")),
        sa.CheckConstraint("direction IN ('in', 'out')", name=op.f("ck_reply_messages_direction")),
        sa.ForeignKeyConstraint(
            ["reply_id"], ["replies.id"], name=op.f("fk_reply_messages_reply_id_replies"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_reply_messages_staff_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reply_messages")),
        sa.UniqueConstraint("once", name=op.f("uq_reply_messages_once")),
    )
    op.create_index("ix_reply_messages_thread", "reply_messages", ["reply_id", "at", "id"], unique=False)
    op.add_column("alerts", sa.Column("team_id", sa.Uuid(), nullable=True))
    op.add_column("alerts", sa.Column("how_to_tell", sa.Text(), server_default="", nullable=False))
    op.add_column(
        "alerts",
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.add_column("alerts", sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True))
    op.drop_index(op.f("ix_alerts_controller_id"), table_name="alerts")
    op.create_index("ix_alerts_list", "alerts", ["controller_id", "state", "changed_at", "id"], unique=False)
    op.create_foreign_key(op.f("fk_alerts_team_id_teams"), "alerts", "teams", ["team_id"], ["id"])
    for statement in (
        *front_door_sql.SENT_BEFORE,
        *front_door_sql.ALERT_GUARD,
        *front_door_sql.grants(),
    ):
        op.execute(statement)


def downgrade() -> None:
    for statement in front_door_sql.TAKEN_BACK:
        op.execute(statement)
    op.execute("DROP TRIGGER alerts_guard ON alerts")
    op.execute("DROP FUNCTION alerts_guard()")
    op.drop_index("ix_alerts_list", table_name="alerts")
    op.create_index("ix_alerts_controller_id", "alerts", ["controller_id"], unique=False)
    for column in ("sent_at", "changed_at", "how_to_tell", "team_id"):
        op.drop_column("alerts", column)
    op.execute("DROP TABLE " + ", ".join(TABLES))
    op.execute("DROP TABLE teams")
