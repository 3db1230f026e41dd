"""Ward teams: who looks after an area, and how the public reaches them. Names only by consent."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, new_id


class Team(Base):
    """A neighbourhood team of one organisation. Its contact routes are public, so they are not encrypted."""

    __tablename__ = "teams"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    controller_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"))
    name: Mapped[str]
    about: Mapped[str] = mapped_column(server_default="")
    email: Mapped[str | None]
    phone: Mapped[str | None]
    url: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        sa.Index(
            "ix_teams_name",
            "controller_id",
            "name",
            unique=True,
            postgresql_where=sa.text("ended_at IS NULL"),
        ),
    )


class TeamArea(Base):
    """An area that a team looks after: a ward, or everything below a borough. Teams are not wards."""

    __tablename__ = "team_areas"

    team_id: Mapped[UUID] = mapped_column(sa.ForeignKey("teams.id"), primary_key=True)
    area_id: Mapped[int] = mapped_column(sa.ForeignKey("areas.id"), primary_key=True, index=True)


class TeamMember(Base):
    """A role in a team, as the public page shows it; with a name only if its bearer agreed."""

    __tablename__ = "team_members"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    team_id: Mapped[UUID] = mapped_column(sa.ForeignKey("teams.id"), index=True)
    role: Mapped[str]
    name: Mapped[str | None]
    name_agreed_at: Mapped[datetime | None]
    position: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")

    __table_args__ = (sa.CheckConstraint("name IS NULL OR name_agreed_at IS NOT NULL", name="name_agreed"),)
