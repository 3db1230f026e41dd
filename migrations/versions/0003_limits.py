"""What an organisation may spend, dispatches that pause, months of the ledger that go.

Revision: 0003, after 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations import limits_sql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = ("reservations", "spend_counters", "organisation_limits", "ledger_dropped")
_PERIOD = "period IN ('day', 'month')"


def upgrade() -> None:
    op.create_table(
        "organisation_limits",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("measure", sa.Text(), nullable=False),
        sa.Column("most", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(_PERIOD, name=op.f("ck_organisation_limits_period")),
        sa.CheckConstraint(
            "measure IN ('emails', 'segments', 'pence')", name=op.f("ck_organisation_limits_measure")
        ),
        sa.CheckConstraint("most >= 0", name=op.f("ck_organisation_limits_most")),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name=op.f("fk_organisation_limits_organisation_id_organisations"),
        ),
        sa.PrimaryKeyConstraint("organisation_id", "period", "measure", name=op.f("pk_organisation_limits")),
    )
    op.create_table(
        "spend_counters",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("starts", sa.Date(), nullable=False),
        sa.Column("emails", sa.BigInteger(), nullable=False),
        sa.Column("segments", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(_PERIOD, name=op.f("ck_spend_counters_period")),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name=op.f("fk_spend_counters_organisation_id_organisations"),
        ),
        sa.PrimaryKeyConstraint("organisation_id", "period", "starts", name=op.f("pk_spend_counters")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "reservations",
        sa.Column("dispatch_id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("emails", sa.Integer(), nullable=False),
        sa.Column("segments", sa.Integer(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.Column("email_pence", sa.Numeric(10, 4), nullable=False),
        sa.Column("segment_pence", sa.Numeric(10, 4), nullable=False),
        sa.Column("over", sa.Boolean(), nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("spent_emails", sa.Integer(), nullable=True),
        sa.Column("spent_segments", sa.Integer(), nullable=True),
        sa.Column("spent_cost", sa.BigInteger(), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["dispatch_id"], ["dispatches.id"], name=op.f("fk_reservations_dispatch_id_dispatches")
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name=op.f("fk_reservations_organisation_id_organisations"),
        ),
        sa.PrimaryKeyConstraint("dispatch_id", name=op.f("pk_reservations")),
    )
    op.create_index(
        "ix_reservations_open",
        "reservations",
        ["dispatch_id"],
        unique=False,
        postgresql_where=sa.text("settled_at IS NULL"),
    )
    op.create_table(
        "ledger_dropped",
        sa.Column("low", sa.Uuid(), nullable=False),
        sa.Column("high", sa.Uuid(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("dropped_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("emptied_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("low", name=op.f("pk_ledger_dropped")),
    )
    _check("dispatches", "state", "state IN ('running', 'paused', 'stopped', 'done')")
    _check("batches", "state", "state IN ('waiting', 'paused', 'claimed', 'done')")
    _check(
        "batches",
        "size",
        "size BETWEEN 1 AND 1000 AND (cardinality(contact_ids) = size "
        "OR cardinality(contact_ids) = 0 AND state = 'done')",
    )
    op.create_index(
        "ix_batches_paused",
        "batches",
        ["dispatch_id", "expires_at"],
        unique=False,
        postgresql_where=sa.text("state = 'paused'"),
    )
    for statement in (*limits_sql.FUNCTIONS, *limits_sql.grants()):
        op.execute(statement)


def downgrade() -> None:
    """Paused dispatches run again. Months whose recipients went do not come back: their batches go as well."""
    for statement in (
        *limits_sql.TAKEN_BACK,
        *limits_sql.DROPPED,
        "UPDATE batches SET state = 'waiting' WHERE state = 'paused'",
        "UPDATE dispatches SET state = 'running' WHERE state = 'paused'",
        "DELETE FROM batches WHERE cardinality(contact_ids) = 0",
    ):
        op.execute(statement)
    op.drop_index("ix_batches_paused", table_name="batches")
    _check("batches", "size", "size BETWEEN 1 AND 1000 AND size = cardinality(contact_ids)")
    _check("batches", "state", "state IN ('waiting', 'claimed', 'done')")
    _check("dispatches", "state", "state IN ('running', 'stopped', 'done')")
    op.execute("DROP TABLE " + ", ".join(TABLES))


def _check(table: str, name: str, condition: str) -> None:
    """Put a check in the place of the one of this name."""
    op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
    op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition)
