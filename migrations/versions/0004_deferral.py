"""Quiet hours, weekly caps and digests, as rows.

Revision: 0004, after 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations import deferral_sql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "contact_preferences",
        sa.Column("contact_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("quiet_from", sa.SmallInteger(), nullable=True),
        sa.Column("quiet_until", sa.SmallInteger(), nullable=True),
        sa.Column("weekly_cap", sa.SmallInteger(), nullable=True),
        sa.Column("digest", sa.Text(), server_default="none", nullable=False),
        sa.Column("digest_hour", sa.SmallInteger(), nullable=True),
        sa.Column("digest_weekday", sa.SmallInteger(), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("channel IN ('email', 'sms')", name=op.f("ck_contact_preferences_channel")),
        sa.CheckConstraint(
            "(quiet_from IS NULL) = (quiet_until IS NULL) AND quiet_from <> quiet_until "
            "AND quiet_from BETWEEN 0 AND 23 AND quiet_until BETWEEN 0 AND 23",
            name=op.f("ck_contact_preferences_quiet"),
        ),
        sa.CheckConstraint("weekly_cap BETWEEN 1 AND 50", name=op.f("ck_contact_preferences_cap")),
        sa.CheckConstraint(
            "digest IN ('none', 'daily', 'weekly')", name=op.f("ck_contact_preferences_digest")
        ),
        sa.CheckConstraint(
            "digest = 'none' OR channel = 'email'", name=op.f("ck_contact_preferences_digest_by_email")
        ),
        sa.CheckConstraint(
            "(digest <> 'none') = (digest_hour IS NOT NULL) AND (digest = 'weekly') = (digest_weekday IS NOT NULL) "
            "AND digest_hour BETWEEN 6 AND 22 AND digest_weekday BETWEEN 1 AND 7",
            name=op.f("ck_contact_preferences_digest_when"),
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contact_points.id"],
            name=op.f("fk_contact_preferences_contact_id_contact_points"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("contact_id", name=op.f("pk_contact_preferences")),
    )
    op.create_table(
        "contact_sends",
        sa.Column("contact_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dispatch_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contact_points.id"],
            name=op.f("fk_contact_sends_contact_id_contact_points"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("contact_id", "at", "dispatch_id", name=op.f("pk_contact_sends")),
    )
    op.create_index("ix_contact_sends_at", "contact_sends", ["at"], unique=False)
    op.create_table(
        "digest_items",
        sa.Column("dispatch_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("controller_id", sa.Uuid(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("digest_id", sa.Uuid(), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'sent', 'stopped', 'erased', 'expired')", name=op.f("ck_digest_items_state")
        ),
        sa.CheckConstraint("(state = 'sent') = (digest_id IS NOT NULL)", name=op.f("ck_digest_items_digest")),
        sa.CheckConstraint(
            "(state = 'waiting') = (settled_at IS NULL)", name=op.f("ck_digest_items_settled")
        ),
        sa.ForeignKeyConstraint(
            ["dispatch_id"], ["dispatches.id"], name=op.f("fk_digest_items_dispatch_id_dispatches")
        ),
        sa.PrimaryKeyConstraint("dispatch_id", "contact_id", name=op.f("pk_digest_items")),
        postgresql_with={"fillfactor": 80},
    )
    op.create_index(
        "ix_digest_items_due",
        "digest_items",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index(
        "ix_digest_items_waiting",
        "digest_items",
        ["contact_id", "controller_id", "due_at"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index(
        "ix_digest_items_open",
        "digest_items",
        ["dispatch_id", "contact_id"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index(
        "ix_digest_items_settled",
        "digest_items",
        ["settled_at"],
        unique=False,
        postgresql_where=sa.text("settled_at IS NOT NULL"),
    )
    # A digest is a dispatch of several alerts.
    op.alter_column("dispatches", "alert_id", existing_type=sa.Uuid(), nullable=True)
    op.add_column("dispatches", sa.Column("digested", sa.Integer(), server_default="0", nullable=False))
    for name, kind in (
        ("quiet_from", sa.SmallInteger()),
        ("quiet_until", sa.SmallInteger()),
        ("not_after", sa.DateTime(timezone=True)),
    ):
        op.add_column("batches", sa.Column(name, kind, nullable=True))
    op.create_index(
        "ix_batches_not_after",
        "batches",
        ["not_after"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting' AND not_after IS NOT NULL"),
    )
    for statement in (*deferral_sql.FUNCTIONS, *deferral_sql.grants()):
        op.execute(statement)


def downgrade() -> None:
    for statement in deferral_sql.TAKEN_BACK:
        op.execute(statement)
    op.drop_index("ix_batches_not_after", table_name="batches")
    for name in ("not_after", "quiet_until", "quiet_from"):
        op.drop_column("batches", name)
    op.drop_column("dispatches", "digested")
    for table in ("digest_items", "contact_sends", "contact_preferences"):
        op.drop_table(table)
    # What waited in digests, and the digests that went out, are of no alert: without digests nobody can read them.
    op.execute(
        "UPDATE dispatches SET alert_id = (SELECT id FROM alerts a WHERE a.controller_id = dispatches.controller_id "
        "ORDER BY a.id LIMIT 1) WHERE alert_id IS NULL"
    )
    op.alter_column("dispatches", "alert_id", existing_type=sa.Uuid(), nullable=False)
    for name in reversed(deferral_sql.SIGNATURES):
        op.execute(f"DROP FUNCTION {name}")
