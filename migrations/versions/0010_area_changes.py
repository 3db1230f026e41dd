"""Areas that change: plans, who moves by them, what followed, and outlines of drawn areas.

Revision: 0010, after 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app.db import GridPoint
from app.models.area_changes import GridPolygon
from migrations import area_changes_sql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_NOW = sa.text("now()")
_ZERO = sa.text("0")
_STATES = ("draft", "scheduled", "running", "applied", "reversed", "stopped")
TABLES = (
    "area_shapes",
    "area_plan_effects",
    "area_moves",
    "area_plan_postcodes",
    "area_plan_areas",
    "area_plans",
)


def _foreign(table: str, column: str, to: str, *, ondelete: str | None = None) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{to}.id"], name=op.f(f"fk_{table}_{column}_{to}"), ondelete=ondelete
    )


def _text(name: str, *, needed: bool = True) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=not needed)


def upgrade() -> None:
    _plans()
    _who_moves()
    _what_followed()
    for statement in area_changes_sql.grants():
        op.execute(statement)


def _plans() -> None:
    op.create_table(
        "area_plans",
        sa.Column("id", sa.Uuid(), nullable=False),
        _text("title"),
        sa.Column("applies_on", sa.Date(), nullable=False),
        sa.Column("state", sa.Text(), server_default="draft", nullable=False),
        sa.Column("steps", postgresql.JSONB(), nullable=False),
        sa.Column("boundaries", sa.LargeBinary(), nullable=True),
        _text("release_id", needed=False),
        _text("release_name", needed=False),
        sa.Column("release_published", sa.Date(), nullable=True),
        _text("created_by", needed=False),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        *(sa.Column(name, _TIME, nullable=True) for name in ("began_at", "applied_at", "reversed_at")),
        *(
            sa.Column(name, sa.Integer(), server_default=_ZERO, nullable=False)
            for name in ("prepared_to", "done", "total")
        ),
        _text("failed", needed=False),
        sa.Column("counts", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.CheckConstraint(f"state IN ({', '.join(map(repr, _STATES))})", name=op.f("ck_area_plans_state")),
        sa.CheckConstraint(
            "(release_id IS NULL) = (release_name IS NULL) AND (release_id IS NULL) = (release_published IS NULL)",
            name=op.f("ck_area_plans_release"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_area_plans")),
    )
    op.create_index(
        "ix_area_plans_running",
        "area_plans",
        [sa.text("(state = 'running')")],
        unique=True,
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index(
        "ix_area_plans_due",
        "area_plans",
        ["applies_on", "id"],
        postgresql_where=sa.text("state = 'scheduled'"),
    )
    op.create_table(
        "area_plan_areas",
        sa.Column("plan_id", sa.Uuid(), nullable=False),
        sa.Column("area_id", sa.Integer(), nullable=False),
        _text("what"),
        sa.Column("before", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("after", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.CheckConstraint(
            "what IN ('begun', 'ended', 'renamed', 'moved', 'outlined')", name=op.f("ck_area_plan_areas_what")
        ),
        _foreign("area_plan_areas", "plan_id", "area_plans"),
        _foreign("area_plan_areas", "area_id", "areas"),
        sa.PrimaryKeyConstraint("plan_id", "area_id", "what", name=op.f("pk_area_plan_areas")),
    )
    op.create_index(op.f("ix_area_plan_areas_area_id"), "area_plan_areas", ["area_id"])


def _who_moves() -> None:
    op.create_table(
        "area_plan_postcodes",
        sa.Column("plan_id", sa.Uuid(), nullable=False),
        _text("postcode"),
        sa.Column("at", GridPoint(), nullable=False),
        _text("ward_code"),
        sa.Column("quality", sa.SmallInteger(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("old_at", GridPoint(), nullable=True),
        _text("old_ward_code", needed=False),
        sa.Column("old_quality", sa.SmallInteger(), nullable=True),
        sa.Column("old_live", sa.Boolean(), nullable=True),
        _text("old_release_id", needed=False),
        _foreign("area_plan_postcodes", "plan_id", "area_plans"),
        sa.PrimaryKeyConstraint("plan_id", "postcode", name=op.f("pk_area_plan_postcodes")),
    )
    op.create_table(
        "area_moves",
        sa.Column("plan_id", sa.Uuid(), nullable=False),
        sa.Column("place_id", sa.Uuid(), nullable=False),
        sa.Column("from_area_id", sa.Integer(), nullable=False),
        _text("to_code"),
        _text("how"),
        sa.CheckConstraint(
            "how IN ('postcode', 'boundary', 'nearest', 'share')", name=op.f("ck_area_moves_how")
        ),
        _foreign("area_moves", "plan_id", "area_plans"),
        _foreign("area_moves", "place_id", "places", ondelete="CASCADE"),
        _foreign("area_moves", "from_area_id", "areas"),
        sa.PrimaryKeyConstraint("plan_id", "place_id", name=op.f("pk_area_moves")),
    )
    for column in ("place_id", "from_area_id"):
        op.create_index(op.f(f"ix_area_moves_{column}"), "area_moves", [column])


def _what_followed() -> None:
    op.create_table(
        "area_plan_effects",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("plan_id", sa.Uuid(), nullable=False),
        _text("follower"),
        sa.Column("was", postgresql.JSONB(), nullable=True),
        sa.Column("now", postgresql.JSONB(), nullable=True),
        _foreign("area_plan_effects", "plan_id", "area_plans"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_area_plan_effects")),
    )
    op.create_index(op.f("ix_area_plan_effects_plan_id"), "area_plan_effects", ["plan_id"])
    op.create_table(
        "area_shapes",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("area_id", sa.Integer(), nullable=False),
        sa.Column("outline", GridPolygon(), nullable=False),
        sa.Column("leaves_out", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("plan_id", sa.Uuid(), nullable=True),
        sa.Column("ended_by", sa.Uuid(), nullable=True),
        _foreign("area_shapes", "area_id", "areas"),
        _foreign("area_shapes", "plan_id", "area_plans"),
        _foreign("area_shapes", "ended_by", "area_plans"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_area_shapes")),
    )
    for column in ("area_id", "plan_id", "ended_by"):
        op.create_index(op.f(f"ix_area_shapes_{column}"), "area_shapes", [column])
    op.create_index(
        "ix_area_shapes_outline",
        "area_shapes",
        ["outline"],
        postgresql_using="gist",
        postgresql_where=sa.text("ended_by IS NULL"),
    )


def downgrade() -> None:
    for statement in area_changes_sql.revokes():
        op.execute(statement)
    for table in TABLES:
        op.drop_table(table)
