"""Which provider of a channel is up, and which sending domain's bulk mail is held by the complaint brake."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base

UP, DOWN, TRYING = "up", "down", "trying"


class ProviderState(Base):
    """One provider of one channel, as all workers see it. The scheduler alone writes it, but for ``trials``.

    *Trying*: it was down, and ``trials`` calls more may test it. ``falls`` counts how often it went down
    in a row: the wait before the next trial doubles with it.
    """

    __tablename__ = "provider_states"

    channel: Mapped[str] = mapped_column(primary_key=True)
    provider: Mapped[str] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column(sa.SmallInteger)  # 0 is the one that is asked first
    state: Mapped[str] = mapped_column(server_default=UP)
    since: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    retry_at: Mapped[datetime | None]
    trials: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    falls: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    # What was seen at the last look: calls that said something, and what share of them failed.
    calls: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    failed_percent: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    looked_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())

    __table_args__ = (
        sa.CheckConstraint("state IN ('up', 'down', 'trying')", name="state"),
        {"postgresql_with": {"fillfactor": 50}},
    )


class Brake(Base):
    """Bulk e-mail of a sending domain is held until a human releases it. Rows stay: they are the record."""

    __tablename__ = "brakes"

    id: Mapped[int] = mapped_column(sa.Integer, sa.Identity(), primary_key=True)
    domain: Mapped[str]
    why: Mapped[str]  # complaints | bounces
    # What was counted when it was pulled: mail of the 24 hours before.
    accepted: Mapped[int]
    complained: Mapped[int]
    bounced: Mapped[int]
    pulled_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    released_at: Mapped[datetime | None]
    released_by: Mapped[str | None]
    release_why: Mapped[str | None]

    __table_args__ = (
        sa.CheckConstraint("why IN ('complaints', 'bounces')", name="why"),
        sa.CheckConstraint(
            "(released_at IS NULL) = (released_by IS NULL) AND (released_at IS NULL) = (release_why IS NULL)",
            name="released",
        ),
        sa.Index("ix_brakes_pulled", "domain", unique=True, postgresql_where=sa.text("released_at IS NULL")),
        sa.Index("ix_brakes_domain", "domain", "released_at"),
    )
