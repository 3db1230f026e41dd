"""Areas that change: plans of changes, who moves by them, what they changed, and the outlines of drawn areas."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import UserDefinedType

from app.db import Base, GridPoint, Pt, new_id

STATES = ("draft", "scheduled", "running", "applied", "reversed", "stopped")
Outline = list[tuple[float, float]]


class GridPolygon(UserDefinedType[Outline]):
    """PostgreSQL's own ``polygon`` of grid metres: one ring without holes."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "POLYGON"

    def bind_processor(self, dialect: sa.Dialect) -> Any:
        return lambda v: None if v is None else "(" + ",".join(f"({x!r},{y!r})" for x, y in v) + ")"

    def bind_expression(self, bindvalue: Any) -> Any:
        return sa.cast(bindvalue, self)

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        def read(value: str | None) -> Outline | None:
            if value is None:
                return None
            numbers = [float(one) for one in value.replace("(", "").replace(")", "").split(",")]
            return list(zip(numbers[::2], numbers[1::2], strict=True))

        return read


ischema_names["polygon"] = GridPolygon


class AreaPlan(Base):
    """Changes of areas that belong together: applied at a date as a whole, or not at all.

    ``steps``: see app.services.area_changes.steps. ``boundaries``: those that hold from then on, as
    geo.boundary_file packs them. ``floor``: when it began to be prepared.
    """

    __tablename__ = "area_plans"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    title: Mapped[str]
    applies_on: Mapped[date]
    state: Mapped[str] = mapped_column(server_default="draft")
    steps: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    boundaries: Mapped[bytes | None] = mapped_column(sa.LargeBinary)
    release_id: Mapped[str | None]
    release_name: Mapped[str | None]
    release_published: Mapped[date | None]
    created_by: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    began_at: Mapped[datetime | None]
    applied_at: Mapped[datetime | None]
    reversed_at: Mapped[datetime | None]
    prepared_to: Mapped[int] = mapped_column(sa.Integer, server_default="0")  # the last area that is prepared
    done: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    total: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    failed: Mapped[str | None]
    counts: Mapped[dict[str, int]] = mapped_column(JSONB, server_default="{}")

    __table_args__ = (
        sa.CheckConstraint(f"state IN ({', '.join(repr(s) for s in STATES)})", name="state"),
        sa.CheckConstraint(
            "(release_id IS NULL) = (release_name IS NULL) AND (release_id IS NULL) = (release_published IS NULL)",
            name="release",
        ),
        # What is prepared is reckoned from today's areas: two at once would not know of each other.
        sa.Index(
            "ix_area_plans_running",
            sa.text("(state = 'running')"),
            unique=True,
            postgresql_where=sa.text("state = 'running'"),
        ),
        sa.Index("ix_area_plans_due", "applies_on", "id", postgresql_where=sa.text("state = 'scheduled'")),
    )


class AreaPlanArea(Base):
    """An area that an applied plan began, ended, renamed or moved; ``before``: what it was."""

    __tablename__ = "area_plan_areas"

    plan_id: Mapped[UUID] = mapped_column(sa.ForeignKey("area_plans.id"), primary_key=True)
    area_id: Mapped[int] = mapped_column(sa.ForeignKey("areas.id"), primary_key=True, index=True)
    what: Mapped[str] = mapped_column(primary_key=True)
    before: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    after: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")

    __table_args__ = (
        sa.CheckConstraint("what IN ('begun', 'ended', 'renamed', 'moved', 'outlined')", name="what"),
    )


class AreaPlanPostcode(Base):
    """A postcode as a plan will have it, and as it was before. ``old_ward_code`` is empty for a new one."""

    __tablename__ = "area_plan_postcodes"

    plan_id: Mapped[UUID] = mapped_column(sa.ForeignKey("area_plans.id"), primary_key=True)
    postcode: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[Pt] = mapped_column(GridPoint)
    ward_code: Mapped[str]
    quality: Mapped[int] = mapped_column(sa.SmallInteger)
    live: Mapped[bool]
    old_at: Mapped[Pt | None] = mapped_column(GridPoint)
    old_ward_code: Mapped[str | None]
    old_quality: Mapped[int | None] = mapped_column(sa.SmallInteger)
    old_live: Mapped[bool | None]
    old_release_id: Mapped[str | None]


class AreaMove(Base):
    """A place that a plan moves: from an area, to the one with this code; ``how`` its new area was found."""

    __tablename__ = "area_moves"

    plan_id: Mapped[UUID] = mapped_column(sa.ForeignKey("area_plans.id"), primary_key=True)
    place_id: Mapped[UUID] = mapped_column(
        sa.ForeignKey("places.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    from_area_id: Mapped[int] = mapped_column(sa.ForeignKey("areas.id"), index=True)
    to_code: Mapped[str]
    how: Mapped[str]

    __table_args__ = (sa.CheckConstraint("how IN ('postcode', 'boundary', 'nearest', 'share')", name="how"),)


class AreaPlanEffect(Base):
    """A row of another table that followed a plan: as it was (none: it was added), and as it is now (none: it went)."""

    __tablename__ = "area_plan_effects"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    plan_id: Mapped[UUID] = mapped_column(sa.ForeignKey("area_plans.id"), index=True)
    follower: Mapped[str]
    was: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    now: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class AreaShape(Base):
    """One outline of a drawn area; ``leaves_out``: what lies in there does not belong to it."""

    __tablename__ = "area_shapes"

    id: Mapped[int] = mapped_column(sa.Integer, sa.Identity(), primary_key=True)
    area_id: Mapped[int] = mapped_column(sa.ForeignKey("areas.id"), index=True)
    outline: Mapped[Outline] = mapped_column(GridPolygon)
    leaves_out: Mapped[bool] = mapped_column(server_default=sa.false())
    plan_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("area_plans.id"), index=True)
    ended_by: Mapped[UUID | None] = mapped_column(sa.ForeignKey("area_plans.id"), index=True)

    __table_args__ = (
        sa.Index(
            "ix_area_shapes_outline",
            "outline",
            postgresql_using="gist",
            postgresql_where=sa.text("ended_by IS NULL"),
        ),
    )
