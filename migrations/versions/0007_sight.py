"""Sight: processes that say they live, samples of doubt, alarms and how they are told.

Revision: 0007, after 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import sight_sql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_OLD_KINDS = ("confirm", "manage", "invitation", "help", "reply-receipt", "reply-answer")


def _kinds(kinds: tuple[str, ...]) -> None:
    """What service messages may be."""
    op.drop_constraint(op.f("ck_service_messages_kind"), "service_messages", type_="check")
    listed = ", ".join(repr(kind) for kind in kinds)
    op.create_check_constraint(op.f("ck_service_messages_kind"), "service_messages", f"kind IN ({listed})")


def upgrade() -> None:
    op.create_table(
        "heartbeats",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("instance", sa.Uuid(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("began_at", _TIME, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("queue_away_since", _TIME, nullable=True),
        sa.CheckConstraint(
            "kind IN ('urgent', 'bulk', 'receipts', 'back', 'scheduler', 'sealer')",
            name=op.f("ck_heartbeats_kind"),
        ),
        sa.PrimaryKeyConstraint("kind", "instance", name=op.f("pk_heartbeats")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "doubt_samples",
        sa.Column("at", _TIME, nullable=False),
        sa.Column("in_doubt", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("at", name=op.f("pk_doubt_samples")),
    )
    op.create_table(
        "alarms",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("raised_at", _TIME, nullable=False),
        sa.Column("told_at", _TIME, nullable=True),
        sa.Column("tellings", sa.Integer(), server_default="0", nullable=False),
        sa.Column("over_since", _TIME, nullable=True),
        sa.Column("cleared_at", _TIME, nullable=True),
        sa.Column("over_told_at", _TIME, nullable=True),
        sa.Column("detail", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarms")),
    )
    op.create_index(
        "uq_alarms_open",
        "alarms",
        ["code", "subject"],
        unique=True,
        postgresql_where=sa.text("cleared_at IS NULL"),
    )
    op.create_index(
        "ix_alarms_cleared", "alarms", ["cleared_at"], postgresql_where=sa.text("cleared_at IS NOT NULL")
    )
    op.create_index(
        "ix_alarms_over",
        "alarms",
        ["id"],
        postgresql_where=sa.text("cleared_at IS NOT NULL AND told_at IS NOT NULL AND over_told_at IS NULL"),
    )
    op.create_table(
        "alarm_posts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("alarm_id", sa.BigInteger(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("not_before", _TIME, nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("closed_at", _TIME, nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("what IN ('raised', 'again', 'over', 'test')", name=op.f("ck_alarm_posts_what")),
        sa.CheckConstraint("outcome IN ('sent', 'given-up')", name=op.f("ck_alarm_posts_outcome")),
        sa.CheckConstraint("(closed_at IS NULL) = (outcome IS NULL)", name=op.f("ck_alarm_posts_closed")),
        sa.ForeignKeyConstraint(
            ["alarm_id"], ["alarms.id"], name=op.f("fk_alarm_posts_alarm_id_alarms"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm_posts")),
    )
    op.create_index(op.f("ix_alarm_posts_alarm_id"), "alarm_posts", ["alarm_id"])
    op.create_index(
        "ix_alarm_posts_waiting",
        "alarm_posts",
        ["not_before"],
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    # Who is in doubt, without reading a year of batches.
    op.create_index(
        "ix_batches_in_doubt", "batches", ["dispatch_id", "n"], postgresql_where=sa.text("in_doubt > 0")
    )
    _kinds((*_OLD_KINDS, "alarm"))
    op.create_index(
        "ix_service_messages_alarms",
        "service_messages",
        ["created_at"],
        postgresql_where=sa.text("kind = 'alarm'"),
    )
    for statement in (*sight_sql.FUNCTIONS, *sight_sql.grants()):
        op.execute(statement)


def downgrade() -> None:
    for statement in sight_sql.DROPPED:
        op.execute(statement)
    op.drop_index("ix_service_messages_alarms", table_name="service_messages")
    op.execute("DELETE FROM service_messages WHERE kind = 'alarm'")
    _kinds(_OLD_KINDS)
    op.drop_index("ix_batches_in_doubt", table_name="batches")
    op.execute("DROP TABLE alarm_posts, alarms, doubt_samples, heartbeats")
