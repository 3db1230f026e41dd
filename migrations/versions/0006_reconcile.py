"""What the providers are asked about, and what must be known before their silence says anything.

Revision: 0006, after 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations import reconcile_sql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "web_listening",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("began_at", _MOMENT, nullable=False),
        sa.Column("seen_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_web_listening")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index("ix_web_listening_seen", "web_listening", ["seen_at"])
    op.create_table(
        "webhook_refusals",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("minute", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("source", "minute", name=op.f("pk_webhook_refusals")),
    )
    op.create_table(
        "heard_calls",
        sa.Column("dispatch_id", sa.Uuid(), nullable=False),
        sa.Column("batch_n", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("attempt_n", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("opened_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("dispatch_id", "batch_n", "attempt_n", name=op.f("pk_heard_calls")),
    )
    op.create_index("ix_heard_calls_opened", "heard_calls", ["provider", "opened_at"])
    op.create_table(
        "silent_batches",
        sa.Column("dispatch_id", sa.Uuid(), nullable=False),
        sa.Column("batch_n", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("asked", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("after", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("next_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("dispatch_id", "batch_n", name=op.f("pk_silent_batches")),
    )
    op.create_index("ix_silent_batches_next", "silent_batches", ["next_at"])
    op.create_table(
        "inbound_polls",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("through_at", _MOMENT, nullable=False),
        sa.Column("polled_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("provider", "address", name=op.f("pk_inbound_polls")),
        postgresql_with={"fillfactor": 50},
    )
    op.add_column("attempts", sa.Column("ask_at", _MOMENT, nullable=True))
    op.create_index(
        "ix_attempts_doubt", "attempts", ["opened_at"], postgresql_where=sa.text("outcome = 'in_doubt'")
    )
    op.create_index(
        "ix_batches_silent",
        "batches",
        ["dispatch_id", "n"],
        postgresql_where=sa.text("channel = 'sms' AND accepted > 0"),
    )
    op.create_index(
        "ix_service_messages_named",
        "service_messages",
        ["provider_ref"],
        postgresql_where=sa.text("provider_ref IS NOT NULL"),
    )
    for statement in reconcile_sql.grants():
        op.execute(statement)


def downgrade() -> None:
    op.execute(reconcile_sql.TAKEN_BACK)
    op.drop_index("ix_service_messages_named", table_name="service_messages")
    op.drop_index("ix_batches_silent", table_name="batches")
    op.drop_index("ix_attempts_doubt", table_name="attempts")
    op.drop_column("attempts", "ask_at")
    for table in reconcile_sql.MADE:
        op.drop_table(table)
