"""Who may do what, where and until when: roles that were granted, and what organisations agreed to."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, new_id
from app.permissions import Role


class RoleGrant(Base):
    """A role of somebody's: on an area and all below it, on a team's areas as they are, or everywhere; for a term.

    Never deleted while its bearer is known: what was taken back says when, and by whom.
    """

    __tablename__ = "role_grants"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    staff_id: Mapped[UUID] = mapped_column(sa.ForeignKey("staff.id", ondelete="CASCADE"), index=True)
    organisation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"), index=True)
    role: Mapped[str]
    area_id: Mapped[int | None] = mapped_column(sa.ForeignKey("areas.id"), index=True)
    team_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("teams.id"), index=True)
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    source: Mapped[str] = mapped_column(server_default="given")  # given | group: of the identity provider
    given_by: Mapped[str | None]  # a staff id or "operator"
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    taken_at: Mapped[datetime | None]
    taken_by: Mapped[str | None]

    __table_args__ = (
        sa.CheckConstraint(f"role IN ({', '.join(repr(str(role)) for role in Role)})", name="role"),
        sa.CheckConstraint("area_id IS NULL OR team_id IS NULL", name="where"),
        sa.CheckConstraint("ends_at > starts_at", name="term"),
        sa.CheckConstraint("source IN ('given', 'group')", name="source"),
        sa.Index(
            "ix_role_grants_now",
            "staff_id",
            "role",
            "area_id",
            "team_id",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=sa.text("taken_at IS NULL"),
        ),
        sa.Index("ix_role_grants_ends", "ends_at", postgresql_where=sa.text("taken_at IS NULL")),
        sa.Index(
            "ix_role_grants_holders",
            "organisation_id",
            "role",
            "staff_id",
            postgresql_where=sa.text("taken_at IS NULL"),
        ),
    )


class Agreement(Base):
    """A document between organisations that lets data be used: a data sharing agreement, a DPIA, terms of use."""

    __tablename__ = "agreements"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    organisation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"), index=True)
    kind: Mapped[str]
    title: Mapped[str]
    reference: Mapped[str] = mapped_column(server_default="")
    signed_on: Mapped[date]
    review_on: Mapped[date]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        sa.CheckConstraint("kind IN ('sharing', 'dpia', 'terms', 'processor')", name="kind"),
        sa.CheckConstraint("review_on > signed_on", name="review"),
    )


class Reminder(Base):
    """That somebody was told, so many days before, that a role ends or an agreement is due for review.

    A new end is told of anew. Only ids: no foreign key, for it may point to either.
    """

    __tablename__ = "reminders"

    kind: Mapped[str] = mapped_column(primary_key=True)
    subject_id: Mapped[UUID] = mapped_column(primary_key=True)
    ends_at: Mapped[datetime] = mapped_column(primary_key=True, index=True)
    days: Mapped[int] = mapped_column(sa.SmallInteger, primary_key=True)
    told_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())

    __table_args__ = (sa.CheckConstraint("kind IN ('role', 'agreement')", name="kind"),)
