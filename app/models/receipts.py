"""What providers told us: stored raw and committed first, merged later."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class RawEvent(Base):
    """One webhook call as it came, kept at most 30 days."""

    __tablename__ = "raw_events"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    source: Mapped[str]  # sendgrid | twilio-status | twilio-inbound
    body: Mapped[str]
    received_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    merged_at: Mapped[datetime | None]
    problem: Mapped[str | None]

    __table_args__ = (
        sa.CheckConstraint("source IN ('sendgrid', 'twilio-status', 'twilio-inbound')", name="source"),
        sa.Index("ix_raw_events_waiting", "id", postgresql_where=sa.text("merged_at IS NULL")),
        sa.Index(
            "ix_raw_events_inbound",
            "id",
            postgresql_where=sa.text("merged_at IS NULL AND source = 'twilio-inbound'"),
        ),
        sa.Index("ix_raw_events_received", "received_at"),
    )


class EarlyReceipt(Base):
    """A receipt that came before the row it speaks of; merged when the row appears."""

    __tablename__ = "early_receipts"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    dispatch_id: Mapped[UUID]
    batch_n: Mapped[int] = mapped_column(sa.Integer)
    attempt_n: Mapped[int] = mapped_column(sa.Integer)
    ordinal: Mapped[int] = mapped_column(sa.SmallInteger)
    status: Mapped[int] = mapped_column(sa.SmallInteger)
    reason: Mapped[str]
    suppress: Mapped[str | None]
    provider_ref: Mapped[str | None]
    at: Mapped[datetime]

    __table_args__ = (
        sa.Index("ix_early_receipts_ref", "dispatch_id", "batch_n", "ordinal"),
        sa.Index("ix_early_receipts_at", "at"),
    )
