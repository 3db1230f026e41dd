"""Reports of misuse by staff, and whom an organisation names for those that nobody of its own may read.

Revision: 0012, after 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import misuse_sql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_BEFORE = ("confirm", "manage", "invitation", "help", "reply-receipt", "reply-answer", "alarm")


def _kinds(kinds: tuple[str, ...]) -> None:
    op.drop_constraint(op.f("ck_service_messages_kind"), "service_messages", type_="check")
    op.create_check_constraint(
        op.f("ck_service_messages_kind"), "service_messages", f"kind IN ({', '.join(map(repr, kinds))})"
    )


def upgrade() -> None:
    op.add_column("organisations", sa.Column("standards_email", sa.Text(), nullable=True))
    _kinds((*_BEFORE, "misuse"))
    op.create_table(
        "misuse_reports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("reporter_id", sa.Uuid(), nullable=True),
        sa.Column("what_enc", sa.LargeBinary(), nullable=False),
        sa.Column("happened_enc", sa.LargeBinary(), nullable=False),
        sa.Column("whom_enc", sa.LargeBinary(), nullable=True),
        sa.Column("barred", postgresql.ARRAY(sa.LargeBinary()), server_default="{}", nullable=False),
        sa.Column("told", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("reported_on", sa.Date(), nullable=False),
        sa.Column("closed_at", _TIME, nullable=True),
        sa.Column("closed_by", sa.Uuid(), nullable=True),
        sa.Column("note_enc", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("(closed_at IS NULL) = (note_enc IS NULL)", name=op.f("ck_misuse_reports_closed")),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name=op.f("fk_misuse_reports_organisation_id_organisations"),
        ),
        sa.ForeignKeyConstraint(
            ["reporter_id"],
            ["staff.id"],
            name=op.f("fk_misuse_reports_reporter_id_staff"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["closed_by"], ["staff.id"], name=op.f("fk_misuse_reports_closed_by_staff"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_misuse_reports")),
    )
    for column in ("reporter_id", "closed_at", "closed_by"):
        op.create_index(op.f(f"ix_misuse_reports_{column}"), "misuse_reports", [column])
    for name, state in (("open", "IS NULL"), ("closed", "IS NOT NULL")):
        op.create_index(
            f"ix_misuse_reports_{name}",
            "misuse_reports",
            ["organisation_id", "reported_on", "id"],
            postgresql_where=sa.text(f"closed_at {state}"),
        )
    for statement in misuse_sql.grants():
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("misuse_reports")
    op.execute("DELETE FROM service_messages WHERE kind = 'misuse'")
    _kinds(_BEFORE)
    op.drop_column("organisations", "standards_email")
