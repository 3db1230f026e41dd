"""Cells: the rectangles that the register's blind answers speak of, each with at least five live postcodes."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, Bx, GridBox

# As PostgreSQL gives it back, or autogenerate sees a difference.
OUTLINE = (
    "box(point((west)::double precision, (south)::double precision), "
    "point((east)::double precision, (north)::double precision))"
)


class RegisterCell(Base):
    """A rectangle in whole grid metres; its western and southern edges belong to it, the others to its neighbours.

    So a position is in exactly one: ``outline @> at`` finds it by the index, west ≤ easting < east and
    south ≤ northing < north decide between neighbours.
    """

    __tablename__ = "register_cells"

    id: Mapped[int] = mapped_column(sa.Integer, sa.Identity(), primary_key=True)
    release_id: Mapped[str] = mapped_column(sa.ForeignKey("releases.id"))
    west: Mapped[int] = mapped_column(sa.Integer)
    south: Mapped[int] = mapped_column(sa.Integer)
    east: Mapped[int] = mapped_column(sa.Integer)
    north: Mapped[int] = mapped_column(sa.Integer)
    outline: Mapped[Bx] = mapped_column(GridBox, sa.Computed(OUTLINE, persisted=True))
    postcodes: Mapped[int] = mapped_column(sa.SmallInteger)

    __table_args__ = (
        sa.UniqueConstraint("release_id", "west", "south"),
        sa.CheckConstraint("west < east AND south < north", name="sides"),
        sa.CheckConstraint("postcodes >= 5", name="postcodes"),
        sa.Index("ix_register_cells_outline", "outline", postgresql_using="gist"),
    )
