"""Owners of cameras: what is typed in before an address is proved, and the functions that owners act by.

Revision: 0020, after 0019
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import register_owners_sql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("signups", sa.Column("purpose", sa.Text(), server_default="alerts", nullable=False))
    op.create_check_constraint(op.f("ck_signups_purpose"), "signups", "purpose IN ('alerts', 'register')")
    for name in ("reminded_at", "paused_until"):
        op.add_column("camera_owners", sa.Column(name, _TIME, nullable=True))
    op.create_index(op.f("ix_camera_owners_paused_until"), "camera_owners", ["paused_until"])
    op.create_table(
        "camera_drafts",
        sa.Column("signup_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name_enc", sa.LargeBinary(), nullable=False),
        sa.Column("reach_how", sa.Text(), nullable=False),
        sa.Column("reach_when", sa.Text(), nullable=False),
        sa.Column("facts", postgresql.JSONB(), nullable=False),
        sa.Column("label_enc", sa.LargeBinary(), nullable=True),
        sa.Column("staff_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["signup_id"], ["signups.id"], name=op.f("fk_camera_drafts_signup_id_signups"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["staff_id"], ["staff.id"], name=op.f("fk_camera_drafts_staff_id_staff"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("signup_id", name=op.f("pk_camera_drafts")),
    )
    op.create_index(op.f("ix_camera_drafts_staff_id"), "camera_drafts", ["staff_id"])
    for statement in register_owners_sql.make():
        op.execute(statement)


def downgrade() -> None:
    for statement in register_owners_sql.drop():
        op.execute(statement)
    op.drop_table("camera_drafts")
    op.drop_index(op.f("ix_camera_owners_paused_until"), table_name="camera_owners")
    for name in ("reminded_at", "paused_until"):
        op.drop_column("camera_owners", name)
    op.drop_constraint(op.f("ck_signups_purpose"), "signups")
    op.drop_column("signups", "purpose")
