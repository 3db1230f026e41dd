"""Areas (force → BCU → borough → ward, and others), and the postcodes that lead to them."""

from __future__ import annotations

from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, GridPoint, Pt


class Area(Base):
    """A place with a code, for as long as it is valid. Nobody belongs to an area by its name."""

    __tablename__ = "areas"

    id: Mapped[int] = mapped_column(sa.Integer, sa.Identity(), primary_key=True)
    code: Mapped[str]  # GSS code, or one of our own (geo.area_codes)
    kind: Mapped[str]
    name: Mapped[str]
    former_name: Mapped[str | None]
    parent_id: Mapped[int | None] = mapped_column(sa.ForeignKey("areas.id"), index=True)
    at: Mapped[Pt | None] = mapped_column(GridPoint)
    valid_from: Mapped[date]
    valid_to: Mapped[date | None]

    __table_args__ = (
        sa.UniqueConstraint("code", "valid_from"),
        sa.Index("ix_areas_code_now", "code", unique=True, postgresql_where=sa.text("valid_to IS NULL")),
        sa.CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name="validity"),
    )


class AreaSuccessor(Base):
    """What became of an area that ended; ``share`` of it (0 to 1) that went there."""

    __tablename__ = "area_successors"

    area_id: Mapped[int] = mapped_column(sa.ForeignKey("areas.id"), primary_key=True)
    successor_id: Mapped[int] = mapped_column(sa.ForeignKey("areas.id"), primary_key=True, index=True)
    share: Mapped[float] = mapped_column(sa.Double)

    __table_args__ = (sa.CheckConstraint("share > 0 AND share <= 1", name="share"),)


class Release(Base):
    """A published release of geography that rows were decided by."""

    __tablename__ = "releases"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    published: Mapped[date]
    loaded_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    live_postcodes: Mapped[int]


class Postcode(Base):
    """One postcode of the current release; its ward comes from this table, never from a name."""

    __tablename__ = "postcodes"

    postcode: Mapped[str] = mapped_column(primary_key=True)  # "SW1A 1AA"
    at: Mapped[Pt] = mapped_column(GridPoint)
    ward_code: Mapped[str] = mapped_column(index=True)
    quality: Mapped[int] = mapped_column(sa.SmallInteger)
    live: Mapped[bool]
    release_id: Mapped[str] = mapped_column(sa.ForeignKey("releases.id"))

    __table_args__ = (sa.Index("ix_postcodes_at", "at", postgresql_using="gist"),)
