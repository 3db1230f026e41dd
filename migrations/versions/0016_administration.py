"""Administration: what people were told of before it ended, and what its pages look for.

Revision: 0016, after 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations import administration_sql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_BEFORE = (
    "confirm",
    "manage",
    "invitation",
    "help",
    "reply-receipt",
    "reply-answer",
    "alarm",
    "misuse",
    "account",
)
_STANDS = sa.text("taken_at IS NULL")


def _kinds(kinds: tuple[str, ...]) -> None:
    op.drop_constraint(op.f("ck_service_messages_kind"), "service_messages", type_="check")
    op.create_check_constraint(
        op.f("ck_service_messages_kind"), "service_messages", f"kind IN ({', '.join(map(repr, kinds))})"
    )


def upgrade() -> None:
    op.create_table(
        "reminders",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("ends_at", _TIME, nullable=False),
        sa.Column("days", sa.SmallInteger(), nullable=False),
        sa.Column("told_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('role', 'agreement')", name=op.f("ck_reminders_kind")),
        sa.PrimaryKeyConstraint("kind", "subject_id", "ends_at", "days", name=op.f("pk_reminders")),
    )
    op.create_index(op.f("ix_reminders_ends_at"), "reminders", ["ends_at"])
    op.create_index(op.f("ix_role_grants_staff_id"), "role_grants", ["staff_id"])
    op.create_index("ix_role_grants_ends", "role_grants", ["ends_at"], postgresql_where=_STANDS)
    op.create_index(
        "ix_role_grants_holders",
        "role_grants",
        ["organisation_id", "role", "staff_id"],
        postgresql_where=_STANDS,
    )
    op.add_column("staff", sa.Column("signed_in_at", _TIME, nullable=True))
    _kinds((*_BEFORE, "reminder"))
    for statement in administration_sql.grants():
        op.execute(statement)


def downgrade() -> None:
    for statement in administration_sql.TAKEN_BACK:
        op.execute(statement)
    op.execute("DELETE FROM service_messages WHERE kind = 'reminder'")
    _kinds(_BEFORE)
    op.drop_column("staff", "signed_in_at")
    op.drop_index("ix_role_grants_holders", table_name="role_grants")
    op.drop_index("ix_role_grants_ends", table_name="role_grants")
    op.drop_index(op.f("ix_role_grants_staff_id"), table_name="role_grants")
    op.drop_table("reminders")
