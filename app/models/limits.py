"""What an organisation may send and spend in a day or a month, and what of it is taken.

Days and months are London's. Costs are counted in hundredths of a penny, rounded up once per dispatch.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base

PERIODS = ("day", "month")
MEASURES = ("emails", "segments", "pence")


def _one_of(column: str, values: tuple[str, ...]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{v}'" for v in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=column)


class OrganisationLimit(Base):
    """At most so much of one measure in each period. No row, no limit."""

    __tablename__ = "organisation_limits"

    organisation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"), primary_key=True)
    period: Mapped[str] = mapped_column(primary_key=True)
    measure: Mapped[str] = mapped_column(primary_key=True)
    most: Mapped[int] = mapped_column(sa.BigInteger)

    __table_args__ = (
        _one_of("period", PERIODS),
        _one_of("measure", MEASURES),
        sa.CheckConstraint("most >= 0", name="most"),
    )


class SpendCounter(Base):
    """What is taken of one period: the row that two freezes of an organisation meet at."""

    __tablename__ = "spend_counters"

    organisation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"), primary_key=True)
    period: Mapped[str] = mapped_column(primary_key=True)
    starts: Mapped[date] = mapped_column(primary_key=True)
    emails: Mapped[int] = mapped_column(sa.BigInteger)
    segments: Mapped[int] = mapped_column(sa.BigInteger)
    cost: Mapped[int] = mapped_column(sa.BigInteger)

    __table_args__ = (_one_of("period", PERIODS), {"postgresql_with": {"fillfactor": 50}})


class Reservation(Base):
    """What a dispatch took at its freeze, and what it had really used when it ended."""

    __tablename__ = "reservations"

    dispatch_id: Mapped[UUID] = mapped_column(sa.ForeignKey("dispatches.id"), primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"))
    day: Mapped[date]  # London's, on which it begins
    emails: Mapped[int]
    segments: Mapped[int]
    cost: Mapped[int] = mapped_column(sa.BigInteger)
    email_pence: Mapped[Decimal] = mapped_column(sa.Numeric(10, 4))
    segment_pence: Mapped[Decimal] = mapped_column(sa.Numeric(10, 4))
    over: Mapped[bool]  # risk to life is never refused, and went over a limit
    counted: Mapped[bool]  # whether the counters hold it yet
    spent_emails: Mapped[int | None]
    spent_segments: Mapped[int | None]
    spent_cost: Mapped[int | None] = mapped_column(sa.BigInteger)
    settled_at: Mapped[datetime | None]

    __table_args__ = (
        sa.Index("ix_reservations_open", "dispatch_id", postgresql_where=sa.text("settled_at IS NULL")),
    )
