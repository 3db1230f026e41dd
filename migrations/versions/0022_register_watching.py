"""Watching those who search the register: findings, reviews, homes of staff, figures, and who may touch them.

Revision: 0022, after 0021
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import register_watch_sql

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "register_figures",
        sa.Column("quarter", sa.Date(), nullable=False),
        sa.Column("borough_code", sa.Text(), nullable=False),
        sa.Column("searches", sa.Integer(), nullable=True),
        sa.Column("requests", sa.Integer(), nullable=True),
        sa.Column("answers", sa.Integer(), nullable=True),
        sa.Column("disclosures", sa.Integer(), nullable=True),
        sa.Column("withholdings", sa.Integer(), nullable=True),
        sa.Column("reviews", sa.Integer(), nullable=True),
        sa.Column("proper", sa.Integer(), nullable=True),
        sa.Column("explain", sa.Integer(), nullable=True),
        sa.Column("improper", sa.Integer(), nullable=True),
        sa.Column("counted_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("quarter", "borough_code", name=op.f("pk_register_figures")),
    )
    op.create_table(
        "search_findings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.Column("searches", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("found_at", _TIME, nullable=False),
        sa.Column("told", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("closed_at", _TIME, nullable=True),
        sa.Column("closed_by", sa.Uuid(), nullable=True),
        sa.Column("note_enc", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "(state = 'open') = (closed_at IS NULL) AND (closed_at IS NULL) = (note_enc IS NULL)",
            name=op.f("ck_search_findings_closed"),
        ),
        sa.CheckConstraint(
            "rule IN ('volume', 'hours', 'lone-case', 'many-cases', 'same-place', 'home', 'sweep')",
            name=op.f("ck_search_findings_rule"),
        ),
        sa.CheckConstraint(
            "state IN ('open', 'explained', 'referred')", name=op.f("ck_search_findings_state")
        ),
        sa.CheckConstraint("cardinality(searches) > 0", name=op.f("ck_search_findings_searches")),
        sa.CheckConstraint("closed_by <> staff_id", name=op.f("ck_search_findings_other")),
        sa.ForeignKeyConstraint(["closed_by"], ["staff.id"], name=op.f("fk_search_findings_closed_by_staff")),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name=op.f("fk_search_findings_organisation_id_organisations"),
        ),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_search_findings_staff_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_search_findings")),
    )
    op.create_index(
        "ix_search_findings_closed",
        "search_findings",
        ["organisation_id", "found_at", "id"],
        unique=False,
        postgresql_where=sa.text("state <> 'open'"),
    )
    op.create_index(op.f("ix_search_findings_closed_at"), "search_findings", ["closed_at"], unique=False)
    op.create_index(op.f("ix_search_findings_closed_by"), "search_findings", ["closed_by"], unique=False)
    op.create_index("ix_search_findings_of", "search_findings", ["staff_id", "rule"], unique=False)
    op.create_index(
        "ix_search_findings_one",
        "search_findings",
        ["rule", "staff_id"],
        unique=True,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index(
        "ix_search_findings_open",
        "search_findings",
        ["organisation_id", "found_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "staff_homes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.Column("ward_code", sa.Text(), nullable=False),
        sa.Column("said_by", sa.Uuid(), nullable=True),
        sa.Column("since", _TIME, nullable=False),
        sa.Column("until", _TIME, nullable=True),
        sa.CheckConstraint("until >= since", name=op.f("ck_staff_homes_term")),
        sa.ForeignKeyConstraint(
            ["said_by"], ["staff.id"], name=op.f("fk_staff_homes_said_by_staff"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["staff_id"], ["staff.id"], name=op.f("fk_staff_homes_staff_id_staff"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff_homes")),
    )
    op.create_index(
        "ix_staff_homes_now",
        "staff_homes",
        ["staff_id"],
        unique=True,
        postgresql_where=sa.text("until IS NULL"),
    )
    op.create_index(op.f("ix_staff_homes_said_by"), "staff_homes", ["said_by"], unique=False)
    op.create_index(op.f("ix_staff_homes_until"), "staff_homes", ["until"], unique=False)
    op.create_index(op.f("ix_staff_homes_staff_id"), "staff_homes", ["staff_id"], unique=False)
    op.create_table(
        "search_places",
        sa.Column("search_id", sa.Uuid(), nullable=False),
        sa.Column("quarter", sa.Date(), nullable=False),
        sa.Column("borough_code", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["search_id"], ["register_searches.id"], name=op.f("fk_search_places_search_id_register_searches")
        ),
        sa.PrimaryKeyConstraint("search_id", name=op.f("pk_search_places")),
    )
    op.create_index("ix_search_places_quarter", "search_places", ["quarter", "borough_code"], unique=False)
    op.create_table(
        "search_reviews",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("search_id", sa.Uuid(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("reviewer_id", sa.Uuid(), nullable=True),
        sa.Column("assigned_at", _TIME, nullable=False),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("reminded", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("note_enc", sa.LargeBinary(), nullable=True),
        sa.Column("judged_by", sa.Uuid(), nullable=True),
        sa.Column("judged_at", _TIME, nullable=True),
        sa.CheckConstraint(
            "verdict IN ('proper', 'explain', 'improper')", name=op.f("ck_search_reviews_verdict")
        ),
        sa.CheckConstraint(
            "(verdict IS NULL) = (judged_at IS NULL) AND (verdict IS NULL) = (note_enc IS NULL)",
            name=op.f("ck_search_reviews_judged"),
        ),
        sa.CheckConstraint(
            "reviewer_id <> staff_id AND judged_by <> staff_id", name=op.f("ck_search_reviews_other")
        ),
        sa.ForeignKeyConstraint(["judged_by"], ["staff.id"], name=op.f("fk_search_reviews_judged_by_staff")),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name=op.f("fk_search_reviews_organisation_id_organisations"),
        ),
        sa.ForeignKeyConstraint(
            ["reviewer_id"], ["staff.id"], name=op.f("fk_search_reviews_reviewer_id_staff")
        ),
        sa.ForeignKeyConstraint(
            ["search_id"],
            ["register_searches.id"],
            name=op.f("fk_search_reviews_search_id_register_searches"),
        ),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_search_reviews_staff_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_search_reviews")),
        sa.UniqueConstraint("search_id", name=op.f("uq_search_reviews_search_id")),
    )
    op.create_index(
        "ix_search_reviews_due",
        "search_reviews",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("judged_at IS NULL"),
    )
    op.create_index(
        "ix_search_reviews_judged",
        "search_reviews",
        ["organisation_id", "judged_at", "id"],
        unique=False,
        postgresql_where=sa.text("judged_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_search_reviews_judged_at"), "search_reviews", ["judged_at"], unique=False)
    op.create_index(op.f("ix_search_reviews_judged_by"), "search_reviews", ["judged_by"], unique=False)
    op.create_index(
        "ix_search_reviews_mine",
        "search_reviews",
        ["reviewer_id", "due_at", "id"],
        unique=False,
        postgresql_where=sa.text("judged_at IS NULL"),
    )
    op.create_index("ix_search_reviews_month", "search_reviews", ["organisation_id", "month"], unique=False)
    op.create_index(
        "ix_search_reviews_open",
        "search_reviews",
        ["organisation_id", "due_at", "id"],
        unique=False,
        postgresql_where=sa.text("judged_at IS NULL"),
    )
    op.create_index(op.f("ix_search_reviews_staff_id"), "search_reviews", ["staff_id"], unique=False)

    for statement in register_watch_sql.grants():
        op.execute(statement)


def downgrade() -> None:
    for statement in register_watch_sql.drop():
        op.execute(statement)
    for table in ("register_figures", "staff_homes", "search_places", "search_reviews", "search_findings"):
        op.drop_table(table)
