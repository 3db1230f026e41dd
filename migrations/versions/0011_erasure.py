"""Erasure of people as well as addresses, and when each class of data was last looked through.

Revision: 0011, after 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations import erasure_sql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_ONE = "(contact_id IS NULL) <> (person_id IS NULL)"


def upgrade() -> None:
    op.drop_constraint(op.f("pk_erasures"), "erasures", type_="primary")
    op.add_column("erasures", sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False))
    op.create_primary_key(op.f("pk_erasures"), "erasures", ["id"])
    op.alter_column("erasures", "contact_id", nullable=True)
    op.add_column("erasures", sa.Column("person_id", sa.Uuid(), nullable=True))
    for column in ("contact_id", "person_id"):
        op.create_unique_constraint(op.f(f"uq_erasures_{column}"), "erasures", [column])
    op.create_check_constraint(op.f("ck_erasures_who"), "erasures", _ONE)
    # When the row came, by our clock: a replay writes the time of the first erasure into "at".
    op.add_column("erasures", sa.Column("noted_at", _TIME, server_default=sa.text("now()"), nullable=False))
    op.create_index(op.f("ix_erasures_noted_at"), "erasures", ["noted_at"])
    op.create_table(
        "retention_runs",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=True),
        sa.Column("removed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("oldest_left", _TIME, nullable=True),
        sa.Column("ran_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name=op.f("fk_retention_runs_organisation_id_organisations"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retention_runs")),
    )
    op.create_index(
        "ix_retention_runs_day",
        "retention_runs",
        ["name", "organisation_id", "day"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.create_index("ix_retention_runs_past", "retention_runs", ["day"])
    op.create_index(
        "ix_consents_evidence",
        "consents",
        ["withdrawn_at"],
        postgresql_where=sa.text("pseudonym IS NOT NULL"),
    )
    op.create_index(
        "ix_replies_closed", "replies", ["closed_at"], postgresql_where=sa.text("closed_at IS NOT NULL")
    )
    op.create_index("ix_early_receipts_at", "early_receipts", ["at"])
    for statement in (*erasure_sql.EVIDENCE_GUARD, *erasure_sql.grants()):
        op.execute(statement)


def downgrade() -> None:
    for statement in (*erasure_sql.TAKEN_BACK, *erasure_sql.DROPPED):
        op.execute(statement)
    op.drop_index("ix_early_receipts_at", table_name="early_receipts")
    op.drop_index("ix_replies_closed", table_name="replies")
    op.drop_index("ix_consents_evidence", table_name="consents")
    op.drop_table("retention_runs")
    # The journal of before knew addresses alone.
    op.execute("DELETE FROM erasures WHERE contact_id IS NULL")
    op.drop_index(op.f("ix_erasures_noted_at"), table_name="erasures")
    op.drop_constraint(op.f("ck_erasures_who"), "erasures", type_="check")
    for column in ("contact_id", "person_id"):
        op.drop_constraint(op.f(f"uq_erasures_{column}"), "erasures", type_="unique")
    op.drop_constraint(op.f("pk_erasures"), "erasures", type_="primary")
    for column in ("noted_at", "person_id", "id"):
        op.drop_column("erasures", column)
    op.alter_column("erasures", "contact_id", nullable=False)
    op.create_primary_key(op.f("pk_erasures"), "erasures", ["contact_id"])
