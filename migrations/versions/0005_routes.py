"""Providers up and down, the complaint brake.

Revision: 0005, after 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.ground_sql import APP, WORKER

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# table: (what the app may do, what the worker may do). Nobody may TRUNCATE.
RIGHTS = {
    "provider_states": ("SELECT", "SELECT, INSERT, UPDATE, DELETE"),
    "brakes": ("SELECT, UPDATE (released_at, released_by, release_why)", "SELECT, INSERT"),
}


def upgrade() -> None:
    op.create_table(
        "provider_states",
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("place", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default="up", nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("trials", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("falls", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("calls", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("failed_percent", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("state IN ('up', 'down', 'trying')", name=op.f("ck_provider_states_state")),
        sa.PrimaryKeyConstraint("channel", "provider", name=op.f("pk_provider_states")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "brakes",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("accepted", sa.Integer(), nullable=False),
        sa.Column("complained", sa.Integer(), nullable=False),
        sa.Column("bounced", sa.Integer(), nullable=False),
        sa.Column("pulled_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_by", sa.Text(), nullable=True),
        sa.Column("release_why", sa.Text(), nullable=True),
        sa.CheckConstraint("why IN ('complaints', 'bounces')", name=op.f("ck_brakes_why")),
        sa.CheckConstraint(
            "(released_at IS NULL) = (released_by IS NULL) AND (released_at IS NULL) = (release_why IS NULL)",
            name=op.f("ck_brakes_released"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_brakes")),
    )
    op.create_index(
        "ix_brakes_pulled", "brakes", ["domain"], unique=True, postgresql_where=sa.text("released_at IS NULL")
    )
    op.create_index("ix_brakes_domain", "brakes", ["domain", "released_at"], unique=False)
    op.add_column("senders", sa.Column("fallback_sender_id", sa.Integer(), nullable=True))
    op.create_foreign_key(
        op.f("fk_senders_fallback_sender_id_senders"), "senders", "senders", ["fallback_sender_id"], ["id"]
    )
    op.create_check_constraint(op.f("ck_senders_fallback"), "senders", "fallback_sender_id <> id")
    op.add_column("attempts", sa.Column("failed_percent", sa.SmallInteger(), nullable=True))
    op.create_index(
        "ix_attempts_closed",
        "attempts",
        ["provider", "closed_at"],
        unique=False,
        postgresql_where=sa.text("closed_at IS NOT NULL"),
    )
    for table, both in RIGHTS.items():
        for role, rights in zip((APP, WORKER), both, strict=True):
            op.execute(f"GRANT {rights} ON {table} TO {role}")
    op.execute(f"GRANT UPDATE (failed_percent) ON attempts TO {WORKER}")


def downgrade() -> None:
    op.drop_index("ix_attempts_closed", table_name="attempts")
    op.drop_column("attempts", "failed_percent")
    op.drop_constraint(op.f("ck_senders_fallback"), "senders", type_="check")
    op.drop_constraint(op.f("fk_senders_fallback_sender_id_senders"), "senders", type_="foreignkey")
    op.drop_column("senders", "fallback_sender_id")
    op.drop_table("brakes")
    op.drop_table("provider_states")
