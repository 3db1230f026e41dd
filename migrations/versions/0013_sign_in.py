"""Signing in: the places that staff have come from, and messages about their own account.

Revision: 0013, after 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations import sign_in_sql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_OLD_KINDS = ("confirm", "manage", "invitation", "help", "reply-receipt", "reply-answer", "alarm", "misuse")


def _kinds(kinds: tuple[str, ...]) -> None:
    """What service messages may be."""
    op.drop_constraint(op.f("ck_service_messages_kind"), "service_messages", type_="check")
    listed = ", ".join(repr(kind) for kind in kinds)
    op.create_check_constraint(op.f("ck_service_messages_kind"), "service_messages", f"kind IN ({listed})")


def upgrade() -> None:
    op.create_table(
        "staff_known_places",
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["staff_id"], ["staff.id"], name=op.f("fk_staff_known_places_staff_id_staff"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("staff_id", "digest", name=op.f("pk_staff_known_places")),
    )
    op.create_index(op.f("ix_staff_known_places_seen_at"), "staff_known_places", ["seen_at"])
    for statement in sign_in_sql.grants():
        op.execute(statement)
    _kinds((*_OLD_KINDS, "account"))


def downgrade() -> None:
    op.execute("DELETE FROM service_messages WHERE kind = 'account'")
    _kinds(_OLD_KINDS)
    op.drop_table("staff_known_places")
