"""What the retention clock did: a row for each class of data and day, and for each organisation whose rows went."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class RetentionRun(Base):
    """One class of data on one day (London's). ``organisation_id`` NULL: the whole service, with the state after it.

    ``ran_at`` NULL: the class was known from that day on, and its purge has not run yet.
    """

    __tablename__ = "retention_runs"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    name: Mapped[str]
    day: Mapped[date]
    organisation_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("organisations.id"))
    removed: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    oldest_left: Mapped[datetime | None]
    ran_at: Mapped[datetime | None]

    __table_args__ = (
        sa.Index(
            "ix_retention_runs_day",
            "name",
            "organisation_id",
            "day",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
        sa.Index("ix_retention_runs_past", "day"),
    )
